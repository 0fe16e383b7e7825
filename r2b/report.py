"""``report.json``: shapes, formats, operations and cycles of every stage."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from r2b import __version__
from r2b.backends.cost import cycles, hardware, ops
from r2b.hw.plan import Plan
from r2b.ir.program import BinaryConv, Concat, Contraction, Program, RealConv, Stage
from r2b.ir.quantize import CalibrationReport
from r2b.verify import Verification

REPORT_FILE = "report.json"
REPORT_VERSION = 1


def make_report(
    program: Program,
    plan: Plan | None,
    calibration: CalibrationReport,
    verification: Verification | None,
) -> dict[str, Any]:
    """Everything a report says, as plain data."""
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
    names = ("device", "clock_mhz", "p_in", "p_out", "lanes", "mac_out", "tile_pixels", "weights")
    return None if plan is None else {name: getattr(plan, name) for name in names}


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
        "components": {name: asdict(count) for name, count in resources.components.items()},
        "total": asdict(resources.total),
        "needs": resources.needs(),
        "shares": cost.device_shares,
        "frame_cycles": cost.frame_cycles,
        "interval": cost.interval,
        "fps": cost.fps(),
        "binds": cost.binds,
        "bytes_per_frame": asdict(cost.bytes_per_frame),
        "stages": [_stage_cost(stage) for stage in cost.stages],
    }


def _stage_cost(stage: hardware.StageCost) -> dict[str, Any]:
    derived = ("utilisation", "utilisation_executed", "binds")
    return asdict(stage) | {name: getattr(stage, name) for name in derived}


def _stage(program: Program, stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "location": str(stage.location),
        "kind": type(stage.contraction).__name__,
        "input": _input(program, stage),
        "weight": _weight(stage),
        "output": _output(program, stage),
        "ops": asdict(ops.stage_ops(program, stage)),
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
        "weight": {"shape": [classes, channels], "format": "int8"},
        "output": {"shape": [classes, 1, 1], "tensor": {"name": "logits", "format": "int32"}},
        "ops": asdict(ops.head_ops(program)),
    }
