"""The gallery as its users have it: its folder, and that of the benchmark, on the path."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def _paths():
    folders = [str(ROOT / "examples" / "gallery"), str(ROOT / "benchmarks")]
    sys.path[:0] = folders
    yield
    for folder in folders:
        sys.path.remove(folder)


@pytest.fixture(scope="session")
def registry(_paths):
    return importlib.import_module("registry")


@pytest.fixture(scope="session")
def pictures(_paths):
    return importlib.import_module("pictures").pictures


@pytest.fixture(scope="session")
def checks(_paths):
    return importlib.import_module("gallery_checks")


@pytest.fixture(scope="session")
def table(_paths):
    return importlib.import_module("gallery")
