"""Writes a canonical Graph in the words that stages know: feature maps only, no layer of vectors.

The legal Graph computes the same values under the same names (in another shape: a vector N x C is
an image of C x 1 x 1, and Flatten is a view where it can be). What is rewritten:

1. Linear, BinaryLinear -> convolution over the whole image that was flattened;
2. Flatten that someone reads as a vector -> Reshape to F x 1 x 1;
3. GlobalAvgPool, unless the head takes it in -> AvgPool2d over the whole image;
4. AvgPool2d that does not count padding -> AvgPool2d that does, and SpatialScale;
5. Pad that convolutions or maxima alone read -> their padding;
6. a bipolar result of other than Sign -> that result and a Sign of it, so that signs alone are
   sign maps;
7. a sign map or the frame where a stored tensor is needed -> a BatchNorm of 1 and 0;
8. Gate, where it does not scale one convolution -> mean, two 1x1 convolutions, its function;
9. Softmax at the end -> nothing;
10. Select -> a convolution whose weights are 1 for the selected channel and 0 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from r2b.ir import ops
from r2b.ir.graph import Graph, Node
from r2b.ir.quantize.head import End, Head, Problems, find_end
from r2b.ir.quantize.partition import Partition, refuse
from r2b.ir.types import DType

ELEMENTWISE = (ops.Relu, ops.Hardtanh, ops.Sigmoid, ops.Activation, ops.Sign)
PER_CHANNEL = (ops.BatchNorm, ops.PRelu)


@dataclass(frozen=True)
class Legal:
    """A Graph that stages can be made of, its last layer, and what its signs give for 0."""

    graph: Graph
    head: Head
    sign_zero: int | None = None


def legalize(graph: Graph, sign_zero: int | None = None) -> Legal:
    """Rewrite a canonical Graph; see the module's text.

    ``sign_zero`` (-1 or +1) is what a sign gives for 0 where the source gives 0.

    Raises
    ------
    UnsupportedOpError
        With every operation that has no integer form, its place and the way out.
    """
    graph = graph.copy()
    graph.prune()
    problems = _problems(graph)
    end = find_end(graph, problems)
    refuse(problems)
    assert end is not None
    general: frozenset[str] = frozenset()
    while True:
        legal = Legalizer(graph, end, general, sign_zero).run()
        found = Partition(legal.graph, legal.head).unfused_gates()
        if not found:
            return legal
        general |= found


def _problems(graph: Graph) -> Problems:
    """List operations that no rewriting helps."""
    found: Problems = []
    if len(graph.inputs) != 1:
        why = "a network takes one tensor, the frames; give the others as parameters"
        found += [(node, why) for node in graph.inputs[1:]]
    for node in graph.nodes():
        if not isinstance(node.op, ops.CANONICAL_OPS):
            found.append((node, "it is no canonical operation; run canonicalize first"))
        elif len(node.type.shape) not in (2, 4):
            shape = " x ".join(["N", *map(str, node.type.shape[1:])])
            found.append((node, f"values are N x C or N x C x H x W, not {shape}; reshape it"))
        elif isinstance(node.op, ops.Linear) and len(node.type.shape) != 2:
            found.append((node, "a fully connected layer takes N x C; put Flatten before it"))
        elif isinstance(node.op, ops.Softmax) and not _ends(graph, node):
            found.append((node, "a softmax is supported at the end only; leave it out"))
    return found


def _ends(graph: Graph, node: Node) -> bool:
    """Tell whether nothing but views stands between a node and the output."""
    views = (ops.Output, ops.Flatten, ops.Softmax)
    users = graph.users(node.name)
    return all(
        isinstance(user.op, views) and (isinstance(user.op, ops.Output) or _ends(graph, user))
        for user in users
    )


class Legalizer:
    """One rewriting of a Graph.

    Parameters
    ----------
    graph : Graph
        Canonical, without problems.
    end : End
    general : set of str
        Gates that become operations of their own.
    sign_zero : -1, +1 or None
    """

    def __init__(
        self, graph: Graph, end: End, general: frozenset[str], sign_zero: int | None
    ) -> None:
        """Begin with an empty Graph."""
        self.sign_zero = sign_zero
        self.old, self.end, self.general = graph, end, general
        self.new = Graph(graph.name)
        self.values: dict[str, str] = {}
        self.padding: dict[str, ops.Pad] = {}
        self.tensors: dict[str, str] = {}
        self.vectors: dict[str, str] = {}

    def run(self) -> Legal:
        """Rewrite all nodes, then the head."""
        for node in self.old.nodes():
            behind = any(operand not in self.values for operand in node.operands)
            if behind or isinstance(node.op, ops.Output) or node == self.end.linear:
                continue
            name = self._rewrite(node)
            self.values[node.name] = self._signed(node, name)
        head = self._head()
        self.new.prune()
        return Legal(self.new, head, self.sign_zero)

    # --------------------------------------------------------------------------------- the rules

    def _rewrite(self, node: Node) -> str:
        """Name of the legal value of a node."""
        operands = [self.values[name] for name in node.operands]
        match node.op:
            case ops.Input(shape=shape):
                return self._put(node, ops.Input((*shape, 1, 1)[:4]))
            case ops.Flatten() | ops.Softmax():
                return operands[0]
            case ops.Linear() | ops.BinaryLinear():
                return self._put(node, _as_conv(node.op, self._shape(operands[0])), operands)
            case ops.Conv2d() | ops.BinaryConv2d():
                return self._put(node, self._with_padding(node), operands)
            case ops.MaxPool2d():
                return self._max_pool(node, operands)
            case ops.Pad():
                return self._pad(node, operands[0])
            case ops.Select():
                return self._select(node, operands[0])
            case ops.AvgPool2d():
                return self._avg_pool(node, node.op, operands[0])
            case ops.GlobalAvgPool():
                return self._global_avg_pool(node, operands[0])
            case ops.Gate():
                return self._gate(node, node.op, operands[0])
            case ops.Sign():
                return self._sign(node, node.op, operands[0])
            case ops.BatchNorm() | ops.PRelu():
                return self._per_channel(node, node.op, operands[0])
            case ops.Concat():
                return self._put(node, node.op, [self._no_frame(o) for o in self._shaped(node)])
            case ops.Add() | ops.Scale():
                return self._put(node, node.op, [self._tensor(o) for o in self._shaped(node)])
            case _:
                return self._put(node, node.op, operands)

    def _sign(self, node: Node, op: ops.Sign, operand: str) -> str:
        if self.new[operand].type.dtype is DType.BIPOLAR:
            return operand  # a sign of signs
        if op.zero == 0 and self.sign_zero is not None:
            op = ops.Sign(1 if self.sign_zero > 0 else -1)
        return self._put(node, op, [self._no_frame(operand)])

    def _per_channel(self, node: Node, op: ops.BatchNorm | ops.PRelu, operand: str) -> str:
        """Parameters of a flattened image may still be those of its channels."""
        channels, height, width = self._shape(operand)
        if node.type.channels == channels:
            return self._put(node, op, [operand])
        names = ("slope",) if isinstance(op, ops.PRelu) else ("gamma", "beta", "mean", "var")
        rows = {name: getattr(op, name).reshape(channels, height * width) for name in names}
        if all(np.all(row == row[:, :1]) for row in rows.values()):
            return self._put(node, replace(op, **{n: r[:, 0] for n, r in rows.items()}), [operand])
        return self._put(node, op, [self._vector(operand)])

    def _with_padding(self, node: Node) -> ops.Op:
        """Convolution or maximum with the padding of a Pad that it alone reads."""
        op = node.op
        assert isinstance(op, ops.Conv2d | ops.BinaryConv2d | ops.MaxPool2d)
        pad = self.padding.get(node.operands[0])
        if pad is None:
            return op
        joined = tuple(a + b for a, b in zip(op.padding, pad.padding, strict=True))
        if isinstance(op, ops.BinaryConv2d):
            return replace(op, padding=joined, padding_value=int(pad.value))
        return replace(op, padding=joined)

    def _max_pool(self, node: Node, operands: list[str]) -> str:
        op = self._with_padding(node)
        return self._put(node, op, operands)

    def _pad(self, node: Node, operand: str) -> str:
        op = node.op
        assert isinstance(op, ops.Pad)
        users = self.old.users(node.name)
        if not any(op.padding):
            return operand
        if users and all(_takes_padding(op, user.op) for user in users):
            self.padding[node.name] = op
            return operand
        # The border stands on the operand's grid: that of a sign map has whole numbers only.
        whole = op.value == np.rint(op.value)
        return self._put(node, op, [self._no_frame(operand) if whole else self._tensor(operand)])

    def _select(self, node: Node, operand: str) -> str:
        """A selection of signs is a sum of one sign each: its sign is that sign."""
        op = node.op
        assert isinstance(op, ops.Select)
        made = self._put(node, _selection(op, self._shape(operand)), [operand])
        if node.type.dtype is not DType.BIPOLAR:
            return made
        return self._put(node, ops.Sign(1), [made], f"{made}_bits")

    def _avg_pool(self, node: Node, op: ops.AvgPool2d, operand: str) -> str:
        operand = self._no_frame(operand)
        if op.count_include_pad or not any(op.padding):
            return self._put(node, replace(op, count_include_pad=True), [operand])
        whole = self._put(
            node, replace(op, count_include_pad=True), [operand], f"{node.name}_with_padding"
        )
        channels, height, width = self._shape(whole)
        inside = np.broadcast_to(_inside(op, self._shape(operand)[1:]), (channels, height, width))
        return self._put(node, ops.SpatialScale(op.kernel[0] * op.kernel[1] / inside), [whole])

    def _global_avg_pool(self, node: Node, operand: str) -> str:
        if node == self.end.mean and all(map(self._is_end, self.old.users(node.name))):
            return self._put(node, node.op, [self._tensor(operand)])
        if self._shape(operand)[1:] == (1, 1):
            return operand
        return self._put(node, _whole(self._shape(operand)), [self._no_frame(operand)])

    def _is_end(self, user: Node) -> bool:
        """Tell whether a user of the means is the last layer, or leads to it alone."""
        if user == self.end.linear or isinstance(user.op, ops.Output | ops.Softmax):
            return True
        users = self.old.users(user.name)
        return isinstance(user.op, ops.Flatten) and all(map(self._is_end, users))

    def _gate(self, node: Node, op: ops.Gate, operand: str) -> str:
        is_tensor = operand == self._tensor(operand)
        if node.name not in self.general and is_tensor:
            return self._put(node, op, [operand])
        name = node.name
        mean = self._put(
            node, _whole(self._shape(operand)), [self._no_frame(operand)], f"{name}_mean"
        )
        first = self._put(node, _point(op.fc1, op.fc1_bias), [mean], f"{name}_fc1")
        hidden = self._put(node, ops.Relu(), [first], f"{name}_hidden")
        second = self._put(node, _point(op.fc2, op.fc2_bias), [hidden], f"{name}_fc2")
        is_sigmoid = op.function == "sigmoid"
        function = ops.Sigmoid() if is_sigmoid else ops.Activation("hardsigmoid")
        return self._put(node, function, [second], name)

    # ----------------------------------------------------------------------------------- the head

    def _head(self) -> Head:
        """Append the last layer as a 1x1 convolution, for its values; it makes no stage."""
        means = self.values[(self.end.mean or self.end.source).name]
        if isinstance(self.new[means].op, ops.GlobalAvgPool):
            path, operand = {means}, self.new[means].operands[0]
        else:
            path, means = set[str](), self._tensor(self._vector(means))
            operand = means
        linear = self.end.linear
        if linear is None:
            self.new.add(ops.Output(), [means], near=means)
            weight = np.eye(self._shape(means)[0])
            return Head(self.end.scores, weight, None, operand, means, frozenset(path))
        assert isinstance(linear.op, ops.Linear)
        weight, bias = linear.op.weight, linear.op.bias
        logits = self._put(linear, _point(weight, bias), [means])
        self.new.add(ops.Output(), [logits], near=logits)
        return Head(linear, weight, bias, operand, logits, frozenset({*path, logits}))

    # ------------------------------------------------------------------------------------- values

    def _put(
        self, node: Node, op: ops.Op, operands: list[str] | None = None, name: str = ""
    ) -> str:
        """Append an operation in the place of a node of the old Graph."""
        found = self.new.add(op, operands or [], name=name or node.name, location=node.location)
        return found.name

    def _signed(self, node: Node, name: str) -> str:
        """Put a Sign behind a bipolar value that does not come out of one."""
        made = self.new[name]
        if made.type.dtype is not DType.BIPOLAR or isinstance(made.op, ops.Sign):
            return name
        return self._put(node, ops.Sign(1), [name], f"{name}_bits")

    def _shape(self, name: str) -> tuple[int, int, int]:
        _, channels, height, width = self.new[name].type.shape
        return channels, height, width

    def _shaped(self, node: Node) -> list[str]:
        """Operands in shapes that agree: flattened images, unless all are alike."""
        operands = [self.values[name] for name in node.operands]
        if len(node.type.shape) == 4:
            return operands
        alike = len({self._shape(name) for name in operands}) == 1
        if alike and isinstance(node.op, ops.Add):
            return operands
        return [self._vector(name) for name in operands]

    def _vector(self, name: str) -> str:
        """Give an image as a vector F x 1 x 1."""
        channels, height, width = self._shape(name)
        if height * width == 1:
            return name
        if name not in self.vectors:
            source = self._no_frame(name)
            op = ops.Reshape((1, channels * height * width, 1, 1))
            made = self._put(self.new[name], op, [source], f"{name}_flat")
            self.vectors[name] = self._signed(self.new[name], made)
        return self.vectors[name]

    def _no_frame(self, name: str) -> str:
        """Give a stored tensor for the frame."""
        return self._tensor(name) if isinstance(self.new[name].op, ops.Input) else name

    def _tensor(self, name: str) -> str:
        """Give a stored tensor for the frame or a sign map."""
        node = self.new[name]
        if not isinstance(node.op, ops.Input | ops.Sign):
            return name
        if name not in self.tensors:
            ones = np.ones(node.type.channels)
            op = ops.BatchNorm.affine(ones, 0 * ones)
            self.tensors[name] = self._put(node, op, [name], f"{name}_tensor")
        return self.tensors[name]


def _as_conv(op: ops.Linear | ops.BinaryLinear, shape: tuple[int, ...]) -> ops.Op:
    """Fully connected layer over a flattened image of C x H x W as a convolution of H x W."""
    shape = (len(op.weight), *shape)
    if isinstance(op, ops.BinaryLinear):
        return ops.BinaryConv2d(op.weight.reshape(shape), op.scale)
    return ops.Conv2d(op.weight.reshape(shape), op.bias)


def _point(weight: ops.FloatArray, bias: ops.FloatArray | None) -> ops.Conv2d:
    return ops.Conv2d(weight[:, :, None, None], bias)


def _selection(op: ops.Select, shape: tuple[int, int, int]) -> ops.Conv2d:
    """Kernel that reaches from the first selected position to behind the last, if that is cut.

    One position alone may have any step, so nothing is behind it. Channels in their order stay
    each by itself.
    """
    channels, *sizes = shape
    step = [
        size if count == 1 else one
        for size, count, one in zip(sizes, op.size, op.step, strict=True)
    ]
    cut = [size - count * one for size, count, one in zip(sizes, op.size, step, strict=True)]
    rows, columns = (max(start, rest) + 1 for start, rest in zip(op.start, cut, strict=True))
    alone = op.channels == tuple(range(channels))
    weight = np.zeros((len(op.channels), 1 if alone else channels, rows, columns))
    for output, channel in enumerate(op.channels):
        if channel >= 0:
            weight[output, 0 if alone else channel, op.start[0], op.start[1]] = 1.0
    return ops.Conv2d(weight, None, (step[0], step[1]), groups=channels if alone else 1)


def _whole(shape: tuple[int, int, int]) -> ops.AvgPool2d:
    return ops.AvgPool2d(shape[1:], (1, 1))


def _inside(op: ops.AvgPool2d, size: tuple[int, ...]) -> ops.FloatArray:
    """Positions inside the image of each window, rows x columns."""
    counts: list[ops.FloatArray] = []
    for axis in range(2):
        padded = size[axis] + op.padding[axis] + op.padding[axis + 2]
        count = (padded - op.kernel[axis]) // op.stride[axis] + 1
        first = np.arange(count) * op.stride[axis] - op.padding[axis]
        last = np.minimum(first + op.kernel[axis], size[axis])
        counts.append((last - np.maximum(first, 0)).astype(np.float64))
    return counts[0][:, None] * counts[1]


def _takes_padding(pad: ops.Pad, user: ops.Op) -> bool:
    """Tell whether a window's own padding does what a Pad before it does."""
    match user:
        case ops.Conv2d():
            return pad.value == 0
        case ops.BinaryConv2d():
            return not any(user.padding) or user.padding_value == pad.value
        case ops.MaxPool2d():
            return pad.value == -np.inf
        case _:
            return False
