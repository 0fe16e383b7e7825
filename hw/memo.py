"""What was made of an object is not made again while the object lives.

A search evaluates one Program under thousands of Plans, and most of what a Plan implies depends on
few of its parameters. Programs, stages and geometries never change, so identity is enough.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

Made = TypeVar("Made")
MOST = 256
"""Results of a kind that are kept per object; the one used longest ago goes first."""

_kept: dict[int, dict[str, OrderedDict[Hashable, object]]] = {}


def remember(
    owner: object, kind: str, key: Hashable, make: Callable[[], Made], most: int = MOST
) -> Made:
    """What ``make()`` gave for this object, kind and key.

    Parameters
    ----------
    owner : object
        What it is made of; it must not change.
    kind : str
        What it is.
    key : hashable
        Everything else it depends on.
    make : callable
    most : int
        Results of this kind that are kept at a time.
    """
    kinds = _kept.get(id(owner))
    if kinds is None:
        kinds = _kept[id(owner)] = {}
        weakref.finalize(owner, _kept.pop, id(owner), None)
    known = kinds.setdefault(kind, OrderedDict())
    if key in known:
        known.move_to_end(key)
        return known[key]  # type: ignore[return-value]
    made = known[key] = make()
    if len(known) > most:
        known.popitem(last=False)
    return made
