r"""Resummed values in an eigenbasis of ηH, as SymPy and on the page.

In the eigenbasis K is diagonal, so an edge e has one index, the same at both ends, and carries
k_e = 1 − ηλ_e (discrete) or e^{−ηλ_e} (continuous). All indices are lower and each is summed over the P
eigendirections. A plain test-loss root with two edges carries H, which is diagonal too: H_μν = λ_μ δ_μν.
The sums over time are closed forms (`timesums.closed_forms`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sympy import Add, Expr, IndexedBase, Integer, Mul, Sum, Symbol, factor_terms, latex, sstr

from taylorsgd import symbols
from taylorsgd.diagrams.values import LOSS
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.timesums.cells import CellSum
from taylorsgd.timesums.closed_forms import chains_of, closed_time_sum
from taylorsgd.writing.notation import GREEK, NAMED

__all__ = ["pieces_latex", "pieces_text", "value_latex", "value_text", "value_to_sympy"]

# λ is the eigenvalue here, so no index is called λ.
_LETTERS = tuple(pair for pair in GREEK if pair[1] != "λ")


def _edge_letters(value: ResummedValue) -> tuple[list[int], bool]:
    """For every edge the number of its index, and whether a root's H was used as λ δ."""
    letters = list(range(len(value.edges)))
    diagonal = False
    for root in value.diagram.roots:
        if (
            value.degrees[root] == 2
            and value.marks[root] == LOSS
            and len(value.blocks[value.parts[root]]) == 1
        ):
            first, second = (e for e, (_, parent) in enumerate(value.edges) if parent == root)
            merged = [letters[first] if letter == letters[second] else letter for letter in letters]
            if _generic(value, merged):
                letters, diagonal = merged, True
    # Open indices take the first letters, then in the order of the edges.
    ends = [e for node in value.open_indices for e, (_, parent) in enumerate(value.edges) if parent == node]
    names: dict[int, int] = {}
    for e in [*ends, *range(len(letters))]:
        names.setdefault(letters[e], len(names))
    return [names[letter] for letter in letters], diagonal


def _generic(value: ResummedValue, letters: Sequence[int]) -> bool:
    """Whether the nodes of every chain stay distinct when edges share an index."""
    for _, labels, own in value.time_sum.branches:
        for chain in chains_of(own, value.continuous):
            nodes = [tuple(sorted(letters[labels[e]] for e in interval)) for interval in chain]
            if len(set(nodes)) < len(nodes):
                return False
    return True


@lru_cache(maxsize=4096)
def _scalar(value: ResummedValue, eigenvalues: tuple[Expr, ...]) -> Expr:
    """η^d times the sum over times, times λ for a root that was used as a diagonal H."""
    letters, _ = _edge_letters(value)
    rates = [symbols.eta * eigenvalues[letter] for letter in letters]
    flat: list[int] = []
    if value.drift:
        flat = [
            e for node in value.open_indices for e, (_, parent) in enumerate(value.edges) if parent == node
        ]
        rates = [Integer(0) if e in flat else rate for e, rate in enumerate(rates)]
    closed = closed_time_sum(value.time_sum, rates, value.T, continuous=value.continuous, flat=flat)
    for root in _diagonal_roots(value):
        closed = closed * eigenvalues[letters[_edges_into(value, root)[0]]]
    scalar = symbols.eta**value.order * closed
    return factor_terms(scalar) if isinstance(scalar, Add) else scalar


def _edges_into(value: ResummedValue, root: int) -> list[int]:
    return [e for e, (_, parent) in enumerate(value.edges) if parent == root]


def _diagonal_roots(value: ResummedValue) -> list[int]:
    letters, diagonal = _edge_letters(value)
    if not diagonal:
        return []
    roots = []
    for root in value.diagram.roots:
        into = _edges_into(value, root)
        alone = len(value.blocks[value.parts[root]]) == 1 and value.marks[root] == LOSS
        if alone and len(into) == 2 and letters[into[0]] == letters[into[1]]:
            roots.append(root)
    return roots


def _tensors(value: ResummedValue) -> list[tuple[str, list[tuple[int, list[int]]]]]:
    """Every part but open and diagonal roots: its name, and degree and index numbers of every node."""
    letters, _ = _edge_letters(value)
    hidden = {*value.open_indices, *_diagonal_roots(value)}
    found = []
    for block in value.blocks:
        if block[0] in hidden:
            continue
        nodes = sorted(block, key=lambda node: value.degrees[node])
        indexed = [
            (value.degrees[node], [letters[e] for e, ends in enumerate(value.edges) if node in ends])
            for node in nodes
        ]
        name = value.marks[block[0]] or NAMED.get(tuple(degree for degree, _ in indexed), "")
        found.append((name, indexed))
    # Leaves and noise first, as the paper writes them.
    return sorted(found, key=lambda part: (max(degree for degree, _ in part[1]), part[1]))


def _summed(value: ResummedValue) -> list[int]:
    letters, _ = _edge_letters(value)
    ends = [e for node in value.open_indices for e in _edges_into(value, node)]
    free = {letters[e] for e in ends}
    return sorted(set(letters) - free)


def value_to_sympy(value: ResummedValue) -> Expr:
    """The value with its powers of η, as a sum over eigendirections of components and eigenvalues λ.

    Example:
        >>> import taylorsgd as ts
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2, resum="continuous").assume("minimum")
        >>> value_to_sympy(f.terms[1].value)
        Sum(eta*(1 - exp(-2*N*eta*lambda[mu]))*C[mu, mu]/2, (mu, 0, P - 1))
    """
    eigenvalue: Any = IndexedBase("lambda")
    index = [Symbol(latin[1:], integer=True) for latin, _ in _LETTERS]
    letters, _ = _edge_letters(value)
    count = max(letters, default=-1) + 1
    factors: list[Any] = [_scalar(value, tuple(eigenvalue[index[i]] for i in range(count)))]
    for name, nodes in _tensors(value):
        indices = [index[i] for _, numbers in nodes for i in numbers]
        head = name or _generic_name(nodes)
        base: Any = IndexedBase(head)
        factors.append(base[tuple(indices)] if indices else Symbol(head))
    product: Any = Mul(*factors)
    dummies = [(index[i], 0, Symbol("P") - 1) for i in _summed(value)]
    total: Any = Sum(product, *dummies) if dummies else product
    return total


def _generic_name(nodes: Sequence[tuple[int, list[int]]]) -> str:
    degrees = [degree for degree, _ in nodes]
    if len(degrees) == 1:
        return f"D{degrees[0]}" if degrees[0] else "l"
    return "kappa_" + "_".join(map(str, degrees))


def pieces_latex(value: ResummedValue, coefficient: Expr) -> tuple[Expr, str]:
    """A prefactor without indices, and the sum over eigendirections in LaTeX."""
    eigenvalues = [Symbol(f"lambda_{name[1:]}") for name, _ in _LETTERS]
    return _pieces(value, coefficient, eigenvalues, 0)


def pieces_text(value: ResummedValue, coefficient: Expr) -> tuple[Expr, str]:
    """A prefactor without indices, and the sum over eigendirections in plain text."""
    eigenvalues = [Symbol(f"λ_{name}") for _, name in _LETTERS]
    return _pieces(value, coefficient, eigenvalues, 1)


def value_latex(value: ResummedValue) -> str:
    """Write a value in LaTeX."""
    return _alone(*pieces_latex(value, Integer(1)), latex)


def value_text(value: ResummedValue) -> str:
    """Write a value in plain text."""
    return _alone(*pieces_text(value, Integer(1)), sstr)


def _alone(prefactor: Expr, body: str, write: Any) -> str:
    return body if prefactor == 1 else f"{write(prefactor)} {body}"


def _pieces(
    value: ResummedValue, coefficient: Expr, eigenvalues: list[Symbol], face: int
) -> tuple[Expr, str]:
    try:
        scalar = coefficient * _scalar(value, tuple(eigenvalues))
    except NotImplementedError:
        return coefficient * symbols.eta**value.order, _on_grid(value, face)
    prefactor, rest = scalar.as_independent(*eigenvalues, as_Add=False)
    write = latex if face == 0 else sstr
    words = []
    summed = _summed(value)
    if summed:
        letters = [_LETTERS[i][face] for i in summed]
        words.append(rf"\sum_{{{' '.join(letters)}}}" if face == 0 else f"Σ_{''.join(letters)}")
    words += [_tensor_word(name, nodes, face) for name, nodes in _tensors(value)]
    if rest != 1:
        body = write(rest, order="old")  # 1 - x rather than -x + 1
        if isinstance(rest, Add):
            body = rf"\left({body}\right)" if face == 0 else f"({body})"
        words.append(body)
    return prefactor, " ".join(words) or "1"


def _tensor_word(name: str, nodes: Sequence[tuple[int, list[int]]], face: int) -> str:
    def script(numbers: Sequence[int]) -> str:
        letters = [_LETTERS[i][face] for i in numbers]
        if not letters:
            return ""
        return rf"_{{{' '.join(letters)}}}" if face == 0 else f"_{''.join(letters)}"

    def derivatives(numbers: Sequence[int], of: str) -> str:
        nabla = r"\nabla" if face == 0 else "∇"
        space = " " if face == 1 and numbers else ""
        return "".join(nabla + script([i]) for i in numbers) + space + of

    if name in NAMED.values():
        return name + script(sorted(i for _, numbers in nodes for i in numbers))
    if len(nodes) == 1:
        return derivatives(nodes[0][1], name or "l")
    inside = ", ".join(derivatives(numbers, "l") for _, numbers in nodes)
    return rf"\kappa\left({inside}\right)" if face == 0 else f"κ({inside})"


def _on_grid(value: ResummedValue, face: int) -> str:
    drawn, over = str(value.diagram), "cells" if isinstance(value.times, CellSum) else "times"
    return rf"\Sigma_{{\mathrm{{{over}}}}}\mathrm{{[{drawn}]}}" if face == 0 else f"Σ_{over}[{drawn}]"
