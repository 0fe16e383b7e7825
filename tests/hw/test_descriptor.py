"""The stage list as data: widths, packing, and rows against the Program."""

from __future__ import annotations

import pytest
from amaranth.hdl import Shape, signed, unsigned
from hypothesis import given
from hypothesis import strategies as st

from r2b.hw.descriptor import Table, field_shape, pool_rows, stage_rows, tap_rows
from r2b.ir.program import Affine, Saturate
from tests.hw.components.cases import make_geometry, unpack
from tests.hw.components.table import MIXED, POOLED


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([0], unsigned(1)), ([1], unsigned(1)), ([0, 2], unsigned(2)), ([255], unsigned(8)),
        ([256, 1], unsigned(9)), ([-1], signed(1)), ([-1, 0], signed(1)), ([-1, 1], signed(2)),
        ([-2, 1], signed(2)), ([-2, 2], signed(3)), ([-128, 127], signed(8)),
        ([-129, 0], signed(9)),
    ],
)  # fmt: skip
def test_field_shape(values, shape):
    """The smallest shape, at least a bit."""
    assert Shape.cast(field_shape(values)) == shape


@given(st.lists(st.tuples(st.integers(-300, 300), st.integers(0, 9)), min_size=1, max_size=9))
def test_table(pairs):
    """Every row comes back from its bits."""
    rows = [{"a": a, "b": b, "zero": 0} for a, b in pairs]
    table = Table(rows)
    assert [unpack(table.layout, word) for word in table.init] == rows
    assert [{"a": c.a, "b": c.b, "zero": c.zero} for c in table.content] == rows


def test_tap_rows():
    """Each stage's rows, then its columns; a tap that is never valid keeps first > last."""
    geometry = make_geometry(list(MIXED))
    rows, bases = tap_rows(geometry)
    for conv, (y, x) in zip(geometry.convs, bases, strict=True):
        for base, taps in ((y, conv.row_taps), (x, conv.col_taps)):
            for tap, row in zip(taps, rows[base:], strict=False):
                if tap.first <= tap.last:
                    assert row == {"offset": tap.offset, "first": tap.first, "last": tap.last}
                else:
                    assert row["first"] > row["last"] >= 0
    assert len(rows) == sum(len(c.row_taps) + len(c.col_taps) for c in geometry.convs)


def test_stage_rows():
    """Flags, bases and ends of every stage."""
    geometry = make_geometry(list(MIXED))
    plan = geometry.plan
    weights, params, groups = {True: 0, False: 0}, 0, 0
    for layer, conv, row in zip(MIXED, geometry.convs, stage_rows(geometry), strict=True):
        stage = conv.stage
        assert [row[n] for n in ("binary", "frame", "gated", "skip", "store", "sign", "sum")] == [
            layer.kind == "binary", layer.kind == "frame", layer.gated, layer.skip, layer.store,
            layer.sign, layer.sums,
        ]  # fmt: skip
        assert row["weight_base"] == weights[conv.binary]
        assert (row["param_base"], row["group_base"]) == (params, groups)
        if layer.store:
            assert row["fm_base"] == plan.tensors[stage.tensor]
        if layer.sign:
            assert row["sm_base"] == plan.signs[stage.signs[0].name]
        affine = next(s for s in stage.epilogue if isinstance(s, Affine))
        limit = next(s for s in stage.epilogue if isinstance(s, Saturate))
        assert (row["shift"], row["low"], row["high"]) == (affine.shift, limit.low, limit.high)
        weights[conv.binary] += len(conv.weight_words())
        params += 0 if layer.gated else conv.groups
        groups += conv.groups


def test_streamed_rows():
    """Addresses count from a segment's start."""
    geometry = make_geometry(list(MIXED), weights="stream", weight_word=24, mac_weight_word=24)
    for conv, row in zip(geometry.convs, stage_rows(geometry), strict=True):
        assert row["weight_base"] == 0
        tile = conv.steps_per_tile * conv.load_words
        assert row["tile_words"] == (tile if conv.pixel_outer else 0)


def test_pool_rows():
    """Rows and columns of each pooled stage, and a harmless row where there is none."""
    geometry = make_geometry(list(POOLED))
    rows = pool_rows(geometry)
    assert len(rows) == sum(conv.rows + conv.cols for conv in geometry.convs)
    bases = [row["pool_base"] for row in stage_rows(geometry)]
    sizes = [conv.rows + conv.cols for conv in geometry.convs]
    assert bases == [sum(sizes[:i]) for i in range(len(sizes))]
    assert pool_rows(make_geometry(list(MIXED))) == [
        {"start": 0, "emit": 0, "reopen": 0, "fm": 0, "sm": 0}
    ]
