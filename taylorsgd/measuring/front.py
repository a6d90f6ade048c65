"""Measuring the values of a formula on a landscape: matrix-free and without bias.

Every draw takes a few fresh points from the landscape and contracts all values with them by messages along
trees (`contraction`, carried out in `running`), so values share their work, and their errors are correlated.
Means and covariances over draws are kept in float64.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from taylorsgd.diagrams import Value
from taylorsgd.formulas import Formula, Observable
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.landscapes.landscape import (
    POPULATION_CHUNK,
    AnyLandscape,
    Landscape,
    PointFunction,
    as_landscape,
    check_counts,
    checked_parameters,
)
from taylorsgd.landscapes.smoothness import warn_of_rough_losses
from taylorsgd.lowering.networks import diagram_key, part_keys
from taylorsgd.measuring.contraction import Plan
from taylorsgd.measuring.dense import measure_dense
from taylorsgd.measuring.devices import gathered, spread
from taylorsgd.measuring.planning import ESTIMATORS, make_plan
from taylorsgd.measuring.results import DrawMoments, Measurement
from taylorsgd.measuring.running import Points, Runner, finite_columns
from taylorsgd.measuring.spectral import measure_spectral
from taylorsgd.measuring.storage import Checkpoint, digest, encoded_value, versions

__all__ = ["measure", "plan"]


def measure(
    formula: Formula | Sequence[Formula],
    landscape: AnyLandscape,
    theta: Any,
    *,
    key: jax.Array | None = None,
    samples: int | None = None,
    batch: int | None = None,
    estimator: str = "centred",
    chunk: int | None = None,
    progress: bool = False,
    eigenpairs: int | None = None,
    checkpoint: str | Path | None = None,
    memory: int | None = None,
) -> Any:
    """Estimate every value of a formula at θ_0 = theta, without bias and with standard errors.

    A resummed formula takes the dense cumulants of its parts instead (`DenseMeasurement`): exact on a
    population, k-statistics of `samples` points of a sampler. Then `batch` and `chunk` play no role. With
    `eigenpairs=k` it takes contractions along the top k eigendirections of H instead (`SpectralMeasurement`), with
    nothing larger than some vectors like θ: for large models; `chunk` and `progress` play no role.

    Expectations are over the landscape's population. Three estimators, none of them biased (`estimators`):

    "centred"      Whatever needs no sampling (G·G, G·H·G, the loss, …) is exact on a population, and so is what
                   reads one point at a time (κ(∇_μ∇_ν l, ∇^ν l) G^μ, …): a sweep evaluates it at every point. Other
                   cumulants are estimated from independent draws, each of which uses one training point for every
                   tied part, centred by the population mean (or, with a sampler, by other points).
    "correlators"  Nothing is exact and nothing centred: a draw is D fresh batches of points, for values with
                   up to D nodes, and values are made of products of batch means, as in the paper (C.6). About
                   as good as "centred" on a sampler, and much noisier on a population.
    "exact"        Sums over all points of a small population, n^k of them for k tied parts: no error.

    `plan` shows beforehand what a draw costs: a few dozen gradients, shared by all values.

    A draw is evaluated in the dtype of θ; sums over draws, and over the points of a sweep, are taken in float64 on
    the host. So float32 costs what one draw loses to rounding: beside the noise of a draw, less than a thousandth
    even where correlators combine nearly equal moments. Means over a population are summed in the dtype of θ.

    Args:
        formula: a formula, or a list of several whose values are measured together.
        landscape: the loss and its data, or a toy landscape.
        theta: the parameters θ_0, a pytree of float arrays; their dtype is the dtype of the arithmetic.
        key: a JAX random key. Only needed if something is sampled.
        samples: the number of independent draws, at least 2; 2048 by default. Standard errors fall as its
            square root. Not for "exact".
        batch: the number of points that stand for an expectation inside one draw; 4 by default. More make a
            draw less noisy and dearer. "centred" uses all of a population that is no larger. Not for "exact".
        estimator: "centred", "correlators" or "exact".
        chunk: the number of draws evaluated at once; by default what `memory` holds. The result depends on it
            only through rounding, and for a sampler through the points that it is asked for.
        progress: whether to show a progress bar with the time left.
        eigenpairs: for resummed formulas on a population, from 1 to P: how many eigenpairs of H to find, largest in
            absolute value first; all other directions are taken to be flat.
        checkpoint: a file that keeps the state after every chunk of draws. If it exists, the measurement goes on
            from there, to the same numbers as without an interruption. For plain formulas.
        memory: about how many bytes to take beyond θ and the data: draws and points of the population are evaluated
            in chunks that fit. By default 64 MiB, or what a single draw takes. For plain formulas.

    Returns:
        A `Measurement`, or a `DenseMeasurement` or `SpectralMeasurement` if a formula is resummed; ready for
        `Formula.lower`.

    Raises:
        TypeError: if the arguments have other types, θ has leaves that are no floats, or an `Observable`
            is a SymPy expression, which has no parameters to be differentiated in.
        ValueError: if settings are impossible, the key is missing, formulas with and without open indices are
            mixed, the exact estimator would take too long, a loss or a derivative is not finite at θ_0, or a
            checkpoint belongs to another measurement.
        MemoryError: if a single draw takes more than `memory`, or the dense tensors of a resummed formula would
            take more than 2 GiB.
        NotImplementedError: if a value has two open indices, and so is a P × P matrix, unless tensors are dense; for
            eigenpairs on a sampler.

    Warns:
        RuntimeWarning: if the loss has kinks in θ (ReLU), or draws random numbers that are always the same (dropout
            without a key of its own).

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
    samples, batch = _settings(estimator, samples, batch)
    check_counts(samples=(samples, 2), batch=(batch, 1), chunk=(1 if chunk is None else chunk, 1))
    check_counts(memory=(1 if memory is None else memory, 1))
    theta = checked_parameters(theta)
    if any(isinstance(value, ResummedValue) for one in formulas for value in one.values):
        if memory is not None:
            raise ValueError(f"memory={memory!r} is for plain formulas; this one is resummed")
        if checkpoint is not None:
            raise ValueError(f"checkpoint={str(checkpoint)!r} is for plain formulas; this one is resummed")
        if estimator == "correlators" or (estimator == "exact" and place.size is None):
            raise ValueError(
                f"estimator={estimator!r} can't give the dense tensors of a resummed formula here"
            )
        key = _checked_key(key, needed=place.size is None or eigenpairs is not None)
        _check_losses(place, theta, key)
        warn_of_rough_losses(place, theta, stacklevel=3)
        if eigenpairs is not None:
            keys = [diagram_key(value) for one in formulas for value in one.values]
            return measure_spectral(keys, place, theta, key, eigenpairs, samples, batch, observables)
        parts = tuple(dict.fromkeys(part for one in formulas for part in part_keys(one)))
        return measure_dense(parts, place, theta, key, samples, observables)
    if eigenpairs is not None:
        raise ValueError(f"eigenpairs={eigenpairs!r} is for resummed formulas; this one holds no power of H")
    values = _wanted(formulas)
    plan = make_plan(values, batch=batch, population=place.size, estimator=estimator)
    key = _checked_key(key, needed=bool(plan.sampled) and plan.combinations is None)
    samples = samples if plan.combinations is None else plan.combinations
    _check_losses(place, theta, key)
    warn_of_rough_losses(place, theta, stacklevel=3)
    runner = Runner(plan, place, theta, observables, memory)
    moments = DrawMoments()
    at_once = min(samples, chunk or runner.draws_at_once)
    settings = {
        "estimator": estimator,
        "samples": samples,
        "batch": batch,
        "draws at once": at_once,
        "key": None if plan.combinations is not None else np.asarray(jax.random.key_data(key)).tolist(),
        "values": [encoded_value(value) for value in values],
        "theta": digest(theta),
        "data": "a sampler" if place.size is None else digest(place.data),
        "versions": versions(),
    }
    if plan.sampled:
        saved = Checkpoint(checkpoint, settings)
        known = saved.load()
        if known is not None:
            moments = DrawMoments.from_state(known)
        chunks = -(-samples // at_once)
        draws = islice(runner.draws(key, samples, at_once), -(-moments.count // at_once), None)
        for points in _tracked(draws, chunks - -(-moments.count // at_once), progress):
            estimates = runner.estimates(spread(points))
            new = min(at_once, samples - moments.count)  # the rest fills the last chunk, or the devices, up
            leaves = [gathered(leaf)[:new] for leaf in jax.tree.leaves(estimates)]
            _check_finite(leaves, runner, key, samples, moments.count)
            moments.add(leaves)
            saved.save(moments.state())
    provenance = json.dumps({**settings, "plan": str(plan), "landscape": repr(place)})
    return _assembled(runner, moments, provenance)


def plan(
    formula: Formula | Sequence[Formula],
    landscape: AnyLandscape,
    *,
    batch: int | None = None,
    estimator: str = "centred",
) -> Plan:
    """Plan what `measure` will do, to see its cost before anything runs.

    Args:
        formula: as in `measure`; not resummed.
        landscape: as in `measure`.
        batch: as in `measure`.
        estimator: as in `measure`.

    Returns:
        A `Plan`. Printed, it is a table of the derivatives that will be taken, what they cost in gradients of
        the loss of one point, and the totals.

    Raises:
        TypeError: if the arguments have other types.
        ValueError: if settings are impossible, a formula is resummed, or formulas with and without open
            indices are mixed.
        NotImplementedError: if a value has two open indices, and so is a P × P matrix.

    Example:
        >>> import jax.numpy as jnp, taylorsgd as ts
        >>> landscape = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.arange(100.0))
        >>> print(ts.plan(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2), landscape))
        name  derivative     over              uses  gradients  when
        ────  ─────────────  ────────────────  ────  ─────────  ─────────
        n1    l              population (100)     1      33.33  once
        v1    ∇ l            population (100)     5      66.67  once
        n2    D[v1] D[v1] l  population (100)     1      166.7  once
        v2    ∇ l_x − v1     point x0             2          1  each draw
        n3    D[v2] D[v2] l  batch b0 (4)         1      6.667  each draw
        4 values by centred, of these 1 sampled: 5 messages in 4 stages.
        Once: 266.7 gradients of one point.
        Each draw: 7.667 gradients of one point, 1.917 of a batch of 4.
    """
    formulas = _formulas(formula)
    if any(isinstance(value, ResummedValue) for one in formulas for value in one.values):
        raise ValueError("formula is resummed; it takes dense tensors, for which there is no plan")
    _, batch = _settings(estimator, None, batch)
    check_counts(batch=(batch, 1))
    return make_plan(
        _wanted(formulas), batch=batch, population=as_landscape(landscape).size, estimator=estimator
    )


def _settings(estimator: str, samples: int | None, batch: int | None) -> tuple[int, int]:
    """The numbers of draws and of points in a batch, or what stands for them where they play no role."""
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator!r} must be one of {', '.join(map(repr, ESTIMATORS))}")
    for name, number in (("samples", samples), ("batch", batch)):
        if estimator == "exact" and number is not None:
            raise ValueError(f"{name}={number!r}: estimator='exact' uses every point; leave {name} out")
    return 2048 if samples is None else samples, 4 if batch is None else batch


def _formulas(formula: Formula | Sequence[Formula]) -> list[Formula]:
    formulas: list[Any] = list(formula) if isinstance(formula, (list, tuple)) else [formula]
    for one in formulas:
        if not isinstance(one, Formula):
            raise TypeError(f"formula={one!r} is not a Formula; derive() makes one")
        if one.metric is not None and any(isinstance(value, Value) and value.order for value in one.values):
            raise NotImplementedError(
                f"metric={one.metric.tolist()}: values are measured in the parameters' own metric; measure descent on "
                "l(L phi), with metric = L L^T, or resum the formula"
            )
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


def _checked_key(key: jax.Array | None, needed: bool) -> jax.Array:
    """The key, or any where nothing is drawn."""
    if key is None and needed:
        raise ValueError("key=None: measuring draws points; give a JAX random key such as jax.random.key(0)")
    return jax.random.key(0) if key is None else key


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


def _tracked(draws: Iterable[Points], chunks: int, progress: bool) -> Iterable[Points]:
    from rich.progress import track

    return track(draws, description="Measuring", total=chunks, disable=not progress)


def _check_finite(
    leaves: Sequence[np.ndarray], runner: Runner, key: jax.Array, samples: int, first: int
) -> None:
    """Raise if an estimate of a chunk that begins with draw `first` is not finite, and say in which draw."""
    for position, finite in zip(runner.plan.sampled, finite_columns(leaves), strict=True):
        if not finite.all():
            draw = first + int(np.argmin(finite))
            read = "" if runner.landscape.size is None else f", of points {runner.rows(key, samples, draw)}"
            raise ValueError(
                f"{runner.plan.values[position]} is not finite in {np.sum(~finite)} of {len(finite)} draws, first in "
                f"draw {draw}{read}: a derivative of the loss is infinite or undefined at theta"
            )


def _assembled(runner: Runner, moments: DrawMoments, provenance: str) -> Measurement:
    """Exact and sampled values, put together. A mean over all combinations of points is exact."""
    plan = runner.plan
    sampled = plan.sampled if plan.combinations is None else ()
    vector = any(value.open_indices for value in plan.values)
    structure = jax.tree.structure(runner.theta if vector else 0)
    parameters = jax.tree.leaves(runner.theta)
    shapes = [leaf.shape for leaf in parameters] if vector else [()]
    dtypes = [leaf.dtype for leaf in parameters] if vector else [jnp.result_type(*parameters)]
    means = [np.zeros((len(plan.values), *shape)) for shape in shapes]
    covariances = [np.zeros((0, 0, *shape)) for shape in shapes]
    if sampled:
        covariances = moments.covariance_of_mean()
    for i, value in enumerate(plan.values):
        if i in plan.sampled:
            leaves = [leaf[plan.sampled.index(i)] for leaf in moments.mean]
        else:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(runner.exact(i))]
            if not all(np.isfinite(leaf).all() for leaf in leaves):
                raise ValueError(f"{value} is not finite: it is too large for {dtypes[0]}")
        for mean, leaf in zip(means, leaves, strict=True):
            mean[i] = leaf
    return Measurement(
        values=plan.values,
        mean=jax.tree.unflatten(structure, [jnp.asarray(m, d) for m, d in zip(means, dtypes, strict=True)]),
        sampled=sampled,
        sampled_covariance=jax.tree.unflatten(structure, covariances),
        samples=moments.count if sampled else 0,
        provenance=provenance,
    )
