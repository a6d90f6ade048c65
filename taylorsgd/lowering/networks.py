r"""Terms as contractions in an eigenbasis: tensors whose axes meet along edges, and the sums over times.

With H = Q diag(λ) Qᵀ and every tensor turned by Q along each axis, a resummed term without its coefficient is

    η^d Σ_{r_1 … r_d} Π_parts κ_{…}(r) · F(ηλ_{r_1}, …, ηλ_{r_d}; T),

one index r_e for each edge, with F its sum over times: a product over branches, each an array over the
indices of its own edges only.

The derivative in H of a power of K = I − ηH is a sum over the places where one factor changes: the same
diagram with one more link that carries dH, at any time along any edge. So H is differentiated through F,
which is smooth, and not through eigenvectors, which are not where eigenvalues meet. Under a rule with instant edges
K = I − ηHR with R = (1 + ηγH)⁻¹, and edges carry powers of R; from dR = −γη R dH R then follows

    d(R^p K^m) = −η Σ_{a+b=m−1} R^{p+1} K^a dH K^b R − γη Σ_{i=1}^p R^i dH R^{p+1−i} K^m,

so a link of the first kind has an R on either side, and one of the second cuts an edge in two of which one is instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from operator import mul
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float
from sympy import Integer, Tuple, oo

from taylorsgd.formulas.resummed_value import ResummedValue, is_resummed
from taylorsgd.formulas.term import AnyValue, Combination
from taylorsgd.lowering.block_sums import remembering_limit, remembering_sum
from taylorsgd.lowering.cell_scan import sum_of_ways
from taylorsgd.lowering.edge_memory import PLAIN
from taylorsgd.lowering.eigenbasis_sums import branch_limits, branch_sums
from taylorsgd.lowering.epoch_blocks import remembering_epochs
from taylorsgd.lowering.epoch_powers import epoch_sums
from taylorsgd.timesums.cells import Way
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.two_clocks import TwoClocks
from taylorsgd.timesums.two_moments import TwoMoments
from taylorsgd.updates import Memory

__all__ = [
    "HESSIAN", "Network", "PartKey", "contract", "make_network", "memories_of", "part_keys",
    "sums_along_edges", "turned",
]  # fmt: skip

PartKey = tuple[Any, ...]
"""What a part is measured as: the degrees of its nodes, ascending; or an observable's name and its degree."""

HESSIAN: PartKey = (2,)
"""The key of H."""

DiagramKey = tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]
"""A diagram with what its nodes carry, whatever its sum over times: parents, parts and marks of the nodes."""


def diagram_key(value: AnyValue) -> DiagramKey:
    """The key of a value's diagram; its edges are those of the nodes with a parent, in their order."""
    return value.parents, value.parts, value.marks


def part_keys(formula: Combination) -> tuple[PartKey, ...]:
    """The tensors that a formula needs, H always among them.

    Example:
        >>> import taylorsgd as ts
        >>> part_keys(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2, resum="discrete").assume("minimum"))
        ((0,), (2,), (1, 1))
    """
    keys = {HESSIAN: None} | {
        _key(value, block): None
        for value in formula.values
        for block in value.blocks
        if not value.marks[block[0]].startswith("@")
    }
    return tuple(sorted(keys, key=lambda key: (len(key), str(key))))


def _key(value: AnyValue, block: Sequence[int]) -> PartKey:
    mark = value.marks[block[0]]
    degrees = tuple(sorted(value.degrees[node] for node in block))
    return (mark, *degrees) if mark else degrees


Axis = tuple[int, bool]
"""One axis of a tensor: the edge there, and whether it is the edge's later end."""


@dataclass(frozen=True)
class Network:
    """One term as the compiled function sees it: which axes meet, and what happens along the edges.

    Attributes:
        parts: for every part the position of its tensor, and its axes.
        open: the edges that end at open indices.
        edges: the number of edges.
        times: the events and edges of the sum over times, the nodes and parts of one over several epochs, or the ways
            to place them in the cells of a run; None for a plain value, whose edges carry η alone.
        continuous: integrals of exponentials instead of sums of powers.
        limit: T → ∞.
        memories: the rule's linear system, one for all updates, or in the cells of a run one for each.
        decay: w, by which rates are larger where edges carry powers of one number, (1 − w) − s, or its exponentials.
        bend: γ in R = 1/(1 + γηλ), of a rule with instant edges.
        powers: the power of R on every edge.
    """

    parts: tuple[tuple[int, tuple[Axis, ...]], ...]
    open: tuple[int, ...]
    edges: int
    times: TimeSum | TwoClocks | tuple[Way, ...] | None = None
    continuous: bool = False
    limit: bool = False
    memories: tuple[Memory, ...] = (PLAIN,)
    decay: float = 0.0
    bend: float = 0.0
    powers: tuple[int, ...] = ()

    def links(self, position: int) -> Iterator[tuple[float, Network]]:
        """Yield the networks with one more link, which carries the tensor at `position`, and what multiplies each."""
        for edge in range(self.edges):
            moving = self.moves(edge)
            if moving:
                yield 1.0, self._linked(edge, position, _linked, TwoClocks.linked)
            for first in range(1, self.powers[edge] + 1) if self.bend else ():
                cut = self._linked(edge, position, _cut, TwoClocks.cut)
                powers = list(cut.powers)
                powers[edge], powers[-1] = first, self.powers[edge] + 1 - first
                yield self.bend, replace(cut, powers=tuple(powers))

    def moves(self, edge: int) -> bool:
        """Whether an edge takes time."""
        if isinstance(self.times, TwoClocks):
            return self.times.targets[edge] != edge
        all_times = [self.times] if isinstance(self.times, TimeSum) else [way.times for way in self.times or ()]
        return any(source != target for source, target in (times.edges[edge] for times in all_times))

    def _linked(
        self,
        edge: int,
        position: int,
        cut: Callable[[TimeSum, int], TimeSum],
        cut_clocks: Callable[[TwoClocks, int], TwoClocks],
    ) -> Network:
        """The network with one more link on an edge, which carries the tensor at `position`."""
        assert self.times is not None
        new = self.edges

        def moved(axis: Axis) -> Axis:
            return (new, True) if axis == (edge, True) else axis

        parts = [(tensor, tuple(map(moved, axes))) for tensor, axes in self.parts]
        parts.append((position, ((edge, True), (new, False))))
        if isinstance(self.times, TwoClocks):
            times: Any = cut_clocks(self.times, edge)
        elif isinstance(self.times, TimeSum):
            times = cut(self.times, edge)
        else:  # a single node: in any of B cells, each with weight 1/B, and in none of the slots of others
            changed = [(way, cut(way.times, edge)) for way in self.times]
            times = tuple(
                way._replace(
                    times=after,
                    cells=(*way.cells, *[(1,) * len(way.cells[0])] * (after.events - way.times.events)),
                    taken=way.taken and (*way.taken, *[0] * (after.events - way.times.events)),
                )
                for way, after in changed
            )
        powers = list(self.powers) or [0] * new
        return replace(
            self,
            parts=tuple(parts),
            open=tuple(new if e == edge else e for e in self.open),
            edges=new + 1,
            times=times,
            powers=(*(power + (e == edge) for e, power in enumerate(powers)), 1),
        )


def _cut(times: TimeSum, edge: int) -> TimeSum:
    """An edge in two, of which the first is instant."""
    source, target = times.edges[edge]
    return TimeSum(times.events, (*times.edges[:edge], (source, source), *times.edges[edge + 1 :], (source, target)))


def _linked(times: TimeSum, edge: int) -> TimeSum:
    """One more event, in the middle of an edge."""
    link, (source, target) = times.events, times.edges[edge]
    edges = (*times.edges[:edge], (source, link), *times.edges[edge + 1 :], (link, target))
    return TimeSum(link + 1, edges)


def make_network(value: AnyValue, keys: Sequence[PartKey]) -> Network:
    """The network of a value, whose tensors stand in the order of their keys."""
    parts = []
    leaving = [child for child, _ in value.edges]  # the node that every edge leaves, whose first axis it is
    if any(mark and not is_resummed(value) for mark in value.marks):  # a plain value's edges have no direction but this
        for node, arrow in enumerate(value.arrows):
            if arrow >= 0:
                leaving[arrow] = node
    for block in value.blocks:
        if value.marks[block[0]].startswith("@"):
            continue
        nodes = sorted(block, key=lambda node: value.degrees[node])
        axes = tuple(
            axis
            for node in nodes
            for axis in sorted(
                ((e, leaving[e] != node) for e, edge in enumerate(value.edges) if node in edge),
                key=lambda axis: axis[1],
            )
        )
        parts.append((keys.index(_key(value, block)), axes))
    ends = tuple(e for node in value.open_indices for e, pair in enumerate(value.edges) if node in pair)
    network = Network(tuple(parts), ends, len(value.edges))
    if not is_resummed(value):
        return network
    network = replace(network, bend=float(value.update.instant), powers=value.powers)
    memories, times = memories_of(value), value.times
    if not isinstance(times, (TimeSum, TwoClocks)) or value.update.rates is not None:
        # whatever changes with time is summed update by update
        if isinstance(times, TimeSum):
            ways = [Way(Fraction(1), times, ((1,) * int(value.T),) * times.events)]
        else:
            ways = times.ways(value.diagram, int(value.T))
        return replace(network, times=tuple(ways), memories=memories)
    if len(memories[0].enter) == 1:  # no more than 1 − w of a number is remembered
        network = replace(network, decay=1 - float(memories[0].carry[0][0]))
    kept = (PLAIN,) if value.continuous else memories
    return replace(network, times=times, continuous=value.continuous, limit=value.T is oo, memories=kept)


def memories_of(value: ResummedValue) -> tuple[Memory, ...]:
    """What edges carry, at every update or at all of them.

    Raises:
        NotImplementedError: for a drift, or symbols.
    """
    update, times = value.update, value.times
    if isinstance(times, TwoMoments) and (value.continuous or times.free_symbols or not value.T.is_Integer):
        raise NotImplementedError(
            f"a formula at two times is lowered with resum='discrete' and numbers for both, here {times.first} and "
            f"{value.T}, and over several epochs for N, B and E; subs() puts numbers in, or evaluate() it, exactly"
        )
    if value.drift:
        raise NotImplementedError(
            "a drift is not lowered: which directions are flat is no smooth function of H; "
            "evaluate() computes it exactly, and the lowered displacement at two late T gives it in numbers"
        )
    memories = tuple(map(update.memory, value.rates or (Integer(1),)))
    if Tuple(*memories, update.instant).free_symbols:
        raise NotImplementedError(
            f"a resummed formula with update={update!r} is not lowered: only rules with numbers for their parameters "
            "are; evaluate() computes it exactly"
        )
    return memories


def turned(tensor: Float[Array, ...], matrix: Float[Array, "P P"]) -> Float[Array, ...]:
    """The tensor with every axis contracted with the first axis of a matrix."""
    for axis in range(tensor.ndim):
        tensor = jnp.moveaxis(jnp.tensordot(tensor, matrix, (axis, 0), precision="highest"), -1, axis)
    return tensor


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def contract(
    networks: tuple[Network, ...],
    hessian: Float[Array, "P P"],
    tensors: tuple[Float[Array, ...], ...],
    eta: Float[Array, ""],
    updates: tuple[Float[Array, ""], ...],
) -> tuple[Float[Array, ...], ...]:
    """Every term without its coefficient, an array with an axis for each of its open indices.

    Args:
        networks: the terms.
        hessian: H, symmetric.
        tensors: the tensors of the parts.
        eta: the learning rate η.
        updates: T for every term.
    """
    eigenvalues, vectors = jnp.linalg.eigh(hessian)
    return _in_eigenbasis(networks, eigenvalues, vectors, tensors, eta, updates)


def _contract_jvp(networks: tuple[Network, ...], primals: Any, tangents: Any) -> Any:
    hessian, *others = primals
    moved, *rest = (
        None if isinstance(tangent, SymbolicZero) else tangent
        for tangent in jax.tree.leaves(tangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    )
    leaves, structure = jax.tree.flatten(tuple(others))
    moving = [jnp.zeros_like(leaf) if tangent is None else tangent for leaf, tangent in zip(leaves, rest, strict=True)]
    eigenvalues, vectors = jnp.linalg.eigh(hessian)
    fixed = partial(_in_eigenbasis, networks, eigenvalues, vectors)
    outputs, derived = jax.jvp(fixed, tuple(others), jax.tree.unflatten(structure, moving))
    if moved is None:
        return outputs, derived
    tensors, eta, updates = others
    total = list(derived)
    for place, network in enumerate(networks):
        if network.times is not None and network.edges:
            # d(K^m) = −η Σ K^a dH K^b: a link on each edge in turn
            found = list(network.links(len(tensors)))
            if not found:  # nothing is summed, or no edge takes time
                continue
            factors, links = zip(*found, strict=True)
            same = (updates[place],) * len(links)
            changed = _in_eigenbasis(links, eigenvalues, vectors, (*tensors, moved), eta, same)
            total[place] = total[place] - sum(map(mul, factors[1:], changed[1:]), start=factors[0] * changed[0])
    return outputs, tuple(total)


contract.defjvp(_contract_jvp, symbolic_zeros=True)


def _in_eigenbasis(
    networks: tuple[Network, ...],
    eigenvalues: Float[Array, " P"],
    vectors: Float[Array, "P P"],
    tensors: tuple[Float[Array, ...], ...],
    eta: Float[Array, ""],
    updates: tuple[Float[Array, ""], ...],
) -> tuple[Float[Array, ...], ...]:
    rotated = [turned(tensor, vectors) for tensor in tensors]
    rates = eta * eigenvalues
    outputs = []
    for network, T in zip(networks, updates, strict=True):
        operands: list[Any] = []
        for array, edges in sums_along_edges(network, rates, T):
            operands += [array, list(edges)]
        for tensor, axes in network.parts:
            operands += [rotated[tensor], [e for e, _ in axes]]
        output = jnp.einsum(*operands, list(network.open), precision="highest") * eta**network.edges
        outputs.append(turned(output, vectors.T))
    return tuple(outputs)


def sums_along_edges(
    network: Network, rates: Float[Array, " labels"], T: Float[Array, "*clocks"]
) -> list[tuple[Float[Array, ...], Sequence[int]]]:
    """The sum over times as factors: arrays with one axis for each of the edges that are named beside them.

    Args:
        network: the term.
        rates: ηλ for every label.
        T: the number of updates; in several epochs the number of batches in each, and of epochs.
    """
    if not network.bend or network.times is None:
        return _sums_along_edges(network, rates, T)
    shrunk = 1 / (1 + network.bend * rates)
    dressed = [(shrunk**power, [e]) for e, power in enumerate(network.powers) if power]
    return [*_sums_along_edges(network, rates * shrunk, T), *dressed]


def _sums_along_edges(
    network: Network, rates: Float[Array, " labels"], T: Float[Array, "*clocks"]
) -> list[tuple[Float[Array, ...], Sequence[int]]]:
    """The same for what edges carry in time, with the rate by which K shrinks along each."""
    times, memories = network.times, network.memories
    if times is None:
        return []
    rates, T = rates + network.decay, jnp.asarray(T)
    if isinstance(times, tuple):
        return [(sum_of_ways(times, network.edges, rates, memories), range(network.edges))]
    remembers = len(memories[0].enter) > 1
    if isinstance(times, TwoClocks):
        axes = [labels for labels, _ in times.branches]
        spread, epochs = _spread(rates, network.edges, axes), None if network.limit else T[1]
        summed = partial(remembering_epochs, times, memories[0]) if remembers else partial(epoch_sums, times)
        return list(zip(summed(spread, T[0], epochs), axes, strict=True))
    axes = [labels for _, labels, _ in times.branches]
    spread = _spread(rates, network.edges, axes)
    if remembers:
        sums = [
            remembering_limit(own, memories[0], [spread[e] for e in labels])
            if network.limit
            else remembering_sum(own, memories[0], [spread[e] for e in labels], T.astype(jnp.uint32))
            for _, labels, own in times.branches
        ]
    elif network.limit:
        sums = branch_limits(times, spread, continuous=network.continuous)
    else:
        sums = branch_sums(times, spread, T, continuous=network.continuous)
    return list(zip(sums, axes, strict=True))


def _spread(rates: Float[Array, " labels"], edges: int, axes: Sequence[Sequence[int]]) -> list[Float[Array, ...]]:
    """The rates of every edge along an axis of its own, among those of its branch."""
    spread: list[Any] = [rates] * edges
    for labels in axes:
        for axis, e in enumerate(labels):
            spread[e] = rates.reshape(*(-1 if i == axis else 1 for i in range(len(labels))))
    return spread
