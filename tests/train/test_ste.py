"""The sign and its straight-through estimators, each against its definition."""

import re

import numpy as np
import pytest
import torch

from r2b.train.ste import GRADIENTS, binarize, sign

POINTS = [-2.0, -1.5, -1.0, -0.75, -0.0, 0.0, 0.25, 1.0, 1.25, 3.0]

DEFINITIONS = {
    "clipped": lambda x: np.where(np.abs(x) <= 1, 1.0, 0.0),
    "identity": np.ones_like,
    "polynomial": lambda x: np.where(np.abs(x) >= 1, 0.0, np.where(x < 0, 2 + 2 * x, 2 - 2 * x)),
}


def test_every_estimator_has_a_definition_here():
    assert set(DEFINITIONS) == set(GRADIENTS)


def test_sign_of_zero_is_plus_one():
    x = torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-30, 2.0])
    assert sign(x).tolist() == [-1, -1, 1, 1, 1, 1]


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradient_is_the_upstream_one_times_the_estimator(gradient):
    x = torch.tensor(POINTS, requires_grad=True)
    upstream = torch.arange(1.0, len(POINTS) + 1)
    sign(x, gradient).backward(upstream)
    expected = upstream.numpy() * DEFINITIONS[gradient](np.array(POINTS))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_value_does_not_depend_on_the_estimator(gradient):
    x = torch.tensor(POINTS)
    assert torch.equal(sign(x, gradient), sign(x))


def test_polynomial_is_the_derivative_of_approx_sign():
    """Bi-Real Net: F(x) = 2x + x*x below 0, 2x - x*x above, +-1 outside -1..1."""

    def approx_sign(x):
        inside = np.where(x < 0, 2 * x + x * x, 2 * x - x * x)
        return np.where(np.abs(x) > 1, np.sign(x), inside)

    points, step = np.linspace(-1.9, 1.9, 77), 1e-6
    slope = (approx_sign(points + step) - approx_sign(points - step)) / (2 * step)
    x = torch.tensor(points, requires_grad=True)
    sign(x, "polynomial").sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), slope, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sign_keeps_the_type(dtype):
    x = torch.tensor([-1.0, 2.0], dtype=dtype, requires_grad=True)
    y = sign(x)
    y.sum().backward()
    assert (y.dtype, y.tolist()) == (dtype, [-1, 1])
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_unknown_estimator():
    text = "gradient must be one of clipped, identity, polynomial, not 'swish'"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        sign(torch.zeros(1), "swish")


def test_binarize_off_tanh_sign():
    x = torch.tensor(POINTS)
    assert binarize(x, "off") is x
    np.testing.assert_allclose(binarize(x, "tanh").numpy(), np.tanh(POINTS), rtol=1e-6)
    assert torch.equal(binarize(x, "sign"), sign(x))
