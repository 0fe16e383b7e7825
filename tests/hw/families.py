"""Small Programs of the forms that binary networks lower to: chains, pools, vectors, shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from r2b.ir.arith import bounds
from r2b.ir.errors import Location
from r2b.ir.kernels import Trace
from r2b.ir.program import (
    Affine,
    BinaryConv,
    Concat,
    Contraction,
    Identity,
    Multiply,
    Pool,
    Program,
    RealConv,
    Saturate,
    SignSink,
    Skip,
    SpatialScale,
    Stage,
    Step,
    Table,
    Window,
)
from r2b.ir.quantize.encode import encode
from tests.hw.programs import CALIBRATION, HALF, POINT, SAME, Builder, Shape, _frames

TWO = Window((2, 2), (2, 2))
THREE = Window((3, 3), (2, 2), (1, 1, 1, 1))


class Chains(Builder):
    """A Builder of stages whose epilogue is spelled: ``A`` affine, ``S`` skip, ``H`` hardtanh
    (bounds of half the range), ``L`` the full range, ``M`` a product by a tensor, ``P`` by factors
    of positions, ``T`` a table; ``G`` comes first and is gated.
    """

    @classmethod
    def on(cls, seed: int, frame: tuple[int, int, int], act_bits: int = 9, classes: int = 5):
        """An empty network on such frames."""
        rng = np.random.default_rng(seed)
        shape = Shape(frame=frame, act_bits=act_bits, classes=classes)
        return cls(rng, shape, Trace(_frames(rng, CALIBRATION, frame)))

    def add(
        self,
        name: str,
        conv: Contraction,
        chain: str,
        *,
        pool: Window | None = None,
        skip: str = "",
        store: bool = True,
        sums: bool = False,
        signs: int = 1,
        multiply: str = "",
        hard: bool = False,
        sign: str = "",
    ) -> None:
        """Add a stage; its steps and thresholds are fitted to the values that reach them."""
        stage = Stage(name, Location(name), conv, (0, 0, 0))
        if chain.startswith("G"):
            gate, step = self._gated(conv)
            gate = replace(gate, function="hardsigmoid" if hard else "sigmoid")
            stage, chain = replace(stage, gate=gate, epilogue=(step,)), chain[1:]
        stage = replace(stage, shape=self._value(stage).shape[1:])
        for letter in chain:
            stage = replace(
                stage, epilogue=(*stage.epilogue, self._step(letter, stage, skip, multiply))
            )
        stage = replace(stage, pool=pool, tensor=name if store else None)
        stage = replace(stage, shape=self._value(stage).shape[1:])
        stage = replace(stage, sums=f"{name}.sums" if sums else None)
        sign = sign or f"{name}.sign"
        sinks = [self._any_sink(f"{sign}{n or ''}", stage) for n in range(signs)]
        self._run(replace(stage, signs=tuple(sinks)))
        self.tensor, self.signs = name, sign
        self.sums = f"{name}.sums" if sums else self.sums

    def _step(self, letter: str, stage: Stage, skip: str, multiply: str) -> Step:
        low, high = bounds(self.shape.act_bits)
        if letter == "S":
            return Skip(skip)
        if letter in "HL":
            return Saturate(low // 2, high // 2) if letter == "H" else Saturate(low, high)
        if letter in "MP":
            factor = self.rng.integers(-(1 << 15), 1 << 15, stage.shape)
            step = SpatialScale(factor, 1) if letter == "P" else Multiply(multiply, 1)
            return self._fitted(stage, step)
        values = self._value(stage)
        if letter == "T":  # some arguments are outside
            ends = np.percentile(values, (5, 95)).astype(int)
            return Table(self.rng.integers(low, high + 1, ends[1] - ends[0] + 1), int(ends[0]))
        knot = self.rng.integers(values.min(axis=(0, 2, 3)), values.max(axis=(0, 2, 3)) + 1)
        offset = np.tile(self.rng.uniform(-0.2, 0.2, len(knot)) * high, (2, 1))
        slopes = self._factors(values)
        found = encode(slopes, offset - slopes * knot, self._domain(values), "random", "epilogue")
        return Affine(knot, found.multiplier, found.offset, found.shift)

    def _fitted(self, stage: Stage, step: Multiply | SpatialScale) -> Step:
        """The product with a shift that brings its values near R bits."""
        values = self._value(replace(stage, epilogue=(*stage.epilogue, step)))
        most = int(np.abs(values).max()) >> (self.shape.act_bits - 1)
        return replace(step, shift=1 + most.bit_length())

    def _any_sink(self, name: str, stage: Stage) -> SignSink:
        """Thresholds near the median of values of any range; the first channel is constant."""
        values = self._value(stage)
        middle = np.median(values, axis=(0, 2, 3)) + self.rng.integers(-3, 4, values.shape[1])
        theta = np.clip(middle, values.min(axis=(0, 2, 3)), values.max(axis=(0, 2, 3)))
        theta = theta.astype(np.int64)
        if any(isinstance(step, Saturate) for step in stage.epilogue):
            theta[0] = bounds(self.shape.act_bits)[0]
        return SignSink(name, theta, self.rng.integers(0, 2, len(theta)).astype(bool))

    def real(
        self, width: int, window: Window, source: str = "frame", zero: bool = False, **fields
    ) -> RealConv:
        """A real convolution of the frame (with one zero point if ``zero``) or of a tensor."""
        frame = source == "frame"
        channels = self.shape.frame[0] if frame else self.tensors[source].shape[0]
        points = self.rng.integers(90, 160, channels) if frame else np.zeros(channels, np.int64)
        points = np.full(channels, points[0]) if zero else points
        return RealConv(source, self._weights(width, channels, window.kernel), window, points,
                        **fields)  # fmt: skip

    def groups(self, width: int, window: Window, groups: int, source: str = "frame") -> RealConv:
        """A real convolution of the frame, a tensor or a sign map, in groups."""
        shapes = {"frame": self.shape.frame, **self.sign_shapes}
        channels = (shapes[source] if source in shapes else self.tensors[source].shape)[0]
        weight = self._weights(width, channels // groups, window.kernel)
        return RealConv(source, weight, window, np.zeros(channels, np.int64), groups=groups)

    def binary_groups(self, width: int, window: Window, groups: int, **fields) -> BinaryConv:
        """A binary convolution of the last sign map, in groups."""
        conv = self._binary(width, window)
        size = conv.weight.shape[1] // groups
        return replace(conv, weight=conv.weight[:, :size], groups=groups, **fields)

    def binary(self, width: int, window: Window, **fields) -> BinaryConv:
        """A binary convolution of the last sign map, or of ``source``."""
        self.signs = fields.get("source", self.signs)
        return replace(self._binary(width, window), **fields)


def vgg(seed: int) -> Program:
    """conv-pool-BN-hardtanh-sign: signs of maxima alone, hardtanh, vectors, a classifier."""
    net = Chains.on(seed, (3, 16, 16))
    net.add("conv0", net.real(8, SAME), "", store=False)
    net.add("conv1", net.binary(10, SAME), "", pool=TWO, store=False)
    net.add("conv2", net.binary(16, SAME), "AH", pool=THREE)
    net.add("conv3", net.binary(12, SAME), "A", pool=TWO, store=False)
    net.add("conv4", net.binary(9, SAME), "L", pool=TWO)
    net.add("fc5", net.binary(20, POINT), "A", store=False)
    net.add("fc6", net.binary(7, POINT), "AL", sums=True)
    return net.finish(f"vgg{seed}")


def react(seed: int) -> Program:
    """BN, skip, bias-PReLU-bias: a second affine step behind the skip; hardtanh in between."""
    net = Chains.on(seed, (3, 9, 8), act_bits=12)
    net.add("stem", net.real(8, SAME), "AHAL")
    net.add("block1", net.binary(8, SAME), "ASAL", skip="stem")
    net.add("block2", net.binary(8, SAME), "SAL", skip="block1", pool=TWO)
    net.add("block3", net.binary(8, SAME), "AHSL", skip="block2")
    net.add("shortcut4", net.real(12, POINT, "block3", presum=TWO), "AL", signs=0)
    net.signs = "block3.sign"
    net.add("block4", net.binary(12, Window((2, 2), (2, 2))), "ASL", skip="shortcut4")
    net.add("block5", net.binary(12, SAME), "AAS", skip="block4", store=False)
    net.add("block6", net.binary(12, SAME), "ASHAL", skip="block4", sums=True)
    return net.finish(f"react{seed}")


def mlp(seed: int) -> Program:
    """Vectors: a real layer on a flat frame, binary ones, signs straight on the accumulators."""
    net = Chains.on(seed, (36, 1, 1), classes=4)
    net.add("fc0", net.real(20, POINT, zero=True), "AH")
    net.add("fc1", net.binary(24, POINT), "", store=False)
    net.add("fc2", net.binary(17, POINT), "A", store=False)
    net.add("fc3", net.binary(24, POINT), "AL", sums=True, signs=0)
    return net.finish(f"mlp{seed}")


def flat(seed: int) -> Program:
    """Linear layers behind images: kernels as large as what they read, the frame itself too."""
    net = Chains.on(seed, (1, 8, 6), classes=3)
    net.add("fc0", net.real(24, Window((8, 6))), "A", store=False)
    net.add("fc1", net.binary(9, POINT), "AL", sums=True)
    return net.finish(f"flat{seed}")


def lenet(seed: int) -> Program:
    """Valid convolutions, pooling, and a linear layer that reads an image."""
    net = Chains.on(seed, (1, 12, 10), classes=3)
    net.add("conv0", net.real(6, Window((5, 5))), "", pool=TWO, store=False)
    net.add(
        "conv1",
        net.binary(
            10,
            Window((3, 3)),
        ),
        "A",
        store=False,
    )
    net.add("fc2", net.binary(18, Window((2, 1))), "A", store=False)
    net.add("fc3", net.binary(5, POINT), "AL", sums=True, signs=0)
    return net.finish(f"lenet{seed}")


def padded(seed: int) -> Program:
    """Borders of -1 and +1, of several sizes and strides, beside borders of nothing."""
    net = Chains.on(seed, (1, 9, 7), classes=3)
    net.add("conv0", net.real(9, SAME), "A", store=False)
    net.add("conv1", net.binary(10, SAME, padding_value=-1), "A", store=False)
    net.add("conv2", net.binary(6, SAME), "AL")
    strided = Window((3, 3), (2, 2), (0, 2, 2, 1))
    net.add("conv3", net.binary(12, strided, padding_value=1), "A", store=False)
    net.add("conv4", net.binary(5, Window((2, 3), (1, 2), (1, 4, 1, 4), (2, 2)), padding_value=-1),
            "AL", sums=True)  # fmt: skip
    return net.finish(f"padded{seed}")


def moved(seed: int) -> Program:
    """Stages without weights: signs and scales anew, sums and maxima over windows, a skip add
    without a convolution, signs of the frame.
    """
    net = Chains.on(seed, (3, 9, 8), classes=3)
    net.add("first", Identity("frame"), "AL")
    net.add("again", Identity("first"), "AH", sign="sums")
    net.add("sums", Pool("again", THREE, "sum"), "AL")
    net.add("conv", net.binary(11, SAME), "", store=False)
    net.signs = "sums"  # the sign map of another value than the tensor of that name
    net.add("named", net.binary(4, SAME), "A", store=False)
    net.add("average", Identity("sums"), "AL", signs=0)
    net.add("maxima", Pool("again", TWO, "max"), "L")
    net.signs = "sums.sign"
    net.add("small", net.binary(3, Window((2, 3))), "AL")
    net.add("added", Identity("maxima"), "ASL", skip="maxima", pool=TWO)
    net.add("real", net.real(3, POINT, "maxima"), "ASAL", skip="maxima", sums=True)
    return net.finish(f"moved{seed}")


def dense(seed: int) -> Program:
    """Concatenations of tensors and of a sign map; maxima over them."""
    net = Chains.on(seed, (3, 8, 7), classes=3)
    net.add("stem", net.real(8, SAME), "AL")
    net.add("conv1", net.binary(4, SAME), "AL")
    net.add("cat1", Concat(("stem", "conv1")), "L")
    net.add("conv2", net.binary(8, SAME), "AL")
    net.add("cat2", Concat(("cat1", "conv2.sign", "stem")), "AL", pool=TWO)
    net.add("conv3", net.binary(6, SAME), "AL")
    net.add("cat3", Concat(("cat2", "conv3")), "A", store=False)
    net.add("conv4", net.binary(6, SAME), "AL", sums=True)
    return net.finish(f"dense{seed}")


def grouped(seed: int) -> Program:
    """Groups on both engines, down to one channel; a real convolution of bits."""
    net = Chains.on(seed, (4, 8, 7), classes=3)
    net.add("stem", net.groups(8, SAME, 2), "AL")
    net.add("real", net.groups(12, SAME, 4, "stem"), "AL")
    net.add("depth", net.groups(12, THREE, 12, "real"), "AL")
    net.add("binary", net.binary_groups(12, SAME, 12, padding_value=1), "AL", skip="depth")
    net.add("pairs", net.binary_groups(6, Window((3, 3), (1, 1), (2, 1, 0, 1)), 3), "A",
            store=False)  # fmt: skip
    net.add("bits", net.groups(7, SAME, 1, "pairs.sign"), "AL", sums=True)
    return net.finish(f"grouped{seed}")


def factors(seed: int) -> Program:
    """Products by tensors of every kind and by factors of positions; tables; up to four rounds."""
    net = Chains.on(seed, (3, 8, 7), classes=3)
    net.add("stem", net.real(8, SAME), "AL")
    net.add("mean", Pool("stem", Window((8, 7)), "sum"), "ATL", signs=0)
    net.add("plane", net.real(1, SAME, "stem"), "ATL", signs=0)
    net.signs = "stem.sign"
    net.add("spatial", net.binary(8, SAME), "PASL", skip="stem")
    net.add("channel", net.binary(8, SAME), "AMASAL", skip="spatial", multiply="mean")
    net.add("pixel", net.binary(8, SAME), "MAL", pool=TWO, multiply="plane")
    net.signs = "channel.sign"
    net.add("both", net.binary(8, SAME), "AHTMASL", skip="channel", multiply="channel")
    net.add("other", net.binary(8, SAME), "AP", store=False, pool=TWO)
    net.add("last", net.binary(6, SAME), "AL", sums=True)
    return net.finish(f"factors{seed}")


def gates(seed: int) -> Program:
    """Gates of both functions, and a second round behind one."""
    net = Chains.on(seed, (3, 8, 7), classes=3)
    net.add("stem", net.real(8, SAME), "AL", sums=True)
    net.add("soft", net.binary(8, SAME), "GSL", skip="stem", sums=True)
    net.add("hard", net.binary(12, HALF), "GAL", hard=True, sums=True)
    net.add("last", net.binary(6, SAME), "GL", sums=True)
    return net.finish(f"gates{seed}")


def signs(seed: int) -> Program:
    """Several sign maps of one value, stored or not, pooled or not."""
    net = Chains.on(seed, (3, 8, 7), classes=3)
    net.add("stem", net.real(8, SAME), "AL", signs=3)
    net.add("one", net.binary(8, SAME, source="stem.sign2"), "ASL", skip="stem", pool=TWO, signs=2)
    net.add("two", net.binary(5, SAME, source="one.sign1"), "A", store=False, signs=2)
    net.add("three", net.binary(8, SAME), "ASL", skip="one", signs=0)
    net.signs = "two.sign1"
    net.add("four", net.binary(6, SAME), "AL", sums=True, signs=0)
    return net.finish(f"signs{seed}")


def kernels(seed: int) -> Program:
    """Kernels of 1, 3 and 5 at strides 1 and 2, on widths that no group of pixels divides."""
    net = Chains.on(seed, (3, 11, 13), classes=3)
    net.add("stem", net.real(8, SAME), "AL")
    net.add("five", net.binary(8, Window((5, 5), (1, 1), (2, 2, 2, 2))), "ASL", skip="stem")
    net.add("half", net.binary(12, Window((5, 5), (2, 2), (2, 2, 2, 2))), "AL")
    net.add("three", net.binary(12, SAME), "ASL", skip="half")
    net.add("point", net.binary(6, Window((1, 1), (2, 2))), "AL")
    net.add("last", net.binary(5, THREE), "AL", sums=True)
    return net.finish(f"kernels{seed}")


FAMILIES: dict[str, Callable[[int], Program]] = {
    "vgg": vgg, "react": react, "mlp": mlp, "flat": flat, "lenet": lenet, "padded": padded,
    "moved": moved, "dense": dense, "grouped": grouped, "factors": factors, "gates": gates,
    "signs": signs,
}  # fmt: skip

__all__ = ["FAMILIES", "HALF", "Chains", "kernels"]
