"""Every memory and every product of the accelerator, from its parameters.

Shapes are those that the components in :mod:`r2b.hw` elaborate; the names are theirs, too. A ROM's
columns that hold the same bit in every word are wires.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from r2b.backends.cost.mapping import Memory, Product
from r2b.hw.array import ArrayParams
from r2b.hw.descriptor import Table
from r2b.hw.engine import EngineParams
from r2b.hw.geometry import ProgramGeometry
from r2b.hw.halves import FRONT, ports_of
from r2b.hw.loops import PIXEL_BITS
from r2b.hw.memo import remember
from r2b.hw.memory import bank_depths
from r2b.hw.output import LOGIT_BITS
from r2b.hw.packing import field_of
from r2b.hw.params import CoreParams, weight_words, word_key
from r2b.hw.pipeline import PART
from r2b.hw.vector import VectorParams
from r2b.hw.weights import VECTOR_SEGMENT, buffer_words, segment_rows
from r2b.ir.arith import SIGMOID_BITS, gate_table
from r2b.ir.program import MEAN_FRACTION, MULTIPLIER_BITS, VECTOR_BITS

ENGINE_NAMES = {True: "binary", False: "real"}
KEPT = 4096
"""Shapes of weight memories that are kept per Program."""
ACC_BITS = 32
"""Of the vector unit."""


def columns(words: Sequence[int]) -> tuple[int, int]:
    """Bits of a word that are not the same in all words, and how many of them are different."""
    size = max(1, -(-max((word.bit_length() for word in words), default=1) // 8))
    rows = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), np.uint8)
    bits = np.unpackbits(rows.reshape(len(words), size), axis=1)
    moving = bits[:, (bits != bits[0]).any(axis=0)] if len(words) else bits
    packed = np.packbits(moving, axis=0).T
    return len(packed), len({column.tobytes() for column in packed})


def _rom(component: str, name: str, words: Sequence[int], **more: Any) -> Memory:
    width, different = columns(words)
    return Memory(component, name, width, len(words), written=False, columns=different, **more)


def _table(component: str, name: str, table: Table, **more: Any) -> Memory:
    return _rom(component, name, table.init, **more)


def memories(params: CoreParams) -> list[Memory]:
    """All memories; with a front, of the half that the parameters are of."""
    if params.geometry.side == FRONT:
        return _front(params)
    found = [_table("control", "stages", params.stages, registered=True)]
    if params.geometry.split:
        numbers = [*params.geometry.numbers, len(params.geometry.program.stages)]
        found.append(_rom("control", "numbers", numbers, registered=False))
    if params.geometry.plan.weights == "stream":
        found.append(_table("weights", "segments", Table(segment_rows(params.geometry)), logic=True,
                            registered=False))  # fmt: skip
    for binary, engine in params.engines.items():
        found += _engine(params, engine, ENGINE_NAMES[binary])
    found += remember(params.epilogue, "memories", None, lambda: _epilogue(params))
    found += [*_sinks(params), *_maps(params), *_pool(params)]
    found += [] if params.front is not None else _frame(params)
    found += vector_memories(params)
    logits = params.batch.frames * params.geometry.program.num_classes
    return [*found, Memory("shell", "fifo", LOGIT_BITS + 1, logits)]


def _front(params: CoreParams) -> list[Memory]:
    """Of a front: what nothing reads is not there."""
    p, ports = params.sinks, ports_of(params.geometry.whole.back)
    thresholds, sums = _sinks(params)
    width, reads = p.lanes * p.value_width, len(ports.features)
    features = [Memory("maps", "features", width, n, reads) for n in bank_depths(params.fm_words)]
    return [
        _table("control", "stages", params.stages, registered=True),
        *_engine(params, params.engines[False], ENGINE_NAMES[False]),
        *remember(params.epilogue, "memories", None, lambda: _epilogue(params)),
        *([thresholds] if ports.signs else []),
        *([sums] if ports.sums or ports.head else []),
        *(features if ports.features else []),
        *[_signs(params)] * ports.signs,
        *_frame(params),
        *_pool(params),
    ]


def word_memory(geometry: ProgramGeometry, binary: bool) -> Memory:
    """An engine's weights on chip."""
    name = f"{ENGINE_NAMES[binary]} words"
    word = geometry.plan.weight_word if binary else geometry.plan.mac_weight_word
    return remember(
        geometry.program, f"memory of {name}", (*word_key(geometry, binary), word),
        lambda: _rom("weights", name, weight_words(geometry, binary)), KEPT,
    )  # fmt: skip


def array_memories(array: ArrayParams, name: str) -> list[Memory]:
    """Both banks of accumulators of every element and pixel; of XNOR elements, the sums of lanes in
    use, too.
    """
    binary = array.binary  # counts of equal bits have no sign, and are written where they are read
    width = array.acc_width - binary
    bank = Memory(f"{name} array", "bank", width, array.depth, registered=False, shared=int(binary))
    return [bank] * (2 * array.px * (array.lanes_out + binary))


def pixels_of(params: CoreParams) -> int:
    """Pixels that the XNOR array takes at a time, and copies of the sign memory."""
    return params.engines[True].array.px if True in params.engines else 1


def _engine(params: CoreParams, engine: EngineParams, name: str) -> list[Memory]:
    banks = array_memories(engine.array, name)
    taps = _table(f"{name} loops", "taps", engine.taps, logic=True)
    if engine.words is not None:
        words = word_memory(params.geometry, engine.array.binary)
    else:
        depth = buffer_words(engine.segment_words, engine.shared)
        words = Memory("weights", f"{name} words", engine.array.word, depth)
    return [*banks, taps, words]


def _epilogue(params: CoreParams) -> list[Memory]:
    found = []
    for part in params.epilogue.rounds:
        found.append(_rom("epilogue", f"constants_{part.index}", part.rows, logic=part.logic))
        if part.spatial:
            found.append(_rom("epilogue", f"spatial_{part.index}", part.spatial))
        if part.table:
            mask = (1 << part.out_width) - 1
            table = [value & mask for value in part.table]
            found += [
                _rom("epilogue", f"table_{part.index}", table, registered=False)
                for _ in range(part.lanes)
            ]
    return found


def _sinks(params: CoreParams) -> list[Memory]:
    p = params.sinks
    sums = Memory("sinks", "sums", p.lanes * p.sum_width, p.sum_words, 2, registered=False,
                  shared=1)  # fmt: skip
    thresholds = remember(
        params.geometry.program, "threshold memory", (p.lanes, params.geometry.side),
        lambda: _rom("sinks", "thresholds", p.thresholds),
    )  # fmt: skip
    return [thresholds, sums]


def _maps(params: CoreParams) -> list[Memory]:
    """Feature and sign memory."""
    p, convs = params.sinks, params.geometry.convs
    reads = 1 + any(conv.chain.skip and not conv.binary for conv in convs)
    reads += any(conv.chain.multiply for conv in convs)
    width = p.lanes * p.value_width
    found = [Memory("maps", "features", width, n, reads) for n in bank_depths(params.fm_words)]
    if params.front is not None and not any(conv.stage.tensor for conv in convs):
        found = []  # nothing is ever written
    if True in params.engines or any(conv.part.signs for conv in convs):
        found += [_signs(params)] * pixels_of(params)
    if params.presum is not None:
        sums = params.presum
        found.append(Memory("maps", "presums", sums.lanes * sums.sum_width, sums.depth))
    return found


def _signs(params: CoreParams) -> Memory:
    """A copy of the sign memory."""
    p = params.sinks
    return Memory("maps", "signs", p.lanes * p.sign_banks, params.sm_words, part=p.lanes)


def _frame(params: CoreParams) -> list[Memory]:
    p = params.frame
    return [Memory("frame", f"bank_{lane}", PIXEL_BITS, p.words) for lane in range(p.lanes)]


def _pool(params: CoreParams) -> list[Memory]:
    if not params.pooled:
        return []
    width = params.epilogue.lanes * params.epilogue.value_width
    return [
        _table("pool", "entries", params.pools, reads=2),
        Memory("pool", "across", width, params.pool_channels, registered=False, shared=1),
        Memory("pool", "down", width, params.pool_depth),
    ]


def has_gates(params: CoreParams) -> bool:
    """Whether the vector unit makes slopes."""
    return any(stage.gate is not None for stage in params.geometry.program.stages)


def vector_memories(params: CoreParams) -> list[Memory]:
    """Memories of the vector unit."""
    vector = params.vector
    key = (vector.lanes, vector.bus, vector.frames)
    return remember(vector.tables, "memories", key, lambda: _vector(params))


def _vector_table(p: VectorParams, name: str) -> Memory:
    """A table of the vector unit: of the whole frame as a ROM, or of a job."""
    table: Table = getattr(p.tables, name)
    if not p.bus:
        return _table("vector", name, table)
    rows = max(1, *(getattr(size, name) for size in p.tables.sizes))
    return Memory("vector", name, table.layout.size, rows)


def _vector(params: CoreParams) -> list[Memory]:
    p = params.vector
    tables, word = p.tables, p.macs * VECTOR_BITS
    found = [
        _table("vector", "jobs", tables.jobs),
        _vector_table(p, "means"),
        _vector_table(p, "dense"),
        Memory("vector", "weights", p.bus, 2 * VECTOR_SEGMENT)
        if p.bus
        else _rom("vector", "weights", tables.weights),
        Memory("vector", "z", word, max(1, -(-p.channels // p.macs)), part=VECTOR_BITS),
    ]
    if not has_gates(params):
        return found
    entries = [int(v) for name in tables.functions for v in gate_table(name).tolist()]
    return [
        *found,
        Memory("vector", "h", word, max(1, -(-p.hidden // p.macs)), part=VECTOR_BITS),
        _rom("vector", "gate_table", entries),
        _vector_table(p, "slopes"),
        Memory("vector", "gate", 2 * MULTIPLIER_BITS * p.lanes, p.frames * p.groups,
               part=2 * MULTIPLIER_BITS),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------- products


def products(params: CoreParams) -> list[Product]:
    """All multipliers."""
    found = array_products(params.engines[False].array) if False in params.engines else []
    for binary, engine in params.engines.items():
        found += _addresses(params, engine, ENGINE_NAMES[binary])
    for part in params.epilogue.rounds:
        width = part.operand_width
        found.append(Product("epilogue", f"round_{part.index}", width, MULTIPLIER_BITS,
                             width + MULTIPLIER_BITS, part.lanes))  # fmt: skip
    if any(part.multiply for part in params.epilogue.rounds):
        # the place of a pixel's factor; yosys shares it among the rounds (opt_share)
        rows, cols = (params.stages.layout[name].width for name in ("rows", "cols"))
        found.append(Product("epilogue", "row x cols", rows, cols, rows + cols, signed=False))
    return found + ([] if params.geometry.side == FRONT else vector_products(params))


def array_products(array: ArrayParams) -> list[Product]:
    """Multipliers of the MAC array; elements without DSP blocks have none."""
    a, w, pairs = array.a_width, array.w_width, len(array.pairs)
    single = array.lanes_out - array.luts - 2 * pairs
    factor = field_of(a, w) + w
    return [
        Product("real array", "products", a, w, a + w, array.lanes_in * single),
        Product("real array", "pairs", a, factor, a + factor, array.lanes_in * pairs),
    ]


def _addresses(params: CoreParams, engine: EngineParams, name: str) -> list[Product]:
    """Clips of a tap times strides and columns."""
    clip = engine.taps.layout["first"].width
    field = params.stages.layout
    shift = engine.array.px.bit_length() - 1  # columns are counted in groups
    cols = field["tile_cols"].width
    groups = max(1, cols + 1 - shift) if shift else cols
    widths = {"row_src": (clip, field["row_src"].width),
              "col_src": (max(1, clip - shift), field["col_src"].width),
              "cols": (clip, groups)}  # fmt: skip
    return [
        Product(f"{name} loops", f"clip x {key}", one, other, one + other, signed=False)
        for key, (one, other) in widths.items()
    ]


def vector_products(params: CoreParams) -> list[Product]:
    """Multipliers of the vector unit.

    The product behind the layers is there without gates, too; the head's are zeros."""
    p, tables = params.vector, params.vector.tables
    mean = p.value_width + MEAN_FRACTION + 1
    found = [
        *_parts("scaled", p.sum_width, tables.jobs, "reciprocal"),
        Product("vector", "mean", mean, _signed(tables.means, "a"), mean + MULTIPLIER_BITS),
        Product("vector", "dot", VECTOR_BITS, 8, VECTOR_BITS + 8, p.macs),
        *_parts("dense", ACC_BITS, tables.dense, "m"),
    ]
    if not has_gates(params):
        return found
    slope = SIGMOID_BITS + 1
    return found + [
        Product("vector", name, slope, _signed(tables.slopes, name),
                slope + MULTIPLIER_BITS)
        for name in ("gn", "gp")
    ]  # fmt: skip


def _parts(what: str, width: int, table: Table, name: str) -> list[Product]:
    """A sum in two parts times a field, as :func:`r2b.hw.pipeline.in_parts` makes it; the low one
    has no sign where the field has none."""
    shape, high = table.layout[name].shape, width - PART
    factor = _signed(table, name)
    if high <= 0:
        return [Product("vector", what, width, factor, width + factor)]
    low = (PART + 1, factor) if shape.signed else (PART, shape.width)
    return [
        Product("vector", f"{what}, low", *low, PART + factor, signed=shape.signed),
        Product("vector", f"{what}, high", high, factor, high + factor),
    ]


def _signed(table: Table, name: str) -> int:
    """Bits of a field as a signed value."""
    shape = table.layout[name].shape
    return shape.width + (not shape.signed)


__all__ = [
    "array_memories", "array_products", "columns", "has_gates", "memories", "pixels_of", "products",
]  # fmt: skip
