"""The validation part of a train part."""

import numpy as np
import pytest

from r2b.train.data.splits import hold_out

RANDOM = np.random.default_rng(6)
LABELS = RANDOM.permutation(np.repeat([0, 1, 2, 5], [500, 40, 7, 2]))


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.1, [50, 4, 1, 1]), (0.5, [250, 20, 4, 1]), (1.0, [499, 39, 6, 1])]
)
def test_shares(fraction, counts):
    train, validation = hold_out(LABELS, fraction)
    assert [int((LABELS[validation] == label).sum()) for label in (0, 1, 2, 5)] == counts
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), range(len(LABELS)))


def test_always_the_same():
    _, validation = hold_out(np.repeat([0, 1], 20), 0.2)
    assert validation.tolist() == [4, 6, 9, 12, 20, 31, 35, 39]


def test_not_the_first_ones():
    train, validation = hold_out(np.zeros(1000, np.int64), 0.1)
    assert validation.min() < 100 < 900 < validation.max()
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(validation) > 0)


def test_does_not_touch_numpys_own_numbers():
    np.random.seed(1)
    wanted = np.random.randint(0, 1000, 8).tolist()
    np.random.seed(1)
    hold_out(LABELS, 0.1)
    assert np.random.randint(0, 1000, 8).tolist() == wanted
