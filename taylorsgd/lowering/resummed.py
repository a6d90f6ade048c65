"""Resummed formulas as jitted JAX functions of dense tensors.

Every term is contracted in an eigenbasis of ηH (`lowering.networks`). A matrix learning rate ηΛ = η L Lᵀ
turns tensors by L first, H into LᵀHL, and leaves K symmetric.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from sympy import Expr, Integer, oo

from taylorsgd.formulas import Formula
from taylorsgd.formulas.propagated import PropagatedValue
from taylorsgd.lowering.networks import HESSIAN, Network, PartKey, contract, make_network, part_keys, turned
from taylorsgd.lowering.programs import Program, make_program, refuse_no_numbers

__all__ = ["LoweredResummed"]


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
        return self._evaluated(tensors, eta, metric, sizes, whole=True)

    def contributions(self, tensors: Any, eta: Any, *, metric: Any = None, **sizes: Any) -> jax.Array:
        """The part of every order 0, 1, …, d, which add up to the call's result.

        Returns:
            The call's result with a leading axis of length d + 1.
        """
        return self._evaluated(tensors, eta, metric, sizes, whole=False)

    def _evaluated(
        self, tensors: Any, eta: Any, metric: Any, sizes: Mapping[str, Any], *, whole: bool
    ) -> jax.Array:
        refuse_no_numbers(sizes)
        arrays = _checked_tensors(self.parts, getattr(tensors, "tensors", tensors))
        dtype = jnp.result_type(*arrays, jnp.float32)
        program = self._program(frozenset(sizes))
        given = program.sizes.prepare(self.formula, sizes, dtype)
        rate = jnp.asarray(eta, dtype)
        factor = None
        if metric is not None:
            factor = _cholesky(metric, arrays[program.hessian].shape[0], dtype)
        ordered = tuple(array if array.dtype == dtype else array.astype(dtype) for array in arrays)
        result, extremes = _evaluate(program, ordered, rate, factor, given, whole)
        _check_stability(program, extremes, rate, ordered[program.hessian].shape[0])
        return result

    def _program(self, names: frozenset[str]) -> _Resummed:
        if names not in self._programs:
            self._programs[names] = _resummed(self.formula, sorted(names))
        return self._programs[names]


@dataclass(frozen=True, eq=False)
class _Resummed:
    """What a jitted evaluation needs to know: hashed by identity, one for a set of size names."""

    sizes: Program
    networks: tuple[Network, ...]
    orders: tuple[int, ...]
    hessian: int
    discrete: bool


def _resummed(formula: Formula, names: Sequence[str]) -> _Resummed:
    keys = part_keys(formula)
    coefficients = [term.coefficient for term in formula.terms]
    updates: list[Expr] = [
        value.T if isinstance(value, PropagatedValue) and value.T is not oo else Integer(0)
        for value in formula.values
    ]
    networks = tuple(make_network(value, keys) for value in formula.values)
    return _Resummed(
        make_program(formula, [*coefficients, *updates], names),
        networks,
        tuple(term.order for term in formula.terms),
        keys.index(HESSIAN),
        any(network.times is not None and not network.continuous for network in networks),
    )


@partial(jax.jit, static_argnames=("program", "whole"))
def _evaluate(
    program: _Resummed,
    tensors: tuple[jax.Array, ...],
    eta: jax.Array,
    factor: Any,
    given: Mapping[str, jax.Array],
    whole: bool,
) -> tuple[jax.Array, jax.Array]:
    """The formula or its orders, and the least and the largest eigenvalue of H.

    The first has axes (order, unless whole; broadcast shape of η and sizes…; open indices…).
    """
    # H is symmetric; so is then the derivative in it.
    symmetric = (tensors[program.hessian] + tensors[program.hessian].T) / 2
    tensors = (*tensors[: program.hessian], symmetric, *tensors[program.hessian + 1 :])
    if factor is not None:
        tensors = tuple(turned(tensor, factor) for tensor in tensors)
    hessian = tensors[program.hessian]

    def terms(rate: jax.Array, updates: tuple[jax.Array, ...]) -> list[jax.Array]:
        outputs = contract(program.networks, hessian, tensors, rate, updates)
        return [_turned_open(output, factor) for output in outputs]

    # With vectors too, so that the compiler sees that `contract` has found them already.
    spectrum = jnp.linalg.eigh(lax.stop_gradient(hessian))[0]
    extremes = spectrum[jnp.array([0, -1])] if spectrum.size else jnp.zeros(2, spectrum.dtype)
    return _at_every_rate(program, terms, eta, given, whole), extremes


def _at_every_rate(
    program: _Resummed,
    terms: Callable[[jax.Array, tuple[jax.Array, ...]], Sequence[jax.Array]],
    eta: jax.Array,
    given: Mapping[str, jax.Array],
    whole: bool,
) -> jax.Array:
    """Terms times coefficients, added up for each learning rate with its sizes."""
    shape = jnp.broadcast_shapes(eta.shape, *(size.shape for size in given.values()))
    flat = [jnp.broadcast_to(x, shape).reshape(-1) for x in (eta, *given.values())]
    count = len(program.networks)

    def point(numbers: Sequence[jax.Array]) -> jax.Array:
        rate, *sizes = numbers
        both = program.sizes.evaluate(dict(zip(given, sizes, strict=True)))
        outputs = terms(rate, tuple(jnp.asarray(number, rate.dtype) for number in both[count:]))
        scaled = [coefficient * output for coefficient, output in zip(both[:count], outputs, strict=True)]
        zero = jnp.zeros_like(scaled[0]) if scaled else jnp.zeros((), rate.dtype)
        if whole:
            return sum(scaled, start=zero)
        orders = range(max(program.orders, default=0) + 1)
        of_order = [
            [one for one, order in zip(scaled, program.orders, strict=True) if order == d] for d in orders
        ]
        return jnp.stack([sum(some, start=zero) for some in of_order])

    # One learning rate after the other: the arrays over all eigendirections are the memory.
    result = lax.map(point, flat) if shape else point([x[0] for x in flat])[None]
    if whole:
        return result.reshape(*shape, *result.shape[1:])
    return jnp.moveaxis(result, 0, 1).reshape(result.shape[1], *shape, *result.shape[2:])


def _turned_open(output: jax.Array, factor: Any) -> jax.Array:
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


def _check_stability(program: _Resummed, extremes: jax.Array, eta: jax.Array, size: int) -> None:
    """Warn of divergent descent, and refuse limits that do not exist, where the numbers are concrete."""
    if isinstance(extremes, Tracer) or isinstance(eta, Tracer) or not size:
        return
    smallest, largest = map(float, np.asarray(extremes))
    rate = float(np.max(np.asarray(eta), initial=0.0))
    if any(network.limit for network in program.networks):
        if smallest <= 8 * size * np.finfo(extremes.dtype).eps * max(abs(smallest), largest):
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
