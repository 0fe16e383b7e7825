"""What ``torch.export`` does not follow by itself, followed while a module's forward runs.

Three things are added, all by a torch function mode that sees every call before the tracer does:

* **Assignments to** ``.data``. The right side stands for the tensor from there on: a table says
  which tensor is meant now, and every later call is given that one. Reading ``.data`` is a
  ``detach``.
* **Values of parameters.** Beside each traced tensor that depends on parameters, buffers and
  constants only, its real value is kept. ``if self.flag:``, ``float(temperature)``, ``.item()``
  read the real value; a tracer knows shapes only.
* **Gradient modes.** ``torch.no_grad()`` and autocast take effect and leave no node behind.

What reads the value of a frame (a branch on it, say) is refused with the place in the user's code.
"""

# pyright: reportPrivateUsage=false
# the modes that trace are PyTorch's own machinery; it has no public way to leave them for a while

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from r2b.frontend.locations import source_of_frame
from r2b.ir.errors import Location, UnsupportedOpError

_READS = frozenset(
    [
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
        "__complex__",
        "__array__",
        "__contains__",
        "item",
        "tolist",
        "numpy",
        "equal",
        "allclose",
        "is_nonzero",
    ]
)
"""Functions that turn values of a tensor into something that is no tensor."""

_FACTORIES = frozenset(
    [
        "tensor",
        "as_tensor",
        "scalar_tensor",
        "from_numpy",
        "ones",
        "zeros",
        "full",
        "arange",
        "linspace",
        "eye",
    ]
)
"""Functions that make a tensor from numbers."""

_RANDOM = frozenset(
    [
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "rand_like",
        "randn_like",
        "randint_like",
        "bernoulli",
        "multinomial",
        "poisson",
        "dropout",
        "alpha_dropout",
        "feature_dropout",
        "dropout1d",
        "dropout2d",
        "dropout3d",
        "rrelu",
        "uniform",
        "random",
        "exponential",
        "geometric",
        "log_normal",
        "cauchy",
        "gumbel_softmax",
    ]
)
"""Functions, without a trailing underscore, whose result is not the same each time."""

_DATA: Any = torch.Tensor.data
_GRADIENT_MODES = (
    torch._C._set_grad_enabled,
    torch.amp.autocast_mode._enter_autocast,
    torch.amp.autocast_mode._exit_autocast,
)


class FrameValueError(UnsupportedOpError):
    """The forward pass needs the value of a frame to go on."""


@contextmanager
def follow(module: nn.Module) -> Iterator[None]:
    """Let a module's forward be traced with the help this module's text tells of.

    The forward leaves no trace in the module: attributes, parameters and buffers that it binds anew
    are put back after every run.

    Parameters
    ----------
    module : nn.Module
        A copy that nobody else uses.
    """
    _register_tensors(module)
    real = {name: tensor.detach().clone() for name, tensor in tensors_of(module)}
    notes = {name: dict(vars(tensor)) for name, tensor in tensors_of(module)}
    inner = module.forward

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:
        with _unchanged(module), _Follower(module, real, notes):
            return inner(*args, **kwargs)

    # not setattr: a module checks what it is given, and the class keeps its own method
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]


def tensors_of(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and buffers with their names, each as often as it has names."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _register_tensors(module: nn.Module) -> None:
    """Make buffers of plain tensors that a module holds: the tracer lets only those be changed."""
    for part in module.modules():
        held = vars(part)
        for name in [name for name, value in held.items() if isinstance(value, torch.Tensor)]:
            part._buffers[name] = held.pop(name)
            part._non_persistent_buffers_set.add(name)


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Put back what a forward binds anew in the module or one inside it."""
    parts = list(module.modules())
    before = [(vars(part), dict(vars(part))) for part in parts]
    tables: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (table, dict(table))
        for part in parts
        for table in (vars(part)[name] for name in ("_parameters", "_buffers", "_modules"))
    ]
    try:
        yield
    finally:
        for table, content in [*before, *tables]:
            table.clear()
            table.update(content)


class _Follower(TorchFunctionMode):
    """The torch function mode of :func:`follow`, for one run of the forward.

    Parameters
    ----------
    module : nn.Module
    real : mapping
        Value of each parameter and buffer.
    notes : mapping
        Attributes that the user's code has put on each of them; the tracer's tensors have none.
    """

    def __init__(
        self,
        module: nn.Module,
        real: Mapping[str, torch.Tensor],
        notes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        super().__init__()
        self.paths = {id(part): name for name, part in module.named_modules()}
        # both tables hold the tensor too: a number is an identity only while its object lives
        self.meant: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.real: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        for name, traced in tensors_of(module):
            self._know(traced, _really(torch.clone, (real[name],), {}))
            vars(traced).update(notes[name])

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Follow one call."""
        if func in _GRADIENT_MODES:
            with torch._C.DisableTorchFunction():
                return func(*args, **(kwargs or {}))
        if func == _DATA.__set__:
            return self._assign(args[0], args[1])
        if func == _DATA.__get__:
            func, args = torch.Tensor.detach, args[:1]
        args, kwargs = pytree.tree_map_only(torch.Tensor, self._current, (args, kwargs or {}))
        name = getattr(func, "__name__", "")
        known = self._known(name, args, kwargs)
        if name in _READS:
            if known is None:
                raise FrameValueError(self._refusal(name))
            return _really(func, *known)
        return self._call(func, name, known, args, kwargs)

    def _call(self, func: Any, name: str, known: Any, args: Any, kwargs: Any) -> Any:
        """Call the tracer, and beside it compute the real value where it is known."""
        if known is None:
            if _changes(name) or "out" in kwargs:
                self._forget([*args[:1], *pytree.tree_leaves(kwargs.get("out"))])
            return func(*args, **kwargs)
        value = _really(func, *known)
        try:
            result = func(*args, **kwargs)
        except Exception:
            if _changes(name):
                raise
            # such as a shape that depends on a parameter's values
            return pytree.tree_map_only(torch.Tensor, self._constant, value)
        return self._paired(result, value)

    def _paired(self, result: Any, value: Any) -> Any:
        """Note the real value of each tensor of a result."""
        traced, layout = pytree.tree_flatten(result)
        values = pytree.tree_leaves(value)
        if len(traced) != len(values):
            return result
        return pytree.tree_unflatten(
            [self._know(one, other) for one, other in zip(traced, values, strict=True)], layout
        )

    def _know(self, traced: Any, value: Any) -> Any:
        if not isinstance(traced, torch.Tensor) or not isinstance(value, torch.Tensor):
            return traced
        if not all(isinstance(size, int) for size in traced.shape):
            return self._constant(value)
        self.real[id(traced)] = (traced, value)
        return traced

    def _constant(self, value: torch.Tensor) -> torch.Tensor:
        constant = _really(torch.clone, (value,), {})
        self.real[id(constant)] = (constant, value)
        return constant

    def _current(self, tensor: torch.Tensor) -> torch.Tensor:
        while id(tensor) in self.meant:
            tensor = self.meant[id(tensor)][1]
        return tensor

    def _assign(self, tensor: torch.Tensor, value: torch.Tensor) -> None:
        """Let a tensor mean another from now on, as an assignment to ``.data`` does."""
        value = self._current(value)
        if value is self._current(tensor):
            return
        with self:
            # a tensor of its own: a later assignment to the right side must not reach this one
            self.meant[id(tensor)] = (tensor, value.detach())

    def _known(self, name: str, args: Any, kwargs: Any) -> Any:
        """Give the arguments with real values, or None where one depends on the frames."""
        leaves = pytree.tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if name.rstrip("_") in _RANDOM or any(isinstance(leaf, torch.SymInt) for leaf in leaves):
            return None
        if not tensors and name not in _FACTORIES:
            return None
        if not all(self._is_known(tensor) for tensor in tensors):
            return None
        return pytree.tree_map_only(torch.Tensor, self._value, (args, kwargs))

    def _is_known(self, tensor: torch.Tensor) -> bool:
        if id(tensor) not in self.real and not isinstance(tensor, FakeTensor):
            self.real[id(tensor)] = (tensor, _really(torch.clone, (tensor,), {}))
        return id(tensor) in self.real

    def _value(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.real[id(tensor)][1]

    def _forget(self, changed: list[Any]) -> None:
        """Drop the values of tensors that share memory with one that now depends on the frames."""
        for tensor in changed:
            if id(tensor) in self.real:
                memory = _memory(self._value(tensor))
                self.real = {
                    key: entry for key, entry in self.real.items() if _memory(entry[1]) != memory
                }

    def _refusal(self, name: str) -> str:
        reads = "a branch on a value" if name == "__bool__" else f"{name.strip('_')}()"
        return (
            f"{reads} that depends on the frames, at {self._place()}: a network must be one "
            "straight computation for every frame. Supported: tensor operations on the frames, and "
            "branches and numbers made from parameters, buffers and shapes. Write a branch on a "
            "frame's values with torch.where."
        )

    def _place(self) -> Location:
        """Innermost module that is running, and the user's line."""
        frame, path, source = sys._getframe(), None, ""
        while frame is not None and path is None:
            source = source or source_of_frame(frame.f_code.co_filename, frame.f_lineno)
            path = self.paths.get(id(frame.f_locals.get("self")))
            frame = frame.f_back
        return Location(path or "", source)


def _changes(name: str) -> bool:
    return name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _really(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function on real tensors, out of sight of the tracer."""
    with torch._C.DisableTorchFunction(), _disable_current_modes(), torch.no_grad():
        return func(*args, **kwargs)
