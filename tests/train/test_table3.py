"""Table 3: the order of its runs, its figures, and a small one from beginning to end."""

from __future__ import annotations

import csv
import io
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from r2b.train import experiment, table3, table3_report
from r2b.train.table3 import BASELINE, METHODS, ROWS, SUFFIX, Job
from tests.train.data.writers import write_pictures

SHORT = ("strong-baseline", "full-precision")


def test_teachers_come_before_those_they_teach():
    found = table3.jobs(range(3))
    assert len(found) == len(set(found)) == 3 * 15
    for index, job in enumerate(found):
        for teacher in experiment.load(job.name).teachers:
            assert Job(job.seed, teacher) in found[:index]
    assert [job.seed for job in found] == [0] * 15 + [1] * 15 + [2] * 15


def test_a_teacher_of_a_teacher_is_found():
    assert table3.with_teachers(["full-precision-ts"]) == ["full-precision-34", "full-precision-ts"]


def results(seeds: int) -> dict[Job, dict]:
    """Figures that are easy to check: 50 plus the row's place plus the seed; stage 2 is 10 less."""
    found = {}
    for place, name in enumerate(ROWS):
        for seed in range(seeds):
            top1 = 50.0 + place + seed
            test = {"stage0": [0.0, 0.0], "stage1": [top1, 90.0], "stage2": [top1 - 10, 80.0]}
            stages = [f"stage{phase.stage}" for phase in experiment.load(name).phases]
            found[Job(seed, name)] = {"test": {stage: test[stage] for stage in stages}}
    return found


def test_mean_and_deviation_over_the_seeds():
    lines = table3_report.lines(results(3))
    assert [line.name for line in lines] == list(ROWS)
    for place, line in enumerate(lines):
        values = [50.0 + place + seed for seed in range(3)]
        assert line.top1["stage1"] == (statistics.mean(values), statistics.stdev(values))
        assert line.seeds == 3
    assert {line.name for line in lines if "stage2" not in line.top1} == {
        "full-precision",
        "full-precision-ts",
    }


def test_gain_is_over_the_baseline_with_the_same_shortcuts():
    lines = {line.name: line for line in table3_report.lines(results(2))}
    for place, name in enumerate(METHODS):
        for suffix in ("", SUFFIX):
            assert lines[name + suffix].gain == (None if name == BASELINE else place)
    assert lines["full-precision"].gain is None


def test_one_seed_has_no_deviation():
    line = table3_report.lines(results(1))[0]
    assert line.top1["stage1"] == (50.0, None)
    assert table3_report.table([line])[0][:4] == ("Strong Baseline", "50.0", "40.0", "")


def test_the_paper_stands_beside():
    rows = table3_report.table(table3_report.lines(results(2)))
    assert rows[5] == (
        "Real-to-Bin", "55.5 ± 0.7", "45.5 ± 0.7", "+5.0", "80.0 ± 0.0", "74.98", "72.68", "+6.36",
    )  # fmt: skip
    assert rows[11][-3:] == ("76.49", "76.15", "+6.59")
    assert rows[12][1:] == ("62.5 ± 0.7", "", "", "90.0 ± 0.0", "78.28", "", "")


def test_the_files(tmp_path):
    lines = table3_report.lines(results(2))
    paths = table3_report.write(lines, tmp_path)
    assert [path.name for path in paths] == ["table3.md", "table3.csv", "table3.png"]
    text = paths[0].read_text().splitlines()
    assert len(text) == 2 + len(ROWS)
    assert {line.count("|") for line in text} == {len(table3_report.HEADINGS) + 1}
    read = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    assert len(read) == 2 * 12 + 2
    assert read[0]["top1"] == "50.5"
    assert read[0]["paper_top1"] == "69.31"
    assert paths[2].read_bytes().startswith(b"\x89PNG")


SCRIPT = """
import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from r2b.train import data, recipe, table3, table3_report
from r2b.train.run import Settings

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of the shell ignores it
    root, spec, rows = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    settings = Settings(spec, 0, 0.125, 1e-3)
    print(table3.estimate(settings, data.load(spec), 1, 2, rows))
    results = table3.run(settings, range(1), root, 2, lambda job, result: print(job.name), rows)
    table3_report.write(table3_report.lines(results, rows), root)

    def interrupt():
        while not (root / "seed-1" / "full-precision" / "metrics.csv").exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    endless = replace(settings, epochs_scale=1e4)
    try:
        table3.run(endless, [1], root, 1, print, rows)
    except KeyboardInterrupt:
        print("interrupted", len(multiprocessing.active_children()))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[Path, list[str]]:
    """Two rows, one step per phase, in a process of their own: it starts workers."""
    folder = tmp_path_factory.mktemp("table3")
    (folder / "script.py").write_text(SCRIPT)
    images = write_pictures(folder / "d", ["a", "b"], {"train": 8, "val": 2, "test": 2}, "png")
    root = folder / "runs"
    root.mkdir()
    done = subprocess.run(
        [sys.executable, folder / "script.py", root, f"folder:{images}@16", *SHORT],
        capture_output=True, text=True, check=True, timeout=500,
    )  # fmt: skip
    return root, done.stdout.splitlines()


def test_a_small_table_from_beginning_to_end(small):
    root, lines = small
    assert float(lines[0]) > 0
    assert sorted(lines[1:-1]) == sorted(SHORT)
    # Ctrl-C ends the workers
    assert lines[-1] == "interrupted 0"
    for name in SHORT:
        assert (root / "seed-0" / name / "model.pt").is_file()
    text = (root / "table3.md").read_text()
    assert [line.split(" | ")[0] for line in text.splitlines()[2:]] == [
        "| Strong Baseline**", "| Full Precision",
    ]  # fmt: skip
