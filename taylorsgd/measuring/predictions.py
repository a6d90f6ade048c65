"""What a formula predicts at some learning rates, with error bars and the range in which it is to be believed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from taylorsgd.display import html_table, text_table
from taylorsgd.display.figures import draw_orders, given_or_new, house_style, shade_beyond
from taylorsgd.display.numbers import with_error
from taylorsgd.formulas import Formula
from taylorsgd.formulas.expectations import Expectations
from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.landscapes.fingerprints import Origin
from taylorsgd.measuring.results import Measured
from taylorsgd.measuring.validity import growth, largest_growth, left_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TWO_SIDED_95", "Predicted", "Prediction", "norms", "orders_of", "wide", "yes_or_no"]

TWO_SIDED_95 = 1.959963984540054
"""A normal variable lies within this many standard deviations with probability 0.95."""
POINTS = 200
"""At how many learning rates a curve is drawn."""
ROUNDING = 1e-6
"""By what fraction a learning rate at the edge may be beyond it, having been in float32."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Predicted(ABC):
    """What is predicted at some learning rates, order by order, with error bars: by a formula, or by an expansion.

    With k learning rates (or a scalar one: then drop the k axes), arrays for scalar observables; for a
    displacement every array is a pytree like θ, with its leaf's axes behind those below.

    Attributes:
        eta: the learning rates, (k,).
        mean: the predictions, (k,).
        covariance: of their errors, (k, k); a displacement's entry by entry, (k, k, *leaf).
        contributions: the part of every order 0, …, d, (d + 1, k).
        tolerance: the fraction behind `eta_max`.
        eta_max: the largest η up to which the prediction is to be believed: with c_k the part of order η^k and m, d
            the lowest and the highest k ≥ 1, every part is at most x^{k−m} |c_m| for an x that grows like η (or does,
            if resummed); terms left out, if they grow likewise, are at most x^{d+1−m}/(1 − x) of |c_m|. In range
            x^{d+1−m} ≤ tolerance^{3/2}. Of a resummed formula also η λ_max ≤ 1. NaN if it is not known, as for a
            formula of one order; inf if all parts but the lowest vanish.
        expectations: what is predicted, with its sizes; None if that is not known.
        origin: the landscape and the parameters.
    """

    eta: Float[np.ndarray, "*k"]
    mean: Any
    covariance: Any
    contributions: Any
    tolerance: float
    eta_max: float
    expectations: Expectations | None = None
    origin: Origin | None = field(default=None, repr=False)

    @property
    @abstractmethod
    def order(self) -> int:
        """The highest power of η."""

    @property
    @abstractmethod
    def orders(self) -> list[int]:
        """The powers of η that were gone through, from the lowest with a part; not the constant."""

    @property
    @abstractmethod
    def shown_orders(self) -> list[int]:
        """The powers of η with a part to be shown."""

    @property
    @abstractmethod
    def in_powers(self) -> bool:
        """Whether every part is a power of η; parts of resummed formulas are not."""

    @property
    @abstractmethod
    def is_vector(self) -> bool:
        """Whether a vector is predicted."""

    @property
    @abstractmethod
    def metric(self) -> Any:
        """Λ of a learning rate ηΛ; None for the identity."""

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
        orders = self.orders
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
        orders = self.orders
        if len(orders) < 2:
            return np.full(self.eta.shape, np.nan)
        sizes = self._part_sizes
        steps = orders[-1] - orders[0]
        if np.isfinite(self.eta_max) and self.in_powers:
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
        return (np.abs(self.eta) <= self.eta_max * (1 + ROUNDING)) & np.isfinite(norms(self.mean, self.eta.ndim))

    @property
    def _part_sizes(self) -> Float[np.ndarray, "orders ..."]:
        found = norms(self.contributions, 1 + self.eta.ndim)
        missing = max(self.order + 1 - len(found), 0)
        return np.concatenate([found, np.zeros((missing, *found.shape[1:]))])

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each learning rate; vectors as their norms.

        Behind ± stands one standard error.
        """
        orders = self.shown_orders
        header = ("η", "prediction ± s.e.", *(f"order {d}" for d in orders), "in range")
        means = signed_sizes(self.mean, self.eta.ndim)
        errors = norms(self.standard_error, self.eta.ndim)
        parts = signed_sizes(self.contributions, 1 + self.eta.ndim)
        rows = [
            (
                f"{self.eta[at]:.4g}",
                with_error(float(means[at]), float(errors[at])),
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
        return f"{what} through η^{self.order}, {edge}"

    def plot(self, axes: Axes | None = None, *, orders: bool = True) -> Axes:
        """Draw the prediction over η, with a band of one standard error, and what is beyond its range shaded.

        Where each part is a power of η, as in a plain formula, it is a smooth curve from 0 to the largest learning
        rate; of a resummed formula it goes through the learning rates that it was predicted at.

        Args:
            axes: where; by default in a new figure.
            orders: whether to draw the lower orders as well.

        Returns:
            The axes.

        Raises:
            TypeError: if the prediction is a vector, or `axes` are none.
        """
        if self.is_vector:
            raise TypeError("plot() draws scalars, and this prediction is a vector; predict an Observable(s) of it")
        known = self.shown_orders
        with house_style():
            axes = given_or_new(axes)
            eta, parts, error = self._curve()
            draw_orders(axes, eta, parts, error, known if orders else known[-1:])
            end = float(eta[-1] + (eta[-1] - eta[0]) / 50)  # so that a bar at the last rate is whole
            shade_beyond(axes, self.eta_max, end)
            axes.set(xlabel="learning rate $η$", ylabel=self.label, xlim=(eta[0], end))
            axes.legend()
        return axes

    @property
    def label(self) -> str:
        """What is predicted, for an axis: LaTeX between dollars, as Matplotlib sets it."""
        return "prediction" if self.expectations is None else f"${self.expectations.written()[0]}$"

    def _curve(self) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "orders k"], Float[np.ndarray, " k"]]:
        """Learning rates, the parts of every order there, and the standard errors, for a curve."""
        eta, parts = np.atleast_1d(self.eta), np.asarray(self.contributions).reshape(len(self.contributions), -1)
        error = np.atleast_1d(np.asarray(self.standard_error))
        ascending = np.argsort(eta)
        eta, parts, error = eta[ascending], parts[:, ascending], error[ascending]
        if not self.in_powers or eta[-1] <= 0:
            return eta, parts, error
        fine = np.linspace(0.0, eta[-1], POINTS)
        powers = (fine / eta[-1]) ** np.arange(len(parts))[:, None]
        return fine, parts[:, -1:] * powers, np.interp(fine, [0.0, *eta[eta > 0]], [0.0, *error[eta > 0]])

    def __str__(self) -> str:
        """The table in plain text, under a line that says what it is."""
        return f"{self.heading}\n\n{text_table(*self.table())}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self.heading}</p>\n{html_table(*self.table())}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Prediction(Predicted):
    """What a formula predicts at some learning rates.

    Attributes:
        formula: the formula.
        measurement: what was measured.
    """

    formula: Formula
    measurement: Measured

    @property
    def order(self) -> int:
        """The formula's order."""
        return self.formula.order

    @property
    def orders(self) -> list[int]:
        """The orders that the formula was derived at."""
        return orders_of(self.formula)

    @property
    def shown_orders(self) -> list[int]:
        """The orders at which the formula has terms."""
        return sorted({term.order for term in self.formula.terms if term.order > 0})

    @property
    def in_powers(self) -> bool:
        """Whether the formula is plain."""
        return not any(map(is_resummed, self.formula.values))

    @property
    def is_vector(self) -> bool:
        """Whether the formula's values have open indices."""
        return any(value.open_indices for value in self.formula.values)

    @property
    def metric(self) -> Any:
        """The formula's."""
        return self.formula.metric


def yes_or_no(prediction: Predicted, at: tuple[int, ...]) -> str:
    """Whether a learning rate is in a prediction's range, for its table."""
    return "unknown" if not prediction.range_known else "yes" if prediction.range_ok[at] else "no"


def orders_of(formula: Formula) -> list[int]:
    """The powers of η at which a formula was derived, from the lowest with a term; not the constant."""
    present = sorted({term.order for term in formula.terms if term.order > 0})
    return list(range(present[0], max(formula.order, present[-1]) + 1)) if present else []


def wide(leaf: Any) -> Float[np.ndarray, "*shape"]:
    """An array in float64."""
    return np.asarray(leaf, dtype=np.float64)


def norms(tree: Any, axes: int) -> Float[np.ndarray, "*axes"]:
    """Absolute values of numbers; for vectors the norm over what follows the first axes."""
    return np.abs(signed_sizes(tree, axes))


def signed_sizes(tree: Any, axes: int) -> Float[np.ndarray, "*axes"]:
    """Numbers as they are; for vectors the norm over what follows the first axes."""
    leaves = [wide(leaf) for leaf in jax.tree.leaves(tree)]
    if len(leaves) == 1 and leaves[0].ndim == axes:
        return leaves[0]
    flat = np.concatenate([leaf.reshape(*leaf.shape[:axes], -1) for leaf in leaves], axis=-1)
    return np.linalg.norm(flat, axis=-1)
