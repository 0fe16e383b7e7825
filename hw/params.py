"""Parameters of every component of the core, derived from a Program and a Plan."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

from r2b.hw import descriptor as tables
from r2b.hw import pool, rounds, sinks, stem, vector, weights
from r2b.hw.array import ArrayParams
from r2b.hw.batch import ALONE, Batch, batch_of, memory_words
from r2b.hw.devices import LUT_INPUTS, device
from r2b.hw.engine import EngineParams
from r2b.hw.geometry import ConvGeometry, ProgramGeometry
from r2b.hw.halves import BACK
from r2b.hw.memo import remember
from r2b.hw.packing import pairs_of
from r2b.hw.plan import Plan
from r2b.hw.presum import PresumParams
from r2b.hw.rounds import signed_width
from r2b.hw.sinks import SinkParams
from r2b.hw.stem import FrameParams
from r2b.hw.vector_tables import VectorTables
from r2b.ir.errors import PlanError

FEW, MORE = 2, 32
"""Contents of weight memories that are kept, binary and real: a large network's binary weights
take tens of megabytes."""


@dataclass(frozen=True)
class CoreParams:
    """Everything the core is built from, derived from a Program and a Plan.

    Build one with :func:`core_params`. With a front in the Plan these are the back's, and
    ``front`` has the front's; each has the geometry of its own stages.
    """

    geometry: ProgramGeometry
    stages: tables.Table
    taps: tables.Table
    pools: tables.Table
    address_width: int
    epilogue: rounds.EpilogueParams
    sinks: SinkParams
    frame: FrameParams
    vector: vector.VectorParams
    fm_words: int
    sm_words: int
    engines: dict[bool, EngineParams]
    pooled: bool
    pool_channels: int
    pool_depth: int
    pool_near: bool
    presum: PresumParams | None = None
    batch: Batch = ALONE
    front: CoreParams | None = None


def core_params(geometry: ProgramGeometry) -> CoreParams:
    """Parameters of every component for a network."""
    return remember(geometry, "core", None, lambda: _core_params(geometry))


def _core_params(geometry: ProgramGeometry) -> CoreParams:
    if not geometry.plan.front_out:
        return _half_params(geometry)
    front = _half_params(geometry.front)
    return replace(_half_params(geometry.back), frame=front.frame, front=front)


def _half_params(geometry: ProgramGeometry) -> CoreParams:
    plan = geometry.plan
    stages = tables.Table(tables.stage_rows(geometry))
    taps = tables.Table(tables.tap_rows(geometry)[0])
    pooled = [conv for conv in geometry.stages if conv.pool is not None]
    batch = batch_of(geometry)
    fm_words, sm_words = batch.frames * batch.fm, batch.frames * batch.sm
    width = _address_width(geometry, fm_words, sm_words)
    bounds = [conv.acc_bounds for conv in geometry.convs]
    acc = signed_width(min(low for low, _ in bounds), max(high for _, high in bounds))
    vectors = _vector_params(geometry)
    sink = SinkParams(
        plan.lanes, plan.act_bits, vectors.sum_width, plan.p_in // plan.lanes,
        max(1, (fm_words - 1).bit_length()), max(1, (sm_words - 1).bit_length()),
        max(conv.all_groups for conv in geometry.convs), remember(
            geometry.program, "thresholds", (plan.lanes, geometry.side),
            lambda: sinks.threshold_rows(geometry),
        ), batch,
    )  # fmt: skip
    lanes = remember(
        geometry.program, "epilogue", (plan.lanes, acc, plan.constants, geometry.side),
        lambda: rounds.epilogue_params(geometry, acc),
    )  # fmt: skip
    engines = {}
    for binary in (True, False):
        convs = geometry.engine(binary)
        if convs:
            engines[binary] = _engine_params(
                geometry, convs, stages, taps, width, bool(pooled), lanes.latency, batch
            )
    depths = [conv.stage.shape[2] * conv.all_groups for conv in pooled]
    return CoreParams(
        geometry, stages, taps, tables.Table(tables.pool_rows(geometry)), width,
        lanes, sink, _frame_params(geometry), vectors,
        fm_words, sm_words, engines, bool(pooled),
        max((conv.all_groups for conv in pooled), default=1), max(depths, default=1),
        any(_near(conv) for conv in pooled),
        presum_params(geometry), batch,
    )  # fmt: skip


def _near(conv: ConvGeometry) -> bool:
    """Whether a pooled column's word may come again before the pool has written it."""
    fewest = min(conv.tile_groups(ko) for ko in range(conv.tiles_out))
    return conv.cols * fewest <= pool.DISTANCE


def presum_params(geometry: ProgramGeometry) -> PresumParams | None:
    """Shape of the buffer of sums; None without one."""
    convs, plan = [conv for conv in geometry.convs if conv.buffered], geometry.plan
    if not convs:
        return None
    width = plan.act_bits + max(conv.presum_bits for conv in convs)
    words = max(conv.depth for conv in convs)
    return PresumParams(plan.lanes, plan.act_bits, width, plan.tile_pixels, words)


def _address_width(geometry: ProgramGeometry, fm_words: int, sm_words: int) -> int:
    """Bits for every address and offset, signed, with room for one step beyond the end."""
    plan = geometry.plan
    extents = [fm_words, sm_words]
    if geometry.side == BACK:  # it reads the front's memories, too
        extents += memory_words(geometry.whole.front)
    else:
        extents.append(plan.line_words)
    for conv in geometry.convs:
        words = conv.tiles_out * conv.steps_per_tile * conv.load_words
        extents += [words, conv.rows_in * conv.row_words, conv.cols_in * conv.values_per_tap]
        extents += [sm_words * conv.sign_banks] if conv.part.signs else []
        extents += [conv.rows * conv.cols * conv.all_groups]
    for binary in (True, False):
        extents.append(
            sum(c.tiles_out * c.steps_per_tile * c.load_words for c in geometry.engine(binary))
        )
    return (2 * max(extents)).bit_length() + 1


def _vector_params(geometry: ProgramGeometry) -> vector.VectorParams:
    program, plan = geometry.program, geometry.plan
    gates = [stage.gate for stage in program.stages if stage.gate is not None]
    layers = [layer for gate in gates for layer in (gate.hidden, gate.out)]
    means = [gate.mean for gate in gates] + [program.head.mean]
    pixels = [s.shape[1] * s.shape[2] for s in program.stages if s.sums is not None]
    outputs = [len(layer.weight) for layer in layers] + [program.num_classes]
    tables = weights.vector_tables_of(geometry)
    if plan.vector == "stream":
        _check_rows(tables, plan)
    return vector.VectorParams(
        lanes=plan.lanes,
        macs=plan.gate_macs,
        value_width=plan.act_bits,
        sum_width=plan.act_bits + max(pixels).bit_length(),
        channels=max(len(mean.multiplier) for mean in means),
        hidden=max([1, *(len(gate.hidden.weight) for gate in gates)]),
        outputs=max(outputs),
        tables=tables,
        bus=plan.weight_word if plan.vector == "stream" else 0,
        frames=plan.batch,
    )


def _check_rows(tables: VectorTables, plan: Plan) -> None:
    """PlanError if a row of the vector unit's tables is longer than a word of the stream."""
    rows = {name: getattr(tables, name).layout.size for name in ("means", "dense", "slopes")}
    longest = max(rows, key=lambda name: rows[name])
    if rows[longest] > plan.weight_word:
        raise PlanError(
            f"a streamed vector unit needs a weight_word of at least {rows[longest]} bits, which "
            f"is a row of its {longest} table, not {plan.weight_word}"
        )


def _frame_params(geometry: ProgramGeometry) -> FrameParams:
    channels, rows, cols = geometry.program.input_shape
    zero = next(
        (conv.conv.zero_point for conv in geometry.convs if conv.from_frame), [0] * channels
    )
    plan, size = geometry.plan, stem.transfer_bytes(channels)
    return FrameParams(
        size, rows, cols * channels // size, plan.lanes, plan.line_words,
        tuple(int(z) for z in zero[:size]), plan.batch > 1,
    )  # fmt: skip


def word_key(geometry: ProgramGeometry, binary: bool) -> tuple[Hashable, ...]:
    """What the content of an engine's weight memory depends on, besides the width of a word."""
    conv = geometry.engine(binary)[0]
    side = () if conv.binary or not geometry.side else (geometry.side,)
    return *side, conv.lanes_in, conv.lanes_out, () if conv.binary else pairs_of(conv.plan)


def weight_words(geometry: ProgramGeometry, binary: bool) -> tuple[int, ...]:
    """An engine's weights, all of the network."""
    convs = geometry.engine(binary)
    word = geometry.plan.weight_word if binary else geometry.plan.mac_weight_word
    kind, most = ("binary words", FEW) if binary else ("real words", MORE)
    return remember(
        geometry.program, kind, (*word_key(geometry, binary), word),
        lambda: tuple(w for conv in convs for w in conv.weight_words()), most,
    )  # fmt: skip


def with_gate_macs(params: CoreParams, gate_macs: int) -> CoreParams:
    """The same core with another vector unit: nothing else depends on its products per cycle."""
    geometry = params.geometry.whole.with_gate_macs(gate_macs)
    back = geometry.back
    found = replace(params, geometry=back, vector=_vector_params(back))
    return remember(geometry, "core", None, lambda: found)


def constants_in_luts(params: CoreParams) -> CoreParams:
    """The same core, its front's too, with the epilogue's constants in LUTs."""
    parts = tuple(replace(part, logic=True) for part in params.epilogue.rounds)
    front = None if params.front is None else constants_in_luts(params.front)
    return replace(params, epilogue=replace(params.epilogue, rounds=parts), front=front)


def _engine_params(
    geometry, convs: list[ConvGeometry], stages, taps, width, pooled, latency, batch
) -> EngineParams:
    plan, binary = geometry.plan, convs[0].binary
    low = min(conv.acc_bounds[0] for conv in convs)
    high = max(conv.acc_bounds[1] for conv in convs)
    array = ArrayParams(
        binary=binary,
        lanes_in=convs[0].lanes_in,
        lanes_out=convs[0].lanes_out,
        group=plan.lanes,
        a_width=1 if binary else geometry.operand_bits,
        w_width=convs[0].weight_bits,
        acc_width=signed_width(low, high),
        depth=plan.tile_pixels,
        word=plan.weight_word if binary else plan.mac_weight_word,
        load_words=convs[0].load_words,
        hop=plan.hop,
        packed=not binary and plan.mac_packing == 2,
        luts=0 if binary else plan.lut_macs,
        px=convs[0].px,
        lut=LUT_INPUTS[device(plan.device).family],
    )
    words = weight_words(geometry, binary) if plan.weights == "chip" else None
    return EngineParams(
        array=array,
        descriptor=stages.layout,
        taps=taps,
        lanes=plan.lanes,
        sign_banks=plan.p_in // plan.lanes,
        address_width=width,
        pooled=pooled,
        epilogue=latency,
        words=words,
        segment_words=max(conv.segment_words for conv in convs),
        shared=plan.vector == "stream",
        batch=batch,
        frame=any(conv.from_frame for conv in convs),
    )
