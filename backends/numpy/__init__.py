"""The NumPy backend: a Program as readable Python that needs NumPy and nothing else."""

from r2b.backends.numpy.emit import REFERENCE_FILE, emit

__all__ = ["REFERENCE_FILE", "emit"]
