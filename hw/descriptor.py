"""The stage list as data: one descriptor per stage, and the tap table.

A descriptor is a row of integers; a field's width is the smallest that holds every stage's value.
The tables are ROMs by default; nothing in the datapath depends on their content otherwise.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import takewhile

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from r2b.hw.batch import batch_of, frame_fields
from r2b.hw.buildable import factor_kind
from r2b.hw.geometry import ConvGeometry, ProgramGeometry
from r2b.hw.halves import BACK, last_reader, ports_of, reads_of


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
            row = {"offset": tap.offset, "first": first, "last": max(0, last)}
            rows.append(row | ({"position": tap.position} if geometry.filled else {}))
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
        row |= _passes(conv, geometry)
        if geometry.filled:
            row |= _positions(conv)
        row |= _later_rounds(conv, geometry)
        if geometry.plan.batch > 1:
            row |= frame_fields(conv, batch_of(geometry))
        if geometry.side == BACK:
            row |= _front(conv, geometry)
        if geometry.plan.weights == "stream":  # addresses count from the segment's start
            row["weight_base"] = 0
            row["tile_words"] *= conv.pixel_outer and not conv.buffered
        rows.append(row)
        weights[conv.binary] += conv.tiles_out * conv.steps_per_tile * conv.load_words
        if conv.part.last:
            params += 0 if conv.stage.gate else conv.all_groups
            groups += conv.all_groups
            pools += conv.rows + conv.cols if conv.pool else 0
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
    """Addresses of the input: words per row, column or group of them, tile; phases in bytes for the
    frame.
    """
    plan, stride = geometry.plan, conv.window.stride
    row = {
        "row_src": stride[0] * conv.row_words,
        "band_src": conv.tile_rows * stride[0] * conv.row_words,
        "in_rows": conv.rows_in,
        "row_bytes": conv.cols_in * conv.channels_in if conv.from_frame else 0,
        "need_first": (conv.tile_rows - 1) * stride[0] + conv.reach + conv.unread_rows,
        "need_step": conv.tile_rows * stride[0],
        "free_first": conv.tile_rows * stride[0] - conv.window.padding[0],
    }
    per_col = conv.channels_in if conv.from_frame else conv.words * plan.lanes
    start = -conv.window.padding[1] * conv.channels_in if conv.from_frame else 0
    columns = {"start": start, "col": conv.px * stride[1] * per_col,
               "seg": conv.tile_cols * stride[1] * per_col}  # fmt: skip
    for name, values in columns.items():
        words, phase = divmod(values, plan.lanes)
        row |= {f"{name}_src": words, f"{name}_phase": phase,
                f"{name}_byte": values if conv.from_frame else 0}  # fmt: skip
    row["start_src"] += _source_base(conv, geometry)
    return row


def _passes(conv: ConvGeometry, geometry: ProgramGeometry) -> dict[str, int]:
    """What only networks need that have other stages than one convolution of each channel."""
    row, part = {}, conv.part
    if geometry.buffered:
        row["buffered"] = conv.buffered
    if any(other.diagonal for other in geometry.convs):
        row["ko_src"] = conv.tile_words_in
    if any(other.part.signs for other in geometry.convs):
        row["from_signs"] = part.signs
    if any(other.part.first_channel for other in geometry.convs):
        row |= {
            "first_group": part.first_channel // geometry.plan.lanes,
            "first_sign_word": part.first_channel // geometry.plan.p_in,
            "first_sign_bank": part.first_channel % geometry.plan.p_in // geometry.plan.lanes,
        }
    return row


def _front(conv: ConvGeometry, geometry: ProgramGeometry) -> dict[str, int]:
    """What is read of the front's memories, and whether they are free behind this pass."""
    reads, ports = reads_of(conv, geometry), ports_of(geometry)
    index = geometry.convs.index(conv)
    number, after = geometry.numbers[index], geometry.numbers[index + 1 : index + 2]
    row = {"front_free": number == last_reader(geometry) and after != [number]}
    for name in ("feature", "skip", "multiply", "signs", "sums"):
        if getattr(ports, name):
            row[f"front_{name}"] = getattr(reads, name)
    return row


def _positions(conv: ConvGeometry) -> dict[str, int]:
    """Where the taps are in the image, for those that are executed outside of it."""
    stride = conv.window.stride
    return {
        "filled": conv.fill != 0,
        "fill": conv.fill > 0,
        "in_cols": conv.cols_in,
        "row_step": stride[0],
        "col_step": conv.px * stride[1],
        "band_step": conv.tile_rows * stride[0],
        "seg_step": conv.tile_cols * stride[1],
    }


def _source_base(conv: ConvGeometry, geometry: ProgramGeometry) -> int:
    if conv.from_frame:
        return 0
    name = conv.conv.source
    if conv.part.signs:
        return geometry.plan.signs[name] * conv.sign_banks
    return geometry.plan.signs[name] if conv.binary else geometry.plan.tensors[name]


def _sinks(conv: ConvGeometry, geometry: ProgramGeometry) -> dict[str, int]:
    plan, stage = geometry.plan, conv.stage
    chain = conv.chain
    skip = chain.skip
    sign_words = -(-stage.shape[0] // plan.p_in)
    per_sign_word = plan.p_in // plan.lanes
    per_tile = conv.lanes_out // plan.lanes
    # a pooled stage's pixels come from the pool tables; its skip is still read pixel by pixel
    pixel = 0 if conv.pool is not None else 1
    placed = skip is not None or chain.multiply is not None or chain.spatial is not None
    skipped = 1 if placed else pixel
    return {
        "pool": conv.pool is not None,
        "store": stage.tensor is not None,
        "sign": bool(stage.signs),
        "sum": stage.sums is not None,
        "skip": skip is not None,
        "fm_base": plan.tensors[stage.tensor] if stage.tensor else 0,
        "skip_base": plan.tensors[skip] if skip else 0,
        "sm_base": plan.signs[stage.signs[0].name] if stage.signs else 0,
        "fm_pixel": skipped * conv.all_groups,
        "fm_seg": skipped * conv.tile_cols * conv.all_groups,
        "fm_band": skipped * conv.tile_rows * conv.cols * conv.all_groups,
        "sm_pixel": pixel * sign_words,
        "sm_seg": pixel * conv.tile_cols * sign_words,
        "sm_band": pixel * conv.tile_rows * conv.cols * sign_words,
        "ko_groups": per_tile,
        "last_groups": conv.tile_groups(conv.tiles_out - 1),
        "ko_sign_words": per_tile // per_sign_word,
        "ko_sign_banks": per_tile % per_sign_word,
        "shift": chain.rounds[0].shift,
        "low": chain.rounds[0].limit.low,
        "high": chain.rounds[0].limit.high,
    }


def _later_rounds(conv: ConvGeometry, geometry: ProgramGeometry) -> dict[str, int]:
    """What the lanes do behind their first round, and products that are not of constants."""
    row: dict[str, int] = {}
    for index in range(geometry.rounds):
        part, parts = conv.chain.round(index), [c.chain.round(index) for c in geometry.stages]
        if index:
            assert part.limit is not None
            row |= {f"shift{index}": part.shift, f"low{index}": part.limit.low,
                    f"high{index}": part.limit.high}  # fmt: skip
            if any(other.skip for other in parts):
                row[f"skip{index}"] = part.skip is not None
        if any(other.multiply for other in parts):
            row[f"multiply{index}"] = part.multiply is not None
        if any(other.spatial for other in parts):
            row[f"spatial{index}"] = part.spatial is not None
        if any(other.table for other in parts):
            row |= {f"table{index}": part.table is not None,
                    f"table_base{index}": _table_base(conv, geometry, index)}  # fmt: skip
    return row | _products(conv, geometry)


def _products(conv: ConvGeometry, geometry: ProgramGeometry) -> dict[str, int]:
    """Where the factors are that are not constants."""
    row: dict[str, int] = {}
    if any(other.chain.multiply for other in geometry.convs):
        name = conv.chain.multiply
        kind = factor_kind(conv, geometry.program) if name else None
        row |= {
            "multiply_base": geometry.plan.tensors[name] if name else 0,
            "multiply_channel": kind == "channel",
            "multiply_pixel": kind == "pixel",
        }
    if any(other.chain.spatial for other in geometry.convs):
        row["spatial_base"] = 0
        if conv.chain.spatial:
            mine = _spatial_round(conv)
            row["spatial_base"] = sum(
                other.rows * other.cols * other.all_groups
                for other in _before(conv, geometry)
                if other.chain.spatial and _spatial_round(other) == mine
            )
    return row


def _before(conv: ConvGeometry, geometry: ProgramGeometry) -> list[ConvGeometry]:
    """The stages before a pass's."""
    return list(takewhile(lambda other: other.stage is not conv.stage, geometry.stages))


def _spatial_round(conv: ConvGeometry) -> int:
    return next(i for i, part in enumerate(conv.chain.rounds) if part.spatial)


def _table_base(conv: ConvGeometry, geometry: ProgramGeometry, index: int) -> int:
    """What is added to an argument of the stage's table, among all tables of the round."""
    table = conv.chain.round(index).table
    if table is None:
        return 0
    tables = [other.chain.round(index).table for other in _before(conv, geometry)]
    return sum(len(other.entries) for other in tables if other is not None) - table.low


def pool_rows(geometry: ProgramGeometry) -> list[dict[str, int]]:
    """The pooling tables: for every row, then every column of each pooled stage.

    ``start``: the value opens a window; ``emit``: it closes one; ``reopen``: it belongs to the next
    window too; ``fm`` and ``sm``: the window's address offset.
    """
    rows: list[dict[str, int]] = []
    for conv in geometry.stages:
        pool = conv.pool
        if pool is None:
            continue
        out_rows, out_cols = pool.output_size(conv.rows, conv.cols)
        signs = -(-conv.stage.shape[0] // geometry.plan.p_in)
        for axis, extent, outputs, unit in (
            (0, conv.rows, out_rows, out_cols), (1, conv.cols, out_cols, 1)
        ):  # fmt: skip
            for x in range(extent):
                entry = dict(pool_entry(x, extent, outputs, pool.kernel[axis], pool.stride[axis],
                                        pool.padding[axis]))  # fmt: skip
                index = entry.pop("index") * unit
                rows.append(entry | {"fm": index * conv.all_groups, "sm": index * signs})
    return rows or [{"start": 0, "emit": 0, "reopen": 0, "fm": 0, "sm": 0}]


@lru_cache(maxsize=4096)
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
