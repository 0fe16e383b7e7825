"""What was made of an object is not made again while the object lives.

A search evaluates one Program under thousands of Plans, and most of what a Plan implies depends on
few of its parameters. Programs, stages and geometries never change, so identity is enough. What is
kept hangs on the object itself: what was made of it may refer to it, and both go together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")
MOST = 256
"""Results of a kind that are kept per object; the one used longest ago goes first."""
PLACE = "_remembered"
"""Entry of the object's ``__dict__``."""


class Kept(dict[str, "OrderedDict[Hashable, Any]"]):
    """Kind -> key -> result, of one object; a copy of the object, or a pickle, begins anew.

    Parameters
    ----------
    owner : int
        Identity of the object.
    """

    def __init__(self, owner: int = 0) -> None:
        super().__init__()
        self.owner = owner

    def __deepcopy__(self, memo: dict[int, Any]) -> Kept:
        return Kept()

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()


def remember(
    owner: object, kind: str, key: Hashable, make: Callable[[], Made], most: int = MOST
) -> Made:
    """What ``make()`` gave for this object, kind and key.

    Parameters
    ----------
    owner : object
        What it is made of; it must not change, and has a ``__dict__``.
    kind : str
        What it is.
    key : hashable
        Everything else it depends on.
    make : callable
    most : int
        Results of this kind that are kept at a time.
    """
    kept = owner.__dict__.get(PLACE)
    if kept is None or kept.owner != id(owner):
        kept = owner.__dict__[PLACE] = Kept(id(owner))  # past a frozen dataclass's own guard
    known = kept.setdefault(kind, OrderedDict())
    if key in known:
        known.move_to_end(key)
        return known[key]
    made = known[key] = make()
    if len(known) > most:
        known.popitem(last=False)
    return made
