"""r2b: binary neural networks from PyTorch to a bit-exact FPGA accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r2b.compile import Options, Result, compile_model
    from r2b.ir.errors import UserError

__version__ = "0.1.0"
__all__ = ["Options", "Result", "UserError", "__version__", "compile_model"]


def __getattr__(name: str) -> Any:
    """Load what `__all__` names when it is asked for: `import r2b` stays without torch."""
    if name not in __all__:
        raise AttributeError(f"module 'r2b' has no attribute {name!r}")
    from r2b import compile as compiling
    from r2b.ir import errors

    return getattr(errors if name == "UserError" else compiling, name)
