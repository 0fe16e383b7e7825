"""``r2b-explore``: what it writes, what it prints, how it is resumed, and its exit status."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest

from r2b import cli_compile, cli_explore
from r2b.backends.cost.hardware import cost
from r2b.explore import cluster, job, plot, sheets
from r2b.explore import run as run_module
from r2b.explore.evaluate import COLUMNS, FAILED, FITS, RESOURCES, Evaluator
from r2b.explore.front import BEST, OBJECTIVES, pareto
from r2b.explore.sheets import front_sheet
from r2b.explore.space import AXES, full_axes, points
from r2b.hw.plan import Plan
from r2b.ir.errors import ToolError
from r2b.train import checkpoint, zoo
from tests.explore.conftest import COMMAND, DEVICES, SPACE, contents

FEW = ["--axis", "p_in=8", "--axis", "p_out=8", "--axis", "lanes=2,4", "--axis", "tile_pixels=16",
       "--axis", "bus=64", "--axis", "mac_tiles=1,2", "--axis", "lut_tiles=0",
       "--axis", "p_px=1", "--axis", "mac_packing=1", "--axis", "vector=chip",
       "--axis", "front_tiles=0", "--axis", "batch=1",
       "--workers", "1"]  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(model, folder, *arguments: str) -> int:
    return cli_explore.main([str(model), "-o", str(folder), *arguments])


def flat(text: str) -> str:
    return " ".join(text.split())


# ------------------------------------------------------------------------------------- what is made


def test_every_plan_is_in_the_table(explored):
    """A row per Plan and device, of one form; each point once."""
    rows = read(explored / "plans.csv")
    assert list(rows[0]) == list(COLUMNS)
    assert {row["device"] for row in rows} == set(DEVICES)
    keys = [(row["device"], row["point"]) for row in rows]
    assert len(keys) == len(set(keys)) > 200
    assert {row["status"] for row in rows} == {"fits", "too large"}


def test_the_front_is_that_of_the_table(explored):
    """Computed again from the figures in plans.csv."""
    numbers = BEST
    rows = [
        row | {name: float(row[name]) for name in numbers}
        for row in read(explored / "plans.csv")
        if row["status"] == FITS
    ]
    wanted = [
        (device, row["point"])
        for device in DEVICES
        for row in pareto([row for row in rows if row["device"] == device])
    ]
    assert [(r["device"], r["point"]) for r in read(explored / "pareto.csv")] == wanted


def test_the_chosen_plan_is_the_fastest_that_fits(explored, program):
    """Its figures are the cost model's; plan.json is the best of all devices."""
    rows = [row for row in read(explored / "plans.csv") if row["status"] == FITS]
    for device in DEVICES:
        plan = Plan.read(explored / f"plan-{device}.json")
        most = max(float(row["fps"]) for row in rows if row["device"] == device)
        assert (plan.device, cost(program, plan).fps()) == (device, most)
    best = Plan.read(explored / "plan.json")
    assert best == Plan.read(explored / "plan-xc7z020.json")


def test_the_page_is_one_file_that_asks_for_nothing(explored):
    """The browser may fetch nothing, and nothing refers to anything."""
    page = (explored / "explore.html").read_text(encoding="utf-8")
    head, body = page.split("</head>", 1)
    assert "default-src 'none'" in head
    outside = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)\s*=\s*[\"']?http", page)
    assert outside == []
    assert "@import" not in page
    for device in DEVICES:
        for kind in ("fits", "front", "chosen"):
            assert f"{device}: {kind}" in body
    assert "Every figure is analytic" in body
    assert str(explored) not in page


def test_a_second_run_gives_the_same_bytes(explored, model, tmp_path):
    assert run(model, tmp_path / "again", *SPACE, "--workers", "1", "-q") == 0
    assert contents(tmp_path / "again") == contents(explored)


# ---------------------------------------------------------------------------------- what is printed


def test_what_is_printed(model, tmp_path, capsys):
    """Every figure is labelled."""
    assert run(model, tmp_path / "out", "--device", "ecp5-85f", *FEW) == 0
    text = flat(capsys.readouterr().out)
    rows = read(tmp_path / "out" / "plans.csv")
    front = read(tmp_path / "out" / "pareto.csv")
    assert f"ecp5-85f at 100 MHz: Pareto front of {len(front)} Plans, analytic" in text
    assert f"{len(rows)} Plans in" in text
    assert "per second" in text
    assert "not a Plan" not in text or "points:" in text
    assert "(analytic); most frames per second" in text
    assert f"wrote {tmp_path / 'out'}; its plan.json is for ecp5-85f" in text


def test_json(model, tmp_path, capsys):
    assert run(model, tmp_path / "out", "--device", "ecp5-85f", *FEW, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    rows = read(tmp_path / "out" / "plans.csv")
    assert found["evaluated"]["plans"] == found["devices"]["ecp5-85f"]["plans"] == len(rows)
    assert found["best"] == found["chosen"]["ecp5-85f"]
    assert found["figures"] == "analytic"
    assert len(found["fronts"]["ecp5-85f"]) == found["devices"]["ecp5-85f"]["front"]
    assert cli_explore.main(["--axes", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(AXES)


def test_axes(capsys):
    assert cli_explore.main(["--axes"]) == 0
    text = flat(capsys.readouterr().out)
    assert all(f"{name} {', '.join(map(str, axis.values))}" in text for name, axis in AXES.items())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective(name, model, explored, tmp_path):
    """An exploration that is done is chosen from again, without evaluating anything."""
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", explored, folder], check=True)
    assert run(model, folder, *SPACE, "-q", "--resume", "--workers", "1", "--objective", name) == 0
    rows = [row for row in read(folder / "plans.csv") if row["status"] == FITS]
    for row in rows:
        row.update({key: float(row[key]) for key in ("share", *BEST, *RESOURCES)})
    best = min(OBJECTIVES[name].cost(row) for row in rows)
    plan = Plan.read(folder / "plan.json")
    keys = ("p_in", "p_out", "p_px", "vector", "lanes", "mac_out", "mac_packing", "lut_macs",
            "tile_pixels", "gate_macs")  # fmt: skip
    (chosen,) = (
        row for row in rows
        if row["device"] == plan.device
        and [row[key] for key in keys] == [str(getattr(plan, key)) for key in keys]
        and (row["weights"], row["bus"]) == (plan.weights, str(plan.weight_word))
    )  # fmt: skip
    assert OBJECTIVES[name].cost(chosen) == best


OVERLAP = ["--device", "xc7z020", *FEW[:-6], "--axis", "front_tiles=0,1",
           "--workers", "1"]  # fmt: skip


def test_no_batch_is_chosen_unless_it_is_asked_for(model, program, tmp_path, capsys):
    """The space has some, and what they would give is said."""
    assert run(model, tmp_path / "out", *OVERLAP) == 0
    text = flat(capsys.readouterr().out)
    rows = [row for row in read(tmp_path / "out" / "plans.csv") if row["status"] == FITS]
    assert {row["batch"] for row in rows} == {"1", "4"}
    best = {
        batch: max(float(row["fps"]) for row in rows if row["batch"] == batch)
        for batch in ("1", "4")
    }
    assert best["4"] > best["1"]
    plan = Plan.read(tmp_path / "out" / "plan.json")
    assert (plan.batch, cost(program, plan).fps()) == (1, best["1"])
    assert (
        f"xc7z020: --axis batch=4, which raises latency, would give {best['4']:,.1f} frames/s"
        in text
    )
    assert run(model, tmp_path / "asked", *OVERLAP, "--axis", "batch=1,4") == 0
    assert Plan.read(tmp_path / "asked" / "plan.json").batch == 4
    assert "would give" not in flat(capsys.readouterr().out)
    goal = (best["1"] + best["4"]) / 2
    options = ["-q", "--resume", "--target-fps", str(goal)]
    assert run(model, tmp_path / "out", *OVERLAP, *options) == 1
    assert "or --axis batch=4: batches, which raise latency, reach" in flat(capsys.readouterr().err)


def test_fronts_and_batches_in_the_table(model, tmp_path, capsys):
    """With columns of their own, which are left away where there is neither."""
    assert run(model, tmp_path / "out", *OVERLAP, "--json") == 0
    front = json.loads(capsys.readouterr().out)["fronts"]["xc7z020"]
    sheet = front_sheet("xc7z020", front, None, None)
    assert set(sheets.COLUMNS) - set(sheet.columns) == {"constants"}
    cells = [dict(zip(sheet.columns, row, strict=True)) for row in sheet.rows]
    assert {cell["batch"] for cell in cells} == {1, 4}
    assert {bool(cell["front"]) for cell in cells} == {True, False}
    alone = [row for row in front if row["batch"] == 1 and not row["front_out"]]
    columns = front_sheet("xc7z020", alone, None, None).columns
    assert set(sheets.COLUMNS) - set(columns) == {"constants", "front", "batch", "latency"}
    of_luts = front_sheet("xc7z020", [*alone, alone[0] | {"constants": "logic"}], None, None)
    column = of_luts.columns.index("constants")
    assert [row[column] for row in of_luts.rows] == [""] * len(alone) + ["LUTs"]


def test_points_that_differ_in_the_front_stay_together():
    """What is known of a smaller front decides about a larger one, in every cut."""
    axes = full_axes() | {"p_in": (8,), "p_out": (8,), "bus": (64,), "front_tiles": (0, 1, 2)}
    several = list(points(axes))
    for size in (1, 7, 192):
        parts = list(run_module.cut(several, size))
        assert [point for part in parts for point in part] == several
        homes = {point.alone: number for number, part in enumerate(parts) for point in part}
        assert all(homes[p.alone] == number for number, part in enumerate(parts) for p in part)
        assert min(map(len, parts[:-1]), default=size) >= size


def test_help_names_every_objective(capsys):
    assert cli_explore.main(["--help"]) == 0
    text = flat(re.sub(r"[│|]", " ", capsys.readouterr().out))
    assert all(name in text for name in OBJECTIVES)


# --------------------------------------------------------------------------------------- the target


def test_the_smallest_plan_that_reaches_the_target(model, program, explored, tmp_path):
    """And none that is smaller does; the first device on which it is reached is taken."""
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", explored, folder], check=True)
    options = [*SPACE, "-q", "--resume", "--workers", "1", "--target-fps", "9000"]
    assert run(model, folder, *options) == 0
    plan = Plan.read(folder / "plan.json")
    found = cost(program, plan)
    assert (plan.device, found.fps() >= 9000) == ("xc7z020", True)
    able = [
        float(row["share"])
        for row in read(folder / "plans.csv")
        if row["status"] == FITS and row["device"] == "xc7z020" and float(row["fps"]) >= 9000
    ]
    assert len(able) > 10
    assert max(found.device_shares.values()) == min(able)
    assert not (folder / "plan-ecp5-25f.json").exists()


def test_a_target_out_of_reach(model, tmp_path, capsys):
    """One message, status 1; what was found is there, but no Plan."""
    options = ["--device", "ecp5-85f", *FEW, "-q", "--target-fps", "1e9"]
    assert run(model, tmp_path / "out", *options) == 1
    message = flat(capsys.readouterr().err)
    assert re.fullmatch(
        r"error: ecp5-85f: no Plan that fits reaches 1e\+09 frames/s; the nearest reaches [\d,.]+ "
        r"\(8x8 XNOR, .*\), bound by [a-z]+ [a-z]+; choose a lower --target-fps, a higher --clock "
        r"or a larger --device",
        message,
    )
    assert (tmp_path / "out" / "pareto.csv").exists()
    assert not (tmp_path / "out" / "plan.json").exists()


def test_nothing_fits(model, tmp_path, capsys):
    options = ["--device", "ecp5-25f", *FEW[:-2], "--axis", "lanes=8", "--axis", "gate_macs=64"]
    assert run(model, tmp_path / "out", *options, "-q", "--workers", "1") == 1
    message = flat(capsys.readouterr().err)
    assert message.startswith("error: ecp5-25f: no Plan fits; the nearest (8x8 XNOR, 64 MACs")
    assert "DSP of 28" in message
    assert read(tmp_path / "out" / "pareto.csv") == []


# ----------------------------------------------------------------------------------------- resuming


def test_a_run_that_is_stopped_goes_on(model, explored, tmp_path, monkeypatch, capsys):
    """What is done is not done again, and the bytes are those of a run without a stop."""
    folder, before = tmp_path / "out", Evaluator.rows
    seen: list[int] = []

    def rows(self, point):
        if len(seen) == 60:
            raise KeyboardInterrupt
        seen.append(point.index)
        return before(self, point)

    monkeypatch.setattr(Evaluator, "rows", rows)
    assert run(model, folder, *SPACE, "--workers", "1", "-q") == 130
    assert "--resume goes on where it stopped" in capsys.readouterr().err
    kept = len(list((folder / "state").glob("0*.json")))
    assert 5 < kept < 64
    again: list[int] = []
    monkeypatch.setattr(
        Evaluator, "rows", lambda self, point: again.append(point.index) or before(self, point)
    )
    (folder / ".plans.csv.tmp").write_text("half")
    assert run(model, folder, *SPACE, "--workers", "1", "-q", "--resume") == 0
    assert contents(folder) == contents(explored)
    assert not (folder / ".plans.csv.tmp").exists()
    assert len(set(again)) == len(again)
    # only the chunk that was stopped in is begun again
    assert len(set(again) & set(seen)) <= run_module.LARGEST_CHUNK // 32


def test_a_point_that_fails_is_in_the_table(model, tmp_path, monkeypatch):
    before = Evaluator.rows

    def rows(self, point):
        if point.gate_macs == 4 and point.lanes == 2 and point.weights == "chip":
            raise ZeroDivisionError("no such luck")
        return before(self, point)

    monkeypatch.setattr(Evaluator, "rows", rows)
    assert run(model, tmp_path / "out", "--device", "ecp5-85f", *FEW, "-q") == 0
    failed = [r for r in read(tmp_path / "out" / "plans.csv") if r["status"] == FAILED]
    assert len(failed) == 2
    assert {row["reason"] for row in failed} == {"ZeroDivisionError: no such luck"}


# --------------------------------------------------------------------------------- what is refused


BAD = [
    ([], "name a --device or more, for example --device ecp5-85f"),
    (["--device", "ecp5"], "unknown device 'ecp5'; known: "),
    (["--device", "xc7z020", "--device", "xc7z020"], "a --device is named twice"),
    (["--device", "xc7z020", "--objective", "speed"], "--objective takes fps, "),
    (["--device", "xc7z020", "--target-fps", "0"], "--target-fps must be a positive number, not 0"),
    (["--device", "xc7z020", "--target-fps", "nan"], "--target-fps must be a positive number"),
    (["--device", "xc7z020", "--clock", "-5"], "the clock must be a positive number of MHz"),
    (["--device", "xc7z020", "--synth", "-1"], "--synth must be 0 or more, not -1"),
    (["--device", "xc7z020", "--workers", "0"], "--workers must be 1 or more, not 0"),
    (["--device", "xc7z020", "--scheduler", "host:1"], "--scheduler takes local or tcp://HOST"),
    (["--device", "xc7z020", "--scheduler", "tcp://h:1", "--workers", "2"],
     "a remote scheduler has its own workers; leave --workers away"),
    (["--device", "xc7z020", "--axis", "depth=1"], "--axis 'depth=1': the axes are "),
    (["--device", "xc7z020", "--act-bits", "12", "--sign-zero", "0"], "--sign-zero takes +1 or -1"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options(options, message, model, tmp_path, capsys):
    """One message, status 2, nothing written."""
    assert run(model, tmp_path / "out", *options) == 2
    error = flat(capsys.readouterr().err)
    assert error.startswith(f"error: {message}")
    assert error.count("error:") == 1
    assert not (tmp_path / "out").exists()


def test_no_model(capsys):
    assert cli_explore.main([]) == 2
    assert "there is nothing to explore: name a MODEL" in capsys.readouterr().err


def test_no_such_model(tmp_path, capsys):
    options = ["--device", "xc7z020", "--workers", "1"]
    assert run(tmp_path / "none.pt", tmp_path / "out", *options) == 2
    assert "none.pt" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out2", *options) == 2
    assert "holds no program.json" in flat(capsys.readouterr().err)


def test_a_folder_that_is_there(model, explored, tmp_path, capsys):
    """An exploration is gone on with only if that is asked; anything else is never touched."""
    assert run(model, explored, *SPACE, "--workers", "1") == 2
    assert "holds an exploration; --resume goes on with it, or" in flat(capsys.readouterr().err)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for resume in ([], ["--resume"]):
        assert run(model, tmp_path / "mine", *SPACE, "--workers", "1", *resume) == 2
        assert "holds something else, no exploration" in flat(capsys.readouterr().err)
    assert run(model, tmp_path / "no" / "such", *SPACE, "--workers", "1") == 2
    assert "there is no folder" in flat(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--clock", "50"], "--clock"),
        (["--axis", "lanes=2"], "--axis lanes"),
        (["--device", "zu3eg"], "--device"),
    ],
)
def test_another_question_is_refused_by_name(options, name, model, explored, capsys):
    before = contents(explored)
    assert run(model, explored, *SPACE, "--workers", "1", "--resume", *options) == 2
    assert f"was begun with another {name}: " in flat(capsys.readouterr().err)
    assert contents(explored) == before


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--act-bits", "9"], "--act-bits"),
        (["--calibrate", "random"], "--calibrate"),
        (["--mean", "0.5"], "--mean"),
        (["--model", "nets:make"], "--model"),
        (["--input-shape", "3x8x8"], "--input-shape"),
    ],
)
def test_options_that_a_compiled_program_does_not_follow(options, name, model, tmp_path, capsys):
    given = ["--device", "xc7z020", *FEW, *options]
    assert run(model, tmp_path / "out", *given) == 2
    wanted = f"is compiled already; leave {name} away, or name the model file"
    assert wanted in flat(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_another_width_is_refused_by_name(file, plans, capsys):
    given = ["--device", "ecp5-85f", *FEW, "--resume", "--act-bits", "9"]
    assert run(file, plans, *given) == 2
    wanted = "was begun with another --act-bits: 12, now 9; give the same, or choose another -o"
    assert wanted in flat(capsys.readouterr().err)


def test_another_model_is_refused(model, explored, tmp_path, capsys):
    other = tmp_path / "other"
    subprocess.run(["cp", "-r", model, other], check=True)
    text = (other / "program.json").read_text().replace('"act_bits": 12', '"act_bits":  12')
    (other / "program.json").write_text(text + " ")
    assert run(other, explored, *SPACE, "--workers", "1", "--resume") == 2
    assert "was begun with another MODEL: " in flat(capsys.readouterr().err)


def test_a_scheduler_that_does_not_answer(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT", "1s")
    options = ["--device", "xc7z020", *FEW[:-2], "--scheduler", "tcp://127.0.0.1:9"]
    assert run(model, tmp_path / "out", *options) == 2
    error = flat(capsys.readouterr().err)
    assert error.startswith("error: no Dask scheduler answers at tcp://127.0.0.1:9; start one")
    assert error.count("error") == 1


def test_without_dask(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    assert run(model, tmp_path / "out", "--device", "xc7z020", "--workers", "2") == 2
    assert "pip install 'r2b[explore]', or do without" in flat(capsys.readouterr().err)
    assert run(model, tmp_path / "out", "--device", "xc7z020", *FEW, "-q") == 0


def test_without_plotly(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    assert run(model, tmp_path / "out", "--device", "xc7z020", *FEW) == 2
    assert "exploring needs plotly" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Workers:
    """A client whose workers have another version, or cannot run r2b."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def wait_for_workers(self, count: int, timeout: str) -> None:
        """They are there."""

    def run(self, function):
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"tcp://w:1": self.answer}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("0.0.1", r"worker tcp://w:1 has r2b 0\.0\.1, here is .*; install the same on all"),
        (ModuleNotFoundError("No module named 'r2b'"),
         r"a worker of tcp://s:1 cannot run r2b \(ModuleNotFoundError: No module .*\); install r2b "
         r".* there"),
    ],
)  # fmt: skip
def test_workers_that_cannot_do_the_work(answer, message):
    with pytest.raises(ToolError, match=f"^{message}$"):
        cluster._check_workers(Workers(answer), "tcp://s:1")


def test_workers_of_this_version():
    cluster._check_workers(Workers(cluster.__version__), "tcp://s:1")


# ---------------------------------------------------------------------------- into r2b-compile


ARCH = "real-to-binary-digits"
TINY = {"widths": [8], "blocks": [1]}


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A tiny model file with random calibration frames."""
    import numpy as np
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("file") / "tiny.pt"
    frames = np.random.default_rng(0).integers(0, 256, (8, 1, 16, 16), np.uint8)
    state = zoo.build(ARCH, TINY).state_dict()
    checkpoint.save(path, arch=ARCH, config=TINY, state_dict=state, calibration=frames)
    return path


@pytest.fixture(scope="module")
def plans(file, tmp_path_factory) -> Path:
    """The exploration of a model file, which is quantized for it."""
    folder = tmp_path_factory.mktemp("plans") / "plans"
    assert run(file, folder, "--device", "ecp5-85f", *FEW, "-q") == 0
    return folder


@pytest.mark.parametrize("target", ["numpy", "cost", "fpga"])
def test_the_plan_goes_into_the_compiler(target, file, plans, tmp_path):
    """The accelerator that is emitted has the Plan that was explored."""
    folder = tmp_path / "out.r2b"
    options = ["--plan", str(plans / "plan.json"), "--target", target, "-o", str(folder), "-q"]
    assert cli_compile.main([str(file), *options]) == 0
    if target == "fpga":
        assert (folder / "plan.json").read_bytes() == (plans / "plan.json").read_bytes()
        assert (folder / "rtl" / "r2b_top.v").stat().st_size > 100_000
    if target != "numpy":
        report = json.loads((folder / "report.json").read_text())
        best = max(float(row["fps"]) for row in read(plans / "pareto.csv"))
        assert report["hardware"]["fps"] == best


def test_a_plan_of_another_network(file, plans, explored, tmp_path, capsys):
    """Of other widths, or with another memory map."""
    moved = json.loads((plans / "plan.json").read_text())
    moved["signs"] = {name: base + 1 for name, base in moved["signs"].items()}
    (tmp_path / "moved.json").write_text(json.dumps(moved))
    for path, message in (
        (explored / "plan.json", "the Plan is for 16-bit tensors, the Program has 12"),
        (tmp_path / "moved.json", "the Plan's memory map is not that of "),
    ):
        options = ["--plan", str(path), "--target", "cost", "-q"]
        assert cli_compile.main([str(file), *options]) == 2
        assert flat(capsys.readouterr().err).startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "zu3eg"], "--plan says all that --device says; give one of them"),
        (["--clock", "5"], "--plan says all that --clock says"),
        (["--parallelism", "8x8"], "--plan says all that --parallelism says"),
        (["--target-fps", "5"], "--plan says all that --target-fps says"),
        (["--plan", "none.json"], "none.json cannot be read: No such file"),
        (["--plan", "."], ". cannot be read: Is a directory"),
    ],
)
def test_a_plan_and_something_else(options, message, file, plans, capsys):
    given = ["--plan", str(plans / "plan.json"), "--target", "cost", *options]
    assert cli_compile.main([str(file), *given]) == 2
    assert flat(capsys.readouterr().err).startswith(f"error: {message}")


def test_the_compiler_searches_by_itself(file, tmp_path, capsys):
    """The smallest Plan that reaches the rate; it is printed, and why."""
    folder = tmp_path / "out"
    options = ["--device", "ecp5-85f", "--target-fps", "4000", "--target", "cost"]
    assert cli_compile.main([str(file), *options, "-o", str(folder)]) == 0
    text = flat(capsys.readouterr().out)
    match = re.search(
        r"chose (\d+)x(\d+) XNOR, .*: the smallest of [\d,]+ Plans that reach 4000 frames/s, of "
        r"[\d,]+ evaluated; ([\d,.]+) frames/s at 100 MHz, [A-Z0-9]+ (\d+)% of ecp5-85f "
        r"\(analytic\)",
        text,
    )
    assert match
    report = json.loads((folder / "report.json").read_text())
    assert report["hardware"]["fps"] >= 4000
    assert (report["plan"]["p_in"], report["plan"]["p_out"]) == (int(match[1]), int(match[2]))
    assert cli_compile.main([str(file), *options[:-4], "--target", "cost", "-q", "-o",
                             str(tmp_path / "default")]) == 0  # fmt: skip
    largest = json.loads((tmp_path / "default" / "report.json").read_text())
    assert max(report["hardware"]["shares"].values()) < max(largest["hardware"]["shares"].values())


def test_the_compiler_cannot_reach_the_target(file, capsys):
    options = ["--device", "ecp5-25f", "--target-fps", "1e8", "--target", "cost", "-q"]
    assert cli_compile.main([str(file), *options]) == 2
    error = flat(capsys.readouterr().err)
    assert error.startswith(
        "error: ecp5-25f: no Plan that fits reaches 1e+08 frames/s; the nearest"
    )


def test_the_command_runs_on_its_own():
    """As it is installed."""
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("r2b ")


def test_the_program_is_kept(plans, file, monkeypatch, tmp_path):
    """A run that is resumed quantizes nothing again."""
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", plans, folder], check=True)
    monkeypatch.setattr(job, "lower_model", lambda order, reporter: pytest.fail("made again"))
    assert run(file, folder, "--device", "ecp5-85f", *FEW, "-q", "--resume") == 0
