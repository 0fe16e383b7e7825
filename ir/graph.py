"""The Graph: a single-assignment graph of typed operations.

Ownership. A :class:`Graph` owns its nodes; a :class:`Node` is an immutable record that belongs to
one graph and is known by its name there. Whatever changes a node (:meth:`Graph.replace`,
:meth:`Graph.replace_uses`) puts a new record in its place, so a record held over a change may be
old: ask the graph again by name. Operands exist before their users, hence no cycle can be built. A
node that is used cannot be removed. Operations are immutable and may be shared between graphs;
:meth:`Graph.copy` is therefore cheap.

Order. :meth:`Graph.nodes` is a topological order that depends only on the calls that built the
graph, never on hashes: nodes as they were added, except that a node added with ``near`` stands
where that node stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import networkx as nx

from r2b.ir.errors import Location
from r2b.ir.ops import Input, Op, Output
from r2b.ir.types import TensorType


@dataclass(frozen=True)
class Node:
    """One operation and the value it assigns.

    Parameters
    ----------
    name : str
        Unique in its graph; names the value too.
    op : Op
        What is computed.
    operands : tuple of str
        Names of the values it is computed from, in the order the operation defines.
    type : TensorType
        Type of the value.
    location : Location
        Where it stands in the user's model.
    """

    name: str
    op: Op
    operands: tuple[str, ...]
    type: TensorType
    location: Location = field(default_factory=Location)

    def __str__(self) -> str:
        """Name the node as messages do."""
        return f"{self.name} = {type(self.op).__name__} at {self.location}"


class Graph:
    """A network as a single-assignment graph of typed operations; see the module's text.

    Parameters
    ----------
    name : str
        Name of the network.
    """

    def __init__(self, name: str = "network") -> None:
        """Make an empty graph."""
        self.name = name
        self._graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        self._nodes: dict[str, Node] = {}
        self._ranks: dict[str, tuple[int, int]] = {}
        self._counter = 0

    # ------------------------------------------------------------------------------------ reading

    def __len__(self) -> int:
        """Count the nodes."""
        return len(self._nodes)

    def __contains__(self, name: object) -> bool:
        """Tell whether a node has this name."""
        return name in self._nodes

    def __getitem__(self, name: str) -> Node:
        """Give the node of this name; raise `KeyError` if there is none."""
        return self._nodes[name]

    def __iter__(self) -> Iterator[Node]:
        """Go through :meth:`nodes`."""
        return iter(self.nodes())

    def nodes(self) -> list[Node]:
        """All nodes, operands before users, in the order the module's text defines."""
        order = nx.lexicographical_topological_sort(self._graph, key=self._ranks.__getitem__)
        return [self._nodes[name] for name in order]

    def operands(self, name: str) -> tuple[Node, ...]:
        """Nodes whose values a node takes, in order."""
        return tuple(self._nodes[operand] for operand in self._nodes[name].operands)

    def operand_types(self, name: str) -> tuple[TensorType, ...]:
        """Types of the values a node takes, in order."""
        return tuple(operand.type for operand in self.operands(name))

    def users(self, name: str) -> tuple[Node, ...]:
        """Nodes that take this value, each once, in the order in which they were added."""
        names = sorted(self._graph.successors(name), key=self._ranks.__getitem__)
        return tuple(self._nodes[user] for user in names)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Nodes of operation :class:`Input`."""
        return tuple(node for node in self.nodes() if isinstance(node.op, Input))

    @property
    def outputs(self) -> tuple[Node, ...]:
        """Nodes of operation :class:`Output`."""
        return tuple(node for node in self.nodes() if isinstance(node.op, Output))

    # ----------------------------------------------------------------------------------- changing

    def add(
        self,
        op: Op,
        operands: Iterable[str] = (),
        *,
        name: str = "",
        location: Location | None = None,
        near: str = "",
    ) -> Node:
        """Append an operation; the type of its value is inferred.

        Parameters
        ----------
        op : Op
        operands : names of nodes of this graph
        name : str
            Wanted name; ``_1``, ``_2``, ... is appended where it is taken. By default the name of
            the operation in lower case.
        location : Location
            By default that of `near`.
        near : str
            The node in whose place of the order this one stands: for passes, which put several
            nodes where one was.

        Raises
        ------
        ValueError
            The operands do not exist or do not fit the operation.
        """
        place = self._nodes[near].location if near else Location()
        node = self._record(
            self._fresh_name(name or type(op).__name__.lower()), op, operands, location or place
        )
        self._ranks[node.name] = (self._ranks[near][0] if near else self._counter, self._counter)
        self._counter += 1
        self._graph.add_node(node.name)
        self._put(node)
        return node

    def replace(
        self,
        name: str,
        op: Op,
        operands: Iterable[str] | None = None,
        *,
        location: Location | None = None,
    ) -> Node:
        """Put another operation in the place of a node; name, order and users remain.

        Operands and location remain too unless given. Types of users are not inferred again here:
        :meth:`infer_types` does so for all.
        """
        old = self._nodes[name]
        names = old.operands if operands is None else tuple(operands)
        for operand in names:
            if operand == name or (operand in self._nodes and self._depends(operand, name)):
                raise ValueError(f"{old}: operand {operand} would make a cycle")
        node = self._record(name, op, names, location or old.location)
        self._put(node)
        return node

    def replace_uses(self, old: str, new: str) -> None:
        """Let all users of `old` take `new` instead, save `new` itself where it uses `old`."""
        for user in self.users(old):
            if user.name == new:
                continue
            names = tuple(new if operand == old else operand for operand in user.operands)
            self.replace(user.name, user.op, names)

    def remove(self, name: str) -> None:
        """Remove a node that nobody uses; raise `ValueError` if it is used."""
        users = self.users(name)
        if users:
            raise ValueError(f"{self._nodes[name]} is used by {users[0].name}, remove that first")
        self._graph.remove_node(name)
        del self._nodes[name], self._ranks[name]

    def prune(self) -> int:
        """Remove every node that no output depends on (inputs stay); return how many there were."""
        alive = {node.name for node in self.inputs + self.outputs}
        for output in self.outputs:
            alive |= nx.ancestors(self._graph, output.name)
        dead = [node.name for node in reversed(self.nodes()) if node.name not in alive]
        for name in dead:
            self.remove(name)
        return len(dead)

    def infer_types(self) -> None:
        """Infer the type of every value again, from the inputs on."""
        for node in self.nodes():
            found = self._infer(node.op, node.operands, node.name, node.location)
            self._nodes[node.name] = replace(node, type=found)

    def copy(self) -> Graph:
        """Make a graph of its own with the same operations, names and order."""
        twin = Graph(self.name)
        twin._graph = self._graph.copy()
        twin._nodes = dict(self._nodes)
        twin._ranks = dict(self._ranks)
        twin._counter = self._counter
        return twin

    # ------------------------------------------------------------------------------------ private

    def _record(self, name: str, op: Op, operands: Iterable[str], location: Location) -> Node:
        names = tuple(operands)
        return Node(name, op, names, self._infer(op, names, name, location), location)

    def _infer(
        self, op: Op, operands: tuple[str, ...], name: str, location: Location
    ) -> TensorType:
        missing = [operand for operand in operands if operand not in self._nodes]
        if missing:
            raise ValueError(f"{name} at {location}: there is no value {missing[0]}")
        try:
            return op.result_type([self._nodes[operand].type for operand in operands])
        except ValueError as error:
            raise ValueError(f"{name} at {location}: {error}") from error

    def _put(self, node: Node) -> None:
        self._graph.remove_edges_from(list(self._graph.in_edges(node.name, keys=True)))
        for position, operand in enumerate(node.operands):
            self._graph.add_edge(operand, node.name, key=position)
        self._nodes[node.name] = node

    def _fresh_name(self, wanted: str) -> str:
        name, number = wanted, 0
        while name in self._nodes:
            number += 1
            name = f"{wanted}_{number}"
        return name

    def _depends(self, name: str, on: str) -> bool:
        return nx.has_path(self._graph, on, name)
