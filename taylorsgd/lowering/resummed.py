r"""Resummed formulas as jitted JAX functions of dense tensors.

With H = Q diag(λ) Qᵀ every tensor is rotated once along each axis, and a term becomes

    coefficient · η^d Σ_{r_1 … r_d} Π_parts κ_{…}(r) · F(ηλ_{r_1}, …, ηλ_{r_d}; T),

one index r_e for each edge, with F its sum over times: a product over branches, each an array over the
indices of its own edges only. A matrix learning rate ηΛ = η L Lᵀ turns tensors by L first, H into LᵀHL,
and leaves K symmetric.

The derivative in H of a power of K = I − ηH is a sum over the places where one factor changes: the same
diagram with one more link that carries dH, at any time along any edge. So H is differentiated through F,
which is smooth, and not through eigenvectors, which are not where eigenvalues meet.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from sympy import Expr, Integer, oo

from taylorsgd.diagrams import Value
from taylorsgd.formulas import Formula
from taylorsgd.formulas.propagated import PropagatedValue
from taylorsgd.lowering.gridsums import Schedules, grid_sum
from taylorsgd.lowering.programs import Program, make_program, refuse_no_numbers
from taylorsgd.lowering.timesums import branch_sums, time_sum_limit
from taylorsgd.spacetime.gridsums import GridSum
from taylorsgd.spacetime.timesums import TimeSum, times_of_nodes

__all__ = ["LoweredResummed", "PartKey", "part_keys"]

PartKey = tuple[Any, ...]
"""What a part is measured as: the degrees of its nodes, ascending; or an observable's name and its degree."""

HESSIAN: PartKey = (2,)


def part_keys(formula: Formula) -> tuple[PartKey, ...]:
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


def _key(value: Value | PropagatedValue, block: Sequence[int]) -> PartKey:
    mark = value.marks[block[0]]
    degrees = tuple(sorted(value.degrees[node] for node in block))
    return (mark, *degrees) if mark else degrees


class LoweredResummed:
    """The function g(tensors, eta=…, **sizes) of a formula with resummed terms.

    `tensors` maps part keys to dense arrays: (0,) to the loss l, (1,) to G, (2,) to H, (3,) to J, (1, 1) to C,
    (1, 1, 1) to S, and in general the ascending degrees of a part's nodes to their cumulant, with Σ degrees
    axes of length P, the axes of the first node first; ("s", k) to the k-th derivative of an observable s.
    `measure` returns all that a formula takes. Learning rate, sizes, T and tensors are traced; the function
    can be differentiated in each (T if continuous), batched with `jax.vmap` and exported.

    Attributes:
        formula: the formula.
        parts: the keys of the tensors that it takes.
        orders: the power of η of every term.

    Example:
        >>> import jax.numpy as jnp, taylorsgd as ts
        >>> f = ts.derive(ts.GeneralizationGap(), ts.GD(), order=1, resum="continuous")
        >>> g = f.lower()
        >>> H, C = jnp.diag(jnp.array([1.0, 2.0])), jnp.eye(2)
        >>> print(f"{g({(2,): H, (1, 1): C}, eta=0.1, N=10, T=1e6):.4f}")       # tr(C H⁻¹)/N
        0.1500

    Source: Tenka, Theorems 1 and 2.
    """

    def __init__(self, formula: Formula) -> None:
        """Keep the formula; programs are made for each set of size names when first used."""
        for term in formula.terms:
            if isinstance(term.value, PropagatedValue) and term.value.momentum != 0:
                raise NotImplementedError(
                    "a resummed formula with momentum is not lowered; evaluate() computes it exactly"
                )
            if isinstance(term.value, PropagatedValue) and term.value.drift:
                raise NotImplementedError(
                    "a drift is not lowered: which directions are flat is no smooth function of H; "
                    "evaluate() computes it exactly, and the lowered displacement at two late T gives it in numbers"
                )
        self.formula = formula
        self.parts = part_keys(formula)
        self.orders = tuple(term.order for term in formula.terms)
        self._programs: dict[frozenset[str], _Resummed] = {}

    def __call__(self, tensors: Any, *, eta: Any, metric: Any = None, **sizes: Any) -> jax.Array:
        """Evaluate the formula.

        Args:
            tensors: a mapping from part keys to arrays, or a `DenseMeasurement`.
            eta: the learning rate η, of any shape.
            metric: a symmetric positive definite P × P matrix Λ, for the learning rate ηΛ; the identity by default.
            **sizes: sizes by name, each of any shape that broadcasts with `eta`.

        Returns:
            An array with the broadcast shape of η and the sizes, and then one axis of length P for every open
            index.

        Raises:
            TypeError: if a size is no number.
            ValueError: if tensors are missing or of the wrong shape, or sizes are missing, unknown, impossible
                or contradict each other; if a limit T → ∞ does not exist.

        Warns:
            RuntimeWarning: if an eigenvalue of H is at or beyond 2/η, where descent diverges. Only where the
                numbers are concrete.
        """
        return jnp.sum(self._terms(tensors, eta, metric, sizes), axis=0)

    def contributions(self, tensors: Any, eta: Any, *, metric: Any = None, **sizes: Any) -> jax.Array:
        """The part of every order 0, 1, …, d, which add up to the call's result.

        Returns:
            The call's result with a leading axis of length d + 1.
        """
        of_order = np.arange(max(self.orders, default=0) + 1)[:, None] == np.array(self.orders, dtype=int)
        terms = self._terms(tensors, eta, metric, sizes)
        return jnp.tensordot(jnp.asarray(of_order, terms.dtype), terms, 1, precision="highest")

    def _terms(self, tensors: Any, eta: Any, metric: Any, sizes: Mapping[str, Any]) -> jax.Array:
        refuse_no_numbers(sizes)
        arrays = _checked_tensors(self.parts, getattr(tensors, "tensors", tensors))
        dtype = jnp.result_type(*arrays.values(), jnp.float32)
        arrays = {key: jnp.asarray(array, dtype) for key, array in arrays.items()}
        names = frozenset(sizes)
        if names not in self._programs:
            self._programs[names] = _resummed(self.formula, sorted(names))
        program = self._programs[names]
        given = program.sizes.prepare(self.formula, sizes, dtype)
        rate = jnp.asarray(eta, dtype)
        factor = None
        if metric is not None:
            factor = _cholesky(metric, arrays[HESSIAN].shape[0], dtype)
        _check_stability(program, arrays[HESSIAN], rate, factor)
        ordered = tuple(arrays[key] for key in self.parts)
        return _evaluate(program, ordered, rate, factor, given)


Axis = tuple[int, bool]
"""One axis of a tensor: the edge there, and whether it is the edge's later end."""


@dataclass(frozen=True)
class _Network:
    """One term as the compiled function sees it: which axes meet, and what happens along the edges.

    Attributes:
        parts: for every part the position of its tensor, and its axes.
        open: the edges that end at open indices.
        edges: the number of edges.
        times: the events and edges of the sum over times; None for a plain value, whose edges carry η alone.
        schedules: on a grid, for every choice of rows its multiplicity and the cells of each event by time.
        continuous: integrals of exponentials instead of sums of powers.
        limit: T → ∞.
    """

    parts: tuple[tuple[int, tuple[Axis, ...]], ...]
    open: tuple[int, ...]
    edges: int
    times: TimeSum | None = None
    schedules: Schedules | None = None
    continuous: bool = False
    limit: bool = False

    def linked(self, edge: int, position: int) -> _Network:
        """The network with one more link on an edge, which carries the tensor at `position`."""
        assert self.times is not None
        new = self.edges

        def moved(axis: Axis) -> Axis:
            return (new, True) if axis == (edge, True) else axis

        parts = [(tensor, tuple(map(moved, axes))) for tensor, axes in self.parts]
        parts.append((position, ((edge, True), (new, False))))
        link = self.times.events
        ends = list(self.times.edges)
        source, target = ends[edge]
        ends[edge] = (source, link)
        ends.append((link, target))
        schedules = self.schedules
        if schedules is not None:  # a single node: in any of B cells, each with weight 1/B
            schedules = tuple((count, (*when, (1,) * len(when[0]))) for count, when in schedules)
        return replace(
            self,
            parts=tuple(parts),
            open=tuple(new if e == edge else e for e in self.open),
            edges=new + 1,
            times=TimeSum(link + 1, tuple(ends)),
            schedules=schedules,
        )


@dataclass(frozen=True, eq=False)
class _Resummed:
    """What a jitted evaluation needs to know: hashed by identity, one for a set of size names."""

    sizes: Program
    networks: tuple[_Network, ...]
    hessian: int
    discrete: bool


def _resummed(formula: Formula, names: Sequence[str]) -> _Resummed:
    keys = part_keys(formula)
    coefficients = [term.coefficient for term in formula.terms]
    updates: list[Expr] = [
        value.T if isinstance(value, PropagatedValue) and value.T is not oo else Integer(0)
        for value in formula.values
    ]
    networks = tuple(_network(value, keys) for value in formula.values)
    return _Resummed(
        make_program(formula, [*coefficients, *updates], names),
        networks,
        keys.index(HESSIAN),
        any(network.times is not None and not network.continuous for network in networks),
    )


def _network(value: Value | PropagatedValue, keys: Sequence[PartKey]) -> _Network:
    parts = []
    for block in value.blocks:
        if value.marks[block[0]].startswith("@"):
            continue
        nodes = sorted(block, key=lambda node: value.degrees[node])
        axes = tuple(
            (e, parent == node)
            for node in nodes
            for e, (child, parent) in enumerate(value.edges)
            if node in (child, parent)
        )
        parts.append((keys.index(_key(value, block)), axes))
    ends = tuple(e for node in value.open_indices for e, pair in enumerate(value.edges) if node in pair)
    network = _Network(tuple(parts), ends, len(value.edges))
    if isinstance(value, Value):
        return network
    if isinstance(value.times, GridSum):
        inner = [node for node, parent in enumerate(value.parents) if parent >= 0]
        schedules = tuple(
            (count, tuple(when[node] for node in inner))
            for count, when in value.times.schedules(value.diagram)
        )
        return replace(network, times=times_of_nodes(value.diagram), schedules=schedules)
    return replace(network, times=value.times, continuous=value.continuous, limit=value.T is oo)


@partial(jax.jit, static_argnames="program")
def _evaluate(
    program: _Resummed,
    tensors: tuple[jax.Array, ...],
    eta: jax.Array,
    factor: Any,
    given: Mapping[str, jax.Array],
) -> jax.Array:
    """All terms, with axes (term, broadcast shape of η and sizes…, open indices…)."""
    # H is symmetric; so is then the derivative in it.
    symmetric = (tensors[program.hessian] + tensors[program.hessian].T) / 2
    tensors = (*tensors[: program.hessian], symmetric, *tensors[program.hessian + 1 :])
    if factor is not None:
        tensors = tuple(_turned(tensor, factor) for tensor in tensors)
    shape = jnp.broadcast_shapes(eta.shape, *(size.shape for size in given.values()))
    flat = [jnp.broadcast_to(x, shape).reshape(-1) for x in (eta, *given.values())]

    def point(numbers: Sequence[jax.Array]) -> jax.Array:
        rate, *sizes = numbers
        both = program.sizes.evaluate(dict(zip(given, sizes, strict=True)))
        count = len(program.networks)
        outputs = _contract(
            program.networks, tensors[program.hessian], tensors, rate, _floats(both[count:], rate)
        )
        terms = [
            coefficient * _turned_open(output, factor)
            for coefficient, output in zip(both[:count], outputs, strict=True)
        ]
        return jnp.stack(terms) if terms else jnp.zeros(0, rate.dtype)

    # One learning rate after the other: the arrays over all eigendirections are the memory.
    result = lax.map(point, flat) if shape else point([x[0] for x in flat])[None]
    return jnp.moveaxis(result, 0, 1).reshape(len(program.networks), *shape, *result.shape[2:])


def _floats(numbers: Sequence[Any], like: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(jnp.asarray(number, like.dtype) for number in numbers)


def _turned(tensor: jax.Array, factor: jax.Array) -> jax.Array:
    for axis in range(tensor.ndim):
        tensor = jnp.moveaxis(jnp.tensordot(tensor, factor, (axis, 0), precision="highest"), -1, axis)
    return tensor


def _turned_open(output: jax.Array, factor: Any) -> jax.Array:
    """Open indices are upper, at the other end of an edge L … Lᵀ."""
    return output if factor is None else _turned(output, factor.T)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _contract(
    networks: tuple[_Network, ...],
    hessian: jax.Array,
    tensors: tuple[jax.Array, ...],
    eta: jax.Array,
    updates: tuple[jax.Array, ...],
) -> tuple[jax.Array, ...]:
    """Every term without its coefficient."""
    eigenvalues, vectors = jnp.linalg.eigh(hessian)
    return _in_eigenbasis(networks, eigenvalues, vectors, tensors, eta, updates)


def _contract_jvp(networks: tuple[_Network, ...], primals: Any, tangents: Any) -> Any:
    hessian, *others = primals
    turned, *rest = (
        None if isinstance(tangent, SymbolicZero) else tangent
        for tangent in jax.tree.leaves(tangents, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    )
    leaves, structure = jax.tree.flatten(tuple(others))
    moving = [
        jnp.zeros_like(leaf) if tangent is None else tangent
        for leaf, tangent in zip(leaves, rest, strict=True)
    ]
    eigenvalues, vectors = jnp.linalg.eigh(hessian)
    fixed = partial(_in_eigenbasis, networks, eigenvalues, vectors)
    outputs, derived = jax.jvp(fixed, tuple(others), jax.tree.unflatten(structure, moving))
    if turned is None:
        return outputs, derived
    tensors, eta, updates = others
    total = list(derived)
    for place, network in enumerate(networks):
        if network.times is not None and network.edges:
            # d(K^m) = −η Σ K^a dH K^b: a link on each edge in turn
            links = tuple(network.linked(e, len(tensors)) for e in range(network.edges))
            same = (updates[place],) * len(links)
            changed = _in_eigenbasis(links, eigenvalues, vectors, (*tensors, turned), eta, same)
            total[place] = total[place] - sum(changed[1:], start=changed[0])
    return outputs, tuple(total)


_contract.defjvp(_contract_jvp, symbolic_zeros=True)


def _in_eigenbasis(
    networks: tuple[_Network, ...],
    eigenvalues: jax.Array,
    vectors: jax.Array,
    tensors: tuple[jax.Array, ...],
    eta: jax.Array,
    updates: tuple[jax.Array, ...],
) -> tuple[jax.Array, ...]:
    rotated = [_turned(tensor, vectors) for tensor in tensors]
    rates = eta * eigenvalues
    outputs = []
    for network, T in zip(networks, updates, strict=True):
        operands: list[Any] = []
        for array, edges in _along_edges(network, rates, T):
            operands += [array, list(edges)]
        for tensor, axes in network.parts:
            operands += [rotated[tensor], [e for e, _ in axes]]
        output = jnp.einsum(*operands, list(network.open), precision="highest") * eta**network.edges
        outputs.append(_turned(output, vectors.T))
    return tuple(outputs)


def _along_edges(network: _Network, rates: jax.Array, T: jax.Array) -> list[tuple[jax.Array, Sequence[int]]]:
    """The sum over times as factors: arrays with one axis for each of the edges that are named beside them."""
    if network.times is None:
        return []
    if network.schedules is not None:
        return [(grid_sum(network.times, network.schedules, rates), range(network.edges))]
    if network.limit:
        spread = [_along(rates, e, network.edges) for e in range(network.edges)]
        return [(time_sum_limit(network.times, spread, continuous=network.continuous), range(network.edges))]
    branches = network.times.branches
    spread = [rates] * network.edges
    for branch in branches:
        for axis, e in enumerate(branch.edges):
            spread[e] = _along(rates, axis, len(branch.edges))
    sums = branch_sums(network.times, spread, T, continuous=network.continuous)
    return [(array, branch.edges) for array, branch in zip(sums, branches, strict=True)]


def _along(rates: jax.Array, axis: int, count: int) -> jax.Array:
    return rates.reshape(*(-1 if i == axis else 1 for i in range(count)))


def _checked_tensors(parts: Sequence[PartKey], tensors: Any) -> dict[PartKey, Any]:
    if not isinstance(tensors, Mapping):
        raise TypeError(
            f"tensors={tensors!r} is neither a DenseMeasurement nor a mapping; give a dict from the part keys "
            f"{', '.join(map(str, parts))} to arrays"
        )
    missing = [str(key) for key in parts if key not in tensors]
    if missing:
        raise ValueError(f"tensors lacks {', '.join(missing)}; measure this formula, or add them")
    arrays = {key: jnp.asarray(tensors[key]) for key in parts}
    size = arrays[HESSIAN].shape[:1]
    for key, array in arrays.items():
        shape = size * sum(degree for degree in key if isinstance(degree, int))
        if array.shape != shape:
            raise ValueError(
                f"tensors[{key}] has shape {array.shape}; with P = {size[0]} it must have {shape}"
            )
    return arrays


def _cholesky(metric: Any, size: int, dtype: Any) -> jax.Array:
    matrix = jnp.asarray(metric, dtype)
    if matrix.shape != (size, size):
        raise ValueError(f"metric has shape {matrix.shape}; it must be P x P, here {(size, size)}")
    factor = jnp.linalg.cholesky(matrix)
    if not isinstance(factor, Tracer) and not bool(jnp.all(jnp.isfinite(factor))):
        raise ValueError("metric is not symmetric positive definite; a matrix learning rate must be")
    return factor


def _check_stability(program: _Resummed, hessian: jax.Array, eta: jax.Array, factor: Any) -> None:
    """Warn of divergent descent, and refuse limits that do not exist, where the numbers are concrete."""
    if any(isinstance(x, Tracer) for x in (hessian, eta, factor)) or not hessian.size:
        return
    matrix = np.asarray(hessian if factor is None else _turned(hessian, factor), dtype=float)
    spectrum = np.linalg.eigvalsh(matrix)
    largest = float(spectrum[-1])
    rate = float(np.max(np.asarray(eta), initial=0.0))
    if any(network.limit for network in program.networks):
        smallest = float(spectrum[0])
        if smallest <= 8 * len(spectrum) * np.finfo(hessian.dtype).eps * max(abs(smallest), largest):
            kind = "flat direction" if smallest > -1e-3 * abs(largest) else "saddle"
            raise ValueError(
                f"the limit T -> oo does not exist: H has the eigenvalue {smallest:.6g}, a {kind}; lower the formula "
                "at finite T, or use drift()"
            )
    if program.discrete and rate * largest >= 2:
        message = f"H has the eigenvalue {largest:.6g}, at or beyond 2/eta = {2 / rate:.6g}"
        if any(network.limit and not network.continuous for network in program.networks):
            raise ValueError(f"the limit T -> oo does not exist: {message}")
        warnings.warn(
            f"{message}: descent diverges along it, and so does the formula as T grows",
            RuntimeWarning,
            stacklevel=4,
        )
