"""Networks of the zoo, each imported once for all tests of a worker."""

from __future__ import annotations

import warnings
from functools import cache

import pytest

from r2b.frontend.loading import import_structure
from r2b.ir.written import Written, written
from r2b.train import zoo


@cache
def _written(name: str) -> Written:
    network = zoo.build(name).eval()
    return written(import_structure(network, network.input_shape))


@pytest.fixture
def zoo_network():
    """Give a network of the zoo, as its author wrote it, by name."""
    return _written


@pytest.fixture
def others():
    """Give the counters of others; both use what PyTorch has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis
        from ptflops import get_model_complexity_info

        yield FlopCountAnalysis, get_model_complexity_info
