"""Small random Programs that use everything the hardware generator builds.

Constants are fitted to random frames (spread of every tensor, thresholds near its median), so that
no stage saturates everywhere and every sign bit carries information.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from r2b.ir.arith import SIGMOID_BITS, SIGMOID_ENTRIES, bounds
from r2b.ir.errors import Location
from r2b.ir.execute import STAGES
from r2b.ir.kernels import Trace, head_stage, mean_vector
from r2b.ir.program import (
    VECTOR_BITS,
    Affine,
    BinaryConv,
    Contraction,
    FixedTensor,
    Gate,
    Head,
    MeanVector,
    Program,
    RealConv,
    Saturate,
    SignSink,
    Skip,
    Stage,
    Step,
    Window,
)
from r2b.ir.quantize.encode import Encoded, Interval, encode
from r2b.ir.quantize.vectors import Means, build_dense, build_means, reciprocal

CALIBRATION = 6
"""Frames that the constants are fitted to."""
SAME = Window((3, 3), (1, 1), (1, 1, 1, 1))
HALF = Window((3, 3), (2, 2), (1, 1, 1, 1))
POINT = Window((1, 1))
POOLS = (None, Window((2, 2), (2, 2)), Window((3, 3), (2, 2), (1, 1, 1, 1)))


@dataclass(frozen=True)
class Shape:
    """What varies between random Programs.

    Parameters
    ----------
    frame : tuple of int
        C, H, W of a frame.
    widths : tuple of int
        Channels of each group; a group after the first begins with a stride of 2.
    stem : Window
        Of the first convolution.
    pool : Window or None
        Maximum after the stem.
    blocks : int
        Stages with a skip per group.
    gated : tuple of bool
        In turn, whether a block has a gate.
    classes : int
    act_bits : int
    """

    frame: tuple[int, int, int] = (3, 10, 10)
    widths: tuple[int, ...] = (8, 16)
    stem: Window = SAME
    pool: Window | None = None
    blocks: int = 2
    gated: tuple[bool, ...] = (True, False)
    classes: int = 10
    act_bits: int = 12


def random_shape(rng: np.random.Generator) -> Shape:
    """Draw a Shape: frames of 8 to 12 rows and columns, 8 to 16 channels."""
    pool = POOLS[rng.integers(len(POOLS))]
    kernel = int(rng.choice([3, 5]))
    pad = kernel // 2
    return Shape(
        frame=(int(rng.choice([1, 3])), int(rng.integers(8, 13)), int(rng.integers(8, 13))),
        widths=(int(rng.choice([8, 10, 12])), int(rng.choice([12, 14, 16]))),
        stem=Window((kernel, kernel), (1, 1), (pad, pad, pad, pad)),
        pool=pool,
        gated=tuple(bool(flag) for flag in rng.permutation([True, True, False])),
        classes=int(rng.integers(2, 12)),
        act_bits=int(rng.choice([8, 9, 12, 16])),
    )


def random_program(seed: int, shape: Shape | None = None, **changes) -> Program:
    """Build a Program from a seed; ``changes`` replace fields of its Shape.

    A stem (with or without maximum pooling); groups of binary blocks, gated and static, each with a
    skip, the first of a group after the first with a stride of 2 and an averaging shortcut; one
    binary convolution of which only the signs are kept; the head. Scales of both signs, signs with
    flips and constant signs occur everywhere.
    """
    rng = np.random.default_rng(seed)
    shape = replace(shape or random_shape(rng), **changes)
    builder = Builder(rng, shape, Trace(_frames(rng, CALIBRATION, shape.frame)))
    builder.stem()
    for group, width in enumerate(shape.widths):
        last_group = group == len(shape.widths) - 1
        for block in range(shape.blocks):
            strided = group > 0 and block == 0
            builder.block(width, strided, last_group and block == shape.blocks - 1)
    return builder.finish(f"random{seed}")


def random_frames(program: Program, count: int, seed: int = 0) -> np.ndarray:
    """Frames for a Program: uint8 N x C x H x W, smooth with noise, some of them extreme."""
    rng = np.random.default_rng([seed, count])
    return _frames(rng, count, program.input_shape)


def _frames(rng: np.random.Generator, count: int, shape: tuple[int, int, int]) -> np.ndarray:
    frames = rng.integers(0, 256, (count, *shape)).astype(np.float64)
    smooth = (frames + np.roll(frames, 1, -1) + np.roll(frames, 1, -2)) / 3
    contrast = rng.uniform(0.2, 3.0, (count, 1, 1, 1))
    level = rng.uniform(64, 192, (count, shape[0], 1, 1))
    return np.clip((smooth - 128) * contrast + level, 0, 255).astype(np.uint8)


@dataclass
class Builder:
    """Adds stages, each fitted to the values that reach it and then run.

    Attributes
    ----------
    trace : Trace
        Values of the calibration frames so far.
    tensor, signs, sums : str
        What the last stored stage gave.
    """

    rng: np.random.Generator
    shape: Shape
    trace: Trace
    stages: list[Stage] = field(default_factory=list)
    tensors: dict[str, FixedTensor] = field(default_factory=dict)
    sign_shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    tensor: str = ""
    signs: str = ""
    sums: str = ""

    # ---------------------------------------------------------------------------------- stages

    def stem(self) -> None:
        """Convolve the frame; activation with a knot; maximum where the Shape says so."""
        channels, width = self.shape.frame[0], self.shape.widths[0]
        conv = RealConv(
            source="frame",
            weight=self._weights(width, channels, self.shape.stem.kernel),
            window=self.shape.stem,
            zero_point=self.rng.integers(90, 160, channels),
        )
        self._add("stem", conv, pool=self.shape.pool)

    def block(self, width: int, strided: bool, last: bool) -> None:
        """Add a binary convolution with its skip, and what must come before it."""
        index = len(self.stages)
        if strided:
            self._shortcut(f"shortcut{index}", width)
        elif index % 3 == 2:
            self._sign_only(f"inner{index}", width)
        skip = f"shortcut{index}" if strided else self.tensor
        gated = self.shape.gated[index % len(self.shape.gated)]
        conv = self._binary(width, HALF if strided else SAME)
        self._add(f"block{index}", conv, skip=skip, gated=gated, last=last)

    def _shortcut(self, name: str, width: int) -> None:
        source = self.tensor
        channels, *extent = self.tensors[source].shape
        weight = self._weights(width, channels, (1, 1))
        # an odd extent is halved upwards, as the strided convolution does
        rows, cols = (2 - size % 2 for size in extent)
        presum = Window((rows, cols), (2, 2))
        conv = RealConv(source, weight, POINT, np.zeros(channels, np.int64), presum=presum)
        self._add(name, conv, keep_source=True)

    def _sign_only(self, name: str, width: int) -> None:
        stage = self._stage(name, self._binary(width, SAME), None, False)
        stage = replace(stage, tensor=None, sums=None)
        self._run(replace(stage, signs=(self._sign_sink(f"{name}.sign", stage),)))
        self.signs = f"{name}.sign"

    def _add(
        self,
        name: str,
        conv: Contraction,
        pool: Window | None = None,
        skip: str | None = None,
        gated: bool = False,
        last: bool = False,
        keep_source: bool = False,
    ) -> None:
        """Add a stage that stores a tensor; all but a shortcut give signs and sums, too."""
        stage = self._stage(name, conv, skip, gated, pool)
        if keep_source:
            self._run(replace(stage, tensor=name))
            return
        stage = replace(stage, tensor=None if last else name, sums=f"{name}.sums")
        if not last:
            stage = replace(stage, signs=(self._sign_sink(f"{name}.sign", stage),))
        self._run(stage)
        self.tensor, self.signs, self.sums = name, f"{name}.sign", f"{name}.sums"

    def _run(self, stage: Stage) -> None:
        self.stages.append(stage)
        STAGES[type(stage.contraction)](self.trace, stage)
        for sink in stage.signs:
            self.sign_shapes[sink.name] = stage.shape
        if stage.tensor is not None:
            self.tensors[stage.tensor] = FixedTensor(stage.shape, np.ones(stage.shape[0]))

    # ----------------------------------------------------------------------------- contractions

    def _weights(self, out: int, channels: int, kernel: tuple[int, int]) -> np.ndarray:
        return self.rng.integers(-127, 128, (out, channels, *kernel))

    def _binary(self, width: int, window: Window) -> BinaryConv:
        channels = self.sign_shapes[self.signs][0]
        weight = self.rng.integers(0, 2, (width, channels, *window.kernel)).astype(np.uint8)
        return BinaryConv(self.signs, weight, window)

    # --------------------------------------------------------------------------------- epilogue

    def _stage(
        self,
        name: str,
        conv: Contraction,
        skip: str | None,
        gated: bool,
        pool: Window | None = None,
    ) -> Stage:
        """Build a stage without sinks."""
        gate, step = self._gated(conv) if gated else (None, self._static(conv))
        steps: list[Step] = [step]
        if skip is not None:
            steps.append(Skip(skip))
        steps.append(Saturate(*self._bounds()))
        stage = Stage(name, Location(name), conv, (0, 0, 0), gate, tuple(steps), pool)
        return replace(stage, shape=self._value(stage).shape[1:])

    def _bounds(self) -> tuple[int, int]:
        return bounds(self.shape.act_bits)

    def _factors(self, acc: np.ndarray) -> np.ndarray:
        """Real slopes [2, C] around zero: a random sign, a random leak below it."""
        spread = acc.std(axis=(0, 2, 3)) + 1
        channels = acc.shape[1]
        scale = self._bounds()[1] / 4 / spread * self.rng.choice([-1.0, 1.0], channels)
        leak = self.rng.uniform(-0.2, 1.0, channels)
        rows = np.stack([np.where(scale >= 0, leak, 1.0), np.where(scale >= 0, 1.0, leak)])
        return rows * scale

    def _domain(self, acc: np.ndarray) -> Interval:
        """Twice what the calibration frames reach: multipliers fit, values may still saturate."""
        most = 2 * int(np.abs(acc).max()) + 1
        return Interval.of(-most, most, acc.shape[1])

    def _static(self, conv: Contraction) -> Affine:
        acc = self._sums_of(conv)
        slopes = self._factors(acc)
        low, high = acc.min(axis=(0, 2, 3)), acc.max(axis=(0, 2, 3))
        knot = self.rng.integers(low, high + 1)
        shift = np.tile(self.rng.uniform(-0.2, 0.2, len(knot)) * self._bounds()[1], (2, 1))
        found = encode(slopes, shift - slopes * knot, self._domain(acc), "random", "epilogue")
        return Affine(knot, found.multiplier, found.offset, found.shift)

    def _gated(self, conv: Contraction) -> tuple[Gate, Affine]:
        acc = self._sums_of(conv)
        nothing = np.zeros((2, acc.shape[1]))
        found = encode(2 * self._factors(acc), nothing, self._domain(acc), "random", "epilogue")
        zeros = np.zeros_like(found.multiplier)
        return self._gate(found), Affine(zeros[0], zeros, zeros, found.shift, gated=True)

    def _sums_of(self, conv: Contraction) -> np.ndarray:
        """Accumulators of a contraction on the calibration frames."""
        probe = Trace(self.trace.tensors["frame"].astype(np.uint8))
        probe.tensors, probe.signs = dict(self.trace.tensors), self.trace.signs
        bare = Stage("probe", Location(), conv, (0, 0, 0), tensor="probe")
        STAGES[type(conv)](probe, bare)
        return probe.tensors["probe"]

    def _value(self, stage: Stage) -> np.ndarray:
        """What the sinks of a stage see on the calibration frames."""
        probe = Trace(self.trace.tensors["frame"].astype(np.uint8))
        probe.tensors, probe.signs = dict(self.trace.tensors), self.trace.signs
        probe.sums = self.trace.sums
        bare = replace(stage, tensor="probe", signs=(), sums=None)
        STAGES[type(stage.contraction)](probe, bare)
        return probe.tensors["probe"]

    # ------------------------------------------------------------------------------------ sinks

    def _sign_sink(self, name: str, stage: Stage) -> SignSink:
        """Thresholds near the median; flips; one constant channel."""
        value = self._value(stage)
        low, high = self._bounds()
        middle = np.median(value, axis=(0, 2, 3)) + self.rng.integers(-3, 4, value.shape[1])
        theta = np.clip(middle, low, high).astype(np.int64)
        theta[self.rng.integers(len(theta))] = low
        return SignSink(name, theta, self.rng.integers(0, 2, len(theta)).astype(bool))

    # ------------------------------------------------------------------------- gates and the head

    def _mean(self, channels: int) -> tuple[MeanVector, float]:
        """Normalised means of the last sums, with scales of both signs and offsets."""
        sums = self.trace.sums[self.sums]
        area = int(np.prod(self.stages[-1].shape[1:]))
        if self.tensor in self.tensors:
            area = int(np.prod(self.tensors[self.tensor].shape[1:]))
        scale = self.rng.uniform(0.3, 1.0, channels) * self.rng.choice([-1.0, 1.0], channels)
        interval = Interval.signed(self.shape.act_bits, channels)
        means = Means(self.sums, area, scale, (), interval)
        vector, unit = build_means(means, sums / area * scale, "random")
        room = np.abs(sums / area * scale).max() / unit * 2.0**vector.z_shift
        offset = (self.rng.uniform(-0.5, 0.5, channels) * room).astype(np.int64)
        assert (vector.reciprocal, vector.shift) == reciprocal(area)
        return replace(vector, offset=offset), unit

    def _gate(self, slopes: Encoded) -> Gate:
        channels, outputs = self.trace.sums[self.sums].shape[1], slopes.multiplier.shape[1]
        hidden = max(1, channels // int(self.rng.choice([2, 4, 8])))
        mean, _ = self._mean(channels)
        z = mean_vector(self.trace.sums[self.sums], mean)
        first = self.rng.normal(size=(hidden, channels))
        h_unit = np.abs(z @ first.T).max() / 2**12
        second = self.rng.normal(size=(outputs, hidden))
        reach = np.abs(np.maximum(z @ first.T, 0) / h_unit @ second.T).max() + 1
        i_unit = reach / (0.6 * SIGMOID_ENTRIES)  # some arguments leave the table
        bias = self.rng.normal(size=outputs) * reach / 8
        return Gate(
            mean,
            build_dense(first, None, (1.0, h_unit), "random"),
            build_dense(second, bias, (1.0, i_unit), "random"),
            slope_p=slopes.multiplier[1],
            slope_n=slopes.multiplier[0],
            shift=SIGMOID_BITS,
        )

    def finish(self, name: str) -> Program:
        """Add the head and give the Program."""
        channels = self.trace.sums[self.sums].shape[1]
        mean, _ = self._mean(channels)
        weight = self.rng.integers(-127, 128, (self.shape.classes, channels)).astype(np.int8)
        bias = self.rng.integers(-(1 << VECTOR_BITS), 1 << VECTOR_BITS, self.shape.classes)
        head = Head("head", Location("head"), mean, weight, bias)
        head_stage(self.trace, head)
        return Program(
            name=name,
            input_shape=self.shape.frame,
            act_bits=self.shape.act_bits,
            tensors=self.tensors,
            sign_shapes=self.sign_shapes,
            stages=tuple(self.stages),
            head=head,
            logit_scale=1.0,
        )


__all__ = ["Shape", "random_frames", "random_program", "random_shape"]
