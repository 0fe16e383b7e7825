"""Drivers of what ``enable`` freezes: engine control, whole engine, vector unit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from r2b.hw.geometry import ConvGeometry
from r2b.hw.params import CoreParams
from r2b.hw.rounds import GATE
from r2b.hw.timing import START, conv_cycles
from r2b.hw.vector import MEAN_FLUSH, VectorParams
from r2b.ir import kernels
from r2b.ir.program import Gate, Head
from tests.hw.components import cases
from tests.hw.components.benches import Frozen, WithSums

LIMIT = 60_000
"""Cycles after which a stage hangs."""


def freezes(rng: np.random.Generator, wanted: bool) -> Iterator[int]:
    """Endless values of ``enable``: constant, or random with long pauses now and then."""
    while True:
        yield int(not wanted or rng.random() < 0.6)
        if wanted and rng.random() < 0.02:
            yield from [0] * int(rng.integers(1, 12))


# ------------------------------------------------------------------------------------- control


class ControlLog:
    """What a stage's control issued, in order; only cycles that count."""

    def __init__(self, conv: ConvGeometry) -> None:
        self.conv = conv
        self.pixels: list[cases.Pixel] = []
        self.issued = 0
        self.words: list[int] = []
        self.requests: list[cases.Request] = []
        self.opens: list[int] = []
        self.closes: list[int] = []
        self.freed: list[int] = []
        self.finished: list[int] = []

    def note(self, outputs, rows_ready: int) -> None:
        """Add a cycle."""
        pixel, request = outputs["pixel"], outputs["request"]
        if pixel["valid"]:
            self.issued += 1
            self.pixels += [cases.Pixel(**one) for one in pixels_of(pixel)]
            self._check_row(pixel, rows_ready)
        if request.pop("valid"):
            self.requests.append(cases.Request(**request))
        for name, log in (("opens", self.opens), ("closes", self.closes)):
            if outputs[name]:
                log.append(len(self.words))
        if outputs["word_valid"]:
            self.words.append(outputs["word"])
        if outputs["release"]:
            self.freed.append(outputs["free"])
        if outputs["finish"]:
            self.finished.append(len(self.pixels))

    def _check_row(self, pixel: dict, rows_ready: int) -> None:
        """A row of the frame is read only when it is complete."""
        conv = self.conv
        if conv.from_frame:
            row = (pixel["src"] - pixel["byte"] // conv.lanes_in) // conv.row_words
            assert row < rows_ready, f"row {row} read, {rows_ready} are there"

    def check(self, row: dict, bank: int) -> None:
        """Compare with the plain model; the stage's first tile takes ``bank``."""
        conv = self.conv
        wanted = cases.expected_pixels(conv, bank)
        if not conv.from_frame:  # byte and phase mean nothing elsewhere
            self.pixels = [cases.Pixel(**{**vars(p), "byte": 0, "phase": 0}) for p in self.pixels]
        assert self.pixels == wanted
        assert self.requests == cases.expected_requests(conv, bank)
        assert self.words == cases.expected_words(conv, row["weight_base"])
        assert (self.opens, self.closes) == segments(conv)
        assert self.finished == [len(wanted)]
        if conv.from_frame:
            bands = range(conv.tile_rows, conv.rows + conv.tile_rows, conv.tile_rows)
            stride, pad = conv.window.stride[0], conv.window.padding[0]
            assert self.freed == [end * stride - pad for end in bands]


def pixels_of(group: dict) -> list[dict]:
    """The valid pixels of a request, one by one."""
    sources = group.get("px_src", [group["src"]])
    common = {n: v for n, v in group.items() if n not in ("valid", "px_src")}
    per_pixel = [name for name in ("first", "outside") if name in group]
    return [
        common | {"src": src, "px": px} | {name: group[name] >> px & 1 for name in per_pixel}
        for px, src in enumerate(sources)
        if group["valid"] >> px & 1
    ]


def segments(conv: ConvGeometry) -> tuple[list[int], list[int]]:
    """Positions in the word sequence of every weight segment's first and last word."""
    ends, count, channel_tiles = [], 0, []
    for ko, tile in conv.tiles():
        count += conv.load_words * len(list(cases.tile_steps(conv, tile)))
        channel_tiles.append(0 if conv.pixel_outer else ko)
        ends.append(count)
    last = dict(zip(channel_tiles, ends, strict=True))
    closes = [end - 1 for end in last.values()]
    return [0, *(end + 1 for end in closes[:-1])], closes


def drive_control(dut: Frozen, core: CoreParams, binary: bool, seed: int, frozen: bool):
    """Every stage of an engine: each address and flag in order, and the predicted cycles."""
    rng = np.random.default_rng(seed)
    enables, bank = freezes(rng, frozen), 0
    for conv, row in zip(core.geometry.convs, core.stages.rows, strict=True):
        if conv.binary is not binary:
            continue
        log, counted, started = ControlLog(conv), 0, False
        prediction = conv_cycles(conv, core)
        rows_ready = 0 if conv.from_frame and frozen else conv.rows_in
        for _ in range(LIMIT):
            inputs = {"d": row, "enable": next(enables), "start": counted == START,
                      "hold": counted < prediction.gate, "rows_ready": rows_ready}  # fmt: skip
            outputs = yield inputs
            if outputs["go"]:
                log.note(outputs, rows_ready)
                started |= counted == START
                counted += 1
                if outputs["done"]:
                    break
            rows_ready += int(rows_ready < conv.rows_in and rng.random() < 0.05)
        assert started
        assert counted == prediction.active, conv.stage.name
        assert log.issued == prediction.issued
        assert len(log.requests) == prediction.drained
        log.check(row, bank)
        bank = (bank + len(list(conv.tiles()))) % 2


# -------------------------------------------------------------------------------------- engine


class Source:
    """A stage's input as the memories hold it, and the sums it leads to."""

    def __init__(self, conv: ConvGeometry, a_width: int, rng: np.random.Generator) -> None:
        self.conv, self.a_width = conv, a_width
        part, shape = conv.conv, (conv.channels_in, conv.rows_in, conv.cols_in)
        if conv.binary:
            self.values = rng.integers(0, 2, shape)
            self.sums = kernels.binary_conv(
                self.values[None], part.weight, part.window, 1, conv.fill
            )[0]
        elif conv.from_frame:
            pixels = rng.integers(0, 256, shape)
            self.values = pixels - part.zero_point[:, None, None]
            self.sums = kernels.real_conv(
                pixels[None], part.weight, part.window, part.zero_point, None, 1
            )[0]
        else:
            most = 1 << (conv.plan.act_bits - 1)
            self.values = rng.integers(-most, most, shape)
            self.sums = kernels.real_conv(
                self.values[None], part.weight, part.window, part.zero_point, part.presum, 1
            )[0]
        self.base = cases.source_base(conv)
        self.noise = rng

    def operands(self, group: dict) -> int:
        """What the array must see for a request; noise where a pixel is not valid."""
        width = self.conv.lanes_in * self.a_width
        found = int(self.noise.integers(1 << min(62, self.conv.px * width)))
        for pixel in pixels_of(group):
            shift = pixel["px"] * width
            found &= ~(((1 << width) - 1) << shift)
            found |= self.operand(pixel) << shift
        return found

    def operand(self, pixel: dict) -> int:
        """What the array must see for a pixel; noise in surplus channels of a tensor's word."""
        conv, lanes = self.conv, self.conv.lanes_in
        if conv.from_frame:
            row = (pixel["src"] - pixel["byte"] // lanes) // conv.row_words
            flat = self.values[:, row].T.ravel()
            places = range(pixel["byte"], pixel["byte"] + lanes)
            values = [int(flat[i]) if 0 <= i < len(flat) else 0 for i in places]
        else:
            place, kc = divmod(pixel["src"] - self.base, conv.depth)
            if pixel.get("outside"):  # the memory gives the fill for every channel
                channels = np.full(conv.channels_in, conv.fill > 0)
            else:
                channels = self.values[:, *divmod(place, conv.cols_in)]
            values = channels[kc * lanes : (kc + 1) * lanes].tolist()
            values += [0 if conv.binary else int(self.noise.integers(-99, 99))] * (
                lanes - len(values)
            )
        mask = (1 << self.a_width) - 1
        return sum((v & mask) << (i * self.a_width) for i, v in enumerate(values))


def drive_engine(dut: Frozen, core: CoreParams, binary: bool, seed: int, frozen: bool):
    """Every stage of an engine: each drained sum is the convolution's, in its cycle."""
    rng = np.random.default_rng(seed)
    enables = freezes(rng, frozen)
    params = dut.inner.params
    drained = params.array.DRAIN_LATENCY
    feeder = WeightSource(core, binary, rng, frozen)
    for conv, row in zip(core.geometry.convs, core.stages.rows, strict=True):
        if conv.binary is not binary:
            continue
        source = Source(conv, params.array.a_width, rng)
        delay, due = [0] * params.source_latency, [None] * drained
        rows_ready = 0 if conv.from_frame and frozen else conv.rows_in
        seen, counted = 0, 0
        for _ in range(LIMIT):
            inputs = {"d": row, "enable": next(enables), "start": counted == START, "hold": 0,
                      "rows_ready": rows_ready, "operand": delay[0]} | feeder.offer()  # fmt: skip
            outputs = yield inputs
            feeder.note(outputs)
            pixel, request = outputs["pixel"], outputs["request"]
            asked = outputs["go"] and pixel["valid"]
            delay = [*delay[1:], source.operands(pixel) if asked else int(rng.integers(2))]
            if due[0] is not None:
                _check_sums(conv, source, due[0], outputs["acc"])
                seen += 1
            assert not request["valid"] or outputs["go"]
            due = [*due[1:], request if request["valid"] else None]
            counted += outputs["go"]
            if outputs["go"] and outputs["done"]:
                break
            rows_ready += int(rows_ready < conv.rows_in and rng.random() < 0.05)
        assert seen == len(cases.expected_requests(conv))
        assert counted == conv_cycles(conv, core).active
    assert feeder.finished


def _check_sums(conv: ConvGeometry, source: Source, request: dict, found: list[int]) -> None:
    lanes = conv.plan.lanes
    first = request["channel"] * lanes
    wanted = source.sums[first : first + lanes, request["row"], request["col"]].tolist()
    assert found[: len(wanted)] == wanted, f"{conv.stage.name} {request}"


class WeightSource:
    """The weight stream of one engine; nothing where the weights are on chip."""

    def __init__(self, core: CoreParams, binary: bool, rng, slow: bool) -> None:
        self.words: list[tuple[int, int]] = []
        self.rng, self.slow, self.offered = rng, slow, False
        if core.geometry.plan.weights == "chip":
            return
        for conv in core.geometry.engine(binary):
            words = conv.weight_words()
            size = len(words) // (1 if conv.pixel_outer else conv.tiles_out)
            self.words += [(word, (i + 1) % size == 0) for i, word in enumerate(words)]
        self.words.reverse()

    @property
    def finished(self) -> bool:
        """All words have been taken."""
        return not self.words

    def offer(self) -> dict[str, int]:
        """Inputs of a cycle; an offered word stays."""
        self.offered = bool(self.words) and (
            self.offered or not self.slow or self.rng.random() < 0.3
        )
        if not self.offered:
            return {"w_valid": 0}
        word, last = self.words[-1]
        return {"w_valid": 1, "w_data": word, "w_last": last}

    def note(self, outputs) -> None:
        """A word may have been taken."""
        if self.offered and outputs["w_ready"]:
            self.words.pop()
            self.offered = False


# ----------------------------------------------------------------------------------- vector unit


def job_cycles(params: VectorParams, channels: int, layers: list[tuple[int, int]]) -> int:
    """Cycles from ``start`` to ``ready``, from the unit's docstring."""
    dense = sum(o * -(-i // params.macs) + params.dense_flush for o, i in layers)
    return 1 + channels + MEAN_FLUSH + dense


class VectorPlay:
    """Runs jobs on a vector unit and compares what they leave."""

    def __init__(self, dut: WithSums, rng: np.random.Generator, frozen: bool) -> None:
        self.params: VectorParams = dut.unit.params
        self.rng, self.enables = rng, freezes(rng, frozen)
        self.logits: list[tuple[int, int]] = []

    def cycle(self, **inputs):
        """One cycle; logits are collected."""
        inputs = {"w_en": 0, "start": 0, "starts": 0, **inputs}
        outputs = yield {"enable": next(self.enables), **inputs}
        if outputs["logit_valid"]:
            self.logits.append((outputs["logit"], outputs["logit_last"]))
        return outputs

    def fill(self, channels: int):
        """Write random channel sums; noise behind the last channel."""
        lanes = self.params.lanes
        most = min(1 << (self.params.sum_width - 1), 40 << self.params.value_width)
        groups = -(-channels // lanes)
        sums = self.rng.integers(-most, most, (groups, lanes))
        for group in range(groups):
            yield from self.cycle(w_en=1, w_addr=group, w_data=sums[group].tolist())
        return sums.ravel()[None, :channels]

    def job(self, cycles: int):
        """Start and wait for ``ready``, which must come after exactly so many enabled cycles."""
        counted = 0
        for started in ({"starts": 1}, {"start": 1}):
            counted = 0
            while counted == 0:
                enable = next(self.enables)
                yield from self.cycle(enable=enable, **started)
                counted = enable
        for _ in range(LIMIT):
            enable = next(self.enables)
            outputs = yield from self.cycle(enable=enable)
            if outputs["ready"]:
                break
            counted += enable
        assert counted == cycles

    def slopes(self, outputs: int):
        """Read the slope memory."""
        lanes, found = self.params.lanes, []
        for group in range(-(-outputs // lanes)):
            yield from self.cycle(gate_addr=group)
            for _ in range(GATE - 1):
                yield from self.cycle()
            answer = yield from self.cycle()
            found += [(pair["gn"], pair["gp"]) for pair in answer["gate_data"]]
        return found[:outputs]

    def gate(self, gate: Gate):
        """Run a gated stage's job."""
        channels = len(gate.mean.multiplier)
        sums = yield from self.fill(channels)
        layers = [gate.hidden.weight.shape, gate.out.weight.shape]
        yield from self.job(job_cycles(self.params, channels, layers))
        found = yield from self.slopes(len(gate.slope_p))
        wanted = kernels.gate_slopes(sums, gate)[:, 0].T.tolist()
        assert found == [tuple(pair) for pair in wanted]
        assert not self.logits

    def head(self, head: Head):
        """Run the head."""
        channels = len(head.mean.multiplier)
        sums = yield from self.fill(channels)
        outputs = yield from self.cycle()
        assert outputs["head"] == 1
        yield from self.job(job_cycles(self.params, channels, [head.weight.shape]))
        vector = kernels.mean_vector(sums, head.mean)[0]
        wanted = (head.weight.astype(np.int64) @ vector + head.bias).tolist()
        last = len(wanted) - 1
        assert self.logits == [(value, int(i == last)) for i, value in enumerate(wanted)]
        self.logits.clear()


def drive_vector(dut: WithSums, core: CoreParams, seed: int, frozen: bool, frames: int = 2):
    """Frames: every gate in order of its stage, then the head."""
    play = VectorPlay(dut, np.random.default_rng(seed), frozen)
    program = core.geometry.program
    for _ in range(frames):
        yield from play.cycle(new_frame=1)
        yield from play.cycle(new_frame=0)
        for stage in program.stages:
            if stage.gate is not None:
                yield from play.gate(stage.gate)
        yield from play.head(program.head)


__all__ = ["drive_control", "drive_engine", "drive_vector", "freezes", "job_cycles"]
