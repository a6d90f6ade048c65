r"""Terms with the matrix K itself: where HΛ is not symmetric, of vector fields and of metrics that are not positive.

Such a K may have complex eigenvalues, or too few eigenvectors. So the sum over times is taken update by update,

    S = Σ_times ⊗_e c A^{Δt_e − 1} b,        A − ηHΛ b c for A,

a tensor with two axes for each edge, where it starts and where it ends (`timesums.walking.Tensors`, in JAX): the work
of T updates on P^{2d} numbers, for small problems. At T → ∞ states are left by (1 − ⊗ K)^{−1}. Integrals over time, and
sums over several epochs with symbols for sizes, have closed forms of eigenvalues only; there HΛ = V diag(λ) V^{−1} is
taken apart, complex as that may be, and must have eigenvectors enough (`parallel`).

An influence is a row. It starts in the first index of a node's tensor, that of u^μ; enters the next by an index of a
derivative; so the step of plain descent is K = 1 − ηHᵀΛ with H_{μν} = −∂_ν u^μ.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from taylorsgd.lowering.edge_memory import Floats, in_floats
from taylorsgd.lowering.networks import Network, sums_along_edges
from taylorsgd.timesums.cells import Way
from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.two_clocks import TwoClocks

__all__ = ["matrix_terms", "needs_eigenvectors", "parallel"]

States = dict[int, Float[Array, "..."]]


def matrix_terms(
    networks: Sequence[Network],
    hessian: Float[Array, "P P"],
    metric: Float[Array, "P P"] | None,
    tensors: Sequence[Float[Array, ...]],
    eta: Float[Array, ""],
    updates: Sequence[Float[Array, ""]],
) -> tuple[Float[Array, ...], ...]:
    """Every term without its coefficient, an array with an axis for each of its open indices.

    Args:
        networks: the terms.
        hessian: H, with the index of u first; it need not be symmetric.
        metric: Λ, or None for the identity.
        tensors: the tensors of the parts; of every node the axis of the edge that leaves it comes first.
        eta: the learning rate η.
        updates: T for every term.
    """
    bent = eta * (hessian.T if metric is None else jnp.matmul(hessian.T, metric, precision="highest"))
    outputs = []
    for network, T in zip(networks, updates, strict=True):
        count, operands = network.edges, []
        damping, dressing = bent, None
        if network.bend:  # K = 1 − ηHR, and powers of R on the edges
            dressing = jnp.linalg.inv(jnp.eye(len(bent), dtype=bent.dtype) + network.bend * bent)
            damping = jnp.matmul(bent, dressing, precision="highest")
        for edges, sums in _sums(network, damping, T):
            moving = [e for e in edges if network.moves(e)]
            for place, e in enumerate(moving if dressing is not None else ()):
                sums = _along(sums, 2 * place, jnp.linalg.matrix_power(dressing, network.powers[e]).T)
            operands += [sums, [label for e in moving for label in (2 * e, 2 * e + 1)]]
        for e in range(count if network.times is not None else 0):
            if not network.moves(e):
                instant = jnp.eye(len(bent), dtype=bent.dtype)
                if dressing is not None:
                    instant = jnp.linalg.matrix_power(dressing, network.powers[e])
                operands += [instant, [2 * e, 2 * e + 1]]
        if metric is not None:
            operands += [x for e in range(count) for x in (metric, [2 * count + e, 2 * e])]
        for position, axes in network.parts:
            starts = 2 * count if metric is not None else 0
            labels = [2 * e + 1 if later else starts + e if starts else 2 * e for e, later in axes]
            operands += [tensors[position], labels]
        output = jnp.einsum(*operands, [2 * e + 1 for e in network.open], precision="highest")
        outputs.append(output * eta**count)
    return tuple(outputs)


def _sums(
    network: Network, bent: Float[Array, "P P"], T: Float[Array, ""]
) -> list[tuple[Sequence[int], Float[Array, ...]]]:
    """The sum over times as factors, each with the edges whose pairs of axes it has."""
    times, eye = network.times, jnp.eye(len(bent), dtype=bent.dtype)
    if times is None:
        return [((e,), eye) for e in range(network.edges)]
    if needs_eigenvectors(network):
        return _in_eigenvectors(network, bent, T)
    memories = [in_floats(memory, bent.dtype) for memory in network.memories]
    if isinstance(times, TimeSum):
        system = _System(memories[0], bent, eye)
        if network.limit:
            return [(edges, _limit(own, system)) for _, edges, own in times.branches]
        steps = T.astype(jnp.uint32)
        return [(edges, _walked(own, system, steps)) for _, edges, own in times.branches]
    assert isinstance(times, tuple)
    edges = range(network.edges)
    total: Any = 0
    for way in times:
        if way.times.possible:
            total = total + float(way.number) * _through_cells(way, memories, bent, eye)
    return [(edges, total)]


def needs_eigenvectors(network: Network) -> bool:
    """Whether a sum over time is known by the eigenvalues of the step only."""
    return network.continuous or isinstance(network.times, TwoClocks)


def parallel(matrix: Float[np.ndarray, "P P"]) -> float:
    """The condition number of the eigenvectors of a matrix: how much rounding grows when it is put together again.

    Example:
        >>> parallel(np.eye(2)), parallel(np.array([[1.0, 1.0], [0.0, 1.0]])) > 1e12
        (1.0, True)
    """
    return float(np.linalg.cond(np.linalg.eig(matrix)[1]))


def _in_eigenvectors(
    network: Network, bent: Float[Array, "P P"], T: Float[Array, "*clocks"]
) -> list[tuple[Sequence[int], Float[Array, ...]]]:
    """The same as V F(λ) V^{−1} along every edge."""
    rates, vectors = jnp.linalg.eig(bent)
    inverse = jnp.linalg.inv(vectors)
    factors = []
    for numbers, labels in sums_along_edges(network, rates, T):
        operands: list[Any] = [numbers, [3 * e for e in labels]]
        for e in labels:
            operands += [vectors, [3 * e + 1, 3 * e], inverse, [3 * e, 3 * e + 2]]
        axes = [3 * e + end for e in labels for end in (1, 2)]
        factors.append((tuple(labels), jnp.einsum(*operands, axes, precision="highest").real))
    return factors


class _System:
    """A rule's linear system on vectors; states are rows."""

    def __init__(
        self, memory: Floats, bent: Float[Array, "P P"], eye: Float[Array, "P P"], moments: Sequence[int] = ()
    ) -> None:
        self.roots = (ROOT, *moments)
        self.size = len(eye)
        self.held = self.size * len(memory.enter)
        self.carry = jnp.kron(memory.carry.T, eye) - jnp.kron(jnp.outer(memory.read, memory.enter), bent)
        self.enter = jnp.kron(memory.enter[None, :], eye)
        self.read = jnp.kron(memory.read[:, None], eye)
        self.by_root = jnp.kron(memory.read_by_root[:, None], eye)

    def empty(self, times: TimeSum, done: int) -> Float[Array, ...]:
        """Nothing, in the shape of the state after some events."""
        alive = times.alive(done)
        shape = (n for e in times.born(done) for n in (self.size, self.held if e in alive else self.size))
        return jnp.zeros(tuple(shape), self.carry.dtype)

    def advance(self, times: TimeSum, state: Float[Array, ...], done: int, step: int) -> Float[Array, ...]:
        """Carry, read and enter."""
        born, after = times.born(done), set(times.alive(done | step))
        for e in times.alive(done):
            read = self.by_root if times.edges[e][1] in self.roots else self.read
            state = _along(state, 2 * born.index(e) + 1, self.carry if e in after else read)
        everything = times.born(done | step)
        fresh = [e for e in everything if e not in born]
        for _ in fresh:
            state = jnp.multiply.outer(state, self.enter)
        labels = [*born, *fresh]
        order = [axis for e in everything for axis in (2 * labels.index(e), 2 * labels.index(e) + 1)]
        return jnp.transpose(state, order) if order else state

    def finish(self, times: TimeSum, state: Float[Array, ...]) -> Float[Array, ...]:
        """What the roots read."""
        born = times.born(times.lattice.full)
        for e in times.alive(times.lattice.full):
            state = _along(state, 2 * born.index(e) + 1, self.by_root)
        return state

    def start(self, times: TimeSum) -> States:
        """Before the first update."""
        return {done: self.empty(times, done) + (done == 0) for done in times.lattice.states}


def _stepped(times: TimeSum, system: _System, states: States, weights: dict[int, Any] | None) -> States:
    """One update; weights say in how many ways the events of a step can happen, one if they are not given."""
    following = {done: system.advance(times, state, done, 0) for done, state in states.items()}
    for done, state in states.items():
        for step in times.lattice.steps[done]:
            moved = system.advance(times, state, done, step)
            following[done | step] += moved if weights is None else weights[step] * moved
    return following


def _walked(times: TimeSum, system: _System, T: Any) -> Float[Array, ...]:
    if not times.possible:
        return jnp.zeros((system.size,) * (2 * len(times.born(times.lattice.full))), system.carry.dtype)
    step = partial(_stepped, times, system, weights=None)
    states = lax.fori_loop(jnp.uint32(0), T, lambda _, states: step(states=states), system.start(times))
    return system.finish(times, states[times.lattice.full])


def _through_cells(
    way: Way, memories: Sequence[Floats], bent: Float[Array, "P P"], eye: Float[Array, "P P"]
) -> Float[Array, ...]:
    times, updates = way.times, len(way.cells[0]) if way.times.events else 0
    steps = sorted({step for after in times.lattice.steps.values() for step in after})
    counts = {s: jnp.array([way.choices(s, t) for t in range(updates)], bent.dtype) for s in steps}
    changing = jax.tree.map(lambda *parts: jnp.stack(parts), *memories) if len(memories) > 1 else None
    last = _System(memories[-1], bent, eye, way.moments)

    def update(states: States, now: Any) -> tuple[States, None]:
        weights, memory = now
        system = last if memory is None else _System(memory, bent, eye, way.moments)
        return _stepped(times, system, states, weights), None

    states, _ = lax.scan(update, last.start(times), (counts, changing), length=updates)
    return last.finish(times, states[times.lattice.full])


def _limit(times: TimeSum, system: _System) -> Float[Array, ...]:
    """The sum over all times, T → ∞."""
    if not times.possible:
        return jnp.zeros((system.size,) * (2 * len(times.born(times.lattice.full))), system.carry.dtype)

    def leave(state: Float[Array, ...], done: int) -> Float[Array, ...]:
        born, alive = times.born(done), times.alive(done)
        axes = [2 * born.index(e) + 1 for e in alive]
        whole = reduce(jnp.kron, [system.carry] * len(axes))
        moved = jnp.moveaxis(state, axes, range(len(axes)))
        flat = moved.reshape(len(whole), -1)
        solved = jnp.linalg.solve(jnp.eye(len(whole), dtype=flat.dtype) - whole.T, flat)
        return jnp.moveaxis(solved.reshape(moved.shape), range(len(axes)), axes)

    found = times.lattice.through(jnp.ones((), system.carry.dtype), partial(system.advance, times), jnp.add, leave)
    assert found is not None
    return system.finish(times, found)


def _along(state: Float[Array, ...], axis: int, matrix: Float[Array, "before after"]) -> Float[Array, ...]:
    return jnp.moveaxis(jnp.tensordot(state, matrix, (axis, 0), precision="highest"), -1, axis)
