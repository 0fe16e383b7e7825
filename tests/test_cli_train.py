"""``r2b-train``: what it prints, what it leaves, and what it says to bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from r2b import cli_train
from r2b.train import data as datasets
from r2b.train import experiment, recipe, table3
from r2b.train.data import digits32
from r2b.train.data.dataset import ArrayImages

TINY = recipe.Recipe(1, (0.5,), batch_size=8)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in an empty folder, and finds PyTorch as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    before = torch.are_deterministic_algorithms_enabled()
    yield tmp_path
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def few_digits(monkeypatch):
    """Sixteen digits of each part, one epoch."""
    whole = digits32.load()
    parts = {
        name: ArrayImages(part.images[:16].numpy(), part.labels[:16].numpy())
        for name, part in vars(whole).items()
        if isinstance(part, ArrayImages)
    }
    monkeypatch.setattr(datasets, "load", lambda *given: replace(whole, **parts))
    monkeypatch.setattr("r2b.train.run.RECIPES", {"digits": TINY})


@pytest.fixture
def run(capfd):
    """Run the command; return its status, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        status = cli_train.main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return call


def test_list_names_every_experiment(run):
    status, out, _ = run("--list")
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 1 + len(experiment.names())
    for name, line in zip(experiment.names(), lines[1:], strict=True):
        assert line.split()[0] == name
        assert experiment.load(name).title in line


def test_without_an_experiment_they_are_listed(run):
    assert run() == run("--list")


def test_an_experiment_with_its_teacher(run, few_digits):
    status, out, err = run("att-trans", "--width", "0.125", "--test", "-o", "runs", "--seed", 4)
    assert status == 0, err
    assert err.splitlines() == [
        "full-precision: phase 1 of 1, 1 epochs",
        "att-trans: phase 1 of 2, 1 epochs",
        "att-trans: phase 2 of 2, 1 epochs",
    ]
    first, second = out.splitlines()
    figures = r"validation stage 1 \d+\.\d\d %, stage 2 \d+\.\d\d %; test stage 1 \d+\.\d\d %, "
    assert_matches(rf"att-trans, seed 4: {figures}stage 2 \d+\.\d\d % \(\d+ s\)", first)
    assert second == "wrote runs/seed-4/att-trans/model.pt"
    assert Path("runs/seed-4/att-trans/model.pt").is_file()


def assert_matches(pattern, text):
    assert re.fullmatch(pattern, text), text


def test_several_seeds_as_json(run, few_digits):
    status, out, _ = run("full-precision", "--width", "0.125", "--seeds", 2, "--json", "-q")
    assert status == 0
    results = json.loads(out)
    assert [result["seed"] for result in results] == [0, 1]
    assert sorted(path.name for path in Path("r2b-runs").iterdir()) == ["seed-0", "seed-1"]


def test_a_folder_that_is_there(run, few_digits):
    arguments = ("full-precision", "--width", "0.125", "-o", "runs", "-q")
    assert run(*arguments)[0] == 0
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err == (
        "error: runs/seed-0/full-precision holds a run already; go on with it by --resume, or "
        "choose another -o\n"
    )
    assert run(*arguments, "--resume") == (0, "", "")
    model = "runs/seed-0/full-precision/model.pt"
    for more, verb in (((), "kept"), (("--test",), "wrote"), (("--test",), "kept")):
        status, out, _ = run(*arguments[:-1], "--resume", *more)
        assert (status, out.splitlines()[-1]) == (0, f"{verb} {model}")


KNOWN = ", ".join(experiment.names())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adam"], f"there is no experiment 'adam'; known are: {KNOWN}"),
        (["gate", "--device", "tpu"], "--device must be one of cpu, cuda, not 'tpu'"),
        (
            ["gate", "--precision", "fp8"],
            "--precision must be one of 32-true, 16-mixed, bf16-mixed, not 'fp8'",
        ),
        (["gate", "--seeds", "0"], "--seeds must be 1 or more, not 0"),
        (["gate", "--seed", "-1"], "--seed must be 0 or more, not -1"),
        (["gate", "--devices", "0"], "--devices must be 1 or more, not 0"),
        (["table3", "--workers", "0"], "--workers must be 1 or more, not 0"),
        (["gate", "--loaders", "-1"], "--loaders must be 0 or more, not -1"),
        (["gate", "--save-every", "0"], "--save-every must be 1 or more, not 0"),
        (
            ["gate", "--epochs-scale", "0"],
            "--epochs-scale must be above 0 and leave a million epochs at most, not 0",
        ),
        (
            ["gate", "--width", "0.01"],
            "the config does not fit real-to-binary-32: width_multiplier must make widths that are "
            "integers from 1 to 8192, but 0.01 makes 64 to 0.64",
        ),
        (
            ["table3", "--precision", "bf16-mixed"],
            "table3 runs on the CPU, --workers at a time; train its rows one by one for another "
            "--device, --devices or --precision",
        ),
        (
            ["gate", "--device", "cuda"],
            "--device cuda --devices 1 is not to be had here: `CUDAAccelerator` can not run on "
            "your system since the accelerator is not available",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be(run, arguments, message):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err == f"error: {message}\n"
    assert list(Path().iterdir()) == []


def test_a_file_in_the_place_of_the_folder(run):
    Path("taken").write_text("mine")
    status, _, err = run("gate", "-o", "taken")
    assert (status, err) == (2, "error: taken is no folder; choose another -o\n")
    assert Path("taken").read_text() == "mine"


def test_table3_does_not_go_on_by_itself(run):
    Path("runs/seed-0").mkdir(parents=True)
    status, _, err = run("table3", "-o", "runs")
    assert (status, err) == (
        2,
        "error: runs holds runs already; go on with them by --resume, or choose another -o\n",
    )


def test_an_interrupted_run_says_how_to_go_on(run, few_digits, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("r2b.train.run.train", interrupt)
    status, _, err = run("gate")
    assert (status, err) == (130, "error: interrupted; --resume goes on where it stopped\n")


def test_table3_prints_its_table(run, monkeypatch):
    """The runs themselves are in tests/train/test_table3.py."""
    figures = {"stage1": [70.0, 95.0], "stage2": [60.0, 90.0]}

    def results(settings, seeds, root, processes, on_done, *, loaders, save_every):
        assert (loaders, save_every) == (1, 50)
        root.mkdir()
        found = {}
        for job in table3.jobs(seeds):
            real = job.name.startswith("full")
            kept = {"stage1": [80.0 + job.seed, 99.0]} if real else figures
            found[job] = {
                "experiment": job.name, "seed": job.seed, "seconds": 1.0,
                "validation": kept, "test": kept,
            }  # fmt: skip
            on_done(job, found[job])
        return found

    monkeypatch.setattr(table3, "run", results)
    monkeypatch.setattr(table3, "estimate", lambda *given: 5400.0)
    how = ("--loaders", 1, "--save-every", 50)
    status, out, err = run("table3", "--seeds", 2, "-o", "runs", *how)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "30 runs, about 1 h 30 min with 2 at a time, less what is there already"
    assert lines[1] == (
        "[1/30] full-precision, seed 0: validation stage 1 80.00 %; test stage 1 80.00 % (1 s)"
    )
    assert lines[-3:] == [f"wrote runs/table3.{kind}" for kind in ("md", "csv", "png")]
    baseline, best = (row(lines, title) for title in ("Strong Baseline**", "Real-to-Bin**"))
    assert baseline == ["70.0 ± 0.0", "60.0 ± 0.0", "90.0 ± 0.0", "72.14", "69.56"]
    assert best == ["70.0 ± 0.0", "60.0 ± 0.0", "+0.0", "90.0 ± 0.0", "76.49", "76.15", "+6.59"]
    assert row(lines, "Full Precision") == ["80.5 ± 0.7", "99.0 ± 0.0", "78.28"]


def row(lines: list[str], title: str) -> list[str]:
    """The cells of a row that are not empty."""
    found = [re.split(r" {2,}", line.strip()) for line in lines]
    return next(cells[1:] for cells in found if cells[0] == title)


def test_without_the_extra_one_message_says_what_to_install(monkeypatch, capfd):
    monkeypatch.setattr(cli_train, "find_spec", lambda name: None if name == "kornia" else name)
    assert cli_train.main(["--list"]) == 2
    assert capfd.readouterr().err == (
        "error: training needs packages that are not installed (kornia); install them with: pip "
        "install 'r2b[train]'\n"
    )
