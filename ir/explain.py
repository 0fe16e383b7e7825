"""Why each convolution and linear layer of a network is binary or real, and what was found with it.

Two Graphs of one network are read: the raw one says how the source wrote a weight, the canonical
one what was proved. A name keeps its value between them, so a layer of the raw Graph is found again
by its own name, or by that of a value that was computed from it alone (its scale, its bias).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import (
    BatchNorm,
    BinaryConv2d,
    BinaryLinear,
    Compare,
    Concat,
    Constant,
    Conv2d,
    Convolution,
    Dense,
    Flatten,
    FloatArray,
    Gate,
    Input,
    Linear,
    MaxPool2d,
    Pad,
    Reshape,
    Scale,
    Select,
    Sign,
    SpatialScale,
    Unary,
    Where,
)
from r2b.ir.passes.recognize_binary_convs import binary_scale, not_binary_reason, sign_form

BINARY, REAL, GATE, FOLDED = "binary", "real", "gate", "folded"
_LAYERS = Convolution | Dense | Conv2d | Linear | BinaryConv2d | BinaryLinear
_CANONICAL = Conv2d | Linear | BinaryConv2d | BinaryLinear
_BINARY = BinaryConv2d | BinaryLinear
_ZEROS = {1: "x >= 0 -> +1", -1: "x > 0 -> +1", 0: "0 -> 0"}
_CHOICES = Sign | Compare | Where
"""Operations that tell positive from negative."""


@dataclass(frozen=True)
class Layer:
    """What is known of one convolution or linear layer.

    Parameters
    ----------
    name : str
        Of the node in the raw Graph.
    kind : str
        ``conv`` or ``linear``.
    module, source : str
        Path of the module, and ``file:line``.
    form : str
        ``binary``, ``real``, ``gate`` (part of one, hence real), or ``folded`` (another operation
        stands for it).
    because : str
        What proves the operand two-valued, or why it or the weight is not.
    weight : str
        Where the weight comes from.
    shape : str
        Output x input channels.
    window : str
        Kernel, stride, padding with its value, dilation, groups, as far as they are not usual.
    scale, gate, threshold : str
        What was found, or an empty string.
    offer : str
        An option that would make the layer binary.
    place : str
        Where the operation stands that the layer became; stages are known by it.
    """

    name: str
    kind: str
    module: str
    source: str
    form: str
    because: str
    weight: str
    shape: str
    window: str
    scale: str = ""
    gate: str = ""
    threshold: str = ""
    offer: str = ""
    place: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def counterparts(raw: Graph, canonical: Graph) -> dict[str, Node | None]:
    """Find what every convolution and linear layer that depends on the frames became.

    Parameters
    ----------
    raw, canonical : Graph
        As :func:`explain` takes them.

    Returns
    -------
    dict of str to Node or None
        By the layer's name in the raw Graph: the canonical layer, the gate that it is a part of,
        or None where another operation stands for it.
    """
    taken: set[str] = set()
    return {
        node.name: _counterpart(raw, canonical, node, taken)
        for node in raw.nodes()
        if _is_layer(node)
    }


def explain(raw: Graph, canonical: Graph) -> list[Layer]:
    """Describe every convolution and linear layer that depends on the frames.

    Parameters
    ----------
    raw : Graph
        As the frontend made it.
    canonical : Graph
        What the passes made of it; operations may be left that they have no word for.
    """
    found = counterparts(raw, canonical)
    return [_layer(raw, canonical, raw[name], node) for name, node in found.items()]


def _is_layer(node: Node) -> bool:
    return isinstance(node.op, Convolution | Dense | _CANONICAL) and node.type.batched


def _layer(raw: Graph, canonical: Graph, node: Node, found: Node | None) -> Layer:
    layer = Layer(
        name=node.name,
        kind="linear" if isinstance(node.op, Dense | Linear | BinaryLinear) else "conv",
        module=node.location.module_path,
        source=node.location.source,
        form=FOLDED,
        because="no layer of this shape is left after simplification",
        weight=_provenance(raw, node),
        shape=_shape_text(raw, node),
        window=_window_text(raw, node, found),
    )
    return layer if found is None else _with_finding(layer, canonical, found)


def _with_finding(layer: Layer, canonical: Graph, found: Node) -> Layer:
    known = asdict(layer) | {"place": str(found.location)}
    if isinstance(found.op, Gate):
        known |= {"form": GATE, "because": f"part of the gate {_place(found)}, which is real"}
    elif isinstance(found.op, _BINARY):
        proofs = list(_signs(canonical, canonical.operands(found.name)[0]))
        known |= {
            "form": BINARY,
            "because": "; ".join(_sign_text(canonical, sign) for sign in proofs) or "bipolar",
            "scale": "; ".join(_scales(canonical, found)),
            "gate": ", ".join(_gates(canonical, found)),
            "threshold": "; ".join(dict.fromkeys(_threshold(canonical, sign) for sign in proofs)),
        }
    else:
        reason = not_binary_reason(found, canonical)
        known |= {"form": REAL, "because": reason.partition("; its operand is a sign, hence")[0]}
        known |= {"gate": ", ".join(_gates(canonical, found))}
        if "--binarize-weights" in reason:
            known |= {"offer": "--binarize-weights sign|mean"}
    return Layer(**known)


# ------------------------------------------------------------------------------ finding it again


def _counterpart(raw: Graph, canonical: Graph, node: Node, taken: set[str]) -> Node | None:
    """The canonical operation that a raw layer became, each given once; None where none is left."""
    weight = raw.operands(node.name)[1].type.shape if len(node.operands) > 1 else None
    gate: Node | None = None
    for name in _downstream(raw, node):
        for candidate in (name, f"{name}_binary"):
            if candidate not in canonical or candidate in taken:
                continue
            found = canonical[candidate]
            if isinstance(found.op, _CANONICAL) and _same_weight(found, weight):
                taken.add(candidate)
                return found
            gate = gate or _gate_of(canonical, found)
    return gate


def _gate_of(canonical: Graph, node: Node) -> Node | None:
    """The gate that a value is, or a view of, or is multiplied with."""
    if isinstance(node.op, Gate):
        return node
    operands = canonical.operands(node.name)
    if isinstance(node.op, Flatten | Reshape):
        return _gate_of(canonical, operands[0])
    if isinstance(node.op, Scale) and isinstance(operands[1].op, Gate):
        return operands[1]
    return None


def _same_weight(found: Node, weight: tuple[int, ...] | None) -> bool:
    shape = getattr(found.op, "weight", np.zeros(0)).shape
    return weight is None or int(np.prod(shape)) == int(np.prod(weight))


def _downstream(graph: Graph, node: Node) -> Iterator[str]:
    """Names of a value and of those computed from it, nearest first, not beyond other layers.

    Two layers on the way may be a gate, so the search goes on through one more.
    """
    queue, seen = [(node.name, 0)], {node.name}
    while queue and len(seen) < 64:
        name, layers = queue.pop(0)
        yield name
        for user in graph.users(name):
            passed = layers + isinstance(user.op, _LAYERS)
            if user.name not in seen and passed < 2:
                seen.add(user.name)
                queue.append((user.name, passed))


# --------------------------------------------------------------------------------------- operands


def _signs(graph: Graph, node: Node) -> Iterator[Node]:
    """Signs that a bipolar value is made of."""
    if isinstance(node.op, Sign):
        yield node
    elif isinstance(node.op, MaxPool2d | Pad | Flatten | Concat | Select):
        for operand in graph.operands(node.name):
            yield from _signs(graph, operand)


def _sign_text(graph: Graph, sign: Node) -> str:
    op = sign.op
    zero = _ZEROS[op.zero] if isinstance(op, Sign) else ""
    operand = graph.operands(sign.name)[0]
    what = "the frame" if isinstance(operand.op, Input) else operand.location.module_path
    form = sign_form(sign)
    written = "" if form == "sign(x)" else f", written {form}"
    return f"sign of {what or operand.name} ({zero}{written})"


def _threshold(graph: Graph, sign: Node) -> str:
    """Where a sign changes: one value per channel if an affine map stands before it."""
    operand = graph.operands(sign.name)[0]
    if not isinstance(operand.op, BatchNorm):
        return "0"
    with np.errstate(divide="ignore", invalid="ignore"):
        values = -operand.op.offset / operand.op.multiplier
    return f"{_range(values)} of {_place(operand)}"


def _place(node: Node) -> str:
    return node.location.module_path or node.name


# ---------------------------------------------------------------------------------------- weights


def _provenance(raw: Graph, node: Node) -> str:
    """How the source makes a weight from the parameters."""
    if len(node.operands) < 2:
        return ""
    weight = raw.operands(node.name)[1]
    if isinstance(weight.op, Constant):
        return f"{weight.op.origin or 'a constant'}{_stored(weight.op.value.astype(np.float64))}"
    expression = list(_expression(raw, weight))
    parameters = sorted(
        (part for part in expression if isinstance(part.op, Constant)),
        key=lambda part: -int(np.prod(part.type.shape)),
    )
    names = [part.op.origin for part in parameters if isinstance(part.op, Constant)]
    origins = list(dict.fromkeys(name for name in names if name))
    main = origins[0] if origins else "numbers"
    if not any(_chooses(part) for part in expression):
        return f"computed from {', '.join(origins) or main}"
    others = [name for name in origins if name != main]
    return f"sign({main})" + (f" with {', '.join(others)}" if others else "")


def _expression(graph: Graph, node: Node) -> Iterator[Node]:
    """Nodes that a weight is computed from."""
    queue, seen = [node], {node.name}
    while queue:
        current = queue.pop(0)
        yield current
        operands = [part for part in graph.operands(current.name) if part.name not in seen]
        seen |= {part.name for part in operands}
        queue += operands


def _chooses(node: Node) -> bool:
    """Whether an operation tells positive from negative; x / abs(x) does so too."""
    return isinstance(node.op, _CHOICES) or (isinstance(node.op, Unary) and node.op.kind == "abs")


def _stored(value: FloatArray) -> str:
    if value.ndim < 2:
        return ""
    scale = binary_scale(value)
    if scale is None:
        return ""
    return f", stored as +-{_range(scale)}"


# ------------------------------------------------------------------------------ scales and gates


def _scales(graph: Graph, node: Node) -> Iterator[str]:
    """Scales in a binary layer and behind it."""
    scale = getattr(node.op, "scale", np.ones(1))
    if not np.allclose(scale, 1, rtol=1e-6):
        yield f"{'per channel ' if len(np.unique(scale)) > 1 else ''}{_range(scale)}"
    for behind in _behind(graph, node):
        if isinstance(behind.op, SpatialScale):
            yield f"spatial {'x'.join(map(str, behind.op.factor.shape))}"
        elif isinstance(behind.op, Scale) and not isinstance(_factor(graph, behind).op, Gate):
            yield f"dynamic, {_factor(graph, behind).type}"


def _gates(graph: Graph, node: Node) -> Iterator[str]:
    """Gates that multiply the layer's result."""
    for behind in _behind(graph, node):
        if isinstance(behind.op, Scale):
            factor = _factor(graph, behind)
            if isinstance(factor.op, Gate):
                hidden = factor.op.fc1.shape[0]
                yield f"{factor.op.function}, {hidden} hidden, at {_place(factor)}"


def _behind(graph: Graph, node: Node) -> Iterator[Node]:
    """Scales and affine maps that follow a value before anything else does."""
    queue = [node]
    while queue:
        for user in graph.users(queue.pop(0).name):
            if isinstance(user.op, BatchNorm | Scale | SpatialScale):
                yield user
                queue.append(user)


def _factor(graph: Graph, scale: Node) -> Node:
    return graph.operands(scale.name)[1]


# ------------------------------------------------------------------------------------------ texts


def _shape_text(raw: Graph, node: Node) -> str:
    inputs = raw.operands(node.name)[0].type
    return f"{inputs.channels} -> {node.type.channels}"


def _window_text(raw: Graph, node: Node, found: Node | None) -> str:
    op: Any = node.op
    if isinstance(op, Dense | Linear | BinaryLinear):
        return ""
    weight = raw.operands(node.name)[1].type.shape if len(node.operands) > 1 else op.weight.shape
    if found is not None and isinstance(found.op, Conv2d | BinaryConv2d):
        op = found.op  # a border the source added is part of it there
    value = getattr(op, "padding_value", 0)
    parts = [f"{weight[-2]}x{weight[-1]}"]
    parts += [f"stride {_pair(op.stride)}"] if op.stride != (1, 1) else []
    parts += [f"pad {_padding(op.padding)} of {_signed(value)}"] if any(op.padding) else []
    parts += [f"dilation {_pair(op.dilation)}"] if op.dilation != (1, 1) else []
    parts += [f"{op.groups} groups"] if op.groups != 1 else []
    return ", ".join(parts)


def _pair(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _signed(value: int) -> str:
    return f"{value:+d}" if value else "0"


def _padding(padding: tuple[int, ...]) -> str:
    return str(padding[0]) if len(set(padding)) == 1 else "/".join(map(str, padding))


def _range(values: FloatArray) -> str:
    low, high = float(np.min(values)), float(np.max(values))
    return f"{low:.3g}" if low == high else f"{low:.3g}..{high:.3g}"
