"""Predictions: a formula's number on a landscape, with error bars and the range in which it holds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float
from sympy import Rational

from taylorsgd.display import html_table, text_table
from taylorsgd.display.numbers import with_error
from taylorsgd.formulas import Formula
from taylorsgd.formulas.expectations import Expectations
from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.landscapes.keys import random_key
from taylorsgd.landscapes.landscape import AnyLandscape, Landscape, as_landscape
from taylorsgd.lowering import Lowered, LoweredResummed
from taylorsgd.lowering.networks import HESSIAN
from taylorsgd.measuring.dense import DenseMeasurement
from taylorsgd.measuring.front import FORMER, measure, refuse_former
from taylorsgd.measuring.matrix_free import MatrixFree
from taylorsgd.measuring.results import Measured, Measurement
from taylorsgd.measuring.spectral_results import SpectralMeasurement
from taylorsgd.measuring.tasks import Method
from taylorsgd.measuring.validity import growth, largest_growth, largest_rate, left_out
from taylorsgd.spacetime import Spacetime

__all__ = ["TWO_SIDED_95", "Prediction", "predict", "yes_or_no"]

Growth = Callable[[Float[np.ndarray, " k"]], Float[np.ndarray, " k"]]

TWO_SIDED_95 = 1.959963984540054
"""A normal variable lies within this many standard deviations with probability 0.95."""


def predict(
    formula: Formula,
    landscape: AnyLandscape,
    theta: Any,
    *,
    eta: Any,
    key: jax.Array | int | None = None,
    samples: int | None = None,
    method: Method[Measured] | None = None,
    measurement: Measured | None = None,
    tolerance: float = 0.02,
    progress: bool | None = None,
    **sizes: Any,
) -> Prediction:
    """Measure what a formula needs and evaluate it at some learning rates, with error bars.

    The prediction is linear in the measured values, so its covariance over learning rates is w Cov wᵀ
    exactly, with w_{ηi} = c_i η^{d_i}: predictions at different learning rates share one measurement. A resummed
    formula is not linear: measured by `TopEigenpairs`, its covariance is that of its values on sixteen groups of draws.

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
            not measured, data are fixed and the landscape has not N points, or `eta` is no scalar or sequence of
            finite numbers.
        NotImplementedError: as in `measure`, and for a resummed formula on a sampler.

    Example:
        >>> import jax, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2).assume("quadratic")
        >>> print(ts.predict(f, coin, 1.0, eta=[0.001, 0.02], N=10))
        Prediction of E[l(θ_10)] through η^2, to be believed up to η = 0.002
        <BLANKLINE>
            η  prediction ± s.e.  order 1  order 2  in range
        ─────  ─────────────────  ───────  ───────  ────────
        0.001             0.4901    -0.01   0.0001  yes
         0.02               0.34     -0.2     0.04  no
    """
    if not isinstance(formula, Formula):
        raise TypeError(f"formula={formula!r} is not a Formula; derive() makes one")
    rates = np.asarray(eta, dtype=float)
    if rates.ndim > 1 or rates.size == 0 or not np.isfinite(rates).all():
        raise ValueError(f"eta={eta!r} must be a finite number or a sequence of them")
    if not 0 < tolerance <= 1:
        raise ValueError(f"tolerance={tolerance!r} must be a fraction above 0 and at most 1")
    refuse_former("predict", {name: sizes[name] for name in FORMER if name in sizes})
    lowered = formula.lower()
    if any(_is_fixed(spacetime) for spacetime in formula.spacetimes):
        sizes = _sizes_of_fixed_data(formula, as_landscape(landscape), sizes)
        if method is None and isinstance(lowered, Lowered):
            method = MatrixFree("exact")
    if isinstance(lowered, Lowered):
        lowered.weights(rates, **sizes)  # complains about sizes before the long measurement
    if measurement is None:
        own = random_key(0 if key is None else key)
        measurement = measure(formula, landscape, theta, method=method, key=own, samples=samples, progress=progress)
    if not isinstance(lowered, Lowered):
        return _resummed_prediction(formula, lowered, measurement, rates, float(tolerance), sizes)
    if not isinstance(measurement, Measurement):
        raise TypeError(f"measurement={measurement!r} is not a Measurement; measure() makes one")
    parts = jax.tree.map(_wide, lowered.contributions(measurement, rates, **sizes))
    mean = jax.tree.map(_wide, lowered(measurement, eta=rates, **sizes))
    positions = [lowered.values.index(v) if v in lowered.values else None for v in measurement.values]
    weights = _wide(lowered.weights(rates, **sizes))
    columns = [
        weights[..., position] if position is not None else np.zeros(rates.shape)
        for position in (positions[i] for i in measurement.sampled)
    ]
    sampled = np.stack(columns, axis=-1) if columns else np.zeros((*rates.shape, 0))
    covariance = jax.tree.map(lambda leaf: _propagated(sampled, leaf), measurement.sampled_covariance)
    start = float(np.max(np.abs(rates))) or 1.0
    known = _orders(formula)
    sizes_of_parts, errors = _parts_at(lowered, measurement, start, sizes)
    return Prediction(
        formula=formula,
        eta=rates,
        mean=mean,
        covariance=covariance,
        contributions=parts,
        tolerance=float(tolerance),
        measurement=measurement,
        eta_max=_edge(lambda _: growth(sizes_of_parts[:, None], errors[:, None], known), known, tolerance, start, True),
        expectations=_settled(formula, sizes),
    )


def _orders(formula: Formula) -> list[int]:
    """The powers of η at which a formula was derived, from the lowest with a term; not the constant."""
    present = sorted({term.order for term in formula.terms if term.order > 0})
    return list(range(present[0], max(formula.order, present[-1]) + 1)) if present else []


def _edge(grown: Growth, orders: list[int], tolerance: float, start: float, power: bool) -> float:
    """The largest η in range; NaN if it is not known."""
    if len(orders) < 2:
        return float("nan")
    return largest_rate(grown, largest_growth(tolerance, orders[-1] - orders[0]), start, power)


def _parts_at(
    lowered: Lowered, measurement: Measurement, rate: float, sizes: Mapping[str, Any]
) -> tuple[Float[np.ndarray, " orders"], Float[np.ndarray, " orders"]]:
    """The size of the part of every order at one learning rate, and its standard error; vectors by their norms."""
    count = lowered.formula.order + 1
    found = _norms(lowered.contributions(measurement, rate, **sizes), 1)
    sizes_of_parts = np.zeros(max(count, len(found)))
    sizes_of_parts[: len(found)] = found
    weights = _wide(lowered.weights(rate, **sizes))
    of_value = dict(zip(lowered.values, weights, strict=True))
    sampled = [measurement.values[i] for i in measurement.sampled]
    errors = np.zeros_like(sizes_of_parts)
    for order in range(len(errors)):
        row = np.array([of_value.get(value, 0.0) if value.order == order else 0.0 for value in sampled])
        if row.any():
            variance = jax.tree.map(lambda leaf, row=row: _propagated(row, leaf), measurement.sampled_covariance)
            errors[order] = np.sqrt(sum(float(np.sum(leaf)) for leaf in jax.tree.leaves(variance)))
    return sizes_of_parts, errors


def _settled(formula: Formula, sizes: Mapping[str, Any]) -> Expectations | None:
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
    parts = _wide(lowered.contributions(measurement, rates, **sizes))
    mean = parts.sum(axis=0)
    covariance = np.zeros((*rates.shape, *mean.shape))
    if isinstance(measurement, SpectralMeasurement) and not measurement.exact:
        with warnings.catch_warnings():  # the same was said above
            warnings.simplefilter("ignore", RuntimeWarning)
            groups = np.stack(
                [_wide(lowered(tensors, eta=rates, **sizes)) for tensors in _groups_of_draws(measurement)]
            )
        apart = groups - groups.mean(axis=0)
        flat = apart.reshape(len(apart), rates.size, -1)
        products = np.einsum("gi...,gj...->ij...", flat, flat) / (len(flat) * (len(flat) - 1))
        covariance = products.reshape(*rates.shape, *mean.shape)
    known = _orders(formula)
    steepest = 0.0 if formula.metric is not None else _largest_eigenvalue(measurement)

    def grown(at: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
        sizes_of_parts = _norms(lowered.contributions(measurement, at, **sizes), 2)
        padded = np.zeros((max(formula.order + 1, len(sizes_of_parts)), len(at)))
        padded[: len(sizes_of_parts)] = sizes_of_parts
        return np.where(at * steepest <= 1, growth(padded, np.zeros_like(padded), known), np.inf)

    edge = _edge(grown, known, tolerance, float(np.max(np.abs(rates))) or 1.0, False)
    of = _settled(formula, sizes)
    return Prediction(formula, rates, mean, covariance, parts, tolerance, measurement, edge, of)


def _largest_eigenvalue(measurement: DenseMeasurement | SpectralMeasurement) -> float:
    """λ_max of the Hessian, where it was measured; else 0."""
    if isinstance(measurement, SpectralMeasurement):
        return float(np.max(np.asarray(measurement.pairs.values), initial=0.0))
    hessian = measurement.tensors.get(HESSIAN)
    if hessian is not None:
        return float(np.linalg.eigvalsh(_wide(hessian))[-1])
    return 0.0


def _groups_of_draws(measurement: SpectralMeasurement) -> list[Any]:
    """What each group of draws found alone; what is exact is the same in all."""
    tensors = measurement.tensors
    count = max(len(one.numbers) for one in tensors.projections.values())

    def of(group: int) -> Any:
        chosen = jax.tree.map(lambda leaf: leaf[group : group + 1] if len(leaf) > 1 else leaf, tensors.projections)
        return replace(tensors, projections=chosen)

    return [of(group) for group in range(count)]


@dataclass(frozen=True)
class Prediction:
    """What a formula predicts at some learning rates.

    With k learning rates (or a scalar one: then drop the k axes), arrays for scalar observables; for a
    displacement every array is a pytree like θ, with its leaf's axes behind those below.

    Attributes:
        formula: the formula.
        eta: the learning rates, (k,).
        mean: the predictions, (k,).
        covariance: of their errors, (k, k); a displacement's entry by entry, (k, k, *leaf).
        contributions: the part of every order 0, …, d, (d + 1, k).
        tolerance: the fraction behind `eta_max`.
        measurement: what was measured.
        eta_max: the largest η up to which the formula is to be believed: with c_k the part of order η^k and m, d the
            lowest and the highest k ≥ 1, every part is at most x^{k−m} |c_m| for an x that grows like η (or does, if
            resummed); terms left out, if they grow likewise, are at most x^{d+1−m}/(1 − x) of |c_m|. In range
            x^{d+1−m} ≤ tolerance^{3/2}. Of a resummed formula also η λ_max ≤ 1. NaN if it is not known, as for a
            formula of one order; inf if all parts but the lowest vanish.
        expectations: what is predicted, with its sizes; None if the formula does not know.
    """

    formula: Formula
    eta: Float[np.ndarray, "*k"]
    mean: Any
    covariance: Any
    contributions: Any
    tolerance: float
    measurement: Measured
    eta_max: float
    expectations: Expectations | None = None

    @property
    def standard_error(self) -> Any:
        """The standard errors of the predictions, (k,): what measuring leaves uncertain."""
        if self.eta.ndim == 0:
            return jax.tree.map(np.sqrt, self.covariance)
        return jax.tree.map(lambda leaf: np.sqrt(np.einsum("ii...->i...", leaf)), self.covariance)

    @property
    def interval(self) -> tuple[Any, Any]:
        """The ends of the 95 % intervals, (k,) each."""
        half = jax.tree.map(lambda error: TWO_SIDED_95 * error, self.standard_error)
        return jax.tree.map(np.subtract, self.mean, half), jax.tree.map(np.add, self.mean, half)

    @property
    def truncation(self) -> Float[np.ndarray, "*k"]:
        """The highest order over the lowest (after the constant), in absolute value or norm, (k,).

        NaN where there is nothing to compare: the formula has one order only, or both vanish.
        """
        orders = _orders(self.formula)
        if len(orders) < 2:
            return np.full(self.eta.shape, np.nan)
        sizes = self._part_sizes
        with np.errstate(divide="ignore", invalid="ignore"):
            return sizes[orders[-1]] / sizes[orders[0]]

    @property
    def remainder(self) -> Float[np.ndarray, "*k"]:
        """The estimated size of all terms that the formula leaves out, in absolute value or norm, (k,).

        |c_m| x^{d+1−m}/(1 − x), see `eta_max`. inf where the orders do not decrease, NaN where nothing is known.
        """
        orders = _orders(self.formula)
        if len(orders) < 2:
            return np.full(self.eta.shape, np.nan)
        sizes = self._part_sizes
        steps = orders[-1] - orders[0]
        if np.isfinite(self.eta_max) and not any(map(is_resummed, self.formula.values)):
            x = np.abs(self.eta) / self.eta_max * largest_growth(self.tolerance, steps)
        else:
            x = growth(sizes, np.zeros_like(sizes), orders)
        return left_out(sizes[orders[0]], x, steps)

    @property
    def range_known(self) -> bool:
        """Whether it is known up to which learning rate the formula holds."""
        return not np.isnan(self.eta_max)

    @property
    def range_ok(self) -> Bool[np.ndarray, "*k"]:
        """Whether the formula is to be believed, |η| ≤ eta_max and a finite prediction, (k,) booleans.

        All False where the range is not known: see `range_known`.
        """
        return (np.abs(self.eta) <= self.eta_max) & np.isfinite(_norms(self.mean, self.eta.ndim))

    @property
    def _part_sizes(self) -> np.ndarray:
        found = _norms(self.contributions, 1 + self.eta.ndim)
        missing = max(self.formula.order + 1 - len(found), 0)
        return np.concatenate([found, np.zeros((missing, *found.shape[1:]))])

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each learning rate; vectors as their norms.

        Behind ± stands one standard error.
        """
        orders = sorted({term.order for term in self.formula.terms if term.order > 0})
        header = ("η", "prediction ± s.e.", *(f"order {d}" for d in orders), "in range")
        means = _sizes(self.mean, self.eta.ndim)
        errors = _norms(self.standard_error, self.eta.ndim)
        parts = _sizes(self.contributions, 1 + self.eta.ndim)
        rows = [
            (
                f"{self.eta[at]:.4g}",
                with_error(means[at], errors[at]),
                *(f"{parts[(d, *at)]:.4g}" for d in orders),
                yes_or_no(self, at),
            )
            for at in np.ndindex(self.eta.shape)
        ]
        return header, rows

    @property
    def heading(self) -> str:
        """What is predicted, and the range, in a line."""
        what = "Prediction" if self.expectations is None else f"Prediction of {self.expectations.heading}"
        if not self.range_known:
            edge = "its range is unknown: that takes two orders"
        elif np.isinf(self.eta_max):
            edge = "no higher orders are in sight"
        else:
            edge = f"to be believed up to η = {self.eta_max:.3g}"
        return f"{what} through η^{self.formula.order}, {edge}"

    def __str__(self) -> str:
        """The table in plain text, under a line that says what it is."""
        return f"{self.heading}\n\n{text_table(*self.table())}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self.heading}</p>\n{html_table(*self.table())}"


def yes_or_no(prediction: Prediction, at: tuple[int, ...]) -> str:
    """Whether a learning rate is in a prediction's range, for its table."""
    return "unknown" if not prediction.range_known else "yes" if prediction.range_ok[at] else "no"


def _wide(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, dtype=np.float64)


def _propagated(
    weights: Float[np.ndarray, "*k s"], covariance: Float[np.ndarray, "s s ..."]
) -> Float[np.ndarray, "*k *k ..."]:
    """The covariance w Cov wᵀ, (…, …, *leaf), of linear combinations w (…, s) with Cov (s, s, *leaf)."""
    once = np.tensordot(weights, covariance, axes=(-1, 0))  # (…, s, *leaf)
    return np.tensordot(weights, once, axes=(-1, weights.ndim - 1))


def _norms(tree: Any, axes: int) -> np.ndarray:
    """Absolute values of numbers; for vectors the norm over what follows the first axes."""
    return np.abs(_sizes(tree, axes))


def _sizes(tree: Any, axes: int) -> np.ndarray:
    """Numbers as they are; for vectors the norm over what follows the first axes."""
    leaves = [_wide(leaf) for leaf in jax.tree.leaves(tree)]
    if len(leaves) == 1 and leaves[0].ndim == axes:
        return leaves[0]
    flat = np.concatenate([leaf.reshape(*leaf.shape[:axes], -1) for leaf in leaves], axis=-1)
    return np.linalg.norm(flat, axis=-1)
