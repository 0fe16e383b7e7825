"""Random small canonical Graphs from a recipe: every canonical operation, in any combination.

A recipe is a list of (kind, seed), which shrinks well: each step appends an operation to the value
at hand or joins it with an earlier one; a step that does not fit the shapes does nothing.
"""

import networks
import numpy as np

from r2b.ir import ops
from r2b.ir.types import DType

KINDS = [
    "conv",
    "binary",
    "norm",
    "prelu",
    "relu",
    "hardtanh",
    "sigmoid",
    "activation",
    "sign",
    "add",
    "scale",
    "select",
    "spatial",
    "gate",
    "excite",
    "max",
    "avg",
    "mean",
    "pad",
    "concat",
    "flatten",
    "dense",
    "earlier",
]
ENDS = ["means", "flat", "vector", "binary", "scores", "softmax", "map"]
ACTIVATIONS = ["tanh", "hardsigmoid", "hardswish", "silu", "elu", "softplus", "gelu"]


class Grower(networks.Builder):
    """Appends what a recipe says."""

    def __init__(self, shape, seed=0):
        super().__init__(shape, seed)
        self.rest = ["x"]

    @property
    def type(self):
        return self.graph[self.last].type

    @property
    def is_map(self):
        return len(self.type.shape) == 4

    def grow(self, kind, seed):
        self.rng = np.random.default_rng(seed)
        getattr(self, f"_{kind}")()
        if self.last != self.rest[-1]:
            self.rest.append(self.last)

    def one(self, op, *operands):
        self.put(op, *(operands or (self.last,)), path=f"n{len(self.graph)}.{type(op).__name__}")

    def window(self):
        """Kernel, stride and padding that fit the image."""
        size = self.type.shape[2:]
        kernel = tuple(int(self.rng.integers(1, min(3, s) + 1)) for s in size)
        stride = tuple(int(self.rng.integers(1, 3)) for _ in size)
        padding = tuple(int(self.rng.integers(0, kernel[i % 2] // 2 + 1)) for i in range(4))
        return kernel, stride, padding

    def width(self):
        return int(self.rng.choice([2, 4, 6]))

    def _conv(self):
        if not self.is_map:
            return self._dense()
        kernel, stride, padding = self.window()
        channels, width = self.type.channels, self.width()
        groups = 2 if channels % 2 == 0 and self.rng.integers(4) == 0 else 1
        shape = (width, channels // groups, *kernel)
        weight = self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        bias = self.rng.normal(size=width) if self.rng.integers(2) else None
        return self.one(ops.Conv2d(weight, bias, stride, padding, groups=groups))

    def _sign(self):
        if self.type.dtype is not DType.BIPOLAR:
            self.one(ops.Sign(int(self.rng.choice([-1, 0, 1]))))

    def _scales(self, width):
        if self.rng.integers(3) == 0:
            return np.ones(width)
        return self.rng.uniform(0.05, 0.3, width) * self.rng.choice([-1, 1], width)

    def _binary(self):
        self._sign()
        width, channels = self.width(), self.type.channels
        if not self.is_map:
            weight = self.rng.choice([-1, 1], (width, channels))
            return self.one(ops.BinaryLinear(weight, self._scales(width)))
        kernel, stride, padding = self.window()
        weight = self.rng.choice([-1, 1], (width, channels, *kernel))
        value = int(self.rng.choice([-1, 0, 1]))
        op = ops.BinaryConv2d(weight, self._scales(width), stride, padding, padding_value=value)
        return self.one(op)

    def _norm(self):
        count = self.type.channels
        gamma = self.rng.uniform(0.5, 1.5, count) * self.rng.choice([-1, 1], count)
        beta, mean = self.rng.normal(size=(2, count)) * 0.3
        self.one(ops.BatchNorm(gamma, beta, mean, self.rng.uniform(0.2, 2, count)))

    def _prelu(self):
        self.one(ops.PRelu(self.rng.uniform(-0.5, 0.5, self.type.channels)))

    def _relu(self):
        self.one(ops.Relu())

    def _hardtanh(self):
        bounds = [(-1.0, 1.0), (0.0, 0.75), (-np.inf, 0.5), (-0.25, np.inf)]
        self.one(ops.Hardtanh(*bounds[self.rng.integers(4)]))

    def _sigmoid(self):
        self.one(ops.Sigmoid())

    def _activation(self):
        self.one(ops.Activation(str(self.rng.choice(ACTIVATIONS))))

    def _partner(self, fits):
        found = [name for name in self.rest if fits(self.graph[name].type)]
        return found[self.rng.integers(len(found))] if found else None

    def _add(self):
        other = self._partner(lambda found: found.shape == self.type.shape)
        if other:
            self.one(ops.Add(), self.last, other)

    def _scale(self):
        def fits(found):
            pairs = zip(found.shape, self.type.shape, strict=False)
            return len(found.shape) == 4 and all(f in (1, s) for f, s in pairs)

        if self.is_map and (other := self._partner(fits)):
            self.one(ops.Scale(), self.last, other)

    def _spatial(self):
        if self.is_map:
            factor = self.rng.uniform(0.2, 1.5, self.type.shape[1:])
            self.one(ops.SpatialScale(factor * self.rng.choice([-1, 1, 1, 1], factor.shape)))

    def _gate_op(self, inputs, outputs):
        function = str(self.rng.choice(["sigmoid", "hardsigmoid"]))
        fc1, fc2 = self.rng.normal(size=(3, inputs)), self.rng.normal(size=(outputs, 3))
        return ops.Gate(fc1, self.rng.normal(size=3), fc2, None, function)

    def _gate(self):
        """Scale by a gate that reads an earlier map."""
        other = self._partner(lambda found: len(found.shape) == 4)
        if self.is_map and other:
            value, inputs = self.last, self.graph[other].type.channels
            self.one(self._gate_op(inputs, self.type.channels), other)
            self.one(ops.Scale(), value, self.last)

    def _excite(self):
        """Scale by a gate that reads the same map."""
        if self.is_map:
            value, channels = self.last, self.type.channels
            self.one(self._gate_op(channels, channels))
            self.one(ops.Scale(), value, self.last)

    def _max(self):
        if self.is_map:
            self.one(ops.MaxPool2d(*self.window()))

    def _avg(self):
        if self.is_map:
            self.one(ops.AvgPool2d(*self.window(), bool(self.rng.integers(2))))

    def _mean(self):
        if self.is_map and self.rng.integers(3) == 0:
            self.one(ops.GlobalAvgPool())

    def _pad(self):
        if self.is_map and max(self.type.shape[2:]) < 9:
            padding = tuple(int(p) for p in self.rng.integers(0, 2, 4))
            self.one(ops.Pad(padding, float(self.rng.choice([-1, 0, 0.5, 1]))))

    def _concat(self):
        def fits(found):
            alike = len(found.shape) == len(self.type.shape)
            return alike and found.shape[2:] == self.type.shape[2:]

        if (other := self._partner(fits)) and self.type.channels < 40:
            self.one(ops.Concat(), self.last, other)

    def _select(self):
        """Some channels in any order, some of them 0, of a part of the image."""
        if not self.is_map:
            return
        channels, *size = self.type.shape[1:]
        lowest = 0 if self.rng.integers(2) else -1
        chosen = tuple(int(c) for c in self.rng.integers(lowest, channels, self.width()))
        start = tuple(int(self.rng.integers(0, min(2, s))) for s in size)
        step = tuple(int(self.rng.integers(1, 3)) for _ in size)
        most = [(s - f - 1) // t + 1 for s, f, t in zip(size, start, step, strict=True)]
        kept = tuple(int(self.rng.integers(max(1, m - 1), m + 1)) for m in most)
        self.one(ops.Select(chosen, start, step, kept))

    def _flatten(self):
        if self.is_map and self.rng.integers(3) == 0:
            self.one(ops.Flatten())

    def _dense(self):
        if not self.is_map:
            width, inputs = self.width(), self.type.channels
            weight = self.rng.normal(size=(width, inputs)) / np.sqrt(inputs)
            self.one(ops.Linear(weight, self.rng.normal(size=width)))

    def _earlier(self):
        self.last = self.rest[self.rng.integers(len(self.rest))]

    # ------------------------------------------------------------------------------------- ends

    def finish(self, end):
        getattr(self, f"_end_{end}")()
        self.put(ops.Output(), self.last)
        return self.graph

    def _flat(self):
        if self.is_map:
            self.one(ops.Flatten())

    def _end_means(self):
        if self.is_map:
            self.one(ops.GlobalAvgPool())
        self._end_flat()

    def _end_flat(self):
        self._flat()
        self._dense()

    def _end_vector(self):
        self._flat()

    def _end_binary(self):
        self._flat()
        self._binary()
        self._norm()

    def _end_scores(self):
        if self.is_map:
            self.one(ops.GlobalAvgPool())

    def _end_map(self):
        self._conv()
        self._end_scores()

    def _end_softmax(self):
        self._end_means()
        self.one(ops.Softmax(bool(self.rng.integers(2))))


def grow(shape, recipe, end, seed=0):
    """Graph of a recipe."""
    grower = Grower(shape, seed)
    for kind, number in recipe:
        grower.grow(kind, number)
    return grower.finish(end)
