"""Handlers of pooling, means and sums."""

from __future__ import annotations

from r2b.frontend.arguments import Arguments, aten, handles, overloads, refuse_if
from r2b.ir import ops
from r2b.ir.ops.base import window_size


@handles(aten.max_pool2d.default, aten.max_pool2d_with_indices.default)
def _max_pool2d(node: Arguments) -> str:
    refuse_if(node.pair("dilation") != (1, 1), "max pooling with a dilation")
    kernel, stride = _window(node)
    return node.make(ops.MaxPool2d(kernel, stride, _pool_padding(node)), node.tensor("self"))


@handles(aten.avg_pool2d.default)
def _avg_pool2d(node: Arguments) -> str:
    kernel, stride = _window(node)
    padding = _pool_padding(node)
    divisor = node["divisor_override"]
    counts = bool(node["count_include_pad"]) or divisor is not None
    grown = padding[:2] != padding[2:] and not _grows_in_vain(node, padding)
    refuse_if(
        counts and grown and divisor is None,
        "average pooling with ceil_mode whose last window is cut off",
    )
    # without padding both divisors are the same, and the window size is the simpler one
    op = ops.AvgPool2d(kernel, stride, padding, counts or not any(padding))
    if divisor is None:
        return node.make(op, node.tensor("self"))
    factor = node.constant(kernel[0] * kernel[1] / divisor)
    return node.make(ops.Arithmetic("mul"), node.step(op, node.tensor("self")), factor)


def _grows_in_vain(node: Arguments, padding: ops.Padding) -> bool:
    """Tell whether the symmetric padding gives the same windows."""
    kernel, stride = _window(node)
    top, left = padding[:2]
    source, result = node.size("self")[2:], node.shape()[2:]
    return window_size(source, kernel, stride, (top, left, top, left), (1, 1)) == result  # pyright: ignore[reportArgumentType]


def _window(node: Arguments) -> tuple[ops.Pair, ops.Pair]:
    kernel = node.pair("kernel_size")
    return kernel, node.pair("stride") if node["stride"] else kernel


def _pool_padding(node: Arguments) -> ops.Padding:
    """Padding; what ceil_mode adds at the bottom and on the right is written out."""
    top, left = node.pair("padding")
    kernel, stride = _window(node)
    source, result = node.size("self")[2:], node.shape()[2:]
    needed = [
        (result[axis] - 1) * stride[axis] + kernel[axis] - source[axis] - (top, left)[axis]
        for axis in range(2)
    ]
    return top, left, max(top, needed[0]), max(left, needed[1])


@handles(aten.adaptive_avg_pool2d.default, aten._adaptive_avg_pool2d.default)
def _adaptive_avg_pool2d(node: Arguments) -> str:
    return node.make(ops.AdaptiveAvgPool2d(node.shape()[2:]), node.tensor("self"))  # pyright: ignore[reportArgumentType]


@handles(aten.adaptive_max_pool2d.default)
def _adaptive_max_pool2d(node: Arguments) -> str:
    (height, width), (rows, columns) = node.size("self")[2:], node.shape()[2:]
    refuse_if(
        height % rows > 0 or width % columns > 0,
        f"adaptive max pooling of {height}x{width} to {rows}x{columns} is not even",
    )
    kernel = (height // rows, width // columns)
    return node.make(ops.MaxPool2d(kernel, kernel), node.tensor("self"))


@handles(aten.amax.default)
def _amax(node: Arguments) -> str:
    axes, size = _axes(node), node.size("self")
    refuse_if(len(size) != 4 or axes != (2, 3), "a maximum over anything but the image")
    op = ops.MaxPool2d(size[2:], size[2:])  # pyright: ignore[reportArgumentType]
    if node["keepdim"]:
        return node.make(op, node.tensor("self"))
    return node.make(ops.Reshape(node.shape()), node.step(op, node.tensor("self")))


@handles(*overloads("mean.dim", "mean.default"))
def _mean(node: Arguments) -> str:
    return node.make(ops.Mean(_axes(node), _keeps(node)), node.tensor("self"))


@handles(*overloads("sum.dim_IntList", "sum.default"))
def _sum(node: Arguments) -> str:
    axes, size = _axes(node), node.size("self")
    refuse_if(node.batched("self") and 0 in axes, "a sum over the frames is not allowed")
    count = 1
    for axis in axes:
        count *= size[axis]
    mean = node.step(ops.Mean(axes, _keeps(node)), node.tensor("self"))
    return node.make(ops.Arithmetic("mul"), mean, node.constant(float(count)))


def _keeps(node: Arguments) -> bool:
    return bool(node.values.get("keepdim", False))


def _axes(node: Arguments) -> tuple[int, ...]:
    """Dimensions of a reduction, counted from the front; none written means all."""
    rank = len(node.size("self"))
    written = node.values.get("dim")
    axes = [written] if isinstance(written, int) else (written or range(rank))
    return tuple(sorted(axis % rank for axis in axes)) if rank else ()
