r"""Values that can't be negative: networks that are their own mirror image.

Let σ exchange the nodes of a network in pairs, keeping edges, parts and marks. If it cuts the network into A and its
image A', joined only by

    edges from a node to its own image                        the identity
    parts {x, σ(x)} of two nodes                               a covariance: positive semidefinite
    single nodes of degree 2 that stay where they are          H, positive semidefinite where l is convex

then the value is Σ A_i M_ij A_j with M positive semidefinite, and so at least 0: G·G, tr C and G·H·H·G always,
G·H·G and C·H where H ≥ 0. In moments a part may be any number of such pairs: E[a a] ≥ 0. With two open indices that
are images of each other the value is a positive semidefinite matrix.

A resummed value Σ_μ C_μμ s(λ_μ) or Σ_μ G_μ G_μ s(λ_μ) is at least 0 as s, a sum of positive numbers, is positive:
always where sums are integrals, for ηλ ≤ 1 where they are sums of powers of 1 − ηλ.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from sympy import Expr, Integer, Symbol, factor_list, fraction

from taylorsgd import symbols
from taylorsgd.diagrams.partitions import components
from taylorsgd.diagrams.tensor_network import LOSS, TensorNetwork, is_open
from taylorsgd.formulas.resummed_value import ResummedValue, is_resummed

__all__ = ["nonnegative_under", "sign_of_sizes"]


@lru_cache(maxsize=4096)
def nonnegative_under(value: TensorNetwork) -> tuple[str, ...] | None:
    """What a value needs to be at least 0, as a number or as a matrix in its two open indices.

    Args:
        value: a plain or a resummed value.

    Returns:
        The conditions in words; none of them if it is so in every landscape; None if its structure does not tell.

    Example:
        >>> from taylorsgd.diagrams import Value
        >>> nonnegative_under(Value((-1, 0))), nonnegative_under(Value((-1, 0, 1)))      # G·G, G·H·G
        ((), ('H ≥ 0',))
        >>> nonnegative_under(Value((-1, 0, 0, 0))) is None                              # J G G G
        True
    """
    if len(value.open_indices) == 1:
        return None
    if is_resummed(value):
        return _resummed(value)
    found = list(_mirrors(value))
    return min(found, key=len) if found else None


def _mirrors(value: TensorNetwork) -> Iterator[tuple[str, ...]]:
    """Yield what each mirror of a network needs."""
    for image in _involutions(value, {}):
        if not _keeps(value, image):
            continue
        fixed = [node for node, other in image.items() if node == other]
        if any(value.degrees[node] != 2 or len(value.blocks[value.parts[node]]) > 1 for node in fixed):
            continue
        cut: list[tuple[int, int]] = []
        possible = True
        for block in value.blocks:
            own = {image[node] for node in block} == set(block)
            if not own:
                cut += [(block[0], node) for node in block[1:]]
            elif len(block) > 2 and not value.moments:
                possible = False  # a cumulant of more than two is of either sign
        for child, parent in value.edges:
            if image[child] != parent and child not in fixed and parent not in fixed:
                cut.append((child, parent))
        side = components(len(value.parents), cut)
        if possible and all(side[node] != side[other] for node, other in image.items() if node != other):
            carried = {value.marks[node] for node in fixed}
            yield tuple("H ≥ 0" if mark == LOSS else f"∇∇{mark} ≥ 0" for mark in sorted(carried))


def _involutions(value: TensorNetwork, image: dict[int, int]) -> Iterator[dict[int, int]]:
    """Yield the ways to exchange nodes in pairs that keep what they carry."""
    rest = [node for node in range(len(value.parents)) if node not in image]
    if not rest:
        yield image
        return
    node = rest[0]
    for other in rest:
        alike = value.marks[node] == value.marks[other] or (is_open(value.marks[node]) and is_open(value.marks[other]))
        if not alike or value.degrees[node] != value.degrees[other] or (node == other and is_open(value.marks[node])):
            continue
        mine = {image[near] for near in value.neighbours[node] if near in image}
        if mine <= {*value.neighbours[other]}:
            yield from _involutions(value, image | {node: other, other: node})


def _keeps(value: TensorNetwork, image: dict[int, int]) -> bool:
    """Whether edges and parts go to edges and parts."""
    edges = {frozenset(edge) for edge in value.edges}
    blocks = {frozenset(block) for block in value.blocks}
    return {frozenset(image[node] for node in edge) for edge in edges} == edges and {
        frozenset(image[node] for node in block) for block in blocks
    } == blocks


def _resummed(value: ResummedValue) -> tuple[str, ...] | None:
    """A sum over one index of C_μμ or G_μ G_μ times a positive sum over times."""
    written = value.contraction()
    if value.drift or not value.update.is_plain or len(written.numbers) != 1 or written.free:
        return None
    degrees = sorted(tensor.degrees for tensor in written.tensors)
    if any(tensor.mark for tensor in written.tensors) or degrees not in ([(1,), (1,)], [(1, 1)]):
        return None
    diagonal = any(
        value.degrees[root] == 2 and len(value.blocks[value.parts[root]]) == 1 for root in value.diagram.roots
    )
    needed = ["H ≥ 0"] if diagonal else []
    return tuple(needed if value.continuous else [*needed, "ηH ≤ 1"])


@lru_cache(maxsize=4096)
def sign_of_sizes(coefficient: Expr, divisible: bool = True) -> int | None:
    """The sign of a coefficient for all possible sizes: N, B, E, T ≥ 1, with B ≤ N.

    Each factor is a polynomial; with sizes shifted to start at 0 one whose coefficients have one sign has that sign.

    Args:
        coefficient: a rational function of the sizes.
        divisible: whether B divides N, as in SGD.

    Returns:
        1 if it is never negative, −1 if it is never positive; None if that was not found out.

    Example:
        >>> from taylorsgd.symbols import N, T
        >>> sign_of_sizes(-T * (T - 1) / (4 * N)), sign_of_sizes(T - 3)
        (-1, None)
    """
    sizes = {symbols.N, symbols.B, symbols.E, symbols.T}
    if coefficient.free_symbols - sizes or not coefficient.is_rational_function(*coefficient.free_symbols):
        return None
    shifted = {size: size + 1 for size in sizes}
    batches = Symbol("batches")
    if divisible and symbols.B in coefficient.free_symbols:
        shifted[symbols.N] = (symbols.B + 1) * (batches + 1)
    sign = 1
    for side in fraction(coefficient):
        number, factors, *_ = factor_list(side)
        if not number.is_number:
            return None
        sign *= 1 if number > 0 else -1
        for part, power in factors:
            if power % 2 == 0:
                continue
            own = _polynomial_sign(part.xreplace(shifted))
            if own is None:
                return None
            sign *= own
    return sign


def _polynomial_sign(expression: Expr) -> int | None:
    """The sign of a polynomial of variables that are at least 0, if all its coefficients agree."""
    polynomial = expression.as_poly()
    if polynomial is None:
        expanded = expression.expand()
        if not expanded.is_number:
            return None
        numbers = [expanded]
    else:
        numbers = polynomial.coeffs()
    signs = {1 if number > 0 else -1 for number in numbers if number != Integer(0)}
    return signs.pop() if len(signs) == 1 else None
