"""The picture of the network: a node per stage, a net per value, as in a schematic.

Stages stand below each other in the order in which they run. A value that the very next stage
contracts, or whose sums its gate reads, is a straight line; every other use of a value hangs on a
vertical lane beside the stages: sign maps and channel sums to the left, fixed tensors to the right.
A skip always goes by a lane. A lane reaches from where its value is made to where it is used last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from r2b.page.model import Page, StageView, Value

WIDTH, HEIGHT, PILL = 326, 66, 26
"""Of a node, and the height of the frame's and the logits'."""
GAP = 30
"""Between two nodes."""
LANE, FIRST_LANE = 13, 16
"""From one lane to the next, and from the nodes to the first one."""
MARGIN = 5
LEAVE = {"signs": 9, "sums": 16, "tensor": 11, "frame": 9}
"""Below its node, where a value turns to its lane."""
PORTS = {"signs": 56, "sums": 92, "tensor": WIDTH - 56, "frame": WIDTH // 2, "logits": WIDTH // 2}
"""Where a value leaves its node, from the left."""
ENTRIES = {"input": 18, "factor": 34, "skip": 50, "gate": 46, "mean": 46}
"""Where a lane enters a node, from the top."""
ADJACENT = ("input", "gate", "mean")
"""Roles of a straight line."""
MARKS = {"skip": "+", "factor": "×"}
"""What stands where a lane enters the epilogue."""
NAME_LENGTH, LINE_LENGTH = 32, 48
"""Characters that fit a node."""
SHRINK = 0.9
"""How far a narrow window may shrink the picture before it scrolls."""
CORNER = 5


@dataclass(frozen=True)
class Node:
    """A stage, or the frame (``stage`` None, first) or the logits (``stage`` None, last).

    ``text`` is the name, ``lines`` what stands under it.
    """

    stage: StageView | None
    text: str
    lines: tuple[str, ...]
    y: int
    height: int


@dataclass(frozen=True)
class Wire:
    """One stroke of a net: the value's kind, what it is for, an SVG path, and its tooltip."""

    kind: str
    role: str
    path: str
    title: str


@dataclass(frozen=True)
class Mark:
    """The sign in a circle where a lane enters the epilogue; a dot where a net branches."""

    kind: str
    text: str
    x: int
    y: int


@dataclass(frozen=True)
class Drawing:
    """The picture: ``left`` is where the nodes begin."""

    width: int
    height: int
    left: int
    nodes: tuple[Node, ...]
    wires: tuple[Wire, ...]
    marks: tuple[Mark, ...]

    @property
    def narrowest(self) -> int:
        """Width below which the picture scrolls."""
        return int(self.width * SHRINK)


@dataclass(frozen=True)
class Use:
    """A stage's use of a value; ``order`` counts the uses of that role in the stage."""

    row: int
    role: str
    order: int


@dataclass(frozen=True)
class Net:
    """A value with the row that makes it and its uses; ``lane`` is None if it needs none."""

    value: Value
    row: int
    uses: tuple[Use, ...]
    lane: int | None = None

    @property
    def straight(self) -> tuple[Use, ...]:
        """Uses that are straight lines."""
        return tuple(use for use in self.uses if use.row == self.row + 1 and use.role in ADJACENT)

    @property
    def lateral(self) -> tuple[Use, ...]:
        """Uses that hang on the lane."""
        return tuple(use for use in self.uses if use not in self.straight)

    @property
    def right(self) -> bool:
        """Whether its lane is at the right."""
        return self.value.kind == "tensor"

    @property
    def last(self) -> int:
        """Row of the last use on the lane."""
        return max(use.row for use in self.lateral)


def draw(page: Page) -> Drawing:
    """Lay the network out."""
    nets = _with_lanes(nets_of(page))
    nodes = _nodes(page)
    lanes = {
        side: max((n.lane + 1 for n in nets if n.lane is not None and n.right is side), default=0)
        for side in (False, True)
    }
    left = MARGIN + _reach(lanes[False])
    wires = [wire for net in nets for wire in _wires(net, nodes, left)]
    marks = [mark for net in nets for mark in _marks(net, nodes, left)]
    last = nodes[-1]
    return Drawing(
        left + WIDTH + _reach(lanes[True]) + MARGIN, last.y + last.height + MARGIN, left,
        nodes, tuple(wires), tuple(marks),
    )  # fmt: skip


def _reach(lanes: int) -> int:
    return FIRST_LANE + (lanes - 1) * LANE if lanes else 0


def nets_of(page: Page) -> list[Net]:
    """Every value that is made, in order, with its uses."""
    made = {Value("frame", "frame"): 0}
    for stage in page.stages:
        made |= dict.fromkeys(stage.writes, stage.number)
    uses: dict[Value, list[Use]] = {value: [] for value in made}
    for stage in page.stages:
        seen: dict[str, int] = {}
        for read in stage.reads:
            order = seen.get(read.role, 0)
            seen[read.role] = order + 1
            uses[read.value].append(Use(stage.number, read.role, order))
    end = len(page.stages) + 1
    for value in made:
        if value.kind == "logits":
            uses[value].append(Use(end, "input", 0))
    return [Net(value, row, tuple(uses[value])) for value, row in made.items()]


def _with_lanes(nets: list[Net]) -> list[Net]:
    """Give every net that needs one the innermost lane that is free; short ones go first."""
    taken: dict[tuple[bool, int], list[Net]] = {}
    lanes: dict[Value, int] = {}
    for net in sorted((n for n in nets if n.lateral), key=lambda n: (n.last - n.row, n.row)):
        lane = 0
        while any(_overlap(net, other) for other in taken.get((net.right, lane), ())):
            lane += 1
        taken.setdefault((net.right, lane), []).append(net)
        lanes[net.value] = lane
    return [Net(net.value, net.row, net.uses, lanes.get(net.value)) for net in nets]


def _overlap(one: Net, other: Net) -> bool:
    return one.row < other.last and other.row < one.last


def _nodes(page: Page) -> tuple[Node, ...]:
    nodes = [Node(None, f"frame {page.frame} uint8", (), MARGIN, PILL)]
    for stage in page.stages:
        y = nodes[-1].y + nodes[-1].height + GAP
        name = shorten(stage.name, NAME_LENGTH)
        nodes.append(Node(stage, name, tuple(_lines(stage)), y, HEIGHT))
    end = nodes[-1].y + HEIGHT + GAP
    return (*nodes, Node(None, f"{page.classes} logits int32", (), end, PILL))


def _lines(stage: StageView) -> Iterable[str]:
    yield shorten(", ".join(text for text in (stage.kind, stage.weight) if text), LINE_LENGTH)
    yield shorten(f"{stage.source} → {stage.result}", LINE_LENGTH)


def shorten(text: str, length: int) -> str:
    """A text without its beginning where it is longer: the end of a path tells stages apart."""
    return text if len(text) <= length else f"…{text[1 - length :]}"


# ---------------------------------------------------------------------------------------- strokes


def _wires(net: Net, nodes: tuple[Node, ...], left: int) -> Iterable[Wire]:
    x, bottom = _port(net, nodes, left)
    for use in net.straight:
        path = f"M{x} {bottom}V{nodes[use.row].y}"
        yield Wire(net.value.kind, use.role, path, _title(net, use, nodes))
    for use in net.lateral:
        path = _lane_path(net, use, nodes, left)
        yield Wire(net.value.kind, use.role, path, _title(net, use, nodes))


def _port(net: Net, nodes: tuple[Node, ...], left: int) -> tuple[int, int]:
    node = nodes[net.row]
    return left + PORTS[net.value.kind], node.y + node.height


def _lane_x(net: Net, left: int) -> int:
    reach = FIRST_LANE + (net.lane or 0) * LANE
    return left + WIDTH + reach if net.right else left - reach


def _entry(net: Net, use: Use, nodes: tuple[Node, ...], left: int) -> tuple[int, int]:
    """Where a lane enters a node; several inputs stand below each other."""
    y = nodes[use.row].y + min(ENTRIES[use.role] + 6 * use.order, HEIGHT - 6)
    return (left + WIDTH if net.right else left), y


def _lane_path(net: Net, use: Use, nodes: tuple[Node, ...], left: int) -> str:
    """Down from the port, out to the lane, down the lane, in to the node; corners are round."""
    x, bottom = _port(net, nodes, left)
    lane, turn = _lane_x(net, left), bottom + LEAVE[net.value.kind]
    edge, y = _entry(net, use, nodes, left)
    out = CORNER if net.right else -CORNER
    return (
        f"M{x} {bottom}V{turn - CORNER}q0 {CORNER} {out} {CORNER}"
        f"H{lane - out}q{out} 0 {out} {CORNER}"
        f"V{y - CORNER}q0 {CORNER} {-out} {CORNER}H{edge}"
    )


def _marks(net: Net, nodes: tuple[Node, ...], left: int) -> Iterable[Mark]:
    for use in net.lateral:
        if use.role in MARKS:
            edge, y = _entry(net, use, nodes, left)
            yield Mark(net.value.kind, MARKS[use.role], edge, y)


def _title(net: Net, use: Use, nodes: tuple[Node, ...]) -> str:
    stage = nodes[use.row].stage
    reader = stage.name if stage else "output"
    return f"{net.value.kind} {net.value.name}: {use.role} of {reader}"
