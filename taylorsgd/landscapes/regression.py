"""Linear regression on normal features: a toy landscape whose first two moments SGD moves by an exact recursion."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from sympy import Add, Expr, Integer, Symbol, symbols

from taylorsgd.arguments import listed
from taylorsgd.landscapes.exact import exact_expression
from taylorsgd.landscapes.normal import normal_sampler, refuse_parameters, same_type
from taylorsgd.landscapes.second_moments import MomentRecursion, RegressionMoments
from taylorsgd.landscapes.toys import ToyLandscape

if TYPE_CHECKING:
    from jax import Array

    from taylorsgd.landscapes.landscape import Landscape
    from taylorsgd.landscapes.moment_curves import MomentCurve

__all__ = ["LinearRegression", "linear_regression"]

MOST_FEATURES = 10_000
"""The most features, each of which is a symbol."""


@frozen(init=False, repr=False)
class LinearRegression(ToyLandscape):
    """Linear regression on d independent normal features, in the eigenbasis of their covariance.

        l_x(θ) = (θ·x − y)² / 2,    x_i ~ N(0, λ_i),    y ~ N(0, σ²),        l(θ) = Σ_i λ_i θ_i² / 2 + σ² / 2

    θ is the distance from the weights that made the labels, y the labels' noise. `linear_regression` makes one.

    Args:
        spectrum: λ_1, …, λ_d, the eigenvalues of H, the features' covariance and the loss's Hessian: positive.
        noise: σ², the variance of the labels' noise, at least 0.
        start: θ_0, d numbers or expressions; None for 1 along every direction.

    Attributes:
        spectrum: tuple of d expressions.
        label_noise: σ², an expression.
        variables: θ_1, …, θ_d.
        noise: the symbols of the data, (x_1, …, x_d, y).
        start: tuple of d expressions.
        recursion: the `MomentRecursion` of its first two moments.

    Raises:
        TypeError: a number is none.
        ValueError: the spectrum is empty, too long or not positive, the noise is negative, they hold the landscape's
            own symbols, or `start` has another length.

    Example:
        >>> LinearRegression([2, 1], 1)
        <LinearRegression of 2 features, noise 1>
    """

    spectrum: tuple[Expr, ...] = field()
    label_noise: Expr = field()

    def __init__(self, spectrum: Any, noise: Any, start: Any = None) -> None:
        """Check the numbers; build the loss as an expression, without multiplying it out."""
        eigenvalues = listed(spectrum, "spectrum", "[2, 1]")
        if len(eigenvalues) > MOST_FEATURES:
            raise ValueError(f"spectrum has {len(eigenvalues)} entries; it must have at most {MOST_FEATURES}")
        variables = symbols(f"theta_1:{len(eigenvalues) + 1}")
        features = symbols(f"x_1:{len(eigenvalues) + 1}")
        label = Symbol("y")
        taken = {*variables, *features, label}
        checked = tuple(_constant(entry, f"spectrum[{i}]", taken) for i, entry in enumerate(eigenvalues))
        for i, eigenvalue in enumerate(checked):
            if eigenvalue.is_extended_positive is False:
                raise ValueError(
                    f"spectrum[{i}]={eigenvalue} must be positive; leave out a direction in which there are no data"
                )
        variance = _constant(noise, "noise", taken)
        if variance.is_extended_nonnegative is False:
            raise ValueError(f"noise={variance} must be at least 0: it is the variance of the labels' noise")
        residual = Add(*(theta * x for theta, x in zip(variables, features, strict=True)), -label)
        self.__attrs_init__(  # type: ignore[attr-defined]
            residual**2 / 2,
            variables,
            (*features, label),
            "LINEAR REGRESSION",
            [Integer(1)] * len(checked) if start is None else start,
            checked,
            variance,
            variances=(*checked, variance),
        )

    def __attrs_post_init__(self) -> None:
        """Multiply nothing out: the loss is polynomial, and thousands of features have millions of terms."""

    def __repr__(self) -> str:
        """How many features there are, and the labels' noise."""
        return f"<LinearRegression of {self.dimension} features, noise {self.label_noise}>"

    @property
    def loss(self) -> Expr:
        """The test loss Σ_i λ_i θ_i² / 2 + σ² / 2."""
        squares = (rate * theta**2 / 2 for rate, theta in zip(self.spectrum, self.variables, strict=True))
        return Add(*squares, self.label_noise / 2)

    @property
    def recursion(self) -> MomentRecursion:
        """The exact recursion of the first two moments from `start`."""
        return MomentRecursion(self.spectrum, self.start, self.label_noise, (Integer(1),) * self.dimension)

    def moments(self, eta: Any, T: Any, B: Any = 1, update: Any = None, full: Any = False) -> RegressionMoments:
        """The first two moments of θ_T and the test loss, exactly, from `start`: `MomentRecursion.moments`.

        Every update sees a fresh batch of B points: SGD in one epoch, with N = BT.

        Example:
            Diagrams sum to the same, order by order:

            >>> import taylorsgd as ts
            >>> toy = ts.landscapes.linear_regression([2, 1], noise=1)
            >>> toy.moments(ts.symbols.eta, T=2, B=1).test_loss.coeff(ts.symbols.eta, 2)
            56
            >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
            >>> f.evaluate(toy, at=toy.start, N=2)
            56*eta**2 - 10*eta + 2
        """
        return self.recursion.moments(eta, T, B, update, full)

    def stationary(self, eta: Any, B: Any = 1, update: Any = None, full: Any = False) -> RegressionMoments:
        """The moments for T → ∞, exactly: `MomentRecursion.stationary`, which has the formula and the condition.

        Example:
            >>> import taylorsgd as ts
            >>> linear = linear_regression([1], noise=1)
            >>> linear.stationary(ts.symbols.eta, B=1).excess
            -eta/(6*eta - 4)
            >>> linear.stationary(0.1, update=ts.HeavyBall(0.5)).excess
            3/46
        """
        return self.recursion.stationary(eta, B, update, full)

    def curve(self, eta: Any, times: Any, B: Any = 1, update: Any = None) -> MomentCurve:
        """The moments at many times, in JAX: `MomentRecursion.curve`.

        Example:
            >>> toy = linear_regression([2, 1], noise=1)
            >>> print(toy.curve(0.1, [0, 10, 1000], B=4).test_loss)
            [2.         0.6066... 0.521...]
        """
        return self.recursion.curve(eta, times, B, update)

    def in_many_dimensions(self, weights: Any = None) -> MomentRecursion:
        """The limit of many dimensions: each direction stands for k of them, or w_i k, and k → ∞.

        They have its eigenvalue and share its start (Σ θ_0² over them is θ_0i²); a batch has kB points, so that the
        ratio of dimension and batch size stays. What is lost against `moments` is the η²λ_i²/B that a direction's own
        error adds to its noise. `second_moments` has the equation.

        Args:
            weights: w_i > 0, a sequence of d numbers: the spectral measure is Σ w_i δ(λ − λ_i)/Σ w_i. None for 1 each.

        Returns:
            A `MomentRecursion` with `moments`, `stationary` and `curve`, whose B counts points per direction.

        Raises:
            TypeError: a weight is no number.
            ValueError: there are not as many weights as directions, or one is not positive.

        Example:
            >>> toy = linear_regression([1], noise=1)
            >>> toy.in_many_dimensions().stationary(0.5, B=1).excess, toy.stationary(0.5, B=1).excess
            (1/4, 1/2)
        """
        entries = [1] * self.dimension if weights is None else listed(weights, "weights", "[1, 2]")
        if len(entries) != self.dimension:
            raise ValueError(f"weights={weights!r} has {len(entries)} entries; give {self.dimension}, one a direction")
        checked = tuple(exact_expression(entry, f"weights[{i}]") for i, entry in enumerate(entries))
        for i, weight in enumerate(checked):
            if weight.is_extended_positive is False:
                raise ValueError(f"weights[{i}]={weight} must be positive")
        return MomentRecursion(self.spectrum, self.start, self.label_noise, checked, wide=True)

    # -- the numerical twin, without the SymPy expression ------------------------------------------------

    def jax(self) -> Landscape:
        """The same landscape for JAX: l_x(θ) = (θ·x − y)²/2 of an array x of shape (d + 1,), and a sampler of it.

        Raises:
            ValueError: the spectrum or the noise has symbols, which are named.
        """
        return _twin(self)

    def population_loss(self, theta: Any) -> Array:
        """The test loss at an array θ of shape (d,), without sampling, for JAX to transform.

        Raises:
            ValueError: the spectrum or the noise has symbols, or θ has another shape.
        """
        import jax.numpy as jnp

        refuse_parameters(self)
        theta, _ = same_type(self, theta, self._origin())
        spectrum = jnp.array([float(eigenvalue) for eigenvalue in self.spectrum], theta.dtype)
        return (spectrum @ theta**2 + float(self.label_noise)) / 2


def linear_regression(spectrum: Any, noise: Any, start: Any = None) -> LinearRegression:
    """LINEAR REGRESSION on normal features, where the first two moments are exact at every learning rate.

        l_x(θ) = (θ·x − y)² / 2,    x ~ N(0, H),  H = diag(λ_1, …, λ_d),    y ~ N(0, σ²)

    G = Hθ, the Hessian is H, and with the prediction error's variance s = θᵀHθ + σ² the covariance of the gradients is
    C = sH + Hθθᵀ H; cumulants of any number of nodes are there, of degrees up to 2. Features that are correlated are
    this in the eigenbasis of their covariance.

    Args:
        spectrum: λ_1, …, λ_d, positive numbers or expressions, in the units of x².
        noise: σ², the variance of the labels' noise: a number or expression of at least 0, in the units of y².
        start: θ_0 − θ*, the distance from the minimum where descent starts, d numbers or expressions; None for 1 along
            every direction.

    Returns:
        A landscape with the variables theta_1, …, theta_d, its minimum at 0, and `moments`, `stationary`, `curve` and
        `in_many_dimensions`. With symbols it is exact only: the JAX side needs numbers.

    Raises:
        TypeError: a number is none.
        ValueError: the spectrum is empty, has more than 10,000 entries or one that is not positive; the noise is
            negative; `start` has another length.

    Source: Bordelon and Pehlevan, *Learning Curves for SGD on Structured Features* (2021).

    Example:
        >>> import taylorsgd as ts
        >>> toy = ts.landscapes.linear_regression([2, 1], noise=1)
        >>> toy.cumulant((1, 1), at=[1, 0])
        array([[Fraction(10, 1), Fraction(0, 1)],
               [Fraction(0, 1), Fraction(3, 1)]], dtype=object)
        >>> toy.moments(eta=0.1, T=2, B=1).test_loss
        14539/10000
    """
    return LinearRegression(spectrum, noise, start)


def _constant(value: Any, name: str, taken: set[Symbol]) -> Expr:
    exact = exact_expression(value, name)
    if exact.free_symbols & taken:
        raise ValueError(f"{name}={value} must depend on neither the variables theta_i nor the data x_i and y")
    return exact


@lru_cache(maxsize=64)
def _twin(toy: LinearRegression) -> Landscape:
    from taylorsgd.landscapes.landscape import Landscape

    return Landscape(_squared_error(toy), normal_sampler(toy), toy.population_loss)


def _squared_error(toy: LinearRegression) -> Callable[[Any, Any], Any]:
    refuse_parameters(toy)

    def sample_loss(theta: Any, x: Any) -> Any:
        theta, x = same_type(toy, theta, x)
        return (theta @ x[:-1] - x[-1]) ** 2 / 2

    return sample_loss
