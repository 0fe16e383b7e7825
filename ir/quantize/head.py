"""Finds the end of a network: the values that are its class scores, and the layer that makes them.

The Program ends in one fully connected layer over channel means. A network that ends in a
:class:`Linear` over means, or over a vector, gives that layer. Any other vector of class scores is
stored as a tensor of classes x 1 x 1, and the layer has the identity as its weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from r2b.ir import ops
from r2b.ir.graph import Graph, Node
from r2b.ir.quantize.encode import FloatArray

Problems = list[tuple[Node, str]]


@dataclass(frozen=True)
class Head:
    """The last layer, as the legal Graph has it.

    Parameters
    ----------
    node : Node
        Its place and name in the model.
    weight : float64, classes x C
    bias : float64 of as many values as classes, or None
    operand : str
        Node of the legal Graph whose channel means it reads.
    logits : str
        Node of the legal Graph whose value is the class scores.
    path : set of str
        Nodes of the legal Graph that the layer stands for.
    """

    node: Node
    weight: FloatArray
    bias: FloatArray | None
    operand: str
    logits: str
    path: frozenset[str]


@dataclass(frozen=True)
class End:
    """The end of a canonical Graph.

    Parameters
    ----------
    scores : Node
        The class scores, before a softmax.
    linear : Node or None
        The Linear that makes them, if the Program's last layer is that one.
    mean : Node or None
        The GlobalAvgPool that this layer takes in.
    source : Node
        What it reads, before that.
    """

    scores: Node
    linear: Node | None
    mean: Node | None
    source: Node


def find_end(graph: Graph, problems: Problems) -> End | None:
    """Walk back from the output; append what is in the way."""
    outputs = graph.outputs
    if not outputs:
        return None
    why = "a network must have one output, its class scores; return one tensor"
    problems += [(node, why) for node in outputs[1:]]
    (scores,) = graph.operands(outputs[0].name)
    while isinstance(scores.op, ops.Softmax) or _is_view(graph, scores):
        (scores,) = graph.operands(scores.name)
    if not is_vector(scores) and not isinstance(scores.op, ops.GlobalAvgPool):
        shape = " x ".join(map(str, scores.type.shape[1:]))
        why = f"a network must end in class scores N x C, not N x {shape}; "
        problems.append((outputs[0], why + "put AdaptiveAvgPool2d(1) and Flatten at the end"))
        return None
    if isinstance(scores.op, ops.Linear) and len(graph.users(scores.name)) == 1:
        source, mean = _strip(graph, graph.operands(scores.name)[0])
        if _reads_channels(source, mean, scores.op.weight.shape[1]):
            return End(scores, scores, mean, source)
    source, mean = _strip(graph, scores)
    return End(scores, None, mean, source)


def _is_view(graph: Graph, node: Node) -> bool:
    """Tell whether a Flatten only drops sizes of 1, so that what it reads are the scores."""
    return isinstance(node.op, ops.Flatten) and is_vector(graph.operands(node.name)[0])


def is_vector(node: Node) -> bool:
    """N x C, or N x C x 1 x 1."""
    shape = node.type.shape
    return len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))


def _strip(graph: Graph, node: Node) -> tuple[Node, Node | None]:
    """Go back over one average over the image, and over views of its result."""
    while isinstance(node.op, ops.Flatten) and is_vector(graph.operands(node.name)[0]):
        (node,) = graph.operands(node.name)
    if isinstance(node.op, ops.GlobalAvgPool):
        return graph.operands(node.name)[0], node
    return node, None


def _reads_channels(source: Node, mean: Node | None, width: int) -> bool:
    fits = len(source.type.shape) in (2, 4) and source.type.channels == width
    return fits and (mean is not None or is_vector(source))
