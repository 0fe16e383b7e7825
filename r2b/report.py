"""``report.json``: shapes, formats, operations and cycles of every stage."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from r2b import __version__
from r2b.backends.cost import cycles, hardware, ops, stage_memory
from r2b.backends.cost.accounting import Count
from r2b.count_data import count_dict
from r2b.hw.plan import Plan
from r2b.ir.program import (
    BinaryConv,
    Concat,
    Contraction,
    Multiply,
    Program,
    RealConv,
    Skip,
    Stage,
    Window,
)
from r2b.ir.quantize import CalibrationReport
from r2b.verify import Verification

REPORT_FILE = "report.json"
REPORT_VERSION = 1


def make_report(
    program: Program,
    plan: Plan | None,
    calibration: CalibrationReport,
    verification: Verification | None,
    operations: Count | None = None,
) -> dict[str, Any]:
    """Everything a report says, as plain data.

    ``ops`` are the multiply-accumulates of the Program, stage by stage; ``operations`` is the count
    of the model as its author wrote it, None where an operation has no rule.
    """
    predicted = None if plan is None else cycles.predict_cycles(program, plan)
    accuracy = {entry.name: asdict(entry) for entry in calibration.stages}
    stages = [_stage(program, stage) for stage in program.stages] + [_head(program)]
    for stage in stages:
        name = stage["name"]
        stage["cycles"] = {
            "predicted": predicted and predicted.active(name),
            "measured": verification and verification.stages.get(name),
        }
        stage["calibration"] = accuracy.get(name)
    total = sum((ops.stage_ops(program, stage) for stage in program.stages), ops.head_ops(program))
    kept = (stage_memory.stage_memory(program, stage) for stage in program.stages)
    return {
        "format": "r2b-report",
        "format_version": REPORT_VERSION,
        "r2b": __version__,
        "name": program.name,
        "input_shape": list(program.input_shape),
        "num_classes": program.num_classes,
        "act_bits": program.act_bits,
        "plan": _plan(plan),
        "ops": asdict(total),
        "operations": operations and count_dict(operations),
        "memory": asdict(sum(kept, stage_memory.head_memory(program))),
        "cycles": {
            "predicted": predicted and predicted.frame,
            "measured": verification and verification.frame,
        },
        "hardware": plan and _hardware(hardware.cost(program, plan)),
        "stages": stages,
        "calibration": {
            "frames": calibration.num_frames,
            "top1_agreement": calibration.top1_agreement,
        },
        "verification": verification and verification.to_dict(),
    }


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write ``report.json``."""
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def _plan(plan: Plan | None) -> dict[str, Any] | None:
    return None if plan is None else {name: getattr(plan, name) for name in PLAN_PARAMETERS}


PLAN_PARAMETERS = (
    "device", "clock_mhz", "p_in", "p_out", "p_px", "lanes", "mac_out", "gate_macs",
    "tile_pixels", "weights", "weight_word", "mac_weight_word", "batch", "vector", "mac_packing",
    "lut_macs", "front_out", "front_luts", "front_packing",
)  # fmt: skip


def _hardware(cost: hardware.HardwareCost) -> dict[str, Any]:
    """Estimated resources, frame rate, traffic, and what each stage waits for."""
    resources = cost.resources
    return {
        "device": {
            "name": cost.device.name,
            "family": cost.device.family,
            "has": cost.device.has(),
        },
        "calibrated": resources.calibrated,
        "unmeasured": list(resources.unmeasured),
        "components": {name: asdict(count) for name, count in resources.components.items()},
        "total": asdict(resources.total),
        "needs": resources.needs(),
        "shares": cost.device_shares,
        "frame_cycles": cost.frame_cycles,
        "batch": cost.batch,
        "period": cost.period,
        "interval": cost.interval,
        "fps": cost.fps(),
        "binds": cost.binds,
        "bytes_per_frame": asdict(cost.bytes_per_frame),
        "stages": [_stage_cost(stage) for stage in cost.stages],
    }


def _stage_cost(stage: hardware.StageCost) -> dict[str, Any]:
    derived = ("attained", "intensity", "utilisation", "utilisation_executed", "binds")
    return asdict(stage) | {name: getattr(stage, name) for name in derived}


def _stage(program: Program, stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "location": str(stage.location),
        "kind": type(stage.contraction).__name__,
        "input": _input(program, stage),
        "reads": _reads(program, stage),
        "weight": _weight(stage),
        "window": _window(stage.contraction),
        "output": _output(program, stage),
        "ops": asdict(ops.stage_ops(program, stage)),
        "memory": asdict(stage_memory.stage_memory(program, stage)),
    }


def _input(program: Program, stage: Stage) -> dict[str, Any]:
    conv = stage.contraction
    names = conv.sources if isinstance(conv, Concat) else (conv.source,)
    formats = dict.fromkeys(_format(program, conv, name) for name in names)
    return {
        "name": ", ".join(names),
        "shape": list(ops.source_shape(program, stage)),
        "format": ", ".join(formats),
    }


def _reads(program: Program, stage: Stage) -> list[dict[str, str]]:
    """Every value a stage reads: what it is, and what for."""
    conv = stage.contraction
    names = conv.sources if isinstance(conv, Concat) else (conv.source,)
    found = [_read(_kind(program, conv, name), name, "input") for name in names]
    for step in stage.epilogue:
        if isinstance(step, Skip | Multiply):
            role = "skip" if isinstance(step, Skip) else "factor"
            found.append(_read("tensor", step.source, role))
    if stage.gate is not None:
        found.append(_read("sums", stage.gate.mean.sums, "gate"))
    return found


def _read(kind: str, name: str, role: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "role": role}


def _kind(program: Program, contraction: Contraction, name: str) -> str:
    """Which memory a contraction's source lies in."""
    if name == ops.FRAME:
        return "frame"
    stored = name in program.tensors and not isinstance(contraction, BinaryConv)
    return "tensor" if stored else "signs"


def _window(contraction: Contraction) -> dict[str, list[int]] | None:
    """Kernel and stride."""
    window = getattr(contraction, "window", None)
    if not isinstance(window, Window):
        return None
    return {"kernel": list(window.kernel), "stride": list(window.stride)}


def _format(program: Program, contraction: Contraction, name: str) -> str:
    if isinstance(contraction, BinaryConv):
        return "sign"
    if name == ops.FRAME:
        return "uint8"
    return f"int{program.act_bits}" if name in program.tensors else "sign"


def _weight(stage: Stage) -> dict[str, Any] | None:
    match stage.contraction:
        case BinaryConv(weight=weight):
            return {"shape": list(weight.shape), "format": "sign"}
        case RealConv(weight=weight, weight_bits=bits):
            return {"shape": list(weight.shape), "format": f"int{bits}"}
        case _:
            return None


def _output(program: Program, stage: Stage) -> dict[str, Any]:
    tensor = {"name": stage.tensor, "format": f"int{program.act_bits}"} if stage.tensor else None
    return {
        "shape": list(stage.shape),
        "tensor": tensor,
        "signs": [sink.name for sink in stage.signs],
        "sums": stage.sums,
        "gated": stage.gate is not None,
    }


def _head(program: Program) -> dict[str, Any]:
    head = program.head
    classes, channels = head.weight.shape
    return {
        "name": head.name,
        "location": str(head.location),
        "kind": "Head",
        "input": {"name": head.mean.sums, "shape": [channels, 1, 1], "format": "int16"},
        "reads": [_read("sums", head.mean.sums, "mean")],
        "weight": {"shape": [classes, channels], "format": "int8"},
        "window": None,
        "output": {"shape": [classes, 1, 1], "tensor": {"name": "logits", "format": "int32"}},
        "ops": asdict(ops.head_ops(program)),
        "memory": asdict(stage_memory.head_memory(program)),
    }
