"""What is remembered belongs to one object and goes with it."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest

from r2b.backends.cost.hardware import cost
from r2b.backends.fpga.planner import make_plan
from r2b.hw.memo import remember
from tests.hw.programs import random_program


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


def owner_and_made() -> tuple[weakref.ref, weakref.ref]:
    owner = Owner()
    remember(owner, "itself", 1, lambda: [owner])
    return weakref.ref(owner), weakref.ref(remember(owner, "a", 1, Owner))


def test_nothing_outlives_its_owner():
    """Not even where what was made of an object refers to it."""
    gone = owner_and_made()
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_an_explored_program_goes_with_all_its_plans():
    program = random_program(1)
    for p_in in (8, 16):
        cost(program, make_plan(program, "ecp5-85f", parallelism=(p_in, 8)))
    gone = weakref.ref(program)
    del program
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda owner: pickle.loads(pickle.dumps(owner))]
)
def test_a_copy_begins_anew(twin):
    """It may be changed before it is used."""
    owner = Owner()
    first = remember(owner, "a", 1, object)
    other = twin(owner)
    assert remember(other, "a", 1, object) is not first
    assert remember(owner, "a", 1, object) is first


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
