r"""Rooted trees and their elementary differentials, in symbols and on a concrete vector field.

The elementary differential of a tree applies derivatives of f to those of its subtrees,

    F([τ_1 … τ_k])(f) = f^{(k)}(F(τ_1)(f), …, F(τ_k)(f)),        F(•)(f) = f,

so f'f is the chain of two nodes and f''(f, f) the cherry (Butcher 1963; Hairer, Lubich and Wanner, *Geometric
Numerical Integration*, section III.1). For f = −∇E it is (−1)^{nodes} times the same with ∇E for f.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from math import prod
from typing import Any

from sympy import QQ, ZZ, Expr, Integer, Pow, Symbol, diff
from sympy.polys.rings import PolyElement, PolyRing

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.generation import rooted_trees

__all__ = [
    "DIFFERENTIALS", "GRADIENTS", "ElementaryDifferentials", "Notation", "Shape", "branch", "shape_of",
    "trees_with_nodes",
]  # fmt: skip

Shape = tuple["Shape", ...]
"""A rooted tree as the tuple of its subtrees, smaller ones first; equal for isomorphic trees."""


@cache
def trees_with_nodes(nodes: int) -> tuple[Diagram, ...]:
    """List the rooted trees with so many nodes, each once, as diagrams without ties.

    Example:
        >>> [len(trees_with_nodes(n)) for n in range(1, 11)]
        [1, 1, 2, 4, 9, 20, 48, 115, 286, 719]
    """
    return tuple(Diagram(parents) for parents in rooted_trees(nodes - 1))


def shape_of(tree: Diagram) -> Shape:
    """The shape of a rooted tree.

    Example:
        >>> shape_of(Diagram((-1, 0, 0, 2)))
        ((), ((),))
    """
    return branch(tree.children, tree.roots[0])


def branch(neighbours: Sequence[Sequence[int]], root: int, above: int = -1) -> Shape:
    """The shape of what hangs from a node, seen from `above`."""

    def visit(node: int, above: int) -> tuple[int, Shape]:
        below = sorted(visit(other, node) for other in neighbours[node] if other != above)
        return 1 + sum(size for size, _ in below), tuple(shape for _, shape in below)

    return visit(root, above)[1]


class Notation:
    r"""How elementary differentials are written: in f, f', f'' or in ∇E, ∇∇E.

    Example:
        >>> cherry_on_a_stem = (((), ()),)
        >>> print(DIFFERENTIALS.text(cherry_on_a_stem), "|", GRADIENTS.text(cherry_on_a_stem))
        f'f''(f, f) | ∇∇E ∇∇∇E(∇E, ∇E)
        >>> print(GRADIENTS.latex(((),)))
        \nabla\nabla E\, \nabla E
    """

    def __init__(self, name: str, nabla: bool) -> None:
        """Take the letter of the field or, with `nabla`, of the loss whose gradient it is."""
        self.name = name
        self.nabla = nabla

    def text(self, shape: Shape) -> str:
        """An elementary differential in plain text."""
        return self._write(shape, self._text_derivative, " " if self.nabla else "")

    def latex(self, shape: Shape) -> str:
        """An elementary differential in LaTeX."""
        return self._write(shape, self._latex_derivative, r"\, " if self.nabla else "")

    def _write(self, shape: Shape, derivative: Any, space: str) -> str:
        below = [self._write(child, derivative, space) for child in shape]
        head = derivative(len(shape))
        if len(below) == 1:
            return head + space + below[0]
        return f"{head}({', '.join(below)})" if below else head

    def _text_derivative(self, k: int) -> str:
        if self.nabla:
            return "∇" * (k + 1) + self.name if k < 3 else f"∇^{k + 1}{self.name}"
        return self.name + ("'" * k if k < 4 else f"^({k})")

    def _latex_derivative(self, k: int) -> str:
        if self.nabla:
            return (r"\nabla" * (k + 1) if k < 3 else rf"\nabla^{{{k + 1}}}") + f" {self.name}"
        return self.name + ("'" * k if k < 4 else f"^{{({k})}}")


DIFFERENTIALS = Notation("f", nabla=False)
"""Butcher's notation: f, f'f, f''(f, f)."""
GRADIENTS = Notation("E", nabla=True)
"""The same for a gradient field, without its signs: ∇E, ∇∇E ∇E, ∇∇∇E(∇E, ∇E)."""


MOST_EXPANDED = 32
"""The highest power in a field that is multiplied out."""


class ElementaryDifferentials:
    """The elementary differentials of a concrete vector field, each computed once.

    Args:
        field: P SymPy expressions in the variables.
        variables: P SymPy symbols.

    Example:
        >>> from sympy.abc import x
        >>> ElementaryDifferentials([x**2], [x])(((),))          # f'f = 2x · x²
        (2*x**3,)
    """

    def __init__(self, field: Sequence[Expr], variables: Sequence[Symbol]) -> None:
        """Keep the field; derivatives are taken when they are needed."""
        self.variables = tuple(variables)
        self.ring = PolyRing([*self.variables, symbols.h], QQ)
        polynomials = [_polynomial(entry, self.ring) for entry in field]
        self.is_polynomial = None not in polynomials
        """Whether the field is one of polynomials with rational coefficients: then all is found in their ring."""
        self._derivatives: dict[tuple[int, ...], tuple[Any, ...]] = {
            (): tuple(polynomials if self.is_polynomial else field)
        }
        self._known: dict[Shape, tuple[Any, ...]] = {}

    def __call__(self, shape: Shape) -> tuple[Expr, ...]:
        """The components of F(τ)(f)."""
        found = self._differential(shape)
        return tuple(entry.as_expr() for entry in found) if self.is_polynomial else found

    def summed(self, terms: Iterable[tuple[Expr, int, Shape]]) -> list[Expr]:
        """The components of Σ c h^k F(τ)(f), expanded, of triples (c, k, τ)."""
        terms = list(terms)
        exact = self.is_polynomial and all(coefficient.is_Rational for coefficient, *_ in terms)
        total: list[Any] = [self.ring.zero if exact else Integer(0)] * len(self.variables)
        for coefficient, power, shape in terms:
            if exact:
                scale = self.ring.gens[-1] ** power * QQ.from_sympy(coefficient)
                differential = self._differential(shape)
            else:
                scale, differential = coefficient * symbols.h**power, self(shape)
            total = [known + scale * entry for known, entry in zip(total, differential, strict=True)]
        return [entry.as_expr() if exact else entry.expand() for entry in total]

    def _differential(self, shape: Shape) -> tuple[Any, ...]:
        if shape not in self._known:
            below = [self._differential(child) for child in shape]
            one, zero = (self.ring.one, self.ring.zero) if self.is_polynomial else (Integer(1), Integer(0))
            total: list[Any] = [zero] * len(self.variables)
            for indices in product(range(len(self.variables)), repeat=len(shape)):
                factor = prod((vector[i] for vector, i in zip(below, indices, strict=True)), start=one)
                if factor != 0:
                    for i, entry in enumerate(self._derivative(tuple(sorted(indices)))):
                        total[i] = total[i] + factor * entry
            self._known[shape] = tuple(total if self.is_polynomial else [entry.expand() for entry in total])
        return self._known[shape]

    def _derivative(self, indices: tuple[int, ...]) -> tuple[Any, ...]:
        if indices not in self._derivatives:
            *rest, last = indices
            fields = self._derivative(tuple(rest))
            self._derivatives[indices] = tuple(
                entry.diff(last) if self.is_polynomial else diff(entry, self.variables[last]) for entry in fields
            )
        return self._derivatives[indices]


def _polynomial(entry: Expr, ring: PolyRing) -> PolyElement | None:
    """An expression as an element of a ring over QQ; None if it is none."""
    if any(not power.exp.is_Integer or power.exp > MOST_EXPANDED for power in entry.atoms(Pow)):
        return None
    found = entry.as_poly(*ring.symbols)
    if found is None or found.domain not in (ZZ, QQ):
        return None
    return ring.from_dict(found.set_domain(QQ).as_dict(native=True))
