"""The stage list as data: one descriptor per stage, and the tap table.

A descriptor is a row of integers; a field's width is the smallest that holds every stage's value.
The tables are ROMs by default; nothing in the datapath depends on their content otherwise.
"""

from __future__ import annotations

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from r2b.hw.geometry import ConvGeometry, ProgramGeometry
from r2b.ir.program import Affine, Saturate, Skip


def field_shape(values: list[int]):
    """Smallest shape that holds all values, at least one bit; signed if one is negative."""
    if min(values) < 0:
        return signed(max(max(v, ~v).bit_length() for v in values) + 1)
    return unsigned(max(1, max(values).bit_length()))


class Table:
    """Rows of named integers as a ROM's layout and content.

    Parameters
    ----------
    rows : list of dict
        All with the same keys.
    """

    def __init__(self, rows: list[dict[str, int]]) -> None:
        self.rows = rows
        self.layout = data.StructLayout(
            {name: field_shape([row[name] for row in rows]) for name in rows[0]}
        )

    @property
    def content(self) -> list:
        """Rows as constants of the layout, for a ROM."""
        return [self.layout.from_bits(word) for word in self.init]

    @property
    def init(self) -> list[int]:
        """Rows as integers, in the layout's bit order."""
        return [self._pack(row) for row in self.rows]

    def _pack(self, row: dict[str, int]) -> int:
        word = 0
        for name, field in self.layout:
            word |= (row[name] & ((1 << field.width) - 1)) << field.offset
        return word


def tap_rows(geometry: ProgramGeometry) -> tuple[list[dict[str, int]], list[tuple[int, int]]]:
    """The tap table of all stages, and each stage's (first row entry, first column entry)."""
    rows: list[dict[str, int]] = []
    bases = []
    for conv in geometry.convs:
        bases.append((len(rows), len(rows) + len(conv.row_taps)))
        for tap in conv.row_taps + conv.col_taps:
            # a tap that is never valid has first > last; both are kept in range
            first, last = (tap.first, tap.last) if tap.first <= tap.last else (1, 0)
            rows.append({"offset": tap.offset, "first": first, "last": max(0, last)})
    return rows, bases


def stage_rows(geometry: ProgramGeometry) -> list[dict[str, int]]:
    """One descriptor per convolution stage, in order."""
    _, taps = tap_rows(geometry)
    rows = []
    weights = {True: 0, False: 0}
    params = groups = pools = 0
    for conv, (tap_y, tap_x) in zip(geometry.convs, taps, strict=True):
        row = {"tap_y": tap_y, "tap_x": tap_x, "weight_base": weights[conv.binary]}
        row |= _loops(conv) | _source(conv, geometry) | _sinks(conv, geometry)
        row |= {"param_base": params, "group_base": groups, "pool_base": pools}
        if geometry.plan.weights == "stream":  # addresses count from the segment's start
            row["weight_base"] = 0
            row["tile_words"] *= conv.pixel_outer
        rows.append(row)
        weights[conv.binary] += conv.tiles_out * conv.steps_per_tile * conv.load_words
        params += 0 if conv.stage.gate else conv.groups
        groups += conv.groups
        pools += conv.rows + conv.cols if conv.stage.pool else 0
    return rows


def _loops(conv: ConvGeometry) -> dict[str, int]:
    presum = conv.presum is not None
    return {
        "binary": conv.binary,
        "frame": conv.from_frame,
        "gated": conv.stage.gate is not None,
        "pixel_outer": conv.pixel_outer,
        "last_ko": conv.tiles_out - 1,
        "last_kc": conv.depth - 1,
        "last_ky": len(conv.row_taps) - 1,
        "last_kx": len(conv.col_taps) - 1,
        "rows": conv.rows,
        "cols": conv.cols,
        "tile_rows": conv.tile_rows,
        "tile_cols": conv.tile_cols,
        "last_count": conv.last_lanes,
        "tile_words": conv.steps_per_tile * conv.load_words,
        "tap_words": 0 if presum else conv.depth * conv.load_words,
        "row_words": 0 if presum else len(conv.col_taps) * conv.depth * conv.load_words,
        "step_words": conv.load_words,
    }


def _source(conv: ConvGeometry, geometry: ProgramGeometry) -> dict[str, int]:
    """Addresses of the input: words per row, column, tile; phases in bytes for the frame."""
    plan, stride = geometry.plan, conv.window.stride
    row = {
        "row_src": stride[0] * conv.row_words,
        "band_src": conv.tile_rows * stride[0] * conv.row_words,
        "in_rows": conv.rows_in,
        "row_bytes": conv.cols_in * conv.channels_in if conv.from_frame else 0,
        "need_first": (conv.tile_rows - 1) * stride[0] + _reach(conv),
        "need_step": conv.tile_rows * stride[0],
        "free_first": conv.tile_rows * stride[0] - conv.window.padding[0],
    }
    per_col = conv.channels_in if conv.from_frame else conv.depth * plan.lanes
    start = -conv.window.padding[1] * conv.channels_in if conv.from_frame else 0
    columns = {"start": start, "col": stride[1] * per_col,
               "seg": conv.tile_cols * stride[1] * per_col}  # fmt: skip
    for name, values in columns.items():
        words, phase = divmod(values, plan.lanes)
        row |= {f"{name}_src": words, f"{name}_phase": phase,
                f"{name}_byte": values if conv.from_frame else 0}  # fmt: skip
    row["start_src"] += _source_base(conv, geometry)
    return row


def _reach(conv: ConvGeometry) -> int:
    window = conv.window
    return window.dilation[0] * (window.kernel[0] - 1) + 1 - window.padding[0]


def _source_base(conv: ConvGeometry, geometry: ProgramGeometry) -> int:
    if conv.from_frame:
        return 0
    name = conv.conv.source
    return geometry.plan.signs[name] if conv.binary else geometry.plan.tensors[name]


def _sinks(conv: ConvGeometry, geometry: ProgramGeometry) -> dict[str, int]:
    plan, stage = geometry.plan, conv.stage
    skip = next((s.source for s in stage.epilogue if isinstance(s, Skip)), None)
    limit = next(s for s in stage.epilogue if isinstance(s, Saturate))
    affine = next(s for s in stage.epilogue if isinstance(s, Affine))
    sign_words = -(-conv.channels_out // plan.p_in)
    per_sign_word = plan.p_in // plan.lanes
    per_tile = conv.lanes_out // plan.lanes
    pixel = 0 if stage.pool is not None else 1  # a pooled stage's pixels come from the pool tables
    return {
        "pool": stage.pool is not None,
        "store": stage.tensor is not None,
        "sign": bool(stage.signs),
        "sum": stage.sums is not None,
        "skip": skip is not None,
        "fm_base": plan.tensors[stage.tensor] if stage.tensor else 0,
        "skip_base": plan.tensors[skip] if skip else 0,
        "sm_base": plan.signs[stage.signs[0].name] if stage.signs else 0,
        "fm_pixel": pixel * conv.groups,
        "fm_seg": pixel * conv.tile_cols * conv.groups,
        "fm_band": pixel * conv.tile_rows * conv.cols * conv.groups,
        "sm_pixel": pixel * sign_words,
        "sm_seg": pixel * conv.tile_cols * sign_words,
        "sm_band": pixel * conv.tile_rows * conv.cols * sign_words,
        "ko_groups": per_tile,
        "last_groups": conv.tile_groups(conv.tiles_out - 1),
        "ko_sign_words": per_tile // per_sign_word,
        "ko_sign_banks": per_tile % per_sign_word,
        "shift": affine.shift,
        "low": limit.low,
        "high": limit.high,
    }


def pool_rows(geometry: ProgramGeometry) -> list[dict[str, int]]:
    """The pooling tables: for every row, then every column of each pooled stage.

    ``start``: the value opens a window; ``emit``: it closes one; ``reopen``: it belongs to the next
    window too; ``fm`` and ``sm``: the window's address offset.
    """
    rows: list[dict[str, int]] = []
    for conv in geometry.convs:
        pool = conv.stage.pool
        if pool is None:
            continue
        out_rows, out_cols = pool.output_size(conv.rows, conv.cols)
        signs = -(-conv.channels_out // geometry.plan.p_in)
        for axis, extent, outputs, unit in (
            (0, conv.rows, out_rows, out_cols), (1, conv.cols, out_cols, 1)
        ):  # fmt: skip
            for x in range(extent):
                entry = pool_entry(x, extent, outputs, pool.kernel[axis], pool.stride[axis],
                                   pool.padding[axis])  # fmt: skip
                index = entry.pop("index") * unit
                rows.append(entry | {"fm": index * conv.groups, "sm": index * signs})
    return rows or [{"start": 0, "emit": 0, "reopen": 0, "fm": 0, "sm": 0}]


def pool_entry(
    x: int, extent: int, outputs: int, kernel: int, stride: int, padding: int
) -> dict[str, int]:
    """What position ``x`` of a row does in windows of ``kernel = stride`` or ``stride + 1``."""
    start = emit = reopen = index = 0
    for i in range(outputs):
        first, last = (
            max(0, i * stride - padding),
            min(extent - 1, i * stride - padding + kernel - 1),
        )
        if not first <= x <= last:
            continue
        if x == last:
            emit, index = 1, i
        if x == first and emit and index != i:  # opens where another one closes
            reopen = 1
        elif x == first:
            start = 1
    return {"start": start, "emit": emit, "reopen": reopen, "index": index}


__all__ = ["Table", "field_shape", "pool_rows", "stage_rows", "tap_rows"]
