import numpy as np
import pytest

from r2b.ir.errors import Location
from r2b.ir.execute import STAGES, execute, logits
from r2b.ir.program import (
    Affine,
    BinaryConv,
    Contraction,
    FixedTensor,
    Head,
    MeanVector,
    Pool,
    Program,
    RealConv,
    Saturate,
    SignSink,
    Skip,
    Stage,
    Window,
)

INT = np.int64


def tiny():
    """One channel, 2x2: double the pixel less 10, sign it, add what the signs' neighbours say."""
    one = np.ones(1, INT)
    double = Affine(0 * one, np.array([[4], [4]]), np.array([[2], [2]]), 1)
    stem = Stage(
        "stem",
        Location("stem"),
        RealConv("frame", np.ones((1, 1, 1, 1), np.int8), Window((1, 1)), 10 * one),
        (1, 2, 2),
        epilogue=(double, Saturate(-128, 127)),
        tensor="stem",
        signs=(SignSink("bits", 1 + 0 * one, 0 * one),),
    )
    row = Stage(
        "row",
        Location("row"),
        BinaryConv("bits", np.ones((1, 1, 1, 3), np.uint8), Window((1, 3), padding=(0, 1, 0, 1))),
        (1, 2, 2),
        epilogue=(Skip("stem"), Saturate(-128, 127)),
        tensor="row",
        sums="row",
    )
    mean = MeanVector("row", 4, 1, one, 0 * one, 1)
    head = Head("head", Location("head"), mean, np.array([[1], [-2]], np.int8), np.array([0, 7]))
    tensors = {name: FixedTensor((1, 2, 2), np.ones(1)) for name in ("stem", "row")}
    return Program("tiny", (1, 2, 2), 8, tensors, {"bits": (1, 2, 2)}, (stem, row), head, 1.0)


def test_a_program_by_hand():
    trace = execute(tiny(), np.array([[[[10, 11], [9, 255]]]], np.uint8))
    assert trace.tensors["stem"].tolist() == [[[[1, 3], [-1, 127]]]]
    assert trace.signs["bits"].tolist() == [[[[1, 1], [0, 1]]]]
    assert trace.tensors["row"].tolist() == [[[[3, 5], [-1, 127]]]]
    assert trace.sums["row"].tolist() == [[134]]
    # m = (134 * 4 + 1) >> 1 = 268, z = (268 + 1) >> 1 = 134
    assert trace.logits.tolist() == [[134, 7 - 268]]
    assert trace.logits.dtype == np.int32


def test_logits_do_not_depend_on_the_batch():
    frames = np.random.default_rng(0).integers(0, 256, (7, 1, 2, 2), dtype=np.uint8)
    expected = execute(tiny(), frames).logits
    assert (logits(tiny(), frames, batch=3) == expected).all()
    assert logits(tiny(), frames[:0]).shape == (0, 2)


def test_every_contraction_has_a_stage_function():
    assert set(STAGES) == set(Contraction.__args__)
    assert Pool in STAGES


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        (np.zeros((1, 1, 2, 2)), TypeError, "^frames must be uint8, not float64$"),
        (
            np.zeros((1, 2, 2), np.uint8),
            ValueError,
            "^frames must be N x 1 x 2 x 2, not 1 x 2 x 2$",
        ),
        (np.zeros((1, 1, 2, 3), np.uint8), ValueError, "not 1 x 1 x 2 x 3$"),
    ],
)
def test_wrong_frames(frames, error, message):
    with pytest.raises(error, match=message):
        execute(tiny(), frames)
