"""Operations of every contraction and step, counted by hand."""

import numpy as np
import pytest

from r2b.backends.cost.ops import Ops, source_shape, source_shapes, stage_ops
from r2b.ir.errors import Location
from r2b.ir.program import (
    BinaryConv,
    Concat,
    Contraction,
    FixedTensor,
    Flatten,
    Head,
    Identity,
    MeanVector,
    Multiply,
    Pad,
    Pool,
    Program,
    RealConv,
    SpatialScale,
    Stage,
    Window,
)

ONE = np.ones(1, np.int64)
WIDE = Window((3, 3), padding=(1, 1, 1, 1))


def program(stage):
    mean = MeanVector("t", 1, 1, ONE, ONE, 1)
    head = Head("head", Location(), mean, np.ones((2, 1), np.int8), np.zeros(2, np.int64))
    tensors = {"t": FixedTensor((2, 4, 4), np.ones(2))}
    return Program("p", (3, 6, 6), 8, tensors, {"s": (5, 4, 4)}, (stage,), head, 1.0)


def stage(part, shape, steps=(), pool=None):
    return Stage("a", Location(), part, shape, epilogue=steps, pool=pool)


def binary(padding_value):
    return BinaryConv("s", np.ones((2, 5, 3, 3), np.uint8), WIDE, padding_value=padding_value)


REAL = RealConv("s", np.ones((2, 5, 3, 3), np.int8), WIDE, np.zeros(5, np.int64))
CASES = {
    "binary": (binary(0), (2, 4, 4), Ops(binary=1440, binary_executed=1000)),
    "binary padded with -1": (binary(-1), (2, 4, 4), Ops(binary=1440, binary_executed=1440)),
    "real on signs": (REAL, (2, 4, 4), Ops(real=1440, real_executed=1000)),
    "pool": (Pool("t", Window((2, 2)), "max"), (2, 3, 3), Ops()),
    "identity": (Identity("frame"), (3, 6, 6), Ops()),
    "pad": (Pad("t", (1, 0, 0, 1), ONE), (2, 5, 5), Ops()),
    "concat": (Concat(("t", "s")), (7, 4, 4), Ops()),
    "flatten": (Flatten("t"), (32, 1, 1), Ops()),
}


@pytest.mark.parametrize("name", CASES)
def test_contractions(name):
    part, shape, expected = CASES[name]
    made = stage(part, shape)
    assert stage_ops(program(made), made) == expected


def test_the_cases_cover_every_contraction():
    assert {type(part) for part, _, _ in CASES.values()} == set(Contraction.__args__)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("pool", [None, Window((2, 2), (2, 2))])
def test_products_with_factors_are_one_for_each_value_before_pooling(name, pool):
    part, shape, contraction = CASES[name]
    if pool is not None:
        rows, cols = (1, 1) if shape[1:] == (1, 1) else pool.output_size(*shape[1:])
        shape, values = (shape[0], rows, cols), int(np.prod(shape))
    else:
        values = int(np.prod(shape))
    made = stage(part, shape, (Multiply("t", 1), SpatialScale(np.ones((1, 1, 1)), 1)), pool)
    extra = Ops(real=2 * values, real_executed=2 * values)
    assert stage_ops(program(made), made) == contraction + extra


def test_sources_of_a_concat():
    made = stage(Concat(("t", "s")), (7, 4, 4))
    assert source_shapes(program(made), made) == ((2, 4, 4), (5, 4, 4))
    assert source_shape(program(made), made) == (7, 4, 4)
