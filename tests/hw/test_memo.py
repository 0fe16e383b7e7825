"""What is remembered belongs to one object and goes with it."""

from __future__ import annotations

import gc

from r2b.hw import memo
from r2b.hw.memo import remember


class Owner:
    """Anything."""


def test_once_per_owner_kind_and_key():
    made: list[object] = []

    def make():
        made.append(object())
        return made[-1]

    first, second = Owner(), Owner()
    found = remember(first, "a", 1, make)
    assert remember(first, "a", 1, make) is found
    others = [(second, "a", 1), (first, "b", 1), (first, "a", 2)]
    assert all(remember(*other, make) is not found for other in others)
    assert len(made) == 4


def test_what_is_none_is_remembered_too():
    made: list[int] = []
    owner = Owner()
    for _ in range(3):
        assert remember(owner, "none", 0, lambda: made.append(1)) is None
    assert made == [1]


def test_the_one_used_longest_ago_goes_first():
    owner, made = Owner(), []
    for key in (1, 2, 1, 3, 1, 2):
        remember(owner, "few", key, lambda key=key: made.append(key), most=2)
    assert made == [1, 2, 3, 2]


def test_nothing_outlives_its_owner():
    """So that another object of the same address is never taken for it."""
    owner = Owner()
    remember(owner, "a", 1, object)
    key = id(owner)
    assert key in memo._kept
    del owner
    gc.collect()
    assert key not in memo._kept


def test_what_fails_is_not_remembered():
    owner, made = Owner(), []

    def fail():
        made.append(1)
        raise ValueError

    for _ in range(2):
        try:
            remember(owner, "a", 1, fail)
        except ValueError:
            continue
        raise AssertionError
    assert made == [1, 1]
