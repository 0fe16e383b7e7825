"""The tables that ``r2b-compile`` prints, from the content of ``report.json``."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

Report = dict[str, Any]


def stage_table(report: Report) -> Table:
    """Operations and cycles, one row per stage."""
    batch = (report["plan"] or {}).get("batch", 1)
    counted = "and cycles per frame" if batch == 1 else f"per frame, cycles per {batch} frames"
    table = Table(title=f"{report['name']}: operations {counted}", box=box.SIMPLE)
    table.add_column("stage", no_wrap=True)
    table.add_column("output", no_wrap=True)
    for heading in ("binary MACs", "real MACs", "cycles", "measured"):
        table.add_column(heading, justify="right")
    for stage in report["stages"]:
        table.add_row(stage["name"], _shape(stage["output"]["shape"]), *_figures(stage))
    table.add_section()
    table.add_row("total", "", *_figures(report), style="bold")
    return table


def _figures(entry: Report) -> list[str]:
    ops, cycles = entry["ops"], entry["cycles"]
    values = (ops["binary"] or None, ops["real"] or None, cycles["predicted"], cycles["measured"])
    return [_number(value) for value in values]


def hardware_table(report: Report) -> Table:
    """Estimated resources, one row per component."""
    found = report["hardware"]
    device, doubt = found["device"], "" if found["calibrated"] else ", not calibrated"
    if found["unmeasured"]:
        doubt += f" (LUT and FF lack {', '.join(found['unmeasured'])})"
    table = Table(title=f"{report['name']}: resources, estimated{doubt}", box=box.SIMPLE)
    table.add_column("component", no_wrap=True)
    for heading in RESOURCES.values():
        table.add_column(heading, justify="right")
    for name, count in found["components"].items():
        table.add_row(name, *(_number(count[key] or None) for key in RESOURCES))
    table.add_section()
    table.add_row("total", *(_number(found["total"][key]) for key in RESOURCES), style="bold")
    shares = {"lut": "LUT", "ff": "FF", "ram18": "RAM18", "dsp": "DSP"}
    row = [f"{found['shares'][shares[key]]:.0%}" if key in shares else "" for key in RESOURCES]
    table.add_row(f"of {device['name']}", *row)
    return table


RESOURCES = {"lut": "LUT", "lutram": "LUT RAM", "ff": "FF", "ram18": "RAM18", "dsp": "DSP"}
"""Key of a count -> heading. The LUTs' share of the device holds the LUT RAM's."""


def _share(value: float) -> str:
    """With a frame's share of a batch in hundredths."""
    return f"{value:,}" if value == int(value) else f"{value:,.2f}"


def frame_lines(report: Report) -> list[str]:
    """Frame rate, traffic, and what binds the stages."""
    found, plan = report["hardware"], report["plan"]
    traffic = found["bytes_per_frame"]
    parts = ", ".join(f"{name} {_share(traffic[name])}" for name in ("image", "weights", "result"))
    bound: dict[str, int] = {}
    for stage in found["stages"]:
        bound[stage["binds"]] = bound.get(stage["binds"], 0) + stage["cycles"]
    share = ", ".join(
        f"{name} {cycles / found['frame_cycles']:.0%}"
        for name, cycles in sorted(bound.items(), key=lambda item: -item[1])
    )
    return [
        f"a frame every {_share(found['interval'])} cycles: {found['fps']:,.0f} frames/s at "
        f"{plan['clock_mhz']:g} MHz",
        *_halves(found),
        f"bytes per frame: {parts}",
        f"cycles of stages that are bound by: {share}",
    ]


def _halves(found: Report) -> list[str]:
    """With a front: what works beside what, and which of them the frames wait for."""
    ahead = sum(stage["cycles"] for stage in found["stages"] if stage["engine"] == "front")
    if not ahead:
        return []
    bound = {"input": "the input stream", "weights": "the weight stream", "front": "the front and "
             "what reads its results", "back": "the back"}[found["binds"]]  # fmt: skip
    rest = found["frame_cycles"] - ahead
    return [f"front {ahead:,} cycles, back {rest:,} beside it: bound by {bound}"]


def calibration_table(report: Report) -> Table:
    """How well each stage follows the float network on the calibration frames."""
    title = f"calibration: {report['act_bits']} bits, {report['calibration']['frames']} frames"
    table = Table(title=title, box=box.SIMPLE)
    table.add_column("stage", no_wrap=True)
    for heading in ("SQNR dB", "saturated", "equal signs, fed", "end to end"):
        table.add_column(heading, justify="right")
    for stage in report["stages"]:
        entry = stage["calibration"]
        if entry is not None:
            table.add_row(stage["name"], *_shares(entry))
    return table


def _shares(entry: Report) -> list[str]:
    names = ("saturated", "equal_signs", "equal_signs_end_to_end")
    shares = ["-" if entry[name] is None else f"{entry[name]:.3%}" for name in names]
    ratio = entry["sqnr_db"]
    return ["-" if ratio is None else f"{ratio:.1f}", *shares]


def plan_line(report: Report) -> str:
    """The Plan in one line."""
    plan = report["plan"]
    pixels = f"x{plan['p_px']}" if plan["p_px"] > 1 else ""
    several = f", batches of {plan['batch']} frames" if plan.get("batch", 1) > 1 else ""
    front = plan["lanes"] * plan.get("front_out", 0)
    ahead = f" and {front} in front" if front else ""
    return (
        f"{plan['device']} at {plan['clock_mhz']:g} MHz, "
        f"{plan['p_in']}x{plan['p_out']}{pixels} XNOR, {plan['lanes']} epilogue lanes, "
        f"{plan['lanes'] * plan['mac_out']}{ahead} MACs, "
        f"{report['act_bits']}-bit tensors{several}"
    )


def verification_line(report: Report) -> str:
    """The outcome of the simulation in one line."""
    found = report["verification"]
    verdict = "EQUAL" if found["equal"] else "DIFFERENT"
    return (
        f"{verdict}: Verilog in Verilator against the Program, every stage of {found['frames']} "
        f"frames, {found['differing_bits']} of {found['compared_bits']:,} bits differ"
    )


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


# --------------------------------------------------------------------------------------- --explain


def layer_table(explanation: Report) -> Table:
    """Every convolution and linear layer: binary or real, because; and what was found with it."""
    layers = explanation["layers"]
    table = Table(title=f"{explanation['name']}: convolutions and linear layers", box=box.SIMPLE)
    table.add_column("layer", overflow="fold", ratio=3)
    table.add_column("is", no_wrap=True)
    table.add_column("because, and what was found", overflow="fold", ratio=5)
    lacking = any(layer["hardware"] not in (None, "yes") for layer in layers)
    if lacking:
        table.add_column("hardware", overflow="fold", ratio=2)
    for layer in layers:
        row = [_where(layer), layer["form"], _found(layer), layer["hardware"] or "-"]
        table.add_row(*row[: 3 + lacking], style="bold" if layer["form"] == "binary" else "")
    return table


def _where(layer: Report) -> str:
    shape = " ".join(text for text in (layer["kind"], layer["window"], layer["shape"]) if text)
    return "\n".join(
        text for text in (layer["module"] or layer["name"], shape, layer["source"]) if text
    )


def _found(layer: Report) -> str:
    named = [f"{name}: {layer[name]}" for name in FINDINGS if layer[name]]
    offer = [f"or {layer['offer']}"] if layer["offer"] else []
    return "\n".join([layer["because"], *named, *offer])


FINDINGS = ("weight", "scale", "threshold", "gate")
"""What is told of a layer behind the reason."""


def explanation_lines(explanation: Report) -> list[str]:
    """What is to be said behind the table."""
    layers, lacking = explanation["layers"], explanation["hardware_lacks"]
    lines = [f"{explanation['binary']} of {len(layers)} layers are binary"]
    offered = [layer["module"] or layer["name"] for layer in layers if layer["offer"]]
    if offered:
        lines.append(
            f"{len(offered)} take signs, but their weights are real in the file "
            f"({', '.join(offered[:3])}{', ...' if len(offered) > 3 else ''}): if the training "
            "binarises them outside forward(), --binarize-weights sign (or mean, with a scale per "
            "channel) does the same"
        )
    if lacking:
        lines += [
            "the hardware does not build:",
            *(f"  {line}" for line in lacking),
            "--target numpy does",
        ]
    return lines
