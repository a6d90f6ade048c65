r"""Modified losses with decoupled decay: scalars in derivatives of E and in e = θ − θ_0.

The decay field d = −λe is affine: a node of it with a child is −λ times the child, and a leaf is −λe. So a field in
trees of f and d is one in trees of ∇E with leaves e, and a scalar is such a tree without a root: |∇E|², ∇E·e, |e|², ….
Its gradient is its rootings at nodes of E, and, for each leaf e, what is left without it, since ∇e = I:

    ∇(∇E·e) = ∇∇E e + ∇E.

At every power of h the number of nodes of E is the same on both sides, so that the coefficients are found from many
leaves to few: with l leaves the rootings of a tree must have the proportions that its gradient has (as in
`splitting`), and its part with l − 1 leaves is taken off before these are looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sympy import Expr, Integer, Symbol, diff, expand, factor, latex, sstr

from taylorsgd import symbols
from taylorsgd.arguments import listed
from taylorsgd.exact_numbers import distinct_symbols, exact_argument
from taylorsgd.flows.calculus import PointCalculus
from taylorsgd.flows.coloured import Coloured
from taylorsgd.flows.decaying import DecayingFlow
from taylorsgd.writing.page import joined, signed

__all__ = ["DecayingLoss"]

_PULL = Coloured(1, ())
"""The leaf e = θ − θ_0."""
_SQUARE = Coloured(1, (_PULL,))
"""The scalar |e|²."""
Reduced = dict[tuple[int, Coloured], Any]
"""Coefficients by the power of h and a tree of ∇E (field 0) and leaves e (field 1); as fields, or as scalars."""


class DecayingLoss:
    """Ẽ with θ̇ = −∇Ẽ + R for the flow of a method with decoupled decay: R is 0 where the modified loss exists.

    Attributes:
        flow: the whole field, a `DecayingFlow`.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy.abc import w
        >>> print(ts.modified_loss(1, update=ts.Descent(decay=w * ts.symbols.h)))
        E + w/2 |e|² + h/4 |∇E|² + h*w/2 ∇E·e + h*w**2/4 |e|², with e = θ - θ_0
    """

    def __init__(self, flow: DecayingFlow) -> None:
        """Split the field; users call `modified_loss`."""
        self.flow = flow
        field: defaultdict[tuple[int, Coloured], list[Expr]] = defaultdict(list)
        for tree, coefficient in flow.items():
            number, reduced = _reduced(tree, flow.speed)
            field[tree.nodes - 1, reduced].append(-number * coefficient)
        self._scalars, rest = _split({key: factor(sum(terms, Integer(0))) for key, terms in field.items()})
        self._rest = {key: -c for key, c in rest.items()}

    @property
    def order(self) -> int:
        """The power of h through which Ẽ is known."""
        return self.flow.order - 1

    @property
    def exists(self) -> bool:
        """Whether the whole field is −∇Ẽ."""
        return not self._rest

    def expression(self, E: Any, variables: Sequence[Symbol], origin: Any = None) -> Expr:
        """Ẽ of a concrete loss; the remainder is not part of it.

        Args:
            E: the loss, a SymPy expression in the variables.
            variables: the P symbols θ.
            origin: θ_0, to which the decay pulls; 0 by default.

        Raises:
            TypeError: if the loss is no expression, a variable no symbol, or the origin no point.
            ValueError: if the loss is not finite, a variable is repeated, or the origin has other entries.
        """
        loss, names = exact_argument(E, "E"), distinct_symbols(variables)
        start = [Integer(0)] * len(names) if origin is None else listed(origin, "origin", "[0, 1]")
        start = [exact_argument(x, f"origin[{i}]") for i, x in enumerate(start)]
        if len(start) != len(names):
            raise ValueError(f"origin={origin!r} has {len(start)} entries; give {len(names)}, one for each variable")
        fields = [tuple(diff(loss, x) for x in names), tuple(x - a for x, a in zip(names, start, strict=True))]
        calculus = PointCalculus(fields, names, names)

        def vector(tree: Coloured) -> Any:
            return calculus.derivative(tree.field, [vector(child) for child in tree.below])

        total: Expr = Integer(0)
        for (power, tree), coefficient in self._scalars.items():
            halves = _halves(tree)
            scalar = loss if halves is None else sum(vector(halves[0]) * vector(halves[1]))
            total = total + coefficient * symbols.h**power * scalar
        return expand(total)

    # -- faces -------------------------------------------------------------------------------------------

    def latex(self) -> str:
        """Ẽ in LaTeX."""
        return joined([self._piece(power, tree, c, True) for (power, tree), c in self._scalars.items()])

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \tilde{{E}} = {self.latex()}, \qquad e = \theta - \theta_0$"

    def __str__(self) -> str:
        """Ẽ in plain text, and what of the field is no gradient, if anything."""
        text = joined([self._piece(power, tree, c, False) for (power, tree), c in self._scalars.items()])
        if not self.exists:
            rest = [signed(c * symbols.h**p, _vector(tree, False), sstr) for (p, tree), c in self._rest.items()]
            text += f", and no gradient: {joined(rest)}"
        return f"{text}, with e = θ - θ_0"

    def __repr__(self) -> str:
        """The modified loss in plain text, so that it reads well at a prompt."""
        return f"<DecayingLoss Ẽ = {self}>"

    def _piece(self, power: int, tree: Coloured, coefficient: Expr, in_latex: bool) -> str:
        halves, text = _halves(tree), "E"
        if halves is not None:
            left, right = (_vector(half, in_latex) for half in halves)
            square = r"\left|{}\right|^{{2}}" if in_latex else "|{}|²"
            text = square.format(left) if left == right else left + (r" \cdot " if in_latex else "·") + right
        return signed(coefficient * symbols.h**power, text, latex if in_latex else sstr)


def _reduced(tree: Coloured, speed: Expr) -> tuple[Expr, Coloured]:
    """A tree of f = −∇E and d = −λe as a number times one of ∇E and e."""
    below = [_reduced(child, speed) for child in tree.below]
    number: Expr = Integer(1)
    for factor_below, _ in below:
        number = number * factor_below
    if tree.field == 0:
        return -number, Coloured(0, tuple(sorted(child for _, child in below)))
    return -speed * number, below[0][1] if below else _PULL


def _split(field: Mapping[tuple[int, Coloured], Expr]) -> tuple[Reduced, Reduced]:
    """Coefficients of scalars whose gradient is the field as far as it is one, and of the rest."""
    left: dict[Any, Expr] = {key: c for key, c in field.items() if c != 0}
    scalars: Reduced = {}
    rest: Reduced = {}
    while left:
        power, most = max((p, _leaves(tree)) for p, tree in left)  # of one power, from many leaves to few
        chosen: dict[Any, Expr] = {tree: c for (p, tree), c in left.items() if p == power and _leaves(tree) == most}
        left = {key: c for key, c in left.items() if key[0] != power or key[1] not in chosen}
        rootings: defaultdict[Coloured, list[Expr]] = defaultdict(list)
        for tree, coefficient in chosen.items():
            rootings[_free(tree)].append(coefficient)
        for free, coefficients in rootings.items():
            slope = _gradient(free)
            copies_here = sum(copies for vector, copies in slope.items() if _leaves(vector) == most)
            found = factor(sum(coefficients, Integer(0)) / copies_here)
            if found == 0:
                continue
            scalars[power, free] = found
            for vector, copies in slope.items():
                at, key = (chosen, vector) if _leaves(vector) == most else (left, (power, vector))
                at[key] = factor(at.get(key, Integer(0)) - copies * found)
        rest |= {(power, tree): c for tree, c in chosen.items() if c != 0}
        left = {key: c for key, c in left.items() if c != 0}

    def place(key: tuple[int, Coloured]) -> Any:
        return key[0], _leaves(key[1]), key[1]

    return {key: scalars[key] for key in sorted(scalars, key=place)}, {k: rest[k] for k in sorted(rest, key=place)}


def _leaves(tree: Coloured) -> int:
    return tree.field + sum(map(_leaves, tree.below))


def _hung(*subtrees: Coloured) -> Coloured:
    return Coloured(0, tuple(sorted(subtrees)))


def _rootings(tree: Coloured, *above: Coloured) -> Iterator[Coloured]:
    """The tree hung from each of its nodes of E; its root is one."""
    yield _hung(*tree.below, *above)
    for i, child in enumerate(tree.below):
        if child.field == 0:
            yield from _rootings(child, _hung(*tree.below[:i], *tree.below[i + 1 :], *above))


def _cuts(tree: Coloured) -> Iterator[tuple[Coloured, Coloured]]:
    """What hangs at the two ends of every edge, nodes of E seen from each side."""
    for rooted in _rootings(tree):
        for i, child in enumerate(rooted.below):
            yield child, Coloured(0, rooted.below[:i] + rooted.below[i + 1 :])


def _free(vector: Coloured) -> Coloured:
    """The scalar that has a vector among the terms of its gradient, hung from the node that comes first."""
    return _SQUARE if vector == _PULL else min(_rootings(vector))


def _gradient(free: Coloured) -> Counter[Coloured]:
    """The terms of a scalar's gradient, with their multiplicities."""
    if free == _SQUARE:
        return Counter({_PULL: 2})
    return Counter(_rootings(free)) + Counter(rest for leaf, rest in _cuts(free) if leaf == _PULL)


def _halves(tree: Coloured) -> tuple[Coloured, Coloured] | None:
    """Two vectors whose product is the scalar: equal ones, else one is e or ∇E if that can be; None for E."""
    if tree == _SQUARE:
        return _PULL, _PULL
    cuts = [(right, left) if left == _PULL else (left, right) for left, right in _cuts(tree)]
    if not cuts:
        return None
    return min(cuts, key=lambda pair: (pair[0] != pair[1], pair[1] != _PULL, pair[0] != _hung(), pair))


def _vector(tree: Coloured, in_latex: bool) -> str:
    """A tree of ∇E and e."""
    if tree == _PULL:
        return "e"
    below = [_vector(child, in_latex) for child in tree.below]
    count = len(below) + 1
    if in_latex:
        head = (r"\nabla" * count if count < 4 else rf"\nabla^{{{count}}}") + " E"
    else:
        head = ("∇" * count if count < 4 else f"∇^{count}") + "E"
    if len(below) == 1:
        return head + (r"\, " if in_latex else " ") + below[0]
    return f"{head}({', '.join(below)})" if below else head
