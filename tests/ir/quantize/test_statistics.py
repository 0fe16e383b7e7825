"""What calibration gathers in pieces is what all frames together give."""

import networks
import numpy as np
import pytest

from r2b.ir import interpreter
from r2b.ir.quantize import Preprocessing, quantize, statistics
from r2b.ir.quantize.legalize import legalize
from r2b.ir.quantize.lower import wanted
from r2b.ir.quantize.partition import Partition
from r2b.ir.quantize.statistics import PERCENTILE, gather


@pytest.mark.parametrize("count", [1, 7, 150])
@pytest.mark.parametrize("step", [1, 4, 64])
def test_percentiles_in_pieces_are_those_of_all_frames(count, step):
    legal = legalize(networks.paper())
    asked = wanted(legal, Partition(legal.graph, legal.head))
    frames = networks.frames((2, 9, 8), count) / 255
    pieces = [frames[start : start + step] for start in range(0, count, step)]
    found = gather(legal.graph, asked, pieces, count)
    values = interpreter.run(legal.graph, frames)
    assert asked.pools and asked.means
    for pool, peak in found.peaks.items():
        parts = [np.abs(values[name]).swapaxes(0, 1) for name in pool]
        joined = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        np.testing.assert_allclose(
            peak, np.percentile(joined, PERCENTILE, axis=1), rtol=1e-12, err_msg=str(pool)
        )
    for name, means in found.means.items():
        np.testing.assert_allclose(means, values[name].mean(axis=(2, 3)), rtol=1e-12, atol=1e-15)


def test_frames_are_processed_in_pieces_that_fit_memory(monkeypatch):
    graph, seen = networks.paper(), []
    run = interpreter.run

    def counting(graph, frames, *rest):
        seen.append(len(frames))
        return run(graph, frames, *rest)

    monkeypatch.setattr(interpreter, "run", counting)
    frames = networks.frames((2, 9, 8), 9)
    whole, _ = quantize(graph, frames)
    assert set(seen) == {9}
    elements = sum(int(np.prod(node.type.shape)) for node in legalize(graph).graph)
    monkeypatch.setattr(statistics, "BATCH_ELEMENTS", 2 * elements)
    seen.clear()
    pieces, report = quantize(graph, frames)
    assert seen == [2, 2, 2, 2, 1] * 2 and report.num_frames == 9
    assert [stage.name for stage in pieces.stages] == [stage.name for stage in whole.stages]
    for name, tensor in whole.tensors.items():
        np.testing.assert_allclose(pieces.tensors[name].scale, tensor.scale, rtol=1e-9)


def test_zeros_and_ranges_are_counted_over_all_pieces():
    legal = legalize(networks.bi_real())
    relu = next(node.name for node in legal.graph if node.name == "r2")
    asked = statistics.Wanted(frozenset(), frozenset(), frozenset({relu}), frozenset({relu}))
    frames = Preprocessing().apply(networks.frames((1, 8, 8), 5))
    found = gather(legal.graph, asked, [frames[:2], frames[2:]], 5)
    values = interpreter.run(legal.graph, frames)[relu]
    assert found.zeros[relu] == (values == 0).sum() > 0
    assert found.ranges[relu] == pytest.approx((values.min(), values.max()))
