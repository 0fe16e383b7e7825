"""What the LUTs and flip-flops of each component grow with, from the accelerator's parameters.

Every feature is a number of bits, or of LUTs that a table is worth. The coefficients in
``coefficients.json`` say how many LUTs and flip-flops one of them costs; they are near 1 where a
feature counts registers. Sizes are those that the components in :mod:`r2b.hw` elaborate.
"""

from __future__ import annotations

from r2b.backends.cost.mapping import Memory, ceil_div, map_memory
from r2b.backends.cost.memories import (
    ENGINE_NAMES,
    array_memories,
    has_gates,
    memories,
    pixels_of,
    vector_memories,
)
from r2b.hw.array import COUNTERS, ArrayParams
from r2b.hw.devices import LUT_INPUTS
from r2b.hw.dot import FAN_IN, IntegerDot
from r2b.hw.engine import EngineParams
from r2b.hw.halves import FRONT, ports_of
from r2b.hw.params import CoreParams
from r2b.ir.arith import SIGMOID_BITS
from r2b.ir.program import MEAN_FRACTION, MULTIPLIER_BITS, VECTOR_BITS

Features = dict[str, float]
COMPONENTS = (
    "binary array", "real array", "binary loops", "real loops", "weights", "epilogue", "sinks",
    "pool", "maps", "frame", "vector", "control", "shell",
)  # fmt: skip
USED: dict[str, dict[str, tuple[str, ...]]] = {
    "lut": {
        "binary array": ("muxes", "table", "pixel lanes", "pixel sums", "pixels"),
        "real array": ("weights", "first sums", "tree", "sums", "muxes", "elements", "table",
                       "digit rows", "logic sums"),
        "loops": ("address", "touched", "filled", "table", "one", "frames"),
        "weights": ("stream", "muxes", "table", "cells", "one"),
        "epilogue": ("lane sums", "shifts", "bounds", "factors", "tokens", "table", "one"),
        "sinks": ("values", "lane sums", "address", "table", "cells"),
        "pool": ("values", "address", "table", "cells", "muxes"),
        "maps": ("values", "signs", "presums", "cells", "muxes", "one"),
        "frame": ("rotation", "lanes", "muxes", "cells", "address", "one"),
        "vector": ("products", "tree", "operands", "lane sums", "gates", "table", "cells",
                   "muxes", "stream", "one"),
        "control": ("table", "one"),
        "shell": ("cells", "one"),
    },
    "ff": {
        "binary array": ("table registers", "pixel registers"),
        "real array": ("stored", "products", "first sums", "tree", "table registers",
                       "digit registers", "logic sums"),
        "loops": ("address", "touched", "filled", "latency", "one", "pipeline", "frames"),
        "weights": ("stream", "words", "table registers", "LUT RAM registers", "cells", "one"),
        "epilogue": ("lane registers", "table registers", "tokens", "one"),
        "sinks": ("values", "table registers", "address", "cells"),
        "pool": ("values", "address", "table registers", "cells"),
        "maps": ("values", "signs", "presums", "cells", "one"),
        "frame": ("rotation", "lanes", "LUT RAM registers", "cells", "address", "one"),
        "vector": ("products", "tree", "LUT RAM registers", "table registers", "cells", "gates",
                   "stream", "words", "one", "pipeline"),
        "control": ("table registers", "one"),
        "shell": ("cells", "one"),
    },
}  # fmt: skip
"""Resource -> component -> features that it grows with; both engines' loops are fitted together."""
WEIGHT_TABLES = {f"{name} words": name for name in ENGINE_NAMES.values()}


def features(
    params: CoreParams, family: str, known: list[Memory] | None = None
) -> dict[str, Features]:
    """Component -> feature -> size; ``known``: the memories, where they were listed before.

    With a front, of the half that the parameters are of.
    """
    found = {
        "weights": _weights(params),
        "epilogue": _epilogue(params),
        "sinks": _sinks(params),
        "maps": _maps(params),
        "frame": _frame(params),
        "vector": _vector(params),
        "control": {"one": 1.0},
        "shell": {"one": 1.0},
    }
    if params.geometry.side == FRONT:
        found |= {"control": {}, "vector": {}, "shell": {}}
    elif params.front is not None:
        found["frame"] = {}
        found["maps"] |= {"muxes": _chosen(params)}
    if params.pooled:
        found["pool"] = _pool(params)
    for binary, engine in params.engines.items():
        name = ENGINE_NAMES[binary]
        found[f"{name} array"] = array_sizes(engine.array, family)
        found[f"{name} loops"] = _loops(params, engine)
    for memory in known or memories(params):
        _add_memory(found[_home(memory)], memory, family)
    return {name: found[name] for name in COMPONENTS if name in found}


def vector_features(params: CoreParams, family: str) -> Features:
    """Of the vector unit alone."""
    found = _vector(params)
    for memory in vector_memories(params):
        _add_memory(found, memory, family)
    return found


def _home(memory: Memory) -> str:
    """Component of a memory's logic: a table of weights is a part of the array that it feeds."""
    if memory.component == "weights" and memory.name in WEIGHT_TABLES and not memory.written:
        return f"{WEIGHT_TABLES[memory.name]} array"
    return memory.component


def _add_memory(target: Features, memory: Memory, family: str) -> None:
    """LUTs of tables in logic, flip-flops behind them, and multiplexers between banks."""
    mapped = map_memory(memory, family)
    more: Features = {"muxes": (mapped.banks - 1) * memory.width * memory.reads}
    if mapped.kind is None and not memory.written:
        more["table"] = memory.columns * table_luts(memory.depth, LUT_INPUTS[family]) * memory.reads
        more["table registers"] = memory.columns * memory.reads * memory.registered
    elif mapped.kind is None:
        more["cells"] = memory.width * memory.depth
        more["cell registers"] = memory.width * memory.reads * memory.registered
    elif not mapped.kind.block:
        more["LUT RAM registers"] = memory.width * memory.reads * memory.registered
    for name, size in more.items():
        target[name] = target.get(name, 0) + size


def table_luts(depth: int, inputs: int) -> int:
    """LUTs of one column of a table; pairs are joined by the slice's own multiplexers."""
    leaves = ceil_div(depth, 1 << inputs)
    return leaves + (leaves - 1) // 3


# --- arrays --------------------------------------------------------------------------------


def array_features(p: ArrayParams, family: str) -> Features:
    """Of an array alone, its accumulators included, on a device of that family."""
    found = array_sizes(p, family)
    for memory in array_memories(p, ENGINE_NAMES[p.binary]):
        _add_memory(found, memory, family)
    return found


def array_sizes(p: ArrayParams, family: str) -> Features:
    """Registers of the processing elements; adders and multiplexers in front of them.

    ``stored``: both weight registers, the hop chain, delayed control, drained sums.
    ``products``, ``first sums``, ``tree``: registers behind multipliers, behind the first level of
    adders, and of all later levels. ``digit rows``, ``digit registers``: partial products of the
    elements without DSP blocks, their adders, and what is registered. ``logic sums``: adders behind
    products that a DSP block's own adder cannot add, those and the packed ones. An XNOR array is
    built in another way and has sizes of its own.
    """
    if p.binary:
        return _pixel_sizes(p, LUT_INPUTS[family])
    index = (p.depth - 1).bit_length()
    latency = IntegerDot.latency_of(p.lanes_in)
    luts = p.lanes_in * p.luts
    weights = p.lanes_in * p.lanes_out * p.w_width - luts * p.w_width
    hops = (p.hops + 1) * (p.lanes_in * p.a_width + 4 + index)
    delays = p.hops * latency * (3 + index)
    first, later = tree_bits(p)
    rows, registers = digit_bits(p.a_width, p.w_width)
    return {
        "digit rows": luts * rows,
        "digit registers": luts * registers + -(-p.luts // p.hop) * p.lanes_in * p.a_width,
        "logic sums": (p.luts + 2 * len(p.pairs)) * (first + later),
        "stored": weights + p.word * p.load_words + hops + delays + p.group * p.acc_width,
        "weights": weights,
        "products": (p.lanes_in * p.lanes_out - luts) * (p.a_width + p.w_width),
        "first sums": p.lanes_out * first,
        "tree": p.lanes_out * later,
        "sums": p.lanes_out * p.acc_width,
        "elements": p.lanes_out,
    }


def digit_bits(a_width: int, w_width: int) -> tuple[int, int]:
    """Bits of a multiplier's rows and adders, and register bits: digits and sums.

    As :class:`r2b.hw.multipliers.LutDot` elaborates them; the last row's bits have five inputs.
    """
    digits = w_width // 2
    rows, registers = (digits + 1) * (a_width + 1), 3 * digits
    width, shift = a_width + 1, 2
    while digits > 1:
        digits //= 2
        width += 1  # of the adder, which leaves the lowest bits as they are
        rows += digits * width
        registers += digits * (width + shift + 1)
        width, shift = width + shift, 2 * shift
    return rows, registers


def _pixel_sizes(p: ArrayParams, lut: int) -> Features:
    """Of an XNOR array: weights are there once, counts for each pixel."""
    index, count = (p.depth - 1).bit_length(), p.lanes_in.bit_length()
    elements = p.px * p.lanes_out
    control = p.hops * (2 * p.px + 1 + index + count)
    hops = p.hops * (p.px * p.lanes_in + 1) + control * (1 + p.dot_latency)
    weights = p.lanes_in * p.lanes_out + p.word * p.load_words
    counts = elements * COUNTERS[lut].register_bits(p.lanes_in)
    return {
        "pixel lanes": elements * p.lanes_in,
        "pixel sums": elements * (p.acc_width - 1),
        "pixels": elements,
        "pixel registers": weights + hops + counts + p.group * p.acc_width,
    }


def tree_bits(p: ArrayParams) -> tuple[int, int]:
    """Register bits of one MAC element's first level of adders and of all later ones.

    As wide as the operands make them, but no wider than the accumulator needs them.
    """
    levels = _levels([p.a_width + p.w_width] * p.lanes_in, p.acc_width)
    return levels[0], sum(levels[1:])


def _levels(widths: list[int], most: int, fan_in: int = FAN_IN) -> list[int]:
    """Bits of every level of :func:`r2b.hw.dot.add_tree`."""
    found: list[int] = []
    while not found or len(widths) > 1:
        groups = [widths[k : k + fan_in] for k in range(0, len(widths), fan_in)]
        widths = [min(most, max(group) + len(group) - 1) for group in groups]
        found.append(sum(widths))
    return found


# --- control -------------------------------------------------------------------------------


def _loops(params: CoreParams, engine: EngineParams) -> Features:
    """Address registers, counters, and a bit for each pixel of a tile."""
    filled = int(params.geometry.filled)
    index = (engine.array.depth - 1).bit_length()
    field = params.stages.layout
    extent = field["rows"].width + field["cols"].width
    return {
        "address": (2 * engine.array.px - 1) * params.address_width,
        "touched": engine.array.px * engine.array.depth,
        "filled": filled * params.address_width,
        "latency": engine.source_latency * index,
        "one": 1,
        # where a tile ends, twice, and its source; where a tap row begins; ends of taps; flags
        "pipeline": 2 * extent + 2 * params.address_width + index + extent + 20,
        # where a frame of a batch begins: in source and results, twice; in the tile, and drained
        "frames": int(params.batch.several) * (10 * params.address_width + index),
    }


# --- data ----------------------------------------------------------------------------------


def _epilogue(params: CoreParams) -> Features:
    """Per lane and round: operand, product, offset, sum, shift, skip, bounds."""
    p = params.epilogue
    found = dict.fromkeys(("lane registers", "lane sums", "shifts", "bounds", "factors"), 0.0)
    for part in p.rounds:
        chosen = part.multiply + bool(part.spatial) + part.gated
        found["lane registers"] += 2 * part.operand_width + 2 * MULTIPLIER_BITS + part.sum_width
        found["lane sums"] += part.sum_width
        found["shifts"] += (part.sum_width - part.shift_low) * (1 + part.shift_bits)
        found["bounds"] += part.sum_width - part.shift_low + part.out_width
        found["factors"] += MULTIPLIER_BITS * chosen
    sizes = {name: p.lanes * size for name, size in found.items()}
    return sizes | {"tokens": params.address_width * p.latency, "one": 1}


def _sinks(params: CoreParams) -> Features:
    p = params.sinks
    return {
        "values": p.lanes * p.value_width,
        "lane sums": p.lanes * p.sum_width,
        "address": params.address_width,
        "one": 1,
    }


def _weights(params: CoreParams) -> Features:
    """The weight stream, and a word on its way into each buffer."""
    buffered = [engine.array.word for engine in params.engines.values() if engine.words is None]
    streamed = params.geometry.plan.weights == "stream"
    return {"stream": float(streamed), "words": sum(buffered), "one": 1}


def _maps(params: CoreParams) -> Features:
    """Feature and sign memory: the registers behind them and the choice of what is read."""
    p = params.sinks
    operand = params.engines[False].array.a_width if False in params.engines else 0
    return {
        "values": p.lanes * (p.value_width + operand),
        "signs": pixels_of(params) * p.lanes * p.sign_banks,
        "presums": 0 if params.presum is None else p.lanes * params.presum.sum_width,
        "one": 1,
    }


def _chosen(params: CoreParams) -> int:
    """Bits that are chosen between the front's memories and the back's."""
    p, ports = params.sinks, ports_of(params.geometry)
    words = len(ports.features) * p.value_width + ports.signs * p.sign_banks
    return p.lanes * (words + p.sum_width * (ports.sums or ports.head))


def _frame(params: CoreParams) -> Features:
    """Pixels and reads are rotated into the lanes."""
    p = params.frame
    turns = max(1, (p.lanes - 1).bit_length())
    return {
        "rotation": 9 * p.lanes * turns,
        "lanes": p.lanes * params.address_width,
        "address": params.address_width,
        "one": 1,
    }


def _pool(params: CoreParams) -> Features:
    return {
        "values": params.epilogue.lanes * params.epilogue.value_width,
        "address": params.address_width,
    }


def _vector(params: CoreParams) -> Features:
    p = params.vector
    gates = int(has_gates(params))
    dot = VECTOR_BITS + 8
    levels = _levels([dot] * p.macs, 32)
    return {
        "products": dot * p.macs,
        "tree": sum(levels),
        "operands": VECTOR_BITS * p.macs * gates,
        "lane sums": p.lanes * p.sum_width,
        "gates": gates,
        "stream": int(p.bus > 0),
        "words": 8 * p.macs * (p.bus > 0),
        "one": 1,
        "pipeline": _vector_pipeline(params, gates),
    }


def _vector_pipeline(params: CoreParams, gates: int) -> int:
    """Registers between block RAM and multipliers, and between sums, shifts and bounds."""
    p = params.vector
    means, dense, slopes = (p.tables.means, p.tables.dense, p.tables.slopes)
    mean = p.value_width + MEAN_FRACTION + 1 + MULTIPLIER_BITS
    slope = SIGMOID_BITS + MULTIPLIER_BITS + 2
    multiplier = dense.layout["m"].width
    bits = {
        "operands of the products": p.macs * (VECTOR_BITS + 8),
        "mean, rounded": p.sum_width + 18,
        "mean's constants": means.layout.size,
        "z, shifted": max(mean, means.layout["b"].width) + 1,
        "layer's constants": dense.layout.size,
        "layer's sum, and its product in parts": 2 * 32 + 2 * multiplier - 32 - MULTIPLIER_BITS,
        "slopes": gates * (2 * 2 * slope + SIGMOID_BITS + slopes.layout.size),
    }
    return sum(bits.values())


__all__ = [
    "COMPONENTS",
    "USED",
    "Features",
    "array_features",
    "features",
    "table_luts",
    "tree_bits",
    "vector_features",
]
