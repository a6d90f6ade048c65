"""Measuring the values of a formula on a landscape: matrix-free and without bias.

Every draw takes a few fresh points from the landscape and contracts all values with them by messages along
trees (`contraction`, carried out in `running`), so values share their work, and their errors are correlated.
Means and covariances over draws are kept in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.diagrams import Value
from taylorsgd.formulas import Formula, Observable
from taylorsgd.formulas.propagated import PropagatedValue
from taylorsgd.landscapes.contraction import Plan, make_plan
from taylorsgd.landscapes.dense import measure_dense
from taylorsgd.landscapes.landscape import (
    BUDGET,
    POPULATION_CHUNK,
    AnyLandscape,
    Landscape,
    PointFunction,
    as_landscape,
    check_counts,
    checked_parameters,
    floats_per_point,
)
from taylorsgd.landscapes.measurement import DrawMoments, Measurement
from taylorsgd.landscapes.running import Points, Runner
from taylorsgd.landscapes.spectral import measure_spectral
from taylorsgd.lowering.networks import diagram_key, part_keys

__all__ = ["measure"]


def measure(
    formula: Formula | Sequence[Formula],
    landscape: AnyLandscape,
    theta: Any,
    *,
    key: jax.Array,
    samples: int = 2048,
    batch: int = 4,
    chunk: int | None = None,
    progress: bool = False,
    eigenpairs: int | None = None,
) -> Any:
    """Estimate every value of a formula at θ_0 = theta, without bias and with standard errors.

    A resummed formula takes the dense cumulants of its parts instead (`DenseMeasurement`): exact on a
    population, k-statistics of `samples` points of a sampler. Then `batch` and `chunk` play no role. With
    `eigenpairs=k` it takes contractions along the top k eigendirections of H instead (`SpectralMeasurement`), with
    nothing larger than some vectors like θ: for large models; `chunk` and `progress` play no role.

    Expectations are over the landscape's population. Whatever needs no sampling (G·G, G·H·G, the loss, …) is
    exact on a population; cumulants are estimated from independent draws, each of which uses one training
    point for every tied part. The work of one draw is that of a few dozen gradients, shared by all values.

    Args:
        formula: a formula, or a list of several whose values are measured together.
        landscape: the loss and its data, or a toy landscape.
        theta: the parameters θ_0, a pytree of float arrays; their dtype is the dtype of the arithmetic.
        key: a JAX random key.
        samples: the number of independent draws, at least 2. Standard errors fall as its square root.
        batch: the number of points that stand for an expectation inside one draw. More make a draw less noisy
            and dearer. Where the population is no larger, all of it is used.
        chunk: the number of draws evaluated at once; by default what a few hundred megabytes hold. The result
            depends on it only through rounding, and for a sampler through the points that it is asked for.
        progress: whether to show a progress bar with the time left.
        eigenpairs: for resummed formulas on a population, from 1 to P: how many eigenpairs of H to find, largest in
            absolute value first; all other directions are taken to be flat.

    Returns:
        A `Measurement`, or a `DenseMeasurement` or `SpectralMeasurement` if a formula is resummed; ready for
        `Formula.lower`.

    Raises:
        TypeError: if the arguments have other types, θ has leaves that are no floats, or an `Observable`
            is a SymPy expression, which has no parameters to be differentiated in.
        ValueError: if settings are impossible, formulas with and without open indices are mixed, or a loss
            or a derivative is not finite at θ_0.
        MemoryError: if the dense tensors of a resummed formula would take more than 2 GiB.
        NotImplementedError: if a value has two open indices, and so is a P × P matrix, unless tensors are dense; for
            eigenpairs on a sampler.

    Example:
        >>> import jax, jax.numpy as jnp, taylorsgd as ts
        >>> data = jnp.array([-1.0, 0.0, 1.0])
        >>> landscape = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), data)
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
        >>> measured = ts.measure(f, landscape, 0.5, key=jax.random.key(0))
        >>> g_g, c_h = f.terms[1].value, f.terms[3].value
        >>> print(f"{measured[g_g]:.4f}", f"{measured[c_h]:.1f}")
        0.5038 1.8

    Source: Tenka, sections C.2.2, C.3.1 and C.6.
    """
    formulas = _formulas(formula)
    observables = _functions(formulas)
    place = as_landscape(landscape)
    check_counts(samples=(samples, 2), batch=(batch, 1), chunk=(1 if chunk is None else chunk, 1))
    theta = checked_parameters(theta)
    if any(isinstance(value, PropagatedValue) for one in formulas for value in one.values):
        _check_losses(place, theta, key)
        if eigenpairs is not None:
            keys = [diagram_key(value) for one in formulas for value in one.values]
            return measure_spectral(keys, place, theta, key, eigenpairs, samples, batch, observables)
        parts = tuple(dict.fromkeys(part for one in formulas for part in part_keys(one)))
        return measure_dense(parts, place, theta, key, samples, observables)
    if eigenpairs is not None:
        raise ValueError(f"eigenpairs={eigenpairs!r} is for resummed formulas; this one holds no power of H")
    values = _wanted(formulas)
    plan = make_plan(values, batch=batch, population=place.size)
    _check_losses(place, theta, key)
    runner = Runner(plan, place, theta, observables)
    moments = DrawMoments()
    if plan.sampled:
        at_once = min(samples, chunk or _draws_at_once(plan, place, theta))
        draws = runner.draws(key, samples, at_once)
        for points in _tracked(draws, -(-samples // at_once), progress):
            estimates = runner.estimates(points)
            leaves = [np.asarray(leaf)[: samples - moments.count] for leaf in jax.tree.leaves(estimates)]
            _check_finite(leaves, [values[i] for i in plan.sampled], moments.count)
            moments.add(leaves)
    return _assembled(runner, moments)


def _formulas(formula: Formula | Sequence[Formula]) -> list[Formula]:
    formulas: list[Any] = list(formula) if isinstance(formula, (list, tuple)) else [formula]
    for one in formulas:
        if not isinstance(one, Formula):
            raise TypeError(f"formula={one!r} is not a Formula; derive() makes one")
    return formulas


def _wanted(formulas: Sequence[Formula]) -> tuple[Value, ...]:
    """The values of some plain formulas."""
    values = {value for one in formulas for value in one.values if isinstance(value, Value)}
    if len({len(value.open_indices) for value in values}) > 1:
        raise ValueError(
            "formula mixes scalars with vectors (values with an open index); measure them separately"
        )
    return tuple(sorted(values))


def _functions(formulas: Sequence[Formula]) -> dict[str, PointFunction]:
    """The functions behind the marked nodes of some formulas."""
    observables: dict[str, Observable] = {}
    for one in formulas:
        for name, observable in one.observables.items():
            if observables.setdefault(name, observable) != observable:
                raise ValueError(f"two formulas observe something called {name!r}; give one another name")
    functions = {}
    for name, observable in observables.items():
        if not callable(observable.s):
            raise TypeError(
                f"{observable!r} is an expression, and here s must be a function of the parameters that JAX "
                "can differentiate, as in Observable(lambda theta: jnp.sum(theta**2))"
            )
        functions[name] = PointFunction(observable.s, f"the observable {name}")
    return functions


def _check_losses(landscape: Landscape, theta: Any, key: jax.Array) -> None:
    """Raise if the loss is not finite at θ_0 on the population, or on a first batch of a sampler."""
    batch = landscape.draw(key, (64,)) if landscape.size is None else landscape.data
    finite = np.asarray(_finite_losses(landscape.point_loss, theta, batch))
    if not finite.all():
        raise ValueError(
            f"the loss is not finite at theta for {np.sum(~finite)} of {len(finite)} points, "
            f"first for point {np.argmin(finite)}"
        )


@partial(jax.jit, static_argnames="loss")
def _finite_losses(loss: PointFunction, theta: Any, batch: Any) -> jax.Array:
    return lax.map(lambda x: jnp.isfinite(loss(theta, x)), batch, batch_size=POPULATION_CHUNK)


def _draws_at_once(plan: Plan, landscape: Landscape, theta: Any) -> int:
    """How many draws fit the budget: each holds some vectors like θ, and what arises at its points."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(theta))
    point, arising = floats_per_point(landscape, theta)
    width = max(plan.batch, 1 + plan.centring)
    return max(1, min(1024, BUDGET // (8 * parameters + width * (point + 4 * arising))))


def _tracked(draws: Iterable[Points], chunks: int, progress: bool) -> Iterable[Points]:
    from rich.progress import track

    return track(draws, description="Measuring", total=chunks, disable=not progress)


def _check_finite(leaves: Sequence[np.ndarray], values: Sequence[Value], first: int) -> None:
    """Raise if an estimate is not finite; leaves have the shape (draws, len(values), *leaf)."""
    for position, value in enumerate(values):
        finite = np.all(
            [np.isfinite(leaf[:, position]).reshape(len(leaf), -1).all(1) for leaf in leaves], axis=0
        )
        if not finite.all():
            raise ValueError(
                f"{value} is not finite in {np.sum(~finite)} of {len(finite)} draws, first in draw "
                f"{first + np.argmin(finite)}: a derivative of the loss is infinite or undefined at theta"
            )


def _assembled(runner: Runner, moments: DrawMoments) -> Measurement:
    """Exact and sampled values, put together."""
    plan = runner.plan
    vector = any(value.open_indices for value in plan.values)
    structure = jax.tree.structure(runner.theta if vector else 0)
    parameters = jax.tree.leaves(runner.theta)
    shapes = [leaf.shape for leaf in parameters] if vector else [()]
    dtypes = [leaf.dtype for leaf in parameters] if vector else [jnp.result_type(*parameters)]
    means = [np.zeros((len(plan.values), *shape)) for shape in shapes]
    covariances = [np.zeros((0, 0, *shape)) for shape in shapes]
    if plan.sampled:
        covariances = moments.covariance_of_mean()
    for i, value in enumerate(plan.values):
        if i in plan.sampled:
            leaves = [leaf[plan.sampled.index(i)] for leaf in moments.mean]
        else:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(runner.exact(i))]
            _check_finite([leaf[None, None] for leaf in leaves], [value], 0)
        for mean, leaf in zip(means, leaves, strict=True):
            mean[i] = leaf
    return Measurement(
        values=plan.values,
        mean=jax.tree.unflatten(structure, [jnp.asarray(m, d) for m, d in zip(means, dtypes, strict=True)]),
        sampled=plan.sampled,
        sampled_covariance=jax.tree.unflatten(structure, covariances),
        samples=moments.count,
    )
