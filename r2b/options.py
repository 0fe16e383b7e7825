"""What a network is compiled to, and how: the keywords of ``r2b.compile``."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from r2b.backends.fpga.planner import parse_parallelism
from r2b.backends.target import TARGETS, Target
from r2b.hw.devices import device
from r2b.hw.plan import MOST_FRAMES, Plan
from r2b.ir.errors import CalibrationError, PlanError, UserError
from r2b.ir.passes.recognize_binary_convs import Binarization
from r2b.ir.passes.resolve_sign_zeros import SignZero
from r2b.ir.quantize import Preprocessing
from r2b.output import check_output
from r2b.verify import check_tools

BINARIZERS = get_args(Binarization)
DEFAULT_DEVICE = "xc7z020"
_INTEGERS = ("act_bits", "verify", "seed")


@dataclass(frozen=True)
class Options:
    """How to compile; each field is an option of ``r2b-compile`` too.

    Parameters
    ----------
    target : str
        A key of :data:`r2b.backends.target.TARGETS`.
    output : Path, str or None
        Folder to write; None writes nothing.
    force : bool
        Replace that folder if r2b made it.
    calibration : array, Path, str or None
        Frames: uint8 N x C x H x W (or N x F), or floats as the network receives them; an .npy file
        of such; ``"random"``; or None for those that came with the model.
    act_bits : int
    device : str or None
        None for the Plan's, or else ``xc7z020``.
    clock_mhz : float or None
        None for the device's usual clock.
    parallelism : str or None
        ``PINxPOUT`` or ``PINxPOUTxPPX``, or None for the largest that fits.
    batch : int or None
        Frames that each stage runs for before the next one, with the same weights; None: one.
    plan : Plan, Path, str or None
        A Plan, or its file, in place of one that is chosen.
    target_fps : float or None
        Frames per second that the smallest possible Plan is to reach.
    verify : int
        Frames to simulate; 0 for none.
    mean, std : float or tuple of float
        The network receives ``(x / 255 - mean) / std`` for a pixel x.
    raw : bool
        It receives x itself.
    seed : int
        Of random calibration frames.
    sign_zero : -1, +1 or None
        What a sign gives for 0 where the source gives 0.
    binarize_weights : "sign", "mean" or None
        What makes weights binary that are real in the file but meet binary activations.
    name : str
        Of the network, in what is written.
    """

    target: str = "fpga"
    output: Path | str | None = None
    force: bool = False
    calibration: Any = None
    act_bits: int = 12
    device: str | None = None
    clock_mhz: float | None = None
    parallelism: str | None = None
    batch: int | None = None
    plan: Any = None
    target_fps: float | None = None
    verify: int = 0
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    raw: bool = False
    seed: int = 0
    sign_zero: SignZero | None = None
    binarize_weights: Binarization | None = None
    name: str = "network"

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network receives for a pixel."""
        return Preprocessing(self.mean, self.std, self.raw)

    @property
    def device_name(self) -> str:
        """The device that is planned for where no Plan is given."""
        return DEFAULT_DEVICE if self.device is None else self.device

    @property
    def folder(self) -> Path | None:
        """The output folder."""
        return None if self.output is None else Path(self.output)


def make_options(target: str, given: dict[str, Any]) -> Options:
    """Options from keywords.

    Raises
    ------
    UserError
        There is no such option.
    """
    known = [field.name for field in fields(Options)]
    unknown = [name for name in given if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, 1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise UserError(
            f"compile() has no option {unknown[0]!r}{hint}; its options are: {', '.join(known)}"
        )
    for name in ("mean", "std"):
        if name in given:
            given = {**given, name: _numbers(name, given[name])}
    return Options(target=target, **given)


def _numbers(name: str, value: Any) -> float | tuple[float, ...]:
    """One number, or one per channel, of whatever holds numbers: a list, an array, a tensor."""
    found = value.tolist() if hasattr(value, "tolist") else value
    try:
        return tuple(map(float, found)) if isinstance(found, list | tuple) else float(found)
    except (TypeError, ValueError):
        raise UserError(f"{name} must be a number, or one per channel, not {value!r:.60}") from None


def check_options(options: Options) -> Target:
    """Check what can be checked before anything is loaded; give the target.

    Raises
    ------
    UserError
        An option is out of range, or does not go with another.
    """
    for name in _INTEGERS:
        if type(getattr(options, name)) is not int:
            raise UserError(f"{name} must be an integer, not {getattr(options, name)!r:.60}")
    target = _target(options)
    device(options.device_name)
    _check_plan(options)
    if options.parallelism is not None:
        parse_parallelism(options.parallelism)
    check_positive("the clock must be a positive number of MHz", options.clock_mhz)
    if options.verify < 0:
        raise CalibrationError(f"--verify takes 1 frame or more, not {options.verify}")
    if options.seed < 0:
        raise CalibrationError(f"--seed takes 0 or more, not {options.seed}")
    _check_signs(options)
    if options.folder is not None:
        check_output(options.folder, options.force)
    if options.verify:
        check_tools()
    return target


def _check_plan(options: Options) -> None:
    """One way only of saying what the Plan is."""
    if options.plan is not None:
        others = ("parallelism", "target_fps", "clock_mhz", "device", "batch")
        given = [name for name in others if getattr(options, name) is not None]
        if given:
            option = given[0].removesuffix("_mhz").replace("_", "-")
            raise PlanError(f"--plan says all that --{option} says; give one of them")
        if not isinstance(options.plan, Plan | Path | str):
            raise PlanError(f"plan must be a Plan or a file, not {options.plan!r:.60}")
        if not isinstance(options.plan, Plan):
            read_plan(Path(options.plan))
    if options.target_fps is not None and options.parallelism is not None:
        raise PlanError("--target-fps chooses the parallelism; leave --parallelism away")
    batch = 1 if options.batch is None else options.batch
    if type(batch) is not int or not 1 <= batch <= MOST_FRAMES:
        raise PlanError(f"--batch takes 1 to {MOST_FRAMES} frames, not {batch!r:.60}")
    check_positive("--target-fps must be a positive number", options.target_fps)


def read_plan(path: Path) -> Plan:
    """The Plan in a file.

    Raises
    ------
    PlanError
        It cannot be read.
    """
    try:
        return Plan.read(path)
    except (OSError, UnicodeDecodeError) as error:
        brief = getattr(error, "strerror", None) or error
        raise PlanError(f"{path} cannot be read: {brief}; name the plan.json of a Plan") from error


def check_positive(rule: str, value: float | None) -> None:
    """PlanError that tells the rule, unless a value is positive and finite, or not given."""
    if value is not None and not (math.isfinite(value) and value > 0):
        raise PlanError(f"{rule}, not {value}")


def _check_signs(options: Options) -> None:
    if options.sign_zero not in (None, 1, -1):
        raise CalibrationError(f"--sign-zero takes +1 or -1, not {options.sign_zero!r:.40}")
    if options.binarize_weights not in (None, *BINARIZERS):
        raise UserError(
            f"--binarize-weights takes {' or '.join(BINARIZERS)}, not "
            f"{options.binarize_weights!r:.40}: sign gives +1 and -1, mean times the mean absolute "
            "value of the channel"
        )


def _target(options: Options) -> Target:
    target = TARGETS.get(options.target) if isinstance(options.target, str) else None
    if target is None:
        raise PlanError(f"unknown target {options.target!r}; known: {', '.join(TARGETS)}")
    if options.verify and not target.has_verilog:
        able = " or ".join(name for name, other in TARGETS.items() if other.has_verilog)
        raise PlanError(
            f"--verify simulates Verilog, which target {options.target} has not; use {able}"
        )
    return target
