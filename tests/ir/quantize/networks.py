"""Small canonical Graphs with random parameters, for the tests of this folder."""

import numpy as np

from r2b.ir import ops
from r2b.ir.errors import Location
from r2b.ir.graph import Graph


class Builder:
    """Appends operations with random parameters; each method returns the new node's name."""

    def __init__(self, shape, seed=0):
        self.graph = Graph("sample")
        self.rng = np.random.default_rng(seed)
        self.last = self.graph.add(ops.Input((1, *shape)), name="x").name

    def channels(self, name):
        return self.graph[name].type.shape[1]

    def put(self, op, *operands, path=""):
        name = path.replace(".", "_") or type(op).__name__.lower()
        self.last = self.graph.add(op, operands, name=name, location=Location(path, "m.py:1")).name
        return self.last

    def conv(self, x, width, kernel=3, path="conv", **options):
        groups = options.get("groups", 1)
        shape = (width, self.channels(x) // groups, kernel, kernel)
        weight = self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return self.put(ops.Conv2d(weight, **options), x, path=path)

    def norm(self, x, path="norm", gamma=None):
        count = self.channels(x)
        gamma = (
            self.rng.uniform(0.5, 1.5, count) * self.rng.choice([-1, 1], count)
            if gamma is None
            else gamma
        )
        beta, mean = self.rng.normal(size=(2, count)) * 0.3
        return self.put(
            ops.BatchNorm(gamma, beta, mean, self.rng.uniform(0.2, 2, count)), x, path=path
        )

    def prelu(self, x, path="act"):
        return self.put(ops.PRelu(self.rng.uniform(0.1, 0.5, self.channels(x))), x, path=path)

    def binary(self, x, width, kernel=3, path="bconv", scale=None, zero=1, **options):
        sign = self.put(ops.Sign(zero), x, path=path)
        shape = (width, self.channels(x) // options.get("groups", 1), kernel, kernel)
        weight = self.rng.choice([-1, 1], shape).astype(np.int8)
        scale = (
            self.rng.uniform(0.05, 0.3, width) * self.rng.choice([-1, 1], width)
            if scale is None
            else scale
        )
        return self.put(ops.BinaryConv2d(weight, scale, **options), sign, path=path)

    def gate(self, x, operand, path="gate"):
        width, inputs = self.channels(x), self.channels(operand)
        fc1, fc2 = self.rng.normal(size=(4, inputs)), self.rng.normal(size=(width, 4))
        op = ops.Gate(fc1, self.rng.normal(size=4) * 0.1, fc2, None)
        return self.put(ops.Scale(), x, self.put(op, operand, path=path), path=path)

    def half_block(self, x, path, width=None, stride=1, gated=True):
        """Batch norm, sign, binary convolution, gate, PReLU, skip."""
        width = width or self.channels(x)
        normal = self.norm(x, f"{path}.norm")
        y = self.binary(
            normal, width, path=f"{path}.conv", stride=(stride, stride), padding=(1,) * 4
        )
        y = self.gate(y, normal, f"{path}.gate") if gated else y
        y = self.prelu(y, f"{path}.act")
        skip = x
        if stride > 1:
            skip = self.put(ops.AvgPool2d((2, 2), (2, 2)), x, path=f"{path}.pool")
            skip = self.norm(self.conv(skip, width, 1, f"{path}.shortcut"), f"{path}.shortnorm")
        return self.put(ops.Add(), y, skip, path=path)

    def stem(self, width=6, kernel=3):
        """Conv, batch norm, PReLU, max pool."""
        x = self.conv("x", width, kernel, "stem", padding=(kernel // 2,) * 4)
        x = self.prelu(self.norm(x, "stem.norm"), "stem.act")
        return self.put(ops.MaxPool2d((3, 3), (2, 2), (1, 1, 1, 1)), x, path="stem.pool")

    def head(self, x, classes=5):
        x = self.put(
            ops.Flatten(), self.put(ops.GlobalAvgPool(), x, path="head.pool"), path="head.flat"
        )
        weight = self.rng.normal(size=(classes, self.graph[x].type.shape[1]))
        x = self.put(ops.Linear(weight, self.rng.normal(size=classes)), x, path="head")
        self.put(ops.Output(), x)
        return self.graph


def frames(shape, count=6, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def paper(seed=0, width=6, gated=True):
    """Stem, two half blocks, a strided one, one more."""
    b = Builder((2, 9, 8), seed)
    x = b.half_block(b.stem(width), "b1", gated=gated)
    x = b.half_block(x, "b2", gated=gated)
    b2 = b.put(ops.MaxPool2d((2, 1), (1, 1)), x, path="even")
    x = b.half_block(b2, "b3", width + 4, stride=2, gated=gated)
    return b.head(b.half_block(x, "b4", gated=gated))


def bi_real(seed=0):
    """Conv, batch norm, skip; grouped binary convolutions; activation behind the skip."""
    b = Builder((1, 8, 8), seed)
    x = b.stem(6)
    y = b.norm(b.binary(x, 6, path="c1", padding=(1,) * 4, groups=2), "n1")
    x = b.prelu(b.put(ops.Add(), y, x, path="a1"), "p1")
    y = b.norm(b.binary(b.norm(x, "n2"), 6, path="c2", padding=(1,) * 4), "n3")
    x = b.put(ops.Relu(), b.put(ops.Add(), y, x, path="a2"), path="r2")
    return b.head(x)


def plain(seed=0):
    """No skip: batch norm and sign right behind binary convolutions, pooling, hardtanh."""
    b = Builder((1, 10, 10), seed)
    x = b.put(ops.Hardtanh(-1.0, 1.0), b.norm(b.conv("x", 4, path="c0"), "n0"), path="h0")
    x = b.norm(b.binary(x, 8, path="c1"), "n1")
    x = b.binary(x, 8, path="c2", padding=(1, 0, 0, 1))
    x = b.norm(b.put(ops.MaxPool2d((2, 2), (2, 2)), x, path="m2"), "n2")
    x = b.norm(b.binary(x, 6, 2, path="c3"), "n3")
    return b.head(b.put(ops.Relu(), x, path="r3"))


SAMPLES = {
    "paper": paper,
    "static": lambda seed=0: paper(seed, gated=False),
    "bi-real": bi_real,
    "plain": plain,
}
