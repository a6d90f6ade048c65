"""What an expansion of descent gave: Taylor coefficients in η with their errors, and what they predict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from attrs import evolve
from jaxtyping import Float
from sympy import Integer

from taylorsgd.arguments import as_whole, finite_number
from taylorsgd.descent.runs import TrainingSets
from taylorsgd.display import html_table, text_table
from taylorsgd.display.numbers import with_error
from taylorsgd.formulas.expectations import Expectations, Run
from taylorsgd.landscapes.fingerprints import Origin, refuse_other_origins
from taylorsgd.landscapes.landscape import learning_rates
from taylorsgd.measuring.predictions import Predicted, norms, signed_sizes
from taylorsgd.measuring.validity import growth, largest_growth
from taylorsgd.spacetime import Spacetime

__all__ = ["Expanded", "Expansion", "over_series", "run_of"]


@dataclass(frozen=True, repr=False)
class Expansion:
    """The Taylor coefficients in η of an expectation at the end of descent, E s(θ_T) = Σ_k c_k η^k + O(η^(d+1)).

    They are means over trials. For a displacement every array is a pytree like θ, with its leaf's axes behind those
    below, and covariances are taken entry by entry.

    Attributes:
        coefficients: c_0, …, c_d, (d + 1,).
        covariance: of their errors, (d + 1, d + 1): all come from the same trials.
        count: the number of trials.
        spacetime: where was descended.
        optimizer: the function of η that made the optimizer; or an update rule.
        expectations: what is expanded.
        training_sets: which training sets the trials had.
        origin: the landscape and θ_0.
        trials: the coefficients of every trial, (trials, d + 1); None for a displacement.

    Example:
        >>> import jax, optax, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
        >>> found = ts.expand(optax.sgd, coin, 1.0, ts.GD(N=2, T=2), order=2, trials=4000)
        >>> print(found)
        E[l(θ_2)] = Σ_k c_k η^k + O(η^3)
        <BLANKLINE>
        k  c_k ± s.e.
        ─  ──────────────
        0  0.5
        1  -1.998 ± 0.022
        2   3.988 ± 0.058
    """

    coefficients: Any
    covariance: Any
    count: int
    spacetime: Spacetime
    optimizer: Any
    expectations: Expectations
    training_sets: TrainingSets
    origin: Origin = field(repr=False)
    trials: Float[np.ndarray, "trials orders"] | None = field(default=None, repr=False)

    @property
    def order(self) -> int:
        """The highest power of η."""
        return len(jax.tree.leaves(self.coefficients)[0]) - 1

    @property
    def is_vector(self) -> bool:
        """Whether a displacement is expanded."""
        return self.trials is None

    @property
    def standard_errors(self) -> Any:
        """The standard errors of the coefficients, (d + 1,)."""
        return jax.tree.map(lambda leaf: np.sqrt(np.einsum("ii...->i...", leaf)), self.covariance)

    def __getitem__(self, power: int) -> Any:
        """The coefficient of a power of η: a float, or a pytree for a displacement.

        Raises:
            KeyError: if it was not computed.
        """
        known = as_whole(power)
        if known is None or not 0 <= known <= self.order:
            raise KeyError(f"the coefficient of η^{power} was not computed; there are those of η^0 to η^{self.order}")
        found = jax.tree.map(lambda leaf: leaf[known], self.coefficients)
        return found if self.is_vector else float(found)

    def predict(self, eta: Any, *, tolerance: float = 0.02) -> Expanded:
        """Evaluate the truncated series at some learning rates, with errors.

            mean = Σ_k c_k η^k,        covariance = w Cov wᵀ,        w_{ηk} = η^k

        Args:
            eta: a learning rate, or a sequence of k of them.
            tolerance: as in `taylorsgd.predict`, which the range is estimated by.

        Returns:
            A prediction to look at, to plot, and to hand to `taylorsgd.compare`.

        Raises:
            TypeError: if arguments are no numbers.
            ValueError: if a learning rate is not finite, or the tolerance is no fraction.

        Example:
            >>> import jax, optax, taylorsgd as ts
            >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
            >>> found = ts.expand(optax.sgd, coin, 1.0, ts.SGD(N=4, B=1, E=1), order=2)
            >>> prediction, run = found.predict([0.001, 0.002]), ts.simulate(
            ...     coin, 1.0, ts.SGD(N=4, B=1, E=1), [0.001, 0.002], trials=1000, key=1, update=optax.sgd)
            >>> ts.compare(prediction, run).agrees
            True
        """
        rates = learning_rates(eta)
        tolerance = finite_number(tolerance, "tolerance")
        if not 0 < tolerance <= 1:
            raise ValueError(f"tolerance={tolerance!r} must be a fraction above 0 and at most 1")
        powers = rates[..., None] ** np.arange(self.order + 1)

        def spread(leaf: Any) -> Any:
            return np.tensordot(powers, np.tensordot(powers, leaf, axes=(-1, 1)), axes=(-1, rates.ndim))

        def parts(leaf: Any) -> Any:
            weights = np.moveaxis(powers, -1, 0)
            return weights.reshape(*weights.shape, *[1] * (leaf.ndim - 1)) * leaf.reshape(
                len(leaf), *[1] * rates.ndim, *leaf.shape[1:]
            )

        return Expanded(
            eta=rates,
            mean=jax.tree.map(lambda leaf: np.tensordot(powers, leaf, axes=1), self.coefficients),
            covariance=jax.tree.map(spread, self.covariance),
            contributions=jax.tree.map(parts, self.coefficients),
            tolerance=tolerance,
            eta_max=self._edge(tolerance),
            expectations=self.expectations,
            origin=self.origin,
            expansion=self,
        )

    @property
    def orders(self) -> list[int]:
        """The powers of η from the lowest, after the constant, whose coefficient does not vanish within its error."""
        sizes, errors = self._sizes
        known = [k for k in range(1, self.order + 1) if sizes[k] > 2 * errors[k]]
        return list(range(known[0], self.order + 1)) if known else []

    def _edge(self, tolerance: float) -> float:
        """The largest η in range, as `Predicted` says; NaN if it is not known."""
        orders = self.orders
        if len(orders) < 2:
            return float("nan")
        sizes, errors = self._sizes
        x = float(growth(sizes[:, None], errors[:, None], orders)[0])
        return np.inf if x == 0 else largest_growth(tolerance, orders[-1] - orders[0]) / x

    @property
    def _sizes(self) -> tuple[np.ndarray, np.ndarray]:
        """The absolute values, or norms, of the coefficients and of their errors."""
        return norms(self.coefficients, 1), norms(self.standard_errors, 1)

    def __sub__(self, other: Expansion) -> Expansion:
        """The coefficients of one optimizer minus those of another, trial by trial on the same draws.

        Raises:
            TypeError: if they are of displacements, whose trials are not kept.
            ValueError: if the training sets, the orders, the landscapes or θ_0 are not the same.
        """
        if not isinstance(other, Expansion):
            return NotImplemented
        if self.trials is None or other.trials is None:
            raise TypeError("expansions of a displacement are kept without their trials; expand an Observable(s) of it")
        if self.training_sets != other.training_sets or self.order != other.order:
            raise ValueError(
                "the expansions had different training sets or orders; give both the same key, trials, order and N (of "
                "a sampler the same chunk too)"
            )
        refuse_other_origins(self.origin, other.origin, "the expansions are")
        expectations = self.expectations + (other.expectations * Integer(-1))  # type: ignore[operator]
        if expectations is None:
            raise ValueError("an expansion minus itself is nothing")
        return over_series(
            self.trials - other.trials,
            spacetime=self.spacetime,
            optimizer=(self.optimizer, other.optimizer),
            expectations=expectations,
            training_sets=self.training_sets,
            origin=self.origin,
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table, one row for each power of η; vectors as their norms."""
        found, errors = signed_sizes(self.coefficients, 1), norms(self.standard_errors, 1)
        rows = [(str(k), with_error(float(c), float(e))) for k, (c, e) in enumerate(zip(found, errors, strict=True))]
        return ("k", "|c_k| ± s.e." if self.is_vector else "c_k ± s.e."), rows

    @property
    def heading(self) -> str:
        """What is expanded, in a line."""
        return f"{self.expectations.heading} = Σ_k c_k η^k + O(η^{self.order + 1})"

    def __str__(self) -> str:
        """The table in plain text, under a line that says what it is."""
        return f"{self.heading}\n\n{text_table(*self.table())}"

    def __repr__(self) -> str:
        """The table under the heading and what was run."""
        runs = " minus ".join(dict.fromkeys(str(part.run) for part, _ in self.expectations.parts))
        return f"<Expansion from {self.count} trials of {runs}>\n{self}"

    def _repr_html_(self) -> str:
        return f"<p>{self.heading}</p>\n{html_table(*self.table())}"


def over_series(trials: Float[np.ndarray, "trials orders"], **about: Any) -> Expansion:
    """The expansion with the given coefficients in every trial.

    Args:
        trials: (trials, d + 1).
        **about: the other attributes of an `Expansion`.
    """
    count = len(trials)
    mean = trials.mean(axis=0)
    apart = trials - mean
    return Expansion(
        coefficients=mean, covariance=apart.T @ apart / (count * (count - 1)), count=count, trials=trials, **about
    )


@dataclass(frozen=True, kw_only=True, repr=False)
class Expanded(Predicted):
    """What an expansion predicts at some learning rates.

    Attributes:
        expansion: the coefficients.
    """

    expansion: Expansion

    @property
    def order(self) -> int:
        """The expansion's order."""
        return self.expansion.order

    @property
    def orders(self) -> list[int]:
        """From the lowest that does not vanish."""
        return self.expansion.orders

    @property
    def shown_orders(self) -> list[int]:
        """All of them."""
        return list(range(1, self.order + 1))

    @property
    def in_powers(self) -> bool:
        """Every part is a power of η."""
        return True

    @property
    def is_vector(self) -> bool:
        """Whether a displacement is expanded."""
        return self.expansion.is_vector

    @property
    def metric(self) -> Any:
        """That of the update rule, if it was one."""
        return getattr(self.expansion.optimizer, "metric", None)


def run_of(spacetime: Spacetime, optimizer: Any) -> Run:
    """Which descent an optimizer makes; without a metric, which is kept apart."""
    plain = evolve(optimizer, metric=None) if getattr(optimizer, "metric", None) is not None else optimizer
    return Run(spacetime, plain)
