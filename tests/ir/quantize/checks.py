"""What every Program must fulfil: read back, run as reference.py, close to the float network."""

import runpy
import subprocess
import sys

import networks
import numpy as np

from r2b.backends.numpy import REFERENCE_FILE, emit
from r2b.ir import serialize
from r2b.ir.execute import execute
from r2b.ir.program import identical
from r2b.ir.quantize import quantize


def run_apart(folder, frames):
    """Logits of reference.py in a process of its own."""
    np.save(folder / "in.npy", frames)
    command = [sys.executable, folder / REFERENCE_FILE, folder / "in.npy", folder / "out.npy"]
    subprocess.run(command, check=True, capture_output=True)
    return np.load(folder / "out.npy")


def run_here(folder, frames):
    """Every value of reference.py in this process: the same file, faster."""
    return runpy.run_path(str(folder / REFERENCE_FILE))["predict_trace"](frames)


def check_exact(net, frames, folder, *, apart=False):
    """The Program reads back, and reference.py has its bits."""
    emit(net, folder)
    assert identical(serialize.load(folder), net)
    expected, found = execute(net, frames), run_here(folder, frames)
    for kind in ("tensors", "signs", "sums", "slopes"):
        values = getattr(expected, kind)
        assert list(getattr(found, kind)) == list(values)
        for name, value in values.items():
            np.testing.assert_array_equal(getattr(found, kind)[name], value, err_msg=name)
    np.testing.assert_array_equal(found.logits, expected.logits)
    if apart:
        np.testing.assert_array_equal(run_apart(folder, frames), expected.logits)
    check_widths(net, expected)
    return expected


def check_widths(net, trace):
    """Every tensor fits the format, every shape is what the Program says."""
    low, high = -(1 << (net.act_bits - 1)), (1 << (net.act_bits - 1)) - 1
    for name, tensor in net.tensors.items():
        assert trace.tensors[name].shape[1:] == tuple(tensor.shape)
        assert low <= trace.tensors[name].min() and trace.tensors[name].max() <= high
    for name, shape in net.sign_shapes.items():
        assert trace.signs[name].shape[1:] == tuple(shape)


def check(graph, folder, *, bits=16, count=6, sqnr=30, equal=0.98, **options):
    """Quantize a Graph; exact checks, then closeness to the float network."""
    frames = networks.frames(graph.inputs[0].type.shape[1:], count)
    net, report = quantize(graph, frames, bits, **options)
    shaped = frames.reshape(count, *net.input_shape)
    trace = check_exact(net, shaped, folder, apart=True)
    for stage in report.stages:
        assert stage.sqnr_db is None or stage.sqnr_db > sqnr, stage
        assert stage.equal_signs is None or stage.equal_signs >= equal, stage
    assert report.top1_agreement == 1
    return net, report, trace
