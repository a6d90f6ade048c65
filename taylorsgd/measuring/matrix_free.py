"""Measuring the values of plain formulas: matrix-free and without bias.

Every draw takes a few fresh points from the landscape and contracts all values with them by messages along
trees (`contraction`, carried out in `running`), so values share their work, and their errors are correlated.
Means and covariances over draws are kept in float64.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from attrs import field, frozen
from attrs.converters import optional
from jaxtyping import PRNGKeyArray

from taylorsgd.arguments import checked_path, is_one_of, whole_number
from taylorsgd.device_arrays import on_device
from taylorsgd.measuring.contraction import Plan
from taylorsgd.measuring.devices import gathered, spread
from taylorsgd.measuring.planning import ESTIMATORS, make_plan
from taylorsgd.measuring.results import DrawMoments, Measurement
from taylorsgd.measuring.running import Runner, finite_columns
from taylorsgd.measuring.storage import Checkpoint, digest, encoded_value, versions
from taylorsgd.measuring.tasks import Task, measured

__all__ = ["MatrixFree"]


def _whole(name: str) -> Callable[[Any], int | None]:
    return optional(partial(whole_number, name=name, least=1))


@frozen
class MatrixFree:
    """Measure the values of plain formulas, none of them biased, by derivatives along vectors only.

    With n points, independent draws k = 1, …, K of a few of them, and V_k an estimate of a value V from one draw,

        mean = (1/K) Σ_k V_k,        E[V_k] = V,        covariance = Σ_k (V_k − mean)(V_k − mean)ᵀ / (K(K − 1)).

    Three estimators V_k (`estimators`), of values over the landscape's population:

    "centred"      Whatever needs no sampling (G·G, G·H·G, the loss, …) is exact on a population, and so is what
                   reads one point at a time (κ(∇_μ∇_ν l, ∇^ν l) G^μ, …): a sweep evaluates it at every point. Other
                   cumulants are estimated from independent draws, each of which uses one training point for every
                   tied part, centred by the population mean (or, with a sampler, by other points).
    "correlators"  Nothing is exact and nothing centred: a draw is D fresh batches of points, for values with
                   up to D nodes, and values are made of products of batch means, as in the paper (C.6). About
                   as good as "centred" on a sampler, and much noisier on a population.
    "exact"        Sums over all points of a small population, n^k of them for k tied parts: no error.

    A draw is evaluated in the dtype of θ; sums over draws, and over the points of a sweep, are taken in float64 on
    the host. So float32 costs what one draw loses to rounding: beside the noise of a draw, less than a thousandth
    even where correlators combine nearly equal moments. Means over a population are summed in the dtype of θ.

    Attributes:
        estimator: "centred", "correlators" or "exact".
        batch: the number of points that stand for an expectation inside one draw; 4 by default. More make a
            draw less noisy and dearer. "centred" uses all of a population that is no larger. Not for "exact".
        chunk: the number of draws evaluated at once; by default what `memory` holds. The result depends on it
            only through rounding, and for a sampler through the points that it is asked for.
        memory: about how many bytes to take beyond θ and the data: draws and points of the population are evaluated
            in chunks that fit. By default 64 MiB, or what a single draw takes.
        checkpoint: a file that keeps the state after every chunk of draws. If it exists, the measurement goes on
            from there, to the same numbers as without an interruption.

    Raises:
        TypeError: if the checkpoint is no path.
        ValueError: if settings are impossible.

    Example:
        >>> import jax, jax.numpy as jnp, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jnp.array([-1.0, 1.0]))
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
        >>> measured = ts.measure(f, coin, 1.0, method=ts.MatrixFree("exact"))
        >>> measured.mean.tolist(), measured.exact
        ([0.5, 1.0, 1.0, 1.0], True)

    Source: Tenka, sections C.2.2, C.3.1 and C.6.
    """

    estimator: str = "centred"
    batch: int | None = field(default=None, kw_only=True, converter=_whole("batch"))
    chunk: int | None = field(default=None, kw_only=True, converter=_whole("chunk"))
    memory: int | None = field(default=None, kw_only=True, converter=_whole("memory"))
    checkpoint: str | Path | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Check the settings."""
        if not is_one_of(self.estimator, ESTIMATORS):
            raise ValueError(f"estimator={self.estimator!r} must be one of {', '.join(map(repr, ESTIMATORS))}")
        self._refuse_for_exact(batch=self.batch)
        if self.checkpoint is not None:
            checked_path(self.checkpoint, "checkpoint")

    def _refuse_for_exact(self, **numbers: int | None) -> None:
        for name, number in numbers.items():
            if self.estimator == "exact" and number is not None:
                raise ValueError(f"{name}={number!r}: estimator='exact' uses every point; leave {name} out")

    def plan(self, task: Task) -> Plan:
        """What measuring the values of a task's formulas will do; raises as `make_plan`, or if one is resummed."""
        if task.resummed:
            raise ValueError(
                f"method={self!r} is for plain formulas; this one is resummed, and takes Dense() or TopEigenpairs(k)"
            )
        batch = 4 if self.batch is None else self.batch
        place = task.landscape
        return make_plan(
            task.values, batch=batch, population=place.size, estimator=self.estimator, directed=place.is_field
        )

    def measure(self, task: Task) -> Measurement:
        """Measure the values of a task's formulas; raises as `taylorsgd.measure` says."""
        self._refuse_for_exact(samples=task.samples)
        observables, place, theta = task.observables, task.landscape, task.theta
        plan = self.plan(task)
        key = task.started(draws=bool(plan.sampled) and plan.combinations is None)
        samples = task.draws if plan.combinations is None else plan.combinations
        runner = Runner(plan, place, theta, observables, self.memory, raising=task.raising)
        at_once = min(samples, self.chunk or runner.draws_at_once)
        settings = {
            "estimator": self.estimator,
            "samples": samples,
            "batch": plan.batch,
            "draws at once": at_once,
            "key": None if plan.combinations is not None else np.asarray(jax.random.key_data(key)).tolist(),
            "values": [encoded_value(value) for value in task.values],
            "theta": digest(theta),
            "data": "a sampler" if place.size is None else digest(place.data),
            "versions": versions(),
        }
        moments = DrawMoments()
        fingerprint = task.origin.fingerprint
        saved = Checkpoint(self.checkpoint, settings, fingerprint)
        if plan.sampled:
            known = saved.load()
            if known is not None:
                moments = DrawMoments.from_state(known)
            chunks, done = -(-samples // at_once), -(-moments.count // at_once)
            draws = islice(runner.draws(key, samples, at_once), done, None)
            for points in measured(draws, chunks - done, task.progress):
                estimates = runner.estimates(spread(points))
                new = min(at_once, samples - moments.count)  # the rest fills the last chunk, or the devices, up
                leaves = [gathered(leaf)[:new] for leaf in jax.tree.leaves(estimates)]
                _check_finite(leaves, runner, key, samples, moments.count)
                moments.add(leaves)
                saved.save(moments.state())
        measured_on = {"landscape": repr(place), "fingerprint": fingerprint.to_json()}
        provenance = json.dumps({**settings, "plan": str(plan), **measured_on})
        return _assembled(runner, moments, provenance)


def _check_finite(leaves: Sequence[np.ndarray], runner: Runner, key: PRNGKeyArray, samples: int, first: int) -> None:
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
    vector, values = plan.open, plan.values
    structure = jax.tree.structure(runner.theta if vector else 0)
    parameters = jax.tree.leaves(runner.theta)
    shapes = [leaf.shape for leaf in parameters] if vector else [()]
    dtypes = [leaf.dtype for leaf in parameters] if vector else [jnp.result_type(*parameters)]
    means = [np.zeros((len(values), *shape)) for shape in shapes]
    covariances = [np.zeros((0, 0, *shape)) for shape in shapes]
    if sampled:
        covariances = moments.covariance_of_mean()
    for i, value in enumerate(values):
        if i in plan.sampled:
            leaves = [leaf[plan.sampled.index(i)] for leaf in moments.mean]
        else:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(runner.exact(i))]
            if not all(np.isfinite(leaf).all() for leaf in leaves):
                raise ValueError(f"{value} is not finite: it is too large for {dtypes[0]}")
        for mean, leaf in zip(means, leaves, strict=True):
            mean[i] = leaf
    return Measurement(
        values=values,
        mean=jax.tree.unflatten(structure, [on_device(m, d) for m, d in zip(means, dtypes, strict=True)]),
        sampled=sampled,
        sampled_covariance=jax.tree.unflatten(structure, covariances),
        samples=moments.count if sampled else 0,
        provenance=provenance,
    )
