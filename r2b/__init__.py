"""r2b: binary neural networks from PyTorch to a bit-exact FPGA accelerator."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r2b.compile import Options, Result, compile_model
    from r2b.ir.errors import UserError

__version__ = "0.1.0"
__all__ = ["Options", "Result", "UserError", "__version__", "compile_model"]

_HOMES = {
    "Options": "r2b.compile",
    "Result": "r2b.compile",
    "UserError": "r2b.ir.errors",
    "compile_model": "r2b.compile",
}


def __getattr__(name: str) -> Any:
    """Load what ``__all__`` names when it is asked for: ``import r2b`` stays without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'r2b' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
