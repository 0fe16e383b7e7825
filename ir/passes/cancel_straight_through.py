"""The arithmetic of straight-through estimators is cancelled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import numpy as np

from r2b.ir.graph import Graph, Node
from r2b.ir.ops import Arithmetic, Constant, Identity, Unary
from r2b.ir.passes.infrastructure import Pass
from r2b.ir.passes.piecewise import Tables, scaled_sign
from r2b.ir.passes.value_numbers import ValueNumbers
from r2b.ir.rewrite import through_views

Product = tuple[str, ...]
"""Factors of a term, sorted; values stand for all that are equal to them."""
Terms = dict[Product, Fraction]

_MOST_STEPS = {True: 400, False: 40}
"""Openings after which a sum is left as it is, with a detach and without: no estimator is that
long, and without a detach nearly all sums are something else."""


@dataclass(frozen=True)
class CancelStraightThrough(Pass):
    """A sum whose terms cancel but for one becomes that term.

    Reasoned on the expression, since its value drifts by a rounding: the sum is written as products
    with rational coefficients, and equal values are one by :class:`ValueNumbers`, in which a detach
    does not count. What holds a detach is opened first, so that a soft part that is a sum itself
    cancels before it would be opened; what is proved two-valued is never opened.

    1. ``hard.detach() - soft.detach() + soft``, and any other order -> ``hard``
    2. ``soft + (hard - soft).detach()`` -> ``hard``
    3. coefficients and factors: ``0.5*soft + (hard - 0.5*soft).detach()``, ``a*(h - s) + a*s``
    4. a detach inside the soft part: ``hard.detach() - f(x.detach()) + f(x)``
    5. without a detach, as a ``no_grad`` block leaves it, only if ``hard`` is proved two-valued
    """

    name: ClassVar[str] = "cancel-straight-through"

    def call(self, graph: Graph) -> bool:
        """Rewrite from the input on."""
        sums = _Sums(graph)
        found = {node.name: sums.only_term(node) for node in graph.nodes() if _is_sum(node)}
        modified = False
        for name, term in found.items():
            modified |= term is not None and _replace(graph, graph[name], *term)
        graph.prune()
        return modified


def _replace(graph: Graph, node: Node, product: Product, factor: Fraction) -> bool:
    shape = (node.type.shape, node.type.batched)
    shapes = [graph[name].type for name in product]
    if not any((type_.shape, type_.batched) == shape for type_ in shapes):
        return False
    names = [through_views(graph, graph[name], (Identity,)).name for name in product]
    if factor != 1:
        number = Constant(np.array(float(factor)))
        names.append(graph.add(number, name=f"{node.name}_factor", near=node.name).name)
    while len(names) > 2:
        made = graph.add(Arithmetic("mul"), names[:2], name=f"{node.name}_product", near=node.name)
        names = [made.name, *names[2:]]
    if len(names) == 2:
        graph.replace(node.name, Arithmetic("mul"), names)
    else:
        graph.replace(node.name, Identity("straight-through"), names)
    return True


def _is_sum(node: Node) -> bool:
    match node.op:
        case Arithmetic(kind="add" | "sub") | Unary(kind="neg"):
            return True
        case _:
            return False


@dataclass
class _Sums:
    """What the sums of one graph come to."""

    graph: Graph
    numbers: ValueNumbers = field(init=False)
    tables: Tables = field(init=False)
    order: dict[str, int] = field(init=False)
    detached: set[str] = field(default_factory=set[str])
    coefficients: dict[str, Fraction | None] = field(default_factory=dict[str, Fraction | None])
    closed: dict[str, bool] = field(default_factory=dict[str, bool])

    def __post_init__(self) -> None:
        """Walk the graph: what is equal, what is two-valued, and which sums hold a detach."""
        nodes = self.graph.nodes()
        self.numbers, self.tables = ValueNumbers(self.graph), Tables(self.graph)
        self.order = {node.name: position for position, node in enumerate(nodes)}
        for node in nodes:
            if node.op == Identity("detach") or self._opens(node):
                held = node.op == Identity("detach")
                if held or any(operand in self.detached for operand in node.operands):
                    # an equal value without one is opened as urgently
                    self.detached |= {node.name, self.numbers[node.name]}

    def only_term(self, root: Node) -> tuple[Product, Fraction] | None:
        """Find the only term of a sum; None if there are several, or if nothing cancelled."""
        terms: Terms = {}
        cancelled = self._add(terms, (), root, Fraction(1))
        detached = root.name in self.detached
        for _ in range(_MOST_STEPS[detached]):
            if len(terms) == 1:
                product, factor = next(iter(terms.items()))
                if detached and (cancelled or factor == 1):
                    return self._without_numbers(product, factor)
                if cancelled and self._is_hard(product):
                    return self._without_numbers(product, factor)
            chosen = max(self._openable(terms), default=None)
            if chosen is None:
                return None
            _, _, product, name = chosen
            cancelled |= self._open(terms, product, self.graph[name])
        return None

    def _without_numbers(self, product: Product, factor: Fraction) -> tuple[Product, Fraction]:
        """Take numbers out of a term that is one factor."""
        terms = {product: factor}
        while len(terms) == 1 and len(product) == 1:
            node = self.graph[product[0]]
            scales = node.op in (Arithmetic("mul"), Arithmetic("div"))
            if not scales or not any(self._coefficient(operand) for operand in node.operands):
                break
            if not self._opens(node):
                break
            self._open(terms, product, node)
            product, factor = next(iter(terms.items()))
        return product, factor

    def _openable(self, terms: Terms) -> Iterator[tuple[bool, int, Product, str]]:
        """Yield the factors that can be opened: of those with a detach the latest is largest."""
        for product in terms:
            for name in product:
                if not self._is_closed(name):
                    yield name in self.detached, self.order[name], product, name

    def _is_closed(self, name: str) -> bool:
        if name not in self.closed:
            opens = self._opens(self.graph[name])
            self.closed[name] = not opens or self._is_two_valued(name)
        return self.closed[name]

    def _opens(self, node: Node) -> bool:
        match node.op:
            case Arithmetic(kind="add" | "sub" | "mul") | Unary(kind="neg"):
                return True
            case Arithmetic(kind="div"):
                return bool(self._coefficient(node.operands[1]))
            case _:
                return False

    def _open(self, terms: Terms, product: Product, node: Node) -> bool:
        """Replace a factor of a product by what it is the sum or the product of."""
        factor = terms.pop(product)
        rest = list(product)
        rest.remove(node.name)
        return self._add(terms, tuple(rest), node, factor)

    def _add(self, terms: Terms, rest: Product, node: Node, factor: Fraction) -> bool:
        """Add the parts of a node, each times ``rest``; tell whether any cancelled."""
        operands = node.operands
        match node.op:
            case Arithmetic(kind="mul"):
                parts = [((*operands,), Fraction(1))]
            case Arithmetic(kind="div"):
                parts = [(operands[:1], 1 / (self._coefficient(operands[1]) or Fraction(1)))]
            case Arithmetic(kind="sub"):
                parts = [(operands[:1], Fraction(1)), (operands[1:], Fraction(-1))]
            case Unary():
                parts = [(operands, Fraction(-1))]
            case _:
                parts = [(operands[:1], Fraction(1)), (operands[1:], Fraction(1))]
        results = [self._put(terms, (*rest, *names), factor * by) for names, by in parts]
        return any(results)

    def _put(self, terms: Terms, names: Product, factor: Fraction) -> bool:
        kept: list[str] = []
        for name in names:
            number = self._coefficient(name)
            factor = factor if number is None else factor * number
            kept += [self.numbers[name]] if number is None else []
        product = tuple(sorted(kept))
        total = terms.pop(product, Fraction(0)) + factor
        if total:
            terms[product] = total
        return factor != 0 and not total

    def _coefficient(self, name: str) -> Fraction | None:
        """Number that a constant is, the simplest that float32 cannot tell from it."""
        if name not in self.coefficients:
            self.coefficients[name] = self._number(name)
        return self.coefficients[name]

    def _number(self, name: str) -> Fraction | None:
        node = through_views(self.graph, self.graph[name], (Identity,))
        if node.type.batched or int(np.prod(node.type.shape)) != 1:
            return None
        value = self.tables.number_of(node)
        if value is None or not np.isfinite(float(value.reshape(()))):
            return None
        exact = Fraction(float(value.reshape(())))
        simple = exact.limit_denominator(10**4)
        return simple if abs(simple - exact) <= abs(exact) * Fraction(1, 10**7) else exact

    def _is_hard(self, product: Product) -> bool:
        """Tell whether a product is two-valued up to parameters."""
        signs = [name for name in product if self._is_two_valued(name)]
        others = [name for name in product if name not in signs]
        return len(signs) == 1 and not any(self.graph[name].type.batched for name in others)

    def _is_two_valued(self, name: str) -> bool:
        return scaled_sign(self.tables[name]) is not None
