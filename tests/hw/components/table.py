"""The components and the networks they are tested with: name -> bench of a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

from r2b.hw import carries, compressor
from r2b.hw.array import ArrayParams
from r2b.hw.dot import IntegerDot
from r2b.hw.drain import request_layout
from r2b.hw.engine import Engine, EngineControl
from r2b.hw.epilogue import Epilogue
from r2b.hw.params import CoreParams
from r2b.hw.pixels import make_array
from r2b.hw.pool import MaxPool
from r2b.hw.sinks import Sinks
from r2b.hw.vector import VectorUnit
from r2b.ir.program import Window
from tests.hw.components import drivers, loops
from tests.hw.components.benches import Bench, Frozen, WithSums
from tests.hw.components.cases import SAME, Layer, make_params

HALF = Window((3, 3), (2, 2), (1, 1, 1, 1))
POINT = Window((1, 1))
MIXED = (
    Layer("frame", (3, 9, 7), 5, Window((5, 3), (2, 1), (2, 1, 2, 1)), outer=True),
    Layer("binary", (10, 6, 7), 6, SAME, skip=True, gated=True),
    Layer("binary", (16, 5, 11), 9, HALF, gated=True, low=0),
    Layer("real", (5, 6, 8), 6, POINT, presum=Window((2, 2), (2, 2)), outer=True, sums=False),
    Layer("binary", (3, 7, 4), 4, Window((2, 3), (1, 2), (0, 2, 1, 0), (2, 1)), store=False),
    Layer("real", (4, 5, 5), 7, SAME, sign=False),
)
"""Every kind of stage, loop order and sink; widths that do not fill the lanes."""
POOLED = tuple(
    Layer("frame", (3, *size), 5, POINT, pool=window, outer=True)
    for size in ((9, 7),)
    for window in (
        Window((2, 2), (2, 2)),
        Window((3, 3), (2, 2), (1, 1, 1, 1)),
        Window((3, 3), (2, 2)),
        Window((3, 3), (3, 3), (1, 1, 1, 1)),
        Window((1, 2), (1, 1), (0, 1, 0, 0)),
    )
)
"""Windows with and without overlap and padding, on odd sizes."""
FILLED = (
    Layer("binary", (10, 6, 7), 6, SAME, fill=-1),
    Layer("binary", (3, 7, 4), 4, Window((2, 3), (1, 2), (0, 4, 1, 3), (2, 1)), fill=1),
    Layer("binary", (16, 5, 11), 9, HALF),
)
"""Borders of -1, of 1, and of nothing."""
CHAINED = tuple(
    Layer("binary", (10, 5, 6), 7, SAME, chain=chain, skip="S" in chain, gated=gated)
    for chain, gated in (
        ("AL", False),
        ("ASL", True),
        ("L", False),
        ("SL", False),
        ("AHAL", False),
        ("AHL", True),
        ("ASAL", True),
        ("HASL", False),
        ("ASHAL", False),
        ("AHSL", False),
        ("AAL", False),
    )
)
"""Epilogues of one round and of two, in one network."""
BINARY = ArrayParams(
    binary=True, lanes_in=9, lanes_out=6, group=2, a_width=1, w_width=1, acc_width=9, depth=5,
    word=19, load_words=3, hop=4,
)  # fmt: skip
REAL = ArrayParams(
    binary=False, lanes_in=3, lanes_out=4, group=2, a_width=9, w_width=8, acc_width=24, depth=4,
    word=32, load_words=3, hop=1,
)  # fmt: skip


@cache
def mixed(weights: str = "chip") -> CoreParams:
    """Parameters for the mixed network."""
    word = {"weight_word": 24, "mac_weight_word": 24} if weights == "stream" else {}
    return make_params(list(MIXED), 1, weights=weights, **word)


@cache
def pooling() -> CoreParams:
    """Parameters for the pooled stages."""
    return make_params(list(POOLED), 2)


@cache
def chained() -> CoreParams:
    """Parameters for the stages of two rounds."""
    return make_params(list(CHAINED), 6)


def control(core: CoreParams, binary: bool) -> Frozen:
    """An engine's control."""
    params = core.engines[binary]
    array = params.array
    layout = request_layout(params.descriptor, params.address_width, array.depth,
                            array.lanes_out // params.lanes, array.px)  # fmt: skip
    return Frozen(EngineControl(params, layout))


def epilogue(core: CoreParams) -> Epilogue:
    """The epilogue of a network."""
    return Epilogue(
        core.epilogue, core.stages.layout, drivers.layouts(core, core.geometry.convs[0])[0]
    )


def sinks(core: CoreParams) -> Sinks:
    """The sinks of a network."""
    token = drivers.layouts(core, core.geometry.convs[0])[1]
    return Sinks(core.sinks, core.stages.layout, token)


def max_pool(core: CoreParams) -> MaxPool:
    """The pooling unit of a network."""
    token = drivers.layouts(core, core.geometry.convs[0])[1]
    return MaxPool(core.pools, core.stages.layout, token, core.geometry.plan.lanes,
                   core.epilogue.value_width, core.pool_channels, core.pool_depth,
                   near=core.pool_near)  # fmt: skip


def array(params: ArrayParams, latency: bool, seed: int, frozen: bool) -> Bench:
    """An array and a random run, or the run that measures its latency."""
    dut = make_array(params)
    drive = drivers.drive_array_latency if latency else drivers.drive_array
    return Bench(dut, drive(dut, seed))


def dot(lanes: int, seed: int, frozen: bool) -> Bench:
    """A dot product."""
    dut = IntegerDot(lanes, 9, 8)
    return Bench(dut, drivers.drive_integer(dut, seed))


def count(module, lanes: int, seed: int, frozen: bool) -> Bench:
    """A count of equal bits."""
    dut = module.EqualBits(lanes)
    return Bench(dut, drivers.drive_equal_bits(dut, seed))


def engine_control(binary: bool, seed: int, frozen: bool) -> Bench:
    """Step generator, issuer and drain of the mixed network."""
    dut = control(mixed(), binary)
    return Bench(dut, loops.drive_control(dut, mixed(), binary, seed, frozen))


def filled_control(seed: int, frozen: bool) -> Bench:
    """Step generator, issuer and drain of stages with borders."""
    core = make_params(list(FILLED), 4)
    dut = control(core, True)
    return Bench(dut, loops.drive_control(dut, core, True, seed, frozen))


def pixel_control(seed: int, frozen: bool) -> Bench:
    """Step generator, issuer and drain for column groups."""
    core = make_params(list(FILLED), 4, p_px=2, tile_pixels=4)
    dut = control(core, True)
    return Bench(dut, loops.drive_control(dut, core, True, seed, frozen))


def engine(
    binary: bool, weights: str, seed: int, frozen: bool, layers=MIXED, p_px: int = 1
) -> Bench:
    """A whole engine of the mixed network without its gates, or of other stages."""
    core = make_params(
        [replace(layer, gated=False) for layer in layers], 3, weights=weights, p_px=p_px,
        **({"weight_word": 24, "mac_weight_word": 24} if weights == "stream" else {}),
    )  # fmt: skip
    dut = Frozen(Engine(core.engines[binary]))
    return Bench(dut, loops.drive_engine(dut, core, binary, seed, frozen))


def open_loop(make, drive, core: Callable[[], CoreParams], seed: int, frozen: bool) -> Bench:
    """A component without an ``enable``, of a network."""
    dut = make(core())
    return Bench(dut, drive(dut, core(), seed))


def vector(seed: int, frozen: bool) -> Bench:
    """The vector unit of the mixed network."""
    dut = WithSums(VectorUnit(mixed().vector))
    return Bench(dut, loops.drive_vector(dut, mixed(), seed, frozen))


BENCHES: dict[str, Callable[[int, bool], Bench]] = {
    "count_33": partial(count, compressor, 33),
    "count_lut4_33": partial(count, carries, 33),
    "integer_dot_9": partial(dot, 9),
    "array_binary": partial(array, BINARY, False),
    "array_lut4": partial(array, replace(BINARY, lut=4), False),
    "array_real": partial(array, REAL, False),
    "control_binary": partial(engine_control, True),
    "control_real": partial(engine_control, False),
    "engine_binary": partial(engine, True, "chip"),
    "engine_real": partial(engine, False, "chip"),
    "control_filled": filled_control,
    "engine_filled": partial(engine, True, "chip", layers=FILLED),
    "control_pixels": pixel_control,
    "engine_pixels": partial(engine, True, "chip", layers=FILLED, p_px=2),
    "engine_4_pixels": partial(engine, True, "stream", p_px=4),
    "engine_streamed": partial(engine, True, "stream"),
    "epilogue": partial(open_loop, epilogue, drivers.drive_epilogue, mixed),
    "epilogue_two_rounds": partial(open_loop, epilogue, drivers.drive_epilogue, chained),
    "max_pool": partial(open_loop, max_pool, drivers.drive_pool, pooling),
    "sinks": partial(open_loop, sinks, drivers.drive_sinks, mixed),
    "vector_unit": vector,
}  # fmt: skip
FREEZABLE = ("control_binary", "control_real", "control_filled", "control_pixels",
             "engine_filled", "engine_pixels", "engine_4_pixels", "engine_binary", "engine_real",
             "engine_streamed", "vector_unit")  # fmt: skip
"""Benches whose component has an ``enable``."""
