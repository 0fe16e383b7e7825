"""Contractions of drafts: integers, the values their accumulators take, and what these mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from r2b.ir import ops
from r2b.ir.program import (
    BinaryConv,
    Concat,
    Contraction,
    Flatten,
    Identity,
    Pad,
    Pool,
    RealConv,
    Window,
)
from r2b.ir.quantize.encode import (
    SUM_BITS,
    WEIGHT_BITS,
    FloatArray,
    IntArray,
    Interval,
    quantize_rows,
)
from r2b.ir.quantize.epilogue import Pending
from r2b.ir.quantize.operands import Operand
from r2b.ir.quantize.partition import Draft


@dataclass(frozen=True)
class Contracted:
    """A contraction, the values its accumulator can take, and their real meaning."""

    contraction: Contraction
    interval: Interval
    pending: Pending


def contract(draft: Draft, sources: Sequence[Operand]) -> Contracted:
    """Integer form of a draft's contraction."""
    operand = sources[0]
    op = None if draft.root is None else draft.root.op
    match op:
        case None:
            return _move(Identity(operand.name), operand)
        case ops.BinaryConv2d():
            return _binary_conv(op, operand)
        case ops.Conv2d():
            average = None if draft.presum is None else draft.presum.op
            assert average is None or isinstance(average, ops.AvgPool2d)
            return _real_conv(op, operand, average)
        case ops.MaxPool2d():
            return _pool(op, "max", operand)
        case ops.AvgPool2d():
            return _pool(op, "sum", operand)
        case ops.Pad():
            return _pad(op, operand)
        case ops.Concat():
            return _concat(sources)
        case ops.Reshape():
            return _flatten(operand)
        case _:
            raise TypeError(f"{draft.root} is no contraction")


# -------------------------------------------------------------------------------------- moves


def _move(contraction: Contraction, operand: Operand) -> Contracted:
    pending = Pending.linear(operand.factor, operand.summand)
    return Contracted(contraction, operand.interval, pending)


def _pad(op: ops.Pad, operand: Operand) -> Contracted:
    """Put the border's value on the operand's own grid."""
    border = np.rint((op.value - operand.summand) / operand.factor)
    value = np.clip(border, -(2.0 ** (SUM_BITS - 1)), 2.0 ** (SUM_BITS - 1) - 1).astype(np.int64)
    found = _move(Pad(operand.name, op.padding, value), operand)
    low, high = np.minimum(found.interval.low, value), np.maximum(found.interval.high, value)
    return Contracted(found.contraction, Interval(low, high), found.pending)


def _concat(sources: Sequence[Operand]) -> Contracted:
    interval = Interval(
        np.concatenate([source.interval.low for source in sources]),
        np.concatenate([source.interval.high for source in sources]),
    )
    factor = np.concatenate([source.factor for source in sources])
    summand = np.concatenate([source.summand for source in sources])
    contraction = Concat(tuple(source.name for source in sources))
    return Contracted(contraction, interval, Pending.linear(factor, summand))


def _flatten(operand: Operand) -> Contracted:
    area = operand.size[0] * operand.size[1]
    interval = Interval(operand.interval.low.repeat(area), operand.interval.high.repeat(area))
    pending = Pending.linear(operand.factor.repeat(area), operand.summand.repeat(area))
    return Contracted(Flatten(operand.name), interval, pending)


# -------------------------------------------------------------------------------------- pooling


def _pool(op: ops.MaxPool2d | ops.AvgPool2d, kind: str, operand: Operand) -> Contracted:
    contraction = Pool(operand.name, Window(op.kernel, op.stride, op.padding), kind)
    found = operand.interval
    if kind == "max":
        return Contracted(contraction, found, Pending.linear(operand.factor, operand.summand))
    divisor = op.kernel[0] * op.kernel[1]
    # A window at the border holds fewer positions, and 0 is within the bounds then.
    low, high = np.minimum(found.low, 0), np.maximum(found.high, 0)
    interval = Interval(low * divisor, high * divisor)
    return Contracted(contraction, interval, Pending.linear(operand.factor / divisor))


# ---------------------------------------------------------------------------------- convolutions


def _binary_conv(op: ops.BinaryConv2d, operand: Operand) -> Contracted:
    kernel = (op.weight.shape[2], op.weight.shape[3])
    window = Window(kernel, op.stride, op.padding, op.dilation)
    bits = (op.weight > 0).astype(np.uint8)
    contraction = BinaryConv(operand.name, bits, window, op.groups, op.padding_value)
    reach = op.weight[0].size
    interval = Interval.of(-reach, reach, len(op.weight))
    return Contracted(contraction, interval, Pending.linear(op.scale))


def _real_conv(op: ops.Conv2d, operand: Operand, average: ops.AvgPool2d | None) -> Contracted:
    divisor = 1 if average is None else average.kernel[0] * average.kernel[1]
    factor, summand = operand.factor, operand.summand
    zero_point = np.rint(-summand / np.where(factor == 0, 1.0, factor)).astype(np.int64)
    zero_point = np.where(factor == 0, 0, zero_point)
    rest = summand + factor * zero_point
    domain = Interval(
        (operand.interval.low - zero_point) * divisor,
        (operand.interval.high - zero_point) * divisor,
    )
    rows = _input_channels(op)
    weight = op.weight * (factor / divisor)[rows][:, :, None, None]
    limit = np.maximum(np.abs(domain.low), np.abs(domain.high)).astype(np.float64)
    rounded, scale = _quantize_conv(weight, limit[rows])
    bias = (op.weight * rest[rows][:, :, None, None]).sum(axis=(1, 2, 3))
    bias = bias if op.bias is None else bias + op.bias
    contraction = RealConv(
        source=operand.name,
        weight=rounded.astype(np.int8),
        window=Window((op.weight.shape[2], op.weight.shape[3]), op.stride, op.padding, op.dilation),
        zero_point=zero_point,
        presum=None if average is None else Window(average.kernel, average.stride),
        groups=op.groups,
        weight_bits=WEIGHT_BITS,
    )
    return Contracted(
        contraction, _conv_interval(rounded, domain, rows), Pending.linear(scale, bias)
    )


def _input_channels(op: ops.Conv2d) -> IntArray:
    """Input channel that each output channel's weights meet, [C_out, C_in / groups]."""
    outputs, inputs = op.weight.shape[:2]
    group = np.arange(outputs) // (outputs // op.groups)
    return group[:, None] * inputs + np.arange(inputs)


def _quantize_conv(weight: FloatArray, limit: FloatArray) -> tuple[IntArray, FloatArray]:
    """Quantize row by row; `limit` holds the largest input for each row's channels."""
    taps = weight.shape[2] * weight.shape[3]
    parts = [
        quantize_rows(row[None], np.repeat(bound, taps))
        for row, bound in zip(weight, limit, strict=True)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([p[1] for p in parts])


def _conv_interval(weight: IntArray, domain: Interval, rows: IntArray) -> Interval:
    """Bounds of the accumulator; any tap may be missing at the border."""
    low, high = (end[rows][:, :, None, None] for end in (domain.low, domain.high))
    ends = (weight * low, weight * high)
    smallest = np.minimum(np.minimum(*ends), 0).sum(axis=(1, 2, 3))
    largest = np.maximum(np.maximum(*ends), 0).sum(axis=(1, 2, 3))
    return Interval(smallest, largest)
