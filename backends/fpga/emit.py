"""Writes the accelerator: Verilog, the weight stream, and a testbench that runs on its own.

Equal Programs and Plans give equal bytes: nothing of the machine, of the clock or of hash order
gets into a file.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

import jinja2
import numpy as np
import numpy.typing as npt
from amaranth.back import verilog

from r2b.backends.fpga.memories import whole_contents
from r2b.backends.fpga.modules import shared
from r2b.hw.geometry import ProgramGeometry, ceil_div
from r2b.hw.params import core_params
from r2b.hw.plan import Plan
from r2b.hw.top import Top
from r2b.hw.weights import stream_words
from r2b.ir.execute import logits
from r2b.ir.program import Program
from r2b.ir.serialize import save

TOPLEVEL = "r2b_top"
TEMPLATES = {"test_top.py.j2": "test_top.py", "run.py.j2": "run.py", "README.md.j2": "README.md"}
"""Template -> file in ``tb/``."""

ASSERTION = re.compile(r"^( *assert \(.*\);)$", re.MULTILINE)
GUARD = r"`ifndef SYNTHESIS\n\1\n`endif"
"""Immediate assertions are SystemVerilog: simulators take them, synthesis does not see them."""


def emit_verilog(program: Program, plan: Plan, folder: str | Path) -> Path:
    """Write ``rtl/r2b_top.v`` and, for streamed weights, ``weights_stream.npy`` and ``.bin``.

    Parameters
    ----------
    program : Program
    plan : Plan
        With its memory map.
    folder : path
        Made if need be.

    Returns
    -------
    Path
        The Verilog file.
    """
    folder = Path(folder)
    geometry = ProgramGeometry(program, plan)
    path = folder / "rtl" / f"{TOPLEVEL}.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_verilog(geometry), encoding="utf-8")
    if plan.weights == "stream":
        stream = weight_bytes(geometry)
        np.save(folder / "weights_stream.npy", stream)
        (folder / "weights_stream.bin").write_bytes(stream.tobytes())
    return path


def render_verilog(geometry: ProgramGeometry) -> str:
    """Text of ``r2b_top.v``; modules that are alike are there once."""
    top = Top(core_params(geometry), model_hash(geometry.program))
    with whole_contents():
        text = verilog.convert(
            top, name=TOPLEVEL, ports=top.ports, emit_src=False, strip_internal_attrs=True
        )
    return ASSERTION.sub(GUARD, shared(text))


def model_hash(program: Program) -> int:
    """First 32 bits of the SHA-256 of ``program.json``, which holds that of the weights."""
    with tempfile.TemporaryDirectory() as folder:
        save(program, folder)
        digest = hashlib.sha256((Path(folder) / "program.json").read_bytes()).digest()
    return int.from_bytes(digest[:4], "big")


def weight_bytes(geometry: ProgramGeometry) -> npt.NDArray[np.uint8]:
    """The weight stream of a frame, or batch: a row per transfer, its bytes, the lowest first."""
    width = ceil_div(geometry.plan.weight_word, 8)
    words = [word.to_bytes(width, "little") for word in stream_words(geometry)]
    return np.frombuffer(b"".join(words), np.uint8).reshape(-1, width)


def emit_testbench(
    program: Program, plan: Plan, folder: str | Path, frames: npt.NDArray[np.uint8]
) -> Path:
    """Write ``tb/``: a cocotb testbench, its frames and the results it expects.

    It needs ``rtl/`` and, for streamed weights, ``weights_stream.npy`` beside it, and the packages
    that its README names; not r2b. The last frame is repeated until its batch is full.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder) / "tb"
    folder.mkdir(parents=True, exist_ok=True)
    frames = np.concatenate([frames, *[frames[-1:]] * (-len(frames) % plan.batch)])
    np.save(folder / "frames.npy", frames)
    np.save(folder / "expected.npy", logits(program, frames))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    streamed = plan.weights == "stream"
    for template, name in TEMPLATES.items():
        text = environment.get_template(template).render(
            toplevel=TOPLEVEL, program=program, plan=plan, streamed=streamed
        )
        (folder / name).write_text(text, encoding="utf-8")
    return folder
