"""A formula as one SymPy expression: indexed tensors, summed over their indices from 0 to P − 1.

G[mu], H[mu, nu], J[mu, nu, lambda] and C, S are as in `diagrams.notation`; a derivative of order k ≥ 4 is
D4, D5, …; any other cumulant of ∇^a l_x, ∇^b l_x, … is kappa_a_b…[indices of a, indices of b, …], a moment
m_a_b…; a derivative of order k of an observable s is s_k. The learning rate is the scalar η. Resummed terms
are in an eigenbasis of H, with eigenvalues lambda[mu].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sympy import Expr, IndexedBase, Integer, Mul, Sum, Symbol

from taylorsgd import symbols
from taylorsgd.diagrams import Value
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.writing import eigenbasis
from taylorsgd.writing.notation import GREEK, NAMED

if TYPE_CHECKING:
    from taylorsgd.formulas.formula import Formula

__all__ = ["to_sympy", "value_to_sympy"]

_P = Symbol("P")


def to_sympy(formula: Formula) -> Expr:
    """Write a formula as one expression; see `Formula.to_sympy`."""
    total: Expr = Integer(0)
    for term in formula.terms:
        if isinstance(term.value, ResummedValue):
            total = total + term.coefficient * eigenbasis.value_to_sympy(term.value)
        else:
            total = total + term.coefficient * symbols.eta**term.order * value_to_sympy(term.value)
    return total


def value_to_sympy(value: Value) -> Expr:
    """Write a value, without its powers of η, as a sum of products of indexed tensors.

    Example:
        >>> from taylorsgd.diagrams import Value
        >>> value_to_sympy(Value((-1, 0, 0), (0, 1, 1)))
        Sum(C[mu, nu]*H[mu, nu], (mu, 0, P - 1), (nu, 0, P - 1))
    """
    letters: dict[frozenset[int], Symbol] = {}
    neighbours: list[list[int]] = [[] for _ in value.parents]
    for child, parent in value.edges:
        neighbours[child].append(parent)
        neighbours[parent].append(child)

    def index(node: int, other: int) -> Symbol:
        edge = frozenset((node, other))
        number = len(letters)
        name = GREEK[number][0].lstrip("\\") if number < len(GREEK) else f"mu{number}"
        return letters.setdefault(edge, Symbol(name, integer=True))

    free = [index(node, neighbours[node][0]) for node in value.open_indices]
    factors: list[Any] = []
    for block in value.blocks:
        if value.marks[block[0]].startswith("@"):
            continue
        block = sorted(block, key=lambda node: value.degrees[node])
        indices = [index(node, other) for node in block for other in neighbours[node]]
        name = _name(value, block)
        base: Any = IndexedBase(name)
        factors.append(base[tuple(indices)] if indices else Symbol(name))
    dummies = [(letter, 0, _P - 1) for letter in letters.values() if letter not in free]
    product = Mul(*factors)
    total: Any = Sum(product, *dummies) if dummies else product
    return total


def _name(value: Value, block: list[int]) -> str:
    degrees = tuple(value.degrees[node] for node in block)
    mark = value.marks[block[0]]
    if mark:
        return f"{mark}_{degrees[0]}" if degrees[0] else mark
    if len(block) == 1 and degrees[0] in (0, *range(4, 100)):
        return f"D{degrees[0]}" if degrees[0] else "l"
    if value.moments and len(block) > 1:
        return "m_" + "_".join(map(str, degrees))
    return NAMED.get(degrees) or "kappa_" + "_".join(map(str, degrees))
