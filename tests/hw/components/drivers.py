"""Drivers of the free-running components: dot products, array, epilogue, pooling, sinks."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import asdict

import numpy as np

from r2b.hw import epilogue, pool, sinks
from r2b.hw.array import ArrayParams, ContractionArray, drain_layout
from r2b.hw.compressor import EqualBits
from r2b.hw.dot import IntegerDot
from r2b.hw.drain import request_layout
from r2b.hw.epilogue import Epilogue
from r2b.hw.geometry import ConvGeometry
from r2b.hw.multipliers import LutDot, PackedDot
from r2b.hw.packing import stored
from r2b.hw.params import CoreParams
from r2b.hw.pool import MaxPool
from r2b.hw.rounds import GATE, MEMORY, SUMS, signed_width
from r2b.hw.sinks import Sinks
from r2b.ir.arith import bounds
from r2b.ir.program import MULTIPLIER_BITS, Affine, Skip
from tests.hw.components.cases import Request, expected_requests

GAP = 0.3
"""Share of idle cycles."""


def signed_values(rng: np.random.Generator, width: int, size) -> np.ndarray:
    """Random signed integers; a quarter of them at one end of the range or the other."""
    low, high = bounds(width)
    values = rng.integers(low, high + 1, size)
    ends = rng.choice([low, high], size)
    return np.where(rng.random(size) < 0.25, ends, values)


# ------------------------------------------------------------------------------- dot products


def drive_equal_bits(dut: EqualBits, seed: int, count: int = 200):
    """New operands in every cycle, each count exactly ``latency`` cycles later."""
    rng = np.random.default_rng(seed)
    a, w = rng.integers(0, 2, (2, count, dut.lanes))
    w[0], w[1] = a[0], 1 - a[1]  # both ends of the range
    expected = (a == w).sum(axis=1)
    for cycle in range(count + dut.latency):
        inputs = {}
        if cycle < count:
            inputs = {"a": lanes_bits(a[cycle], 1), "w": lanes_bits(w[cycle], 1)}
        outputs = yield inputs
        if (done := cycle - dut.latency) >= 0:
            assert outputs["o"] == expected[done], f"cycle {cycle}, sample {done}"


def drive_integer(dut: IntegerDot, seed: int, count: int = 200):
    """New operands in every cycle, each result exactly ``latency`` cycles later."""
    rng = np.random.default_rng(seed)
    a = signed_values(rng, dut.a_width, (count, dut.lanes))
    w = signed_values(rng, dut.w_width, (count, dut.lanes))
    a[0], w[0] = bounds(dut.a_width)[0], bounds(dut.w_width)[0]  # the largest sum
    a[1], w[1] = bounds(dut.a_width)[1], bounds(dut.w_width)[0]  # the smallest one
    expected = (a * w).sum(axis=1)
    for cycle in range(count + dut.latency):
        inputs = {}
        if cycle < count:
            inputs = {
                "a": lanes_bits(a[cycle], dut.a_width),
                "w": lanes_bits(w[cycle], dut.w_width),
            }
        outputs = yield inputs
        if (done := cycle - dut.latency) >= 0:
            assert outputs["o"] == expected[done], f"cycle {cycle}, sample {done}"


def corner_weights(rng: np.random.Generator, lanes: int, width: int, count: int, least: int):
    """Rows of weights: both ends, zero, alternating signs, and random ones."""
    top = bounds(width)[1]
    w = np.maximum(signed_values(rng, width, (count, lanes)), least)
    w[0], w[1], w[2] = least, top, 0
    w[3] = np.where(np.arange(lanes) % 2, least, top)
    w[4] = np.where(np.arange(lanes) % 2, -1, 1)
    return w


def corner_activations(rng: np.random.Generator, lanes: int, width: int, count: int):
    """Rows of activations: each end against the weights' corners, and random ones."""
    low, high = bounds(width)
    a = signed_values(rng, width, (count, lanes))
    a[:5], a[5:10] = low, high
    return a


def drive_packed(dut: PackedDot, seed: int, count: int = 120):
    """Both results, each exactly ``latency`` cycles after its operands, weights as stored."""
    rng, least = np.random.default_rng(seed), bounds(dut.w_width)[0] + 1
    a = corner_activations(rng, dut.lanes, dut.a_width, count)
    w = np.stack(
        [corner_weights(rng, dut.lanes, dut.w_width, count, least) for _ in range(2)], axis=1
    )
    w[5:10] = w[:5]
    w[10:15], w[15:20] = w[:5], w[:5, ::-1]
    words = stored(w, [0])
    expected = (a[:, None] * w).sum(axis=2)
    for cycle in range(count + dut.latency):
        inputs = {}
        if cycle < count:
            inputs = {f"w{k}": lanes_bits(words[cycle, k], dut.w_width) for k in range(2)}
            inputs["a"] = lanes_bits(a[cycle], dut.a_width)
        outputs = yield inputs
        if (done := cycle - dut.latency) >= 0:
            assert [outputs["o0"], outputs["o1"]] == expected[done].tolist(), f"sample {done}"


def drive_lut(dut: LutDot, seed: int, count: int = 120):
    """New activations in every cycle; weights are kept until the next ``load``."""
    rng, least = np.random.default_rng(seed), bounds(dut.w_width)[0]
    a = corner_activations(rng, dut.lanes, dut.a_width, count)
    offered = corner_weights(rng, dut.lanes, dut.w_width, count, least)
    offered[5:10] = offered[:5]
    load = rng.random(count) < 0.6
    load[:10] = True
    w = offered[np.maximum.accumulate(np.where(load, np.arange(count), 0))]
    expected = (a * w).sum(axis=1)
    for cycle in range(count + dut.latency):
        inputs = {}
        if cycle < count:
            inputs = {
                "a": lanes_bits(a[cycle], dut.a_width),
                "w": lanes_bits(offered[cycle], dut.w_width),
                "load": int(load[cycle]),
            }
        outputs = yield inputs
        if (done := cycle - dut.latency) >= 0:
            assert outputs["o"] == expected[done], f"cycle {cycle}, sample {done}"


def lanes_bits(values, width: int) -> int:
    """Field i of ``width`` bits is ``values[i]``."""
    return sum((int(v) & ((1 << width) - 1)) << (i * width) for i, v in enumerate(values))


# -------------------------------------------------------------------------------------- array


def shift_words(p: ArrayParams, weight: np.ndarray) -> list[int]:
    """Words of the weight memory that hold a step's weights."""
    bits = lanes_bits(stored(weight, p.pairs).ravel(), p.w_width)
    return [(bits >> (word * p.word)) & ((1 << p.word) - 1) for word in range(p.load_words)]


class ArrayPlay:
    """A random run of a contraction array, cycle by cycle, from a plain model of its sums.

    Tiles alternate between the banks. Weights of the next step are shifted as early as the contract
    allows, or later; samples follow each other at once, or with gaps; a bank is drained from the
    first cycle in which the contract promises its sums. Of several pixels in a sample some are not
    valid.
    """

    def __init__(self, params: ArrayParams, seed: int, tiles: int = 6) -> None:
        self.p, self.rng = params, np.random.default_rng(seed)
        self.inputs: dict[int, dict] = defaultdict(dict)
        self.expected: dict[int, list[int]] = {}
        self.free = [0, 0]
        self.shifted, self.loaded, self.now = 0, -params.hops, 0
        for tile in range(tiles):
            self._tile(tile % 2)
        self.length = max([*self.inputs, *self.expected]) + 1

    def _gap(self) -> int:
        return int(self.rng.integers(1, 4)) if self.rng.random() < GAP else 0

    def _tile(self, bank: int) -> None:
        p, rng = self.p, self.rng
        sums = np.zeros((p.depth, p.px, p.lanes_out), np.int64)
        pixels = int(rng.integers(1, p.depth + 1))
        self.now = max(self.now, self.free[bank])
        touched: set[tuple[int, int]] = set()
        for step in range(int(rng.integers(1, 5))):
            order = [0, 0, 0] if step == 1 else rng.permutation(pixels).tolist()  # revisits
            self._step(bank, pixels if step == 0 else 0, order, sums, touched)
        self._drain(bank, sums, sorted(touched))

    def _step(self, bank: int, everything: int, order: list[int], sums, touched) -> None:
        p = self.p
        count = int(self.rng.integers(1, p.lanes_in + 1))
        weight = self._shift(count)
        start = max(self.now, self.shifted - 1 + p.load_ahead) + self._gap()
        self.now, self.loaded = start, start - p.load_ahead
        self.inputs[self.loaded].setdefault("i", {})["load"] = 1
        for index in range(everything) if everything else order:
            self._sample(bank, index, count, weight, sums, touched)
            self.now += 1 + self._gap()
        self.last = max(c for c in self.inputs if "i" in self.inputs[c])

    def _sample(self, bank: int, index: int, count: int, weight, sums, touched) -> None:
        p = self.p
        values = [self._operands(count) for _ in range(p.px)]
        valid = self.rng.integers(1, 1 << p.px)
        self.inputs[self.now].setdefault("i", {}).update(
            valid=valid,
            first=sum(((index, px) not in touched) << px for px in range(p.px)),
            bank=bank,
            index=index,
            count=count,
            data=lanes_bits(np.concatenate(values), p.a_width),
        )
        for px in range(p.px):
            if valid >> px & 1:
                dot = self._dot(weight, values[px], count)
                sums[index, px] = dot + (sums[index, px] if (index, px) in touched else 0)
                touched.add((index, px))

    def _shift(self, count: int) -> np.ndarray:
        """Shift a step's weights from the first legal cycle on."""
        p = self.p
        weight = signed_values(self.rng, p.w_width, (p.lanes_out, p.lanes_in))
        if p.binary:
            weight = self.rng.integers(0, 2, weight.shape)
            weight[:, count:] = 1
        if p.packed:
            weight = np.maximum(weight, bounds(p.w_width)[0] + 1)
        cycle = max(self.shifted, self.loaded + p.shadow_hops) + self._gap()
        for value in shift_words(p, weight):
            self.inputs[cycle] |= {"shift": 1, "shift_data": value}
            cycle += 1 + self._gap()
        self.shifted = 1 + max(c for c in self.inputs if "shift" in self.inputs[c])
        return weight

    def _operands(self, count: int) -> np.ndarray:
        p = self.p
        if not p.binary:
            return signed_values(self.rng, p.a_width, p.lanes_in)
        return self.rng.integers(0, 2, p.lanes_in) * (np.arange(p.lanes_in) < count)

    def _dot(self, weight, values, count: int) -> np.ndarray:
        if not self.p.binary:
            return weight @ values
        return (2 * weight[:, :count] - 1) @ (2 * values[:count] - 1)

    def _drain(self, bank: int, sums, touched: list[tuple[int, int]]) -> None:
        p = self.p
        cycle = self.last + p.latency - 1
        cycle = max([cycle, *(c + 1 for c in self.inputs if "drain" in self.inputs[c])])
        for index, px in touched:
            for group in range(p.lanes_out // p.group):
                place = {"bank": bank, "index": index, "group": group}
                self.inputs[cycle]["drain"] = place | ({"px": px} if p.px > 1 else {})
                found = sums[index, px, group * p.group : (group + 1) * p.group]
                self.expected[cycle + p.DRAIN_LATENCY] = found.tolist()
                cycle += 1 + self._gap()
        self.free[bank] = cycle


def drive_array(dut: ContractionArray, seed: int):
    """Play a random run; every drained sum is right in its cycle."""
    p = dut.params
    play = ArrayPlay(p, seed)
    idle = {"i": {}, "shift": 0, "drain": dict.fromkeys(drain_layout(p).members, 0)}
    for cycle in range(play.length):
        outputs = yield idle | play.inputs.get(cycle, {})
        if cycle in play.expected:
            assert outputs["o"] == play.expected[cycle], f"cycle {cycle}"


def drive_array_latency(dut: ContractionArray, seed: int):
    """A sum of the last element can be asked for ``latency`` cycles after its sample."""
    p = dut.params
    group = p.lanes_out // p.group - 1
    every = (1 << p.px) - 1
    full = {"valid": every, "bank": 0, "index": 0, "count": p.lanes_in, "data": 0}
    request = {"bank": 0, "index": 0, "group": group} | ({"px": p.px - 1} if p.px > 1 else {})
    if p.load_ahead:
        yield {"i": {"load": 1}}
    yield {"i": full | {"load": not p.load_ahead, "first": every}, "drain": request}
    for _ in range(p.latency + p.DRAIN_LATENCY + 5):
        outputs = yield {"i": {}}
    before = outputs["o"][-1]
    ones = full | {"data": lanes_bits([1] * p.lanes_in * p.px, p.a_width)}
    for value in shift_words(p, np.full((p.lanes_out, p.lanes_in), 1 if p.binary else -1)):
        yield {"shift": 1, "shift_data": value}
    if p.load_ahead:
        yield {"i": {"load": 1}, "shift": 0}
    yield {"i": ones | {"load": not p.load_ahead}, "shift": 0}
    values = []
    for _ in range(p.latency + p.DRAIN_LATENCY + 5):
        outputs = yield {"i": {}}
        values.append(outputs["o"][-1])
    steps = enumerate(itertools.pairwise([before, *values]), 1)
    changed = max(age for age, (old, new) in steps if old != new)
    # the drain reads a sum two cycles after it is asked for, a cycle later than the sum needs
    assert changed == p.latency - 2 + p.DRAIN_LATENCY


# ----------------------------------------------------------------------- epilogue, pool, sinks


def layouts(core: CoreParams, conv: ConvGeometry):
    """Layouts of a request and of a token."""
    array = core.engines[conv.binary].array
    lanes = core.geometry.plan.lanes
    groups = max(engine.array.lanes_out for engine in core.engines.values()) // lanes
    request = request_layout(core.stages.layout, core.address_width, array.depth, groups)
    return request, epilogue.token_layout(request)


def token_of(request: Request) -> dict[str, int]:
    """The part of a request that travels with its values."""
    return {"valid": 1} | {
        n: getattr(request, n) for n in ("first", "channel", "fm", "sm", "sm_bank", "row", "col")
    }


def schedule(rng: np.random.Generator, requests: list[Request]) -> dict[int, Request]:
    """Requests by cycle: in order, with gaps."""
    gaps = rng.random(len(requests)) < GAP
    return dict(zip((np.arange(len(requests)) + np.cumsum(gaps)).tolist(), requests, strict=True))


class EpilogueModel:
    """Values of one stage, a Python integer at a time."""

    def __init__(self, conv: ConvGeometry, lanes: int, gates: np.ndarray) -> None:
        self.conv, self.lanes, self.gates = conv, lanes, gates

    def values(self, request: Request, acc: list[int], skip: list[int]) -> list[int | None]:
        """What the lanes must hold; None where there is no channel."""
        return [self._value(request.channel * self.lanes + i, *v)
                for i, v in enumerate(zip(acc, skip, strict=True))]  # fmt: skip

    def knot(self, request: Request, lane: int) -> int:
        """Where a lane's slope changes."""
        channel, step = request.channel * self.lanes + lane, self.conv.stage.epilogue[0]
        known = isinstance(step, Affine) and channel < self.conv.channels_out
        return int(step.knot[channel]) if known else 0

    def _value(self, channel: int, acc: int, skip: int) -> int | None:
        if channel >= self.conv.channels_out:
            return None
        value = acc
        for step in self.conv.stage.epilogue:
            if isinstance(step, Affine):
                value = self._affine(step, channel, value)
            elif isinstance(step, Skip):
                value += skip
            else:
                value = min(max(value, step.low), step.high)
        return value

    def _affine(self, step: Affine, channel: int, value: int) -> int:
        if step.gated:
            factor, offset = int(self.gates[int(value >= 0), channel]), 0
        else:
            side = int(value >= int(step.knot[channel]))
            factor, offset = int(step.multiplier[side, channel]), int(step.offset[side, channel])
        return (value * factor + offset + (1 << (step.shift - 1))) >> step.shift


def drive_epilogue(dut: Epilogue, core: CoreParams, seed: int):
    """Every stage: its drain requests with gaps, sums over the whole range."""
    rng = np.random.default_rng(seed)
    p, lanes = dut.params, dut.params.lanes
    for conv, row in zip(core.geometry.convs, core.stages.rows, strict=True):
        gates = signed_values(rng, MULTIPLIER_BITS, (2, conv.groups * lanes))
        skips = signed_values(rng, p.value_width, (core.fm_words, lanes))
        requests = schedule(rng, expected_requests(conv))
        # sums a stage can have; small ones do not saturate
        width = signed_width(*conv.acc_bounds) - 1 if rng.random() < 0.5 else 5
        model = EpilogueModel(conv, lanes, gates)
        sums = signed_values(rng, width, (max(requests) + 1, lanes)).tolist()
        for cycle, request in requests.items():
            if rng.random() < 0.3:  # the knot itself, one below, one above
                sums[cycle] = [model.knot(request, i) + int(rng.integers(-1, 2))
                               for i in range(lanes)]  # fmt: skip
        gate_at, skip_at = [0] * GATE, [0] * MEMORY
        for cycle in range(max(requests) + p.latency + 1):
            request = requests.get(cycle)
            inputs = {"d": row, "request": asdict(request) | {"valid": 1} if request else {}}
            if cycle - SUMS in requests:
                inputs["acc"] = sums[cycle - SUMS]
            group = range(gate_at[0] * lanes, (gate_at[0] + 1) * lanes)
            inputs["gate_data"] = [
                {"gn": gates[0, c], "gp": gates[1, c]} for c in group if c < gates.shape[1]
            ]
            inputs["skip_data"] = skips[skip_at[0] % len(skips)].tolist()
            outputs = yield inputs
            gate_at = [*gate_at[1:], outputs["gate_addr"]]
            skip_at = [*skip_at[1:], outputs["skip_addr"]]
            done = requests.get(cycle - p.latency)
            assert outputs["token"]["valid"] == (done is not None)
            if done is not None:
                assert outputs["token"] == token_of(done)
                skip = skips[(row["skip_base"] + done.fm) % len(skips)].tolist()
                wanted = model.values(done, sums[cycle - p.latency], skip)
                pairs = zip(outputs["values"], wanted, strict=True)
                assert all(w is None or v == w for v, w in pairs), (
                    f"{conv.stage.name} {done}: {outputs['values']}, expected {wanted}"
                )


def drive_pool(dut: MaxPool, core: CoreParams, seed: int):
    """Every pooled stage: random values in the order of its drain requests, with gaps."""
    rng = np.random.default_rng(seed)
    lanes = core.geometry.plan.lanes
    for conv, row in zip(core.geometry.convs, core.stages.rows, strict=True):
        if conv.stage.pool is None:
            continue
        shape = (conv.rows, conv.cols, conv.groups, lanes)
        values = signed_values(rng, core.epilogue.value_width, shape)
        requests = schedule(rng, expected_requests(conv))
        expected = pooled(conv, requests, values)
        for cycle in range(max(requests) + pool.LATENCY + 3):
            request = requests.get(cycle)
            inputs = {"d": row, "token": {}, "values": rng.integers(-9, 9, lanes).tolist()}
            if request:
                inputs["token"] = token_of(request)
                inputs["values"] = values[request.row, request.col, request.channel].tolist()
            outputs = yield inputs
            wanted = expected.pop(cycle, None)
            assert outputs["o_token"]["valid"] == (wanted is not None), f"cycle {cycle}"
            if wanted is not None:
                token, maxima = wanted
                found = outputs["o_token"]
                assert {n: found[n] for n in token} == token
                assert outputs["o_values"] == maxima, f"{token}"
        assert not expected


def pooled(conv: ConvGeometry, requests: dict[int, Request], values) -> dict[int, tuple]:
    """Cycle -> (token, maxima): LATENCY cycles after the last value of a window."""
    window, (_, rows, cols) = conv.stage.pool, conv.stage.shape
    plan = conv.plan
    banks, sign_words = plan.p_in // plan.lanes, -(-conv.channels_out // plan.p_in)
    found = {}
    cycles = {(r.row, r.col, r.channel): cycle for cycle, r in requests.items()}
    for oy in range(rows):
        for ox in range(cols):
            ys = covered(window, 0, oy, conv.rows)
            xs = covered(window, 1, ox, conv.cols)
            place = oy * cols + ox
            for channel in range(conv.groups):
                part = values[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1, channel]
                token = {"fm": place * conv.groups + channel, "channel": channel,
                         "sm": place * sign_words + channel // banks, "sm_bank": channel % banks,
                         "first": int(place == 0)}  # fmt: skip
                cycle = cycles[ys[-1], xs[-1], channel] + pool.LATENCY
                found[cycle] = token, part.max(axis=(0, 1)).tolist()
    return found


def covered(window, axis: int, index: int, extent: int) -> range:
    """Positions of a window inside the image."""
    start = index * window.stride[axis] - window.padding[axis]
    return range(max(0, start), min(extent, start + window.kernel[axis]))


def drive_sinks(dut: Sinks, core: CoreParams, seed: int):
    """Every stage twice: tensor, signs and sums are what the values say."""
    rng = np.random.default_rng(seed)
    lanes = core.geometry.plan.lanes
    stages = list(zip(core.geometry.convs, core.stages.rows, strict=True))
    for conv, row in stages + stages:
        shape = (conv.rows, conv.cols, conv.groups * lanes)
        values = signed_values(rng, core.epilogue.value_width, shape)
        if conv.stage.signs:  # the threshold itself, one below, one above
            theta = conv.stage.signs[0].theta
            low, high = bounds(core.epilogue.value_width)
            near = np.clip(theta + rng.integers(-1, 2, (*shape[:2], len(theta))), low, high)
            values[:, :, : len(theta)] = np.where(rng.random(near.shape) < 0.5, near,
                                                  values[:, :, : len(theta)])  # fmt: skip
        yield from _sink_stage(core, conv, row, values, rng)


def _sink_stage(core: CoreParams, conv: ConvGeometry, row: dict, values, rng):
    lanes = core.geometry.plan.lanes
    requests = schedule(rng, expected_requests(conv))
    stored: dict[int, list] = {}
    signs: dict[tuple[int, int], int] = {}
    for cycle in range(max(requests) + sinks.LATENCY):
        request = requests.get(cycle)
        inputs = {"d": row, "token": {}, "values": rng.integers(-9, 9, lanes).tolist()}
        if request:
            inputs["token"] = token_of(request)
            first = request.channel * lanes
            inputs["values"] = values[request.row, request.col, first : first + lanes].tolist()
        outputs = yield inputs
        if outputs["fm_en"]:
            assert outputs["fm_addr"] not in stored
            stored[outputs["fm_addr"]] = outputs["fm_data"]
        if outputs["sm_en"]:
            at = outputs["sm_addr"], outputs["sm_en"]
            assert at not in signs
            signs[at] = outputs["sm_data"]
    _check_sinks(core, conv, values, stored, signs)
    if conv.stage.sums is not None:
        for group in range(conv.groups):
            outputs = yield {"token": {}, "sum_addr": group}
            wanted = values[:, :, group * lanes : (group + 1) * lanes].sum(axis=(0, 1))
            assert outputs["sum_data"] == wanted.tolist(), f"{conv.stage.name} group {group}"


def _check_sinks(core: CoreParams, conv: ConvGeometry, values, stored: dict, signs: dict) -> None:
    plan, stage = core.geometry.plan, conv.stage
    words = values.reshape(-1, conv.groups, plan.lanes)
    wanted_values, wanted_signs = {}, {}
    sign_words = -(-conv.channels_out // plan.p_in)
    for pixel, word in enumerate(words):
        for group, lanes in enumerate(word.tolist()):
            if stage.tensor is not None:
                wanted_values[plan.tensors[stage.tensor] + pixel * conv.groups + group] = lanes
            for sink in stage.signs:
                place, bank = divmod(group, plan.p_in // plan.lanes)
                at = plan.signs[sink.name] + pixel * sign_words + place, 1 << bank
                wanted_signs[at] = [
                    int((v >= sink.theta[c]) ^ sink.flip[c])
                    for c, v in enumerate(lanes, group * plan.lanes)
                    if c < conv.channels_out
                ]
    assert stored == wanted_values
    assert set(signs) == set(wanted_signs)
    for at, bits in wanted_signs.items():
        found = [signs[at] >> i & 1 for i in range(len(bits))]
        assert found == bits, f"{stage.name} word and bank {at}"


__all__ = [
    "ArrayPlay", "drive_array", "drive_array_latency", "drive_epilogue", "drive_equal_bits",
    "drive_integer", "drive_pool", "drive_sinks", "layouts", "signed_values",
]  # fmt: skip
