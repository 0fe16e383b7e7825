"""r2b: binary neural networks from PyTorch to a bit-exact FPGA accelerator.

>>> import r2b
>>> result = r2b.compile(module, example_input, target="fpga", calibration=frames, output="net.r2b")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r2b.compiler import Result
    from r2b.compiler import compile_network as compile
    from r2b.ir.errors import UserError
    from r2b.options import Options

__version__ = "0.1.0"
__all__ = ["Options", "Result", "UserError", "__version__", "compile"]

_HOMES = {
    "Options": ("r2b.options", "Options"),
    "Result": ("r2b.compiler", "Result"),
    "UserError": ("r2b.ir.errors", "UserError"),
    "compile": ("r2b.compiler", "compile_network"),
}


def __getattr__(name: str) -> Any:
    """Load what ``__all__`` names when it is asked for: ``import r2b`` stays without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'r2b' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
