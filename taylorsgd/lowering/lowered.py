"""A formula as a jitted function of measured tensors, learning rate and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from taylorsgd.diagrams import Value
from taylorsgd.forks import refuse_forks
from taylorsgd.formulas.term import Combination
from taylorsgd.formulas.tied_rate import read_rate
from taylorsgd.lowering.programs import Program, free_symbols, make_program, refuse_no_numbers
from taylorsgd.lowering.real_arrays import real_array, refuse_other_shapes

__all__ = ["Lowered"]


class Lowered:
    """The function g(tensors, eta=…, **sizes) = Σ_i c_i(sizes) η^{d_i} V_i of a formula.

    `tensors` is what `measure` returns, or a mapping from every value of the formula to its number, or the
    numbers as a sequence or an array in the order of `values`. A value with an open index is a pytree like θ
    (or an array), and so is the result. The result has the dtype of the tensors.

    `eta` and every size may be a number, an array or traced; they broadcast. Any sizes that determine the
    free ones will do, and those that the spacetime fixes need not be given. Sizes that contradict each other
    raise where they are concrete; under `jit`, `grad` or `vmap` traced ones can't be checked, and the
    smallest determining set of them is used.

    Attributes:
        formula: the formula.
        values: its values, the order of `tensors` as a sequence.
        orders: the power of η of each.

    Example:
        >>> import taylorsgd as ts
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1), order=1)
        >>> print(f)
        E[l(θ_T)] = l - T G_μ G^μ + O(η^2)    with T = E*N
        >>> g = f.lower()
        >>> print(g([2.0, 0.5], eta=0.25, T=12, N=4))
        0.5
        >>> print(g([2.0, 0.5], eta=[0.0, 0.5], E=3, N=4))
        [ 2. -1.]

    Source: Tenka, Theorem 1, with values measured at the initialization.
    """

    def __init__(self, formula: Combination) -> None:
        """Keep the formula; programs are made for each set of size names when first used."""
        self.formula = formula
        self.values: tuple[Value, ...] = tuple(value for value in formula.values if isinstance(value, Value))
        self.orders: tuple[int, ...] = tuple(term.order for term in formula.terms)
        self._programs: dict[frozenset[str], _Plain] = {}

    def __call__(self, tensors: Any, *, eta: Any = None, **sizes: Any) -> Any:
        """Evaluate the formula.

        Args:
            tensors: a `Measurement`, a mapping from values to tensors, or n tensors in the order of `values`.
            eta: the learning rate η, of any shape; left out where `subs(eta=...)` tied it.
            **sizes: sizes by name, such as `N=10, E=2`; each of any shape that broadcasts with `eta`.

        Returns:
            An array of the broadcast shape; for a formula with open indices a pytree whose leaves have the
            broadcast axes first.

        Raises:
            TypeError: if a size is no number.
            ValueError: if values are missing from `tensors`, or sizes are missing, unknown, impossible or
                contradict each other.
        """
        stacked, dtype = self._stack(tensors)
        program, rate, given = self._prepare(eta, sizes, dtype)
        return _total(program, stacked, rate, given)

    def contributions(self, tensors: Any, eta: Any = None, **sizes: Any) -> Any:
        """The part of every order 0, 1, …, d, which add up to the call's result.

        Args:
            tensors: as in the call.
            eta: as in the call.
            **sizes: as in the call.

        Returns:
            The call's result with a leading axis of length d + 1, with d the order of the formula.

        Raises:
            TypeError: as in the call.
            ValueError: as in the call.

        Example:
            >>> import taylorsgd as ts
            >>> g = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=1).lower()
            >>> print(g.contributions([2.0, 0.5], 0.25, T=12))
            [ 2.  -1.5]
        """
        stacked, dtype = self._stack(tensors)
        program, rate, given = self._prepare(eta, sizes, dtype)
        return _by_order(program, stacked, rate, given)

    def weights(self, eta: Any = None, **sizes: Any) -> Float[Array, "*k n"]:
        """What multiplies each value: c_i(sizes) · η^{d_i}, the derivative of the result by the tensors.

        Args:
            eta: as in the call.
            **sizes: as in the call.

        Returns:
            An array with the broadcast axes first and then one axis for the n values, of eta's dtype.

        Raises:
            TypeError: as in the call.
            ValueError: as in the call.
        """
        dtype = jnp.promote_types(real_array(self._rate(eta), "eta").dtype, jnp.float32)
        program, rate, given = self._prepare(eta, sizes, dtype)
        return _weights(program, rate, given)

    def __repr__(self) -> str:
        """The call that it stands for, and the formula."""
        sizes = sorted(map(str, free_symbols(self.formula)))
        return f"<Lowered g(tensors, eta{''.join(f', {name}' for name in sizes)}) = {self.formula}>"

    def _stack(self, tensors: Any) -> tuple[Any, Any]:
        """The tensors as one pytree with a leading axis for the n values, and their dtype."""
        if isinstance(tensors, Mapping):
            self._refuse_missing(tensors)
            entries: Any = _stacked([tensors[value] for value in self.values])
        elif isinstance(getattr(tensors, "values", None), tuple) and hasattr(tensors, "mean"):  # a Measurement
            self._refuse_missing(tensors.values)
            chosen = np.array([tensors.values.index(value) for value in self.values], dtype=int)
            entries = _chosen(tensors.mean, chosen)
        elif isinstance(tensors, (list, tuple)) or isinstance(tensors, (np.ndarray, jax.Array)) and tensors.ndim:
            entries = _stacked(tensors) if isinstance(tensors, (list, tuple)) else tensors
            if len(tensors) != len(self.values):
                raise ValueError(
                    f"tensors has {len(tensors)} entries for the {len(self.values)} values of the formula: "
                    f"{', '.join(map(str, self.values))}"
                )
        else:
            raise TypeError(f"tensors={tensors!r} is neither a Measurement, nor a mapping from values, nor a sequence")
        dtype = jnp.result_type(*jax.tree.leaves(entries), jnp.float32)
        entries = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, jnp.float32)), entries)
        if not any(value.open_indices for value in self.values):
            shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(entries)]
            if shapes != [(len(self.values),)]:
                raise ValueError(
                    f"tensors holds arrays of shapes {shapes}; this formula takes one scalar for each of its "
                    f"{len(self.values)} values (use jax.vmap for many sets of them)"
                )
        return entries, dtype

    def _refuse_missing(self, present: Any) -> None:
        missing = [str(value) for value in self.values if value not in present]
        if missing:
            raise ValueError(f"tensors lacks the values {', '.join(missing)}; measure this formula, or add them")

    def _rate(self, eta: Any) -> Any:
        """The learning rate: 1 where it is tied."""
        rate = read_rate(self.formula, eta)
        if rate is None:
            raise TypeError("eta is missing: give the learning rate as eta=...")
        return 1.0 if rate is not eta else eta

    def _prepare(self, eta: Any, sizes: Mapping[str, Any], dtype: Any) -> tuple[_Plain, Float[Array, ...], Any]:
        names = frozenset(sizes)
        refuse_forks()
        refuse_no_numbers(sizes)
        if names not in self._programs:
            coefficients = [term.coefficient for term in self.formula.terms]
            program = make_program(self.formula, coefficients, sorted(names))
            self._programs[names] = _Plain(program, self.orders)
        program = self._programs[names]
        rate, given = real_array(self._rate(eta), "eta", dtype), program.sizes.prepare(self.formula, sizes, dtype)
        refuse_other_shapes({"eta": rate} | given)
        return program, rate, given


@dataclass(frozen=True)
class _Plain:
    """What a jitted evaluation needs to know of a formula; equal formulas share compiled code."""

    sizes: Program
    orders: tuple[int, ...]


@jax.jit
def _chosen(stacks: Any, positions: Int[Array, " n"]) -> Any:
    """Some entries of the leading axes."""
    return jax.tree.map(lambda leaf: leaf[positions], stacks)


def _stacked(tensors: Sequence[Any]) -> Any:
    """Pytrees of one structure as one, with a leading axis."""
    if not tensors:
        return jnp.zeros(0)
    try:
        return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *tensors)
    except (TypeError, ValueError) as error:
        raise TypeError(f"tensors={tensors!r} must hold numbers, or arrays of one shape: {error}") from error


@partial(jax.jit, static_argnames="program")
def _weights(program: _Plain, eta: Float[Array, ...], given: Mapping[str, Any]) -> Float[Array, "*k n"]:
    shape = jnp.broadcast_shapes(eta.shape, *(size.shape for size in given.values()))
    columns = [
        jnp.broadcast_to(jnp.asarray(coefficient, eta.dtype) * eta**order, shape)
        for coefficient, order in zip(program.sizes.evaluate(given), program.orders, strict=True)
    ]
    return jnp.stack(columns, axis=-1) if columns else jnp.zeros((*shape, 0), eta.dtype)


@partial(jax.jit, static_argnames="program")
def _total(program: _Plain, tensors: Any, eta: Float[Array, ...], given: Mapping[str, Any]) -> Any:
    return _contract(_weights(program, eta, given), tensors)


@partial(jax.jit, static_argnames="program")
def _by_order(program: _Plain, tensors: Any, eta: Float[Array, ...], given: Mapping[str, Any]) -> Any:
    orders = np.array(program.orders, dtype=int)
    of_order = np.arange(max(program.orders, default=0) + 1)[:, None] == orders
    weights = _weights(program, eta, given)
    masks = jnp.asarray(of_order, eta.dtype).reshape(len(of_order), *(1,) * (weights.ndim - 1), len(orders))
    return _contract(weights * masks, tensors)


def _contract(weights: Float[Array, "*k n"], tensors: Any) -> Any:
    """Σ_i w_i V_i, leaf by leaf, in full precision on every machine."""
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, 1, precision="highest"), tensors)
