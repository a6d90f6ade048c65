"""Predictions: a formula's number on a landscape, with error bars and the range in which it holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from sympy import Expr, Rational

from taylorsgd.arguments import as_float, finite_number
from taylorsgd.formulas import Formula
from taylorsgd.formulas.closing import open_positions
from taylorsgd.formulas.expectations import Expectations
from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.landscapes.fingerprints import Origin
from taylorsgd.landscapes.landscape import AnyLandscape, Landscape, as_landscape, checked_parameters, learning_rates
from taylorsgd.lowering import Lowered, LoweredResummed
from taylorsgd.lowering.networks import HESSIAN
from taylorsgd.lowering.programs import known_names
from taylorsgd.measuring.dense import DenseMeasurement
from taylorsgd.measuring.front import FORMER, chosen_method, refuse_former
from taylorsgd.measuring.linear_functions import checked_directions
from taylorsgd.measuring.matrix_free import MatrixFree
from taylorsgd.measuring.predictions import Prediction, norms, orders_of, wide
from taylorsgd.measuring.projected_moments import along_all, dense_along
from taylorsgd.measuring.results import Measured, Measurement
from taylorsgd.measuring.spectral_results import SpectralMeasurement
from taylorsgd.measuring.tasks import Method, Task
from taylorsgd.measuring.validity import growth, largest_growth, largest_rate
from taylorsgd.spacetime import Spacetime

__all__ = ["predict", "settled"]

Growth = Callable[[Float[np.ndarray, " k"]], Float[np.ndarray, " k"]]


def predict(
    formula: Formula,
    landscape: AnyLandscape,
    theta: Any,
    *,
    eta: Any,
    key: PRNGKeyArray | int | None = None,
    samples: int | None = None,
    method: Method[Measured] | None = None,
    measurement: Measured | None = None,
    along: Any = None,
    tolerance: float = 0.02,
    progress: bool | None = None,
    **sizes: Any,
) -> Prediction:
    """Measure what a formula needs and evaluate it at some learning rates, with error bars.

    The prediction is linear in the measured values, so its covariance over learning rates is w Cov wᵀ
    exactly, with w_{ηi} = c_i η^{d_i}: predictions at different learning rates share one measurement. A resummed
    formula is not linear: measured by `TopEigenpairs`, its covariance is that of its values on sixteen groups of draws.

    A displacement is a pytree like θ, and its covariance P × P: that is predicted along some directions u_1, …, u_m,
    as the numbers u_i·δθ, (m,), and u_iᵀ Cov(δθ) u_j, (m, m), without an array of P × P. See also
    `principal_components`.

    For a formula of fixed data the landscape's points are the training set: N is their number, and its values are
    summed over all of them, without an error, unless a `method` is given.

    Args:
        formula: the formula.
        landscape: the loss and its data, or a toy landscape. For fixed data a population of N points.
        theta: the parameters θ_0, a pytree of float arrays.
        eta: a learning rate, or a sequence of them.
        key: a JAX random key for measuring, or an integer seed; None means 0.
        samples: as in `measure`.
        method: as in `measure`; by default `MatrixFree("exact")` for plain formulas of fixed data.
        measurement: what `measure` returned for this formula, landscape and θ_0; measures if None.
        along: for a formula with open indices, directions to contract them with: a pytree like θ, whose leaves have an
            axis for the m directions in front. Every pair of them is measured, from the same draws; the prediction's
            `measurement` is that of the first.
        tolerance: the formula is taken to hold while the terms left out are estimated at tolerance^(3/2) of its
            lowest order in η (after the constant): 0.3 % of the change in loss by default. At order 3 this is
            where the highest order is the fraction `tolerance` of the lowest. See `Prediction.eta_max`.
        progress: whether to show a progress bar while measuring; None as in `measure`.
        **sizes: any sizes that determine those that the formula leaves free, as numbers.

    Returns:
        A `Prediction`.

    Raises:
        TypeError: as in `measure`, and if `measurement` is none.
        ValueError: as in `measure`, and if sizes are missing, unknown or contradict each other, a value was
            not measured, `along` has not the structure of θ, or the formula no open index, data are fixed and the
            landscape has not N points, or `eta` is no scalar or sequence of finite numbers.
        NotImplementedError: as in `measure`, and for a resummed formula on a sampler.

    Example:
        >>> import jax, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2).assume("quadratic")
        >>> print(ts.predict(f, coin, 1.0, eta=[0.001, 0.02], N=10))
        Prediction of E[l(θ_10)] through η^2, to be believed up to η = 0.00532
        <BLANKLINE>
            η  prediction ± s.e.  order 1  order 2  in range
        ─────  ─────────────────  ───────  ───────  ────────
        0.001             0.4901    -0.01   0.0001  yes
         0.02               0.34     -0.2     0.04  no
        >>> data = jax.numpy.array([[1.0, 0.0], [-1.0, 0.0]])
        >>> bowl = ts.Landscape(lambda theta, x: theta @ theta / 2 + theta @ x, data)
        >>> scatter = ts.derive(ts.Covariance(ts.Displacement(), ts.Displacement()), ts.SGD(B=1, E=1), order=2)
        >>> print(ts.predict(scatter, bowl, jax.numpy.zeros(2), eta=0.1, N=5, along=jax.numpy.eye(2)).mean)
        [[0.05 0.  ]
         [0.   0.  ]]
    """
    if not isinstance(formula, Formula):
        raise TypeError(f"formula={formula!r} is not a Formula; derive() makes one")
    rates = learning_rates(eta)
    tolerance = finite_number(tolerance, "tolerance")
    if not 0 < tolerance <= 1:
        raise ValueError(f"tolerance={tolerance!r} must be a fraction above 0 and at most 1")
    refuse_former("predict", {name: sizes[name] for name in FORMER if name in sizes})
    known_names(formula, sizes)
    for name, size in sizes.items():
        if not isinstance(size, Expr) and as_float(size) is None:
            raise TypeError(f"{name}={size!r} must be one number")
    lowered = formula.lower()
    if any(_is_fixed(spacetime) for spacetime in formula.spacetimes):
        sizes = _sizes_of_fixed_data(formula, as_landscape(landscape), sizes)
        if method is None and isinstance(lowered, Lowered):
            method = MatrixFree("exact")
    start = float(np.max(np.abs(rates))) or 1.0
    every = np.append(rates, start)  # where parts are compared comes last
    # Complains about sizes before the long measurement.
    weights = wide(lowered.weights(every, **sizes)) if isinstance(lowered, Lowered) else np.zeros(0)
    if measurement is not None and not isinstance(measurement, Measured):
        raise TypeError(f"measurement={measurement!r} is not a Measurement; measure() makes one")
    if along is not None:
        return _predicted_along(
            along, formula, landscape, checked_parameters(theta), measurement, sizes,
            eta=rates, key=key, samples=samples, method=method, tolerance=tolerance, progress=progress,
        )  # fmt: skip
    task = Task(formula, landscape, checked_parameters(theta), 0 if key is None else key, samples, progress)
    method, origin = chosen_method(method, task), task.origin
    if measurement is None:
        measurement = method.measure(task)
    else:
        measurement.refuse_other(origin)
    if not isinstance(lowered, Lowered):
        return _resummed_prediction(formula, lowered, measurement, rates, float(tolerance), sizes, origin)
    if not isinstance(measurement, Measurement):
        raise TypeError(f"measurement={measurement!r} is not a Measurement; measure() makes one")
    everywhere = jax.tree.map(wide, lowered.contributions(measurement, every, **sizes))
    parts = jax.tree.map(lambda leaf: leaf[:, :-1].reshape(len(leaf), *rates.shape, *leaf.shape[2:]), everywhere)
    positions = [lowered.values.index(v) if v in lowered.values else None for v in measurement.values]
    of_rates = weights[:-1].reshape(*rates.shape, -1)
    columns = [
        of_rates[..., position] if position is not None else np.zeros(rates.shape)
        for position in (positions[i] for i in measurement.sampled)
    ]
    sampled = np.stack(columns, axis=-1) if columns else np.zeros((*rates.shape, 0))
    covariance = jax.tree.map(lambda leaf: _propagated(sampled, leaf), measurement.sampled_covariance)
    known = orders_of(formula)
    there = norms(jax.tree.map(lambda leaf: leaf[:, -1], everywhere), 1)
    sizes_of_parts, errors = _with_errors(lowered, measurement, there, weights[-1])
    return Prediction(
        formula=formula,
        eta=rates,
        mean=jax.tree.map(lambda leaf: leaf.sum(0), parts),
        covariance=covariance,
        contributions=parts,
        tolerance=float(tolerance),
        measurement=measurement,
        eta_max=_edge(lambda _: growth(sizes_of_parts[:, None], errors[:, None], known), known, tolerance, start, True),
        expectations=settled(formula, sizes),
        origin=origin,
    )


def _predicted_along(
    along: Any,
    formula: Formula,
    landscape: AnyLandscape,
    theta: Any,
    measurement: Measured | None,
    sizes: Mapping[str, Any],
    **settings: Any,
) -> Prediction:
    """The prediction of the components along some directions."""
    if not open_positions(formula):
        raise ValueError("along= is for formulas with open indices, such as a displacement's; leave it out")
    directions = checked_directions(along, theta)
    if any(map(is_resummed, formula.values)):  # tensors are dense already
        whole = predict(formula, landscape, theta, measurement=measurement, **settings, **sizes)
        return dense_along(whole, directions)
    if measurement is not None:
        raise ValueError("along= measures every pair of directions by itself; leave the measurement out")

    def predicted(one: Formula) -> Prediction:
        return predict(one, landscape, theta, **settings, **sizes)

    return along_all(formula, directions, theta, predicted, settled(formula, sizes))


def _edge(grown: Growth, orders: list[int], tolerance: float, start: float, power: bool) -> float:
    """The largest η in range; NaN if it is not known."""
    if len(orders) < 2:
        return float("nan")
    return largest_rate(grown, largest_growth(tolerance, orders[-1] - orders[0]), start, power)


def _with_errors(
    lowered: Lowered,
    measurement: Measurement,
    found: Float[np.ndarray, " known"],
    weights: Float[np.ndarray, " values"],
) -> tuple[Float[np.ndarray, " orders"], Float[np.ndarray, " orders"]]:
    """The sizes of the parts of all orders at one learning rate, and their standard errors; vectors by their norms."""
    sizes_of_parts = np.zeros(max(lowered.formula.order + 1, len(found)))
    sizes_of_parts[: len(found)] = found
    of_value = dict(zip(lowered.values, weights, strict=True))
    sampled = [measurement.values[i] for i in measurement.sampled]
    errors = np.zeros_like(sizes_of_parts)
    for order in range(len(errors)):
        row = np.array([of_value.get(value, 0.0) if value.order == order else 0.0 for value in sampled])
        if row.any():
            variance = jax.tree.map(lambda leaf, row=row: _propagated(row, leaf), measurement.sampled_covariance)
            errors[order] = np.sqrt(sum(float(np.sum(leaf)) for leaf in jax.tree.leaves(variance)))
    return sizes_of_parts, errors


def settled(formula: Formula, sizes: Mapping[str, Any]) -> Expectations | None:
    """What a formula is of, with numbers for its sizes."""
    if formula.expectations is None:
        return None
    exact = {name: Rational(str(size)) if isinstance(size, float) else size for name, size in sizes.items()}
    return formula.expectations.substitute(formula.solve_sizes(exact))


def _is_fixed(spacetime: Spacetime) -> bool:
    return getattr(spacetime, "data", "fresh") == "fixed"


def _sizes_of_fixed_data(formula: Formula, landscape: Landscape, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes with N, the number of the landscape's points.

    Raises:
        ValueError: if there are other points than the formula or the sizes speak of.
    """
    (spacetime, *_) = filter(_is_fixed, formula.spacetimes)
    if landscape.size is None:
        raise ValueError(
            f"{spacetime!r} has data='fixed', for which the landscape's points are the training set, and {landscape!r} "
            "has none; give a Landscape of N points"
        )
    count = spacetime.sizes["N"]
    given = sizes.get("N", landscape.size) if count.free_symbols else count
    if given != landscape.size:
        raise ValueError(
            f"N={given} training points, and {landscape!r} has {landscape.size}: with data='fixed' they are the same; "
            "leave N out, or give a Landscape of N points"
        )
    return {**sizes, "N": landscape.size} if count.free_symbols else dict(sizes)


def _resummed_prediction(
    formula: Formula,
    lowered: LoweredResummed,
    measurement: Any,
    rates: Float[np.ndarray, "*k"],
    tolerance: float,
    sizes: Mapping[str, Any],
    origin: Origin,
) -> Prediction:
    """The prediction of a resummed formula from exact tensors, or from contractions along eigendirections."""
    if not isinstance(measurement, (DenseMeasurement, SpectralMeasurement)):
        raise TypeError(
            f"measurement={measurement!r} is no DenseMeasurement or SpectralMeasurement; measure() makes one"
        )
    if isinstance(measurement, DenseMeasurement) and not measurement.exact:
        raise NotImplementedError(
            "a resummed formula is not linear in its tensors, and errors of tensors estimated from a sampler are not "
            "propagated through it; give a population of data, or call formula.lower() on what measure() returns"
        )
    parts = wide(lowered.contributions(measurement, rates, **sizes))
    mean = parts.sum(axis=0)
    covariance = np.zeros((*rates.shape, *mean.shape))
    if isinstance(measurement, SpectralMeasurement) and not measurement.exact:
        with warnings.catch_warnings():  # the same was said above
            warnings.simplefilter("ignore", RuntimeWarning)
            groups = np.stack([wide(lowered(tensors, eta=rates, **sizes)) for tensors in _groups_of_draws(measurement)])
        apart = groups - groups.mean(axis=0)
        flat = apart.reshape(len(apart), rates.size, -1)
        products = np.einsum("gi...,gj...->ij...", flat, flat) / (len(flat) * (len(flat) - 1))
        covariance = products.reshape((*rates.shape, *mean.shape))
    known = orders_of(formula)
    steepest = _largest_eigenvalue(measurement, formula.metric is not None)

    def grown(at: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        steady = at * steepest <= 1  # the others are evaluated at 0, so that every call has one shape and one program
        with warnings.catch_warnings():  # the search tries rates that nobody asked for
            warnings.simplefilter("ignore", RuntimeWarning)
            sizes_of_parts = norms(lowered.contributions(measurement, np.where(steady, at, 0.0), **sizes), 2)
        padded = np.zeros((max(formula.order + 1, len(sizes_of_parts)), len(at)))
        padded[: len(sizes_of_parts)] = sizes_of_parts
        return np.where(steady, growth(padded, np.zeros_like(padded), known), np.inf)

    edge = _edge(grown, known, tolerance, float(np.max(np.abs(rates))) or 1.0, False)
    of = settled(formula, sizes)
    return Prediction(
        formula=formula,
        eta=rates,
        mean=mean,
        covariance=covariance,
        contributions=parts,
        tolerance=tolerance,
        measurement=measurement,
        eta_max=edge,
        expectations=of,
        origin=origin,
    )


def _largest_eigenvalue(measurement: DenseMeasurement | SpectralMeasurement, metric: bool) -> float:
    """λ_max of the step, where it was measured; else 0."""
    if isinstance(measurement, SpectralMeasurement):
        values = np.asarray(measurement.pairs.values)
        return float(np.max(np.abs(values) if np.iscomplexobj(values) else values, initial=0.0))
    hessian = measurement.tensors.get(HESSIAN)
    if hessian is not None and not metric:
        if measurement.directed:
            return float(np.abs(np.linalg.eigvals(wide(hessian))).max(initial=0.0))
        return float(np.linalg.eigvalsh(wide(hessian))[-1])
    return 0.0


def _groups_of_draws(measurement: SpectralMeasurement) -> list[Any]:
    """What each group of draws found alone; what is exact is the same in all."""
    tensors = measurement.tensors
    count = max(len(one.numbers) for one in tensors.projections.values())

    def of(group: int) -> Any:
        chosen = jax.tree.map(lambda leaf: leaf[group : group + 1] if len(leaf) > 1 else leaf, tensors.projections)
        return replace(tensors, projections=chosen)

    return [of(group) for group in range(count)]


def _propagated(
    weights: Float[np.ndarray, "*k s"], covariance: Float[np.ndarray, "s s ..."]
) -> Float[np.ndarray, "*k *k ..."]:
    """The covariance w Cov wᵀ, (…, …, *leaf), of linear combinations w (…, s) with Cov (s, s, *leaf)."""
    once = np.tensordot(weights, covariance, axes=(-1, 0))  # (…, s, *leaf)
    return np.tensordot(weights, once, axes=(-1, weights.ndim - 1))
