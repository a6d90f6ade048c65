"""Values as SymPy expressions: indexed tensors, summed over their indices from 0 to P − 1.

G[mu], H[mu, nu], J[mu, nu, lambda] and C, S are as in `notation`, with the same letters; a derivative of order
k ≥ 4 is D4, D5, …; any other cumulant of ∇^a l_x, ∇^b l_x, … is kappa_a_b…[indices of a, indices of b, …], a moment
m_a_b…; a derivative of order k of an observable s is s_k. The learning rate is the scalar η. Resummed values
are in an eigenbasis of H, with eigenvalues lambda[mu].
"""

from __future__ import annotations

from typing import Any

from sympy import Expr, IndexedBase, Mul, Sum, Symbol

from taylorsgd import symbols
from taylorsgd.writing.notation import NAMED, Contraction, Tensor, letter

__all__ = ["tensor_name", "to_sympy"]


def to_sympy(value: Contraction) -> Expr:
    """Write a value with its powers of η as a sum of products of indexed tensors.

    Example:
        >>> import taylorsgd as ts
        >>> to_sympy(ts.Value((-1, 0, 0), (0, 1, 1)).contraction())
        eta**2*Sum(C[mu, nu]*H[mu, nu], (mu, 0, P - 1), (nu, 0, P - 1))
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2, resum="continuous").assume("minimum")
        >>> to_sympy(f.terms[1].value.contraction())
        Sum(eta*(1 - exp(-2*N*eta*lambda[mu]))*C[mu, mu]/2, (mu, 0, P - 1))
    """
    if value.unwritten is not None:
        raise NotImplementedError(
            f"the sum over the placements of {value.unwritten.diagram} has no closed form in T and the eigenvalues; "
            "evaluate() and lower() compute it"
        )
    if value.eigenbasis is not None and value.eigenbasis.legend is not None:
        raise NotImplementedError(
            "a sum over times with memory is written in the modes of the memory, not in T and the eigenvalues alone; "
            "evaluate() and lower() compute it"
        )
    factors = [_factor(tensor, value.moments) for tensor in value.tensors]
    outside: Any = symbols.eta**value.order
    if value.eigenbasis is not None:
        eigenvalue: Any = IndexedBase("lambda")
        own = tuple(eigenvalue[_index(number)] for number in value.numbers)
        factors.append(value.eigenbasis.scalar(own))
        outside = 1
    dummies = [(_index(number), 0, Symbol("P") - 1) for number in value.summed]
    product: Any = Mul(*factors)
    return outside * (Sum(product, *dummies) if dummies else product)


def _index(number: int) -> Symbol:
    plain = letter(number, 0).translate({ord(sign): None for sign in r"\_{}"})
    return Symbol(plain, integer=True)


def _factor(tensor: Tensor, moments: bool) -> Any:
    nodes = sorted(tensor.nodes, key=len)
    indices = tuple(_index(number) for node in nodes for number, _ in node)
    name = tensor_name(tensor.mark, tuple(map(len, nodes)), moments and len(nodes) > 1)
    base: Any = IndexedBase(name)
    return base[indices] if indices else Symbol(name)


def tensor_name(mark: str, degrees: tuple[int, ...], moment: bool) -> str:
    """What a tensor is called outside of index notation: G, C, D4, kappa_1_2, m_1_1, s_2.

    Args:
        mark: what its nodes carry: "" for the loss, else an observable's name.
        degrees: how often each node is differentiated, ascending.
        moment: whether it is a joint moment.

    Example:
        >>> tensor_name("", (1, 2), False), tensor_name("s", (2,), False)
        ('kappa_1_2', 's_2')
    """
    written = "_".join(map(str, degrees))
    if mark:
        return f"{mark}_{written}" if degrees[0] else mark
    if moment:
        return f"m_{written}"
    if len(degrees) == 1 and degrees not in NAMED:
        return f"D{written}" if degrees[0] else "l"
    return NAMED.get(degrees) or f"kappa_{written}"
