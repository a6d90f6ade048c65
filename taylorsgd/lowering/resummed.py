"""Resummed formulas as jitted JAX functions of dense tensors, or of what a few eigendirections of H see.

Every term is contracted in an eigenbasis of ηH (`lowering.networks`). A matrix learning rate ηΛ = η L Lᵀ
turns tensors by L first, H into LᵀHL, and leaves K symmetric. For models too large for dense tensors the
contractions themselves are measured, by the eigendirections on the edges (`lowering.projected`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer
from jaxtyping import Float
from sympy import Expr, Integer, MatrixBase, oo

from taylorsgd.forks import refuse_forks
from taylorsgd.formulas.term import AnyValue, Combination
from taylorsgd.lowering.matrix_sums import matrix_terms
from taylorsgd.lowering.networks import (
    HESSIAN,
    DiagramKey,
    Network,
    PartKey,
    contract,
    diagram_key,
    is_resummed,
    make_network,
    memories_of,
    part_keys,
    turned,
)
from taylorsgd.lowering.programs import Program, make_program, refuse_no_numbers
from taylorsgd.lowering.projected import ProjectedTensors, Terms, Uncertainty, changed_terms, projected_terms
from taylorsgd.lowering.real_arrays import real_array, refuse_other_shapes
from taylorsgd.lowering.stability import Memories, check_growth, check_neglected, check_stability, refuse_growth
from taylorsgd.timesums.two_clocks import TwoClocks
from taylorsgd.updates.metrics import one_metric

__all__ = ["LoweredResummed"]


class LoweredResummed:
    """The function g(tensors, eta=…, **sizes) of a formula with resummed terms.

    `tensors` maps part keys to dense arrays: (0,) to the loss l, (1,) to G, (2,) to H, (3,) to J, (1, 1) to C,
    (1, 1, 1) to S, and in general the ascending degrees of a part's nodes to their cumulant, with Σ degrees
    axes of length P, the axes of the first node first; ("s", k) to the k-th derivative of an observable s.
    `measure` returns all that a formula takes. Learning rate, sizes, T and tensors are traced; the function
    can be differentiated in each (T if continuous), batched with `jax.vmap` and exported.

    For large models `measure(…, method=TopEigenpairs(k))` returns a `SpectralMeasurement` instead, with which edges
    carry the top k eigenvalues of H, and 0 in all other directions; `uncertainty` states what that changes.

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

    def __init__(self, formula: Combination) -> None:
        """Keep the formula; programs are made for each set of size names when first used."""
        for value in filter(is_resummed, formula.values):
            memories_of(value)  # refuses what is not lowered
        self.formula = formula
        self.parts = part_keys(formula)
        self.orders = tuple(term.order for term in formula.terms)
        self._programs: dict[frozenset[str], _Resummed] = {}

    def __call__(self, tensors: Any, *, eta: Any, metric: Any = None, **sizes: Any) -> Float[Array, ...]:
        """Evaluate the formula.

        Args:
            tensors: a mapping from part keys to arrays, a `DenseMeasurement`, or a `SpectralMeasurement`.
            eta: the learning rate η, of any shape.
            metric: a symmetric P × P matrix Λ, for the learning rate ηΛ. By default that of the update rule,
                `Descent(metric=Λ)`, or else the identity. Not with a `SpectralMeasurement`. One that is not positive
                definite, and a vector field, take time in proportion to T (`lowering.matrix_sums`).
            **sizes: sizes by name, each of any shape that broadcasts with `eta`.

        Returns:
            An array with the broadcast shape of η and the sizes, and then one axis of length P for every open
            index.

        Raises:
            TypeError: if a size is no number.
            ValueError: if tensors are missing or of the wrong shape, or sizes are missing, unknown, impossible
                or contradict each other; if a limit T → ∞ does not exist.
            NotImplementedError: for a metric with a `SpectralMeasurement`.

        Warns:
            RuntimeWarning: if an eigenvalue of H is at or beyond 2/η (with memory, where an influence grows), where
                descent diverges; or if eigenvalues that a `SpectralMeasurement` neglects are not small, ηT|λ| > 0.1.
                Only where the numbers are concrete.
        """
        return self._evaluated(tensors, eta, metric, sizes, whole=True)

    def contributions(self, tensors: Any, eta: Any, *, metric: Any = None, **sizes: Any) -> Float[Array, ...]:
        """The part of every order 0, 1, …, d, which add up to the call's result.

        Returns:
            The call's result with a leading axis of length d + 1.
        """
        return self._evaluated(tensors, eta, metric, sizes, whole=False)

    def uncertainty(self, measurement: Any, eta: Any, **sizes: Any) -> Uncertainty:
        """How far the call's result may be off for what a `SpectralMeasurement` neglects and estimates.

        Args:
            measurement: a `SpectralMeasurement` of this formula.
            eta: the learning rate η, of any shape.
            **sizes: sizes by name, each of any shape that broadcasts with `eta`.

        Returns:
            Two arrays like the call's result, see `lowering.projected`: the estimated effect of the eigenvalues
            that were taken to vanish, and the standard error from sampling.

        Raises:
            TypeError: if `measurement` is none.
            ValueError: as the call does.
        """
        held = getattr(measurement, "tensors", measurement)
        if not isinstance(held, ProjectedTensors):
            raise TypeError(
                f"measurement={measurement!r} is no SpectralMeasurement; measure(…, method=TopEigenpairs(k)) makes "
                "one, and only there is anything neglected"
            )
        prepared = self._prepared(held, eta, sizes)
        return Uncertainty(_evaluate_change(*prepared), _evaluate_projected(*prepared, True)[1])

    def _prepared(self, tensors: ProjectedTensors, eta: Any, sizes: Mapping[str, Any]) -> tuple[Any, ...]:
        """The arguments of a compiled evaluation of projected tensors."""
        refuse_forks()
        refuse_no_numbers(sizes)
        program = self._program(frozenset(sizes))
        for key in program.keys:
            if key not in tensors.projections:
                raise ValueError(f"the diagram {key} was not measured; measure this formula")
        dtype = jnp.result_type(tensors.eigenvalues.real, jnp.float32)
        given = program.sizes.prepare(self.formula, sizes, dtype)
        wanted = {key: tensors.projections[key] for key in program.keys}
        rate = real_array(eta, "eta", dtype)
        refuse_other_shapes({"eta": rate} | given)
        return program, replace(tensors, projections=wanted), rate, given

    def _evaluated(
        self, tensors: Any, eta: Any, metric: Any, sizes: Mapping[str, Any], *, whole: bool
    ) -> Float[Array, ...]:
        held = getattr(tensors, "tensors", tensors)
        if isinstance(held, ProjectedTensors):
            if metric is not None:
                raise NotImplementedError(
                    "a matrix learning rate turns all tensors, and a SpectralMeasurement has none; measure a formula "
                    "of update=Descent(metric=...), or dense tensors"
                )
            self._refuse_other_metric(tensors)
            prepared = self._prepared(held, eta, sizes)
            result, _, known, reach = _evaluate_projected(*prepared, whole)
            if jnp.iscomplexobj(known):
                refuse_growth(prepared[0].networks, prepared[0].memories, known, prepared[2])
            else:
                extremes = jnp.stack([jnp.min(known, initial=jnp.inf), jnp.max(known, initial=-jnp.inf)])
                check_stability(
                    prepared[0].networks, prepared[0].memories, extremes, prepared[2], held.eigenvalues.size
                )
            check_neglected(held, reach)
            return result
        metric = one_metric(metric, self.formula.metric)
        refuse_forks()
        refuse_no_numbers(sizes)
        arrays = _checked_tensors(self.parts, held)
        if callable(metric):
            metric = getattr(tensors, "metric", None)
            if metric is None:
                raise TypeError(
                    "the formula's metric is a function of pytrees; give what measure() returns for this formula, "
                    "which holds its matrix, or the matrix as metric="
                )
        directed = bool(getattr(tensors, "directed", False))
        dtype = jnp.result_type(*arrays, jnp.float32)
        program = self._program(frozenset(sizes))
        given = program.sizes.prepare(self.formula, sizes, dtype)
        rate = real_array(eta, "eta", dtype)
        refuse_other_shapes({"eta": rate} | given)
        matrix = None if metric is None else _symmetric(metric, arrays[program.hessian].shape[0], dtype)
        factor = None if matrix is None or directed else _cholesky(matrix)
        ordered = tuple(array if array.dtype == dtype else array.astype(dtype) for array in arrays)
        if directed or (matrix is not None and factor is None):
            check_growth(program.networks, program.memories, ordered[program.hessian], matrix, rate)
            return _evaluate_matrices(program, ordered, rate, matrix, given, whole)
        result, extremes = _evaluate(program, ordered, rate, factor, given, whole)
        check_stability(program.networks, program.memories, extremes, rate, ordered[program.hessian].shape[0])
        return result

    def _refuse_other_metric(self, measurement: Any) -> None:
        if not hasattr(measurement, "metric"):  # bare tensors
            return
        own = self.formula.metric
        wanted = None if own is None else "a function" if callable(own) else str(own.tolist())
        if measurement.metric != wanted:
            raise ValueError(
                f"the formula has the metric {wanted}, and measured was {measurement.metric}; measure this formula"
            )

    def _program(self, names: frozenset[str]) -> _Resummed:
        if names not in self._programs:
            self._programs[names] = _resummed(self.formula, sorted(names))
        return self._programs[names]


@dataclass(frozen=True, eq=False)
class _Resummed:
    """What a jitted evaluation needs to know: hashed by identity, one for a set of size names."""

    sizes: Program
    networks: tuple[Network, ...]
    keys: tuple[DiagramKey, ...]
    orders: tuple[int, ...]
    hessian: int
    clocks: tuple[int, ...]
    memories: Memories


def _resummed(formula: Combination, names: Sequence[str]) -> _Resummed:
    keys = part_keys(formula)
    coefficients = [term.coefficient for term in formula.terms]
    clocks = [_clocks(value) for value in formula.values]
    networks = tuple(make_network(value, keys) for value in formula.values)
    return _Resummed(
        make_program(formula, [*coefficients, *(size for sizes in clocks for size in sizes)], names),
        networks,
        tuple(map(diagram_key, formula.values)),
        tuple(term.order for term in formula.terms),
        keys.index(HESSIAN),
        tuple(map(len, clocks)),
        tuple(
            {
                (network.memories[0], network.bend): None
                for network in networks
                if network.times is not None and not network.continuous and len(network.memories) == 1
            }
        ),
    )


def _clocks(value: AnyValue) -> list[Expr]:
    """T, or the numbers of batches and of epochs; 0 for what goes to infinity, or is not there."""
    if not is_resummed(value):
        return [Integer(0)]
    counts = [value.times.batches, value.times.epochs] if isinstance(value.times, TwoClocks) else [value.T]
    return [Integer(0) if count is oo else count for count in counts]


@partial(jax.jit, static_argnames=("program", "whole"))
def _evaluate(
    program: _Resummed,
    tensors: tuple[Float[Array, ...], ...],
    eta: Float[Array, ...],
    factor: Any,
    given: Mapping[str, Float[Array, ...]],
    whole: bool,
) -> tuple[Float[Array, ...], Float[Array, " 2"]]:
    """The formula or its orders, and the least and the largest eigenvalue of H.

    The first has axes (order, unless whole; broadcast shape of η and sizes…; open indices…).
    """
    # H is symmetric; so is then the derivative in it.
    symmetric = (tensors[program.hessian] + tensors[program.hessian].T) / 2
    tensors = (*tensors[: program.hessian], symmetric, *tensors[program.hessian + 1 :])
    if factor is not None:
        tensors = tuple(turned(tensor, factor) for tensor in tensors)
    hessian = tensors[program.hessian]

    def terms(rate: Float[Array, ""], updates: tuple[Float[Array, ""], ...]) -> list[Float[Array, ...]]:
        outputs = contract(program.networks, hessian, tensors, rate, updates)
        return [_turned_open(output, factor) for output in outputs]

    # With vectors too, so that the compiler sees that `contract` has found them already.
    spectrum = jnp.linalg.eigh(lax.stop_gradient(hessian))[0]
    extremes = spectrum[jnp.array([0, -1])] if spectrum.size else jnp.zeros(2, spectrum.dtype)
    return _at_every_rate(program, terms, eta, given, whole), extremes


@partial(jax.jit, static_argnames=("program", "whole"))
def _evaluate_matrices(
    program: _Resummed,
    tensors: tuple[Float[Array, ...], ...],
    eta: Float[Array, ...],
    metric: Float[Array, "P P"] | None,
    given: Mapping[str, Float[Array, ...]],
    whole: bool,
) -> Float[Array, ...]:
    """The formula or its orders, where HΛ is not symmetric."""

    def terms(rate: Float[Array, ""], updates: tuple[Float[Array, ""], ...]) -> list[Float[Array, ...]]:
        return list(matrix_terms(program.networks, tensors[program.hessian], metric, tensors, rate, updates))

    return _at_every_rate(program, terms, eta, given, whole)


@partial(jax.jit, static_argnames=("program", "whole"))
def _evaluate_projected(
    program: _Resummed,
    tensors: ProjectedTensors,
    eta: Float[Array, ...],
    given: Mapping[str, Float[Array, ...]],
    whole: bool,
) -> tuple[Float[Array, ...], ...]:
    """The same for projected tensors: mean and standard error over the groups of draws, eigenvalues, and max ηT."""
    terms = projected_terms(program.networks, program.keys, tensors)
    result = _at_every_rate(program, terms, eta, given, whole)
    shape, points = _points(eta, given)
    axis = len(shape) + (not whole)
    groups = result.shape[axis]
    error = (
        jnp.std(lax.stop_gradient(result), axis=axis, ddof=1)
        if groups > 1
        else jnp.zeros_like(jnp.take(result, 0, axis))
    )
    known = tensors.labelled()
    updates = jax.vmap(lambda numbers: jnp.stack([jnp.abs(jnp.prod(T)) for T in _sizes_at(program, given, numbers)[1]]))
    reach = jnp.max(jnp.abs(points[0])[:, None] * updates(points), initial=0.0)
    return (jnp.mean(result, axis=axis), error / groups**0.5, known, reach)


@partial(jax.jit, static_argnames="program")
def _evaluate_change(
    program: _Resummed, tensors: ProjectedTensors, eta: Float[Array, ...], given: Mapping[str, Float[Array, ...]]
) -> Float[Array, ...]:
    """The sum over terms of how much neglected eigenvalues may change them."""
    changed = changed_terms(program.networks, program.keys, tensors)
    result = _at_every_rate(program, changed, eta, given, True, sizes_only=True)
    return jnp.take(result, 0, axis=len(_points(eta, given)[0]))


def _points(
    eta: Float[Array, ...], given: Mapping[str, Float[Array, ...]]
) -> tuple[tuple[int, ...], list[Float[Array, " points"]]]:
    """The broadcast shape of η and the sizes, and each of them, flat."""
    shape = jnp.broadcast_shapes(eta.shape, *(size.shape for size in given.values()))
    return shape, [jnp.broadcast_to(x, shape).reshape(-1) for x in (eta, *given.values())]


def _sizes_at(
    program: _Resummed, given: Mapping[str, Float[Array, ...]], numbers: Sequence[Float[Array, ""]]
) -> tuple[list[Any], tuple[Float[Array, ""], ...]]:
    """The coefficient of every term, and its T, or the number of its batches and that of its epochs."""
    rate, *sizes = numbers
    both = program.sizes.evaluate(dict(zip(given, sizes, strict=True)))
    count = len(program.networks)
    clocks = iter([jnp.asarray(number, rate.dtype) for number in both[count:]])
    return both[:count], tuple(next(clocks) if k == 1 else jnp.stack([*islice(clocks, k)]) for k in program.clocks)


def _at_every_rate(
    program: _Resummed,
    terms: Terms,
    eta: Float[Array, ...],
    given: Mapping[str, Float[Array, ...]],
    whole: bool,
    sizes_only: bool = False,
) -> Float[Array, ...]:
    """Terms times coefficients (or their absolute values), added up for each learning rate with its sizes."""
    shape, points = _points(eta, given)

    def point(numbers: Sequence[Float[Array, ""]]) -> Float[Array, ...]:
        coefficients, updates = _sizes_at(program, given, numbers)
        if sizes_only:
            coefficients = [abs(coefficient) for coefficient in coefficients]
        outputs = terms(numbers[0], updates)
        scaled = [coefficient * output for coefficient, output in zip(coefficients, outputs, strict=True)]
        zero = jnp.zeros(jnp.broadcast_shapes(*(term.shape for term in scaled)), numbers[0].dtype)
        if whole:
            return sum(scaled, start=zero)
        orders = range(max(program.orders, default=0) + 1)
        of_order = [[one for one, order in zip(scaled, program.orders, strict=True) if order == d] for d in orders]
        return jnp.stack([sum(some, start=zero) for some in of_order])

    # One learning rate after the other: the arrays over all eigendirections are the memory.
    result = lax.map(point, points) if shape else point([x[0] for x in points])[None]
    if whole:
        return result.reshape(*shape, *result.shape[1:])
    return jnp.moveaxis(result, 0, 1).reshape(result.shape[1], *shape, *result.shape[2:])


def _turned_open(output: Float[Array, ...], factor: Any) -> Float[Array, ...]:
    """Open indices are upper, at the other end of an edge L … Lᵀ."""
    return output if factor is None else turned(output, factor.T)


def _checked_tensors(parts: Sequence[PartKey], tensors: Any) -> list[Any]:
    """The tensors of the parts, in their order."""
    if not isinstance(tensors, Mapping):
        raise TypeError(
            f"tensors={tensors!r} is neither a DenseMeasurement nor a mapping; give a dict from the part keys "
            f"{', '.join(map(str, parts))} to arrays"
        )
    missing = [str(key) for key in parts if key not in tensors]
    if missing:
        raise ValueError(f"tensors lacks {', '.join(missing)}; measure this formula, or add them")
    given = [tensors[key] for key in parts]
    arrays = [array if isinstance(array, jax.Array) else jnp.asarray(array) for array in given]
    size = arrays[parts.index(HESSIAN)].shape[:1]
    for key, array in zip(parts, arrays, strict=True):
        shape = size * sum(degree for degree in key if isinstance(degree, int))
        if array.shape != shape:
            raise ValueError(f"tensors[{key}] has shape {array.shape}; with P = {size[0]} it must have {shape}")
    return arrays


def _symmetric(metric: Any, size: int, dtype: Any) -> Float[Array, "P P"]:
    matrix = real_array(metric.tolist() if isinstance(metric, MatrixBase) else metric, "metric", dtype)
    if matrix.shape != (size, size):
        raise ValueError(f"metric has shape {matrix.shape}; it must be P x P, here {(size, size)}")
    if not isinstance(matrix, Tracer) and not np.allclose(matrix, matrix.T, rtol=1e-5, atol=0):
        raise ValueError("metric is not symmetric; a matrix learning rate must be")
    return matrix


def _cholesky(matrix: Float[Array, "P P"]) -> Float[Array, "P P"] | None:
    """L with Λ = L Lᵀ; None where there is none."""
    factor = jnp.linalg.cholesky(matrix)
    if not isinstance(factor, Tracer) and not bool(jnp.all(jnp.isfinite(factor))):
        return None
    return factor
