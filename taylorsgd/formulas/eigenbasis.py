r"""Resummed values in an eigenbasis of ηH: closed forms in T and the eigenvalues, as SymPy and on the page.

In the eigenbasis K is diagonal, so an edge e has one index, the same at both ends, and carries
k_e = 1 − ηλ_e (discrete) or e^{−ηλ_e} (continuous). All indices are lower and each is summed over the P
eigendirections. A plain test-loss root with two edges carries H, which is diagonal too: H_μν = λ_μ δ_μν.

The sum over times (see `spacetime.timesums`) is a product over branches, of sums over chains, of divided
differences. For a chain of one event it is the geometric sum that the paper prints,

    (1 − (1 − ηλ_μ)^T) / (ηλ_μ)        (1 − e^{−Tη(λ_μ + λ_ν)}) / (η(λ_μ + λ_ν)),

for longer ones partial fractions. These faces are for reading; numbers come from `lowering`, which has no
division, or from `evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import factorial, prod
from typing import Any

from sympy import (
    Add,
    Dummy,
    Expr,
    IndexedBase,
    Integer,
    Mul,
    Sum,
    Symbol,
    diff,
    exp,
    expand,
    factor,
    factor_terms,
    latex,
    oo,
    simplify,
    sstr,
)

from taylorsgd import symbols
from taylorsgd.diagrams.notation import GREEK, NAMED
from taylorsgd.diagrams.values import LOSS
from taylorsgd.formulas.propagated import PropagatedValue
from taylorsgd.spacetime.gridsums import GridSum
from taylorsgd.spacetime.timesums import Branch, Chain, TimeSum

__all__ = [
    "closed_time_sum",
    "divided_difference",
    "pieces_latex",
    "pieces_text",
    "value_latex",
    "value_text",
    "value_to_sympy",
]

# λ is the eigenvalue here, so no index is called λ.
_LETTERS = tuple(pair for pair in GREEK if pair[1] != "λ")


# -- closed forms ------------------------------------------------------------------------------------


def closed_time_sum(
    times: TimeSum, rates: Sequence[Expr], T: Expr, *, continuous: bool, flat: Sequence[int] = ()
) -> Expr:
    """The sum over times as a SymPy expression in T and the rates.

    Args:
        times: the sum.
        rates: s_e = ηλ_e for every edge; equal or zero rates are handled where SymPy can see them.
        T: the number of updates, or `sympy.oo` for the limit.
        continuous: integrals of exponentials instead of sums of powers.
        flat: edges with rate 0 along which the sum grows; if given, the result is the growth per update as
            T → ∞ instead of the sum.

    Returns:
        The closed form.

    Raises:
        ValueError: if a limit, or a growth per update, does not exist.

    Example:
        >>> from sympy import symbols
        >>> from taylorsgd.spacetime.timesums import ROOT, TimeSum
        >>> a, b, T = symbols("a b T")
        >>> closed_time_sum(TimeSum(1, ((0, ROOT), (0, ROOT))), [a, b], T, continuous=True)
        (1 - exp(T*(-a - b)))/(a + b)
    """
    if flat:
        return _growth(times, rates, continuous, set(flat))
    return Mul(*(_branch(branch, rates, T, continuous) for branch in times.branches))


def _chains(branch: Branch, continuous: bool) -> tuple[Chain, ...]:
    return branch.strict_chains if continuous else branch.chains


def _branch(branch: Branch, rates: Sequence[Expr], T: Expr, continuous: bool) -> Expr:
    return Add(*(_chain(chain, rates, T, continuous) for chain in _chains(branch, continuous)))


def _chain(chain: Chain, rates: Sequence[Expr], T: Expr, continuous: bool) -> Expr:
    gaps = _gaps(chain, rates, continuous)
    factors = _spanned(chain, rates, continuous)
    if T is oo:
        for gap in gaps:
            if _vanishes(gap):
                raise ValueError(
                    "the sum over times diverges as T -> oo: H has a flat direction (an eigenvalue 0), along which "
                    "nothing is damped; drift() gives the growth per update along it"
                )
        return factors / prod(gaps, start=Integer(1))
    y = Dummy("y")
    if continuous:
        return divided_difference(exp(T * y), y, [Integer(0), *(-gap for gap in gaps)])
    alive = [Mul(*(1 - rates[e] for e in interval)) for interval in chain.alive]
    powers = [Mul(*((1 - rates[e]) ** T for e in interval)) for interval in chain.alive]
    return factors * divided_difference(y**T, y, [Integer(1), *alive], [Integer(1), *powers])


def _gaps(chain: Chain, rates: Sequence[Expr], continuous: bool) -> list[Expr]:
    """1 − x_i (discrete) or Σ s_e (continuous) for every interval: what damps in it."""
    if continuous:
        return [factor_terms(Add(*(rates[e] for e in interval))) for interval in chain.alive]
    return [
        factor_terms(expand(1 - Mul(*(1 - rates[e] for e in interval), evaluate=True)))
        for interval in chain.alive
    ]


def _spanned(chain: Chain, rates: Sequence[Expr], continuous: bool) -> Expr:
    return Integer(1) if continuous else Mul(*((1 - rates[e]) ** extra for e, extra in chain.spanned))


def _growth(times: TimeSum, rates: Sequence[Expr], continuous: bool, flat: set[int]) -> Expr:
    """The growth per update: intervals in which only flat edges are alive last ever longer."""
    growing = Integer(0)
    steady = [_limit_or_none(branch, rates, continuous) for branch in times.branches]
    for position, branch in enumerate(times.branches):
        if not flat & set(branch.edges):
            continue
        slope: Expr = Integer(0)
        for chain in _chains(branch, continuous):
            gaps = _gaps(chain, rates, continuous)
            idle = [gap for interval, gap in zip(chain.alive, gaps, strict=True) if set(interval) <= flat]
            others = [
                gap for interval, gap in zip(chain.alive, gaps, strict=True) if not set(interval) <= flat
            ]
            if len(idle) > 1:
                raise ValueError(
                    "the growth per update grows itself: two flat directions meet; no steady drift exists"
                )
            if any(_vanishes(gap) for gap in others):
                raise ValueError("another direction is flat as well; no steady drift exists")
            if idle:
                slope = slope + _spanned(chain, rates, continuous) / prod(others, start=Integer(1))
        if slope == 0:
            continue
        rest: list[Any] = [limit for i, limit in enumerate(steady) if i != position]
        if any(limit is None for limit in rest):
            raise ValueError("two flat directions grow at once; no steady drift exists")
        growing = growing + slope * prod(rest, start=Integer(1))
    return growing


def _limit_or_none(branch: Branch, rates: Sequence[Expr], continuous: bool) -> Expr | None:
    try:
        return _branch(branch, rates, oo, continuous)
    except ValueError:
        return None


def divided_difference(
    function: Expr, variable: Symbol, nodes: Sequence[Expr], images: Sequence[Expr] | None = None
) -> Expr:
    """The divided difference of a function at some nodes, equal ones included.

    Σ_g (1/(m_g − 1)!) d^{m_g−1}/dy^{m_g−1} [ f(y) / Π_{h≠g} (y − x_h)^{m_h} ] at y = x_g, over the distinct
    nodes x_g with multiplicities m_g.

    Args:
        function: f, an expression in the variable.
        variable: y.
        nodes: where the difference is taken.
        images: f at every node, if there is a nicer way to write it than by substitution.

    Example:
        >>> from sympy import symbols
        >>> y, a = symbols("y a")
        >>> divided_difference(y**3, y, [a, a])
        3*a**2
    """
    if images is None:
        images = [function.subs(variable, node) for node in nodes]
    groups: list[tuple[Expr, Expr, int]] = []
    for node, image in zip(nodes, images, strict=True):
        for i, (other, known, count) in enumerate(groups):
            if _vanishes(node - other):
                groups[i] = (other, known, count + 1)
                break
        else:
            groups.append((node, image, 1))
    if len(nodes) == 2 and len(groups) == 2:
        # One event: written as the paper does, (1 − x^T)/(1 − x).
        return (images[0] - images[1]) / factor_terms(expand(nodes[0] - nodes[1]))
    total: Expr = Integer(0)
    for g, (node, image, count) in enumerate(groups):
        rest = [(other, m) for h, (other, _, m) in enumerate(groups) if h != g]
        if count == 1:
            total = total + image / prod((factor(node - other) ** m for other, m in rest), start=Integer(1))
            continue
        smooth = function / prod(((variable - other) ** m for other, m in rest), start=Integer(1))
        total = total + diff(smooth, variable, count - 1).subs(variable, node) / factorial(count - 1)
    return total


def _vanishes(difference: Expr) -> bool:
    if difference.is_Rational:
        return difference == 0
    expanded = expand(difference)
    return expanded == 0 or (not expanded.free_symbols and simplify(expanded) == 0)


# -- values ------------------------------------------------------------------------------------------


def _edge_letters(value: PropagatedValue) -> tuple[list[int], bool]:
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


def _generic(value: PropagatedValue, letters: Sequence[int]) -> bool:
    """Whether the nodes of every chain stay distinct when edges share an index."""
    for branch in value.time_sum.branches:
        for chain in branch.chains:
            nodes = [tuple(sorted(letters[e] for e in interval)) for interval in chain.alive]
            if len(set(nodes)) < len(nodes):
                return False
    return True


@lru_cache(maxsize=4096)
def _scalar(value: PropagatedValue, eigenvalues: tuple[Expr, ...]) -> Expr:
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


def _edges_into(value: PropagatedValue, root: int) -> list[int]:
    return [e for e, (_, parent) in enumerate(value.edges) if parent == root]


def _diagonal_roots(value: PropagatedValue) -> list[int]:
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


def _tensors(value: PropagatedValue) -> list[tuple[str, list[tuple[int, list[int]]]]]:
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


def _summed(value: PropagatedValue) -> list[int]:
    letters, _ = _edge_letters(value)
    ends = [e for node in value.open_indices for e in _edges_into(value, node)]
    free = {letters[e] for e in ends}
    return sorted(set(letters) - free)


def value_to_sympy(value: PropagatedValue) -> Expr:
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


def pieces_latex(value: PropagatedValue, coefficient: Expr) -> tuple[Expr, str]:
    """A prefactor without indices, and the sum over eigendirections in LaTeX."""
    eigenvalues = [Symbol(f"lambda_{name[1:]}") for name, _ in _LETTERS]
    return _pieces(value, coefficient, eigenvalues, 0)


def pieces_text(value: PropagatedValue, coefficient: Expr) -> tuple[Expr, str]:
    """A prefactor without indices, and the sum over eigendirections in plain text."""
    eigenvalues = [Symbol(f"λ_{name}") for _, name in _LETTERS]
    return _pieces(value, coefficient, eigenvalues, 1)


def value_latex(value: PropagatedValue) -> str:
    """Write a value in LaTeX."""
    return _alone(*pieces_latex(value, Integer(1)), latex)


def value_text(value: PropagatedValue) -> str:
    """Write a value in plain text."""
    return _alone(*pieces_text(value, Integer(1)), sstr)


def _alone(prefactor: Expr, body: str, write: Any) -> str:
    return body if prefactor == 1 else f"{write(prefactor)} {body}"


def _pieces(
    value: PropagatedValue, coefficient: Expr, eigenvalues: list[Symbol], face: int
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


def _on_grid(value: PropagatedValue, face: int) -> str:
    drawn, over = str(value.diagram), "cells" if isinstance(value.times, GridSum) else "times"
    return rf"\Sigma_{{\mathrm{{{over}}}}}\mathrm{{[{drawn}]}}" if face == 0 else f"Σ_{over}[{drawn}]"
