"""A SymPy loss that is polynomial in independent normal numbers: every moment and cumulant is exact.

With x_i ~ N(0, v_i) independent and l_x(θ) = Σ_k x^k c_k(θ), k a number, or for several x_i a tuple of exponents with
x^k = Π_i x_i^{k_i}, moments of the derivatives follow from those of the x_i (Isserlis 1918),

    E[x_i^{2k}] = (2k − 1)!! v_i^k = 1·3·5 ⋯ (2k − 1) v_i^k,        E[x_i^{2k+1}] = 0,

whatever smooth functions of θ the c_k are. Correlated normal data are linear functions of such x, in the loss. The
same expression, compiled for JAX and with x drawn from a pseudorandom generator, is the landscape's numerical twin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import prod
from operator import add
from typing import TYPE_CHECKING, Any

from attrs import Converter, field, frozen
from sympy import Expr, Integer, Poly, PolynomialError, Symbol, factorial, factorial2, lambdify

from taylorsgd.arguments import listed
from taylorsgd.exact_numbers import distinct_symbols
from taylorsgd.landscapes.exact import ExactPopulation, Point, exact_expression

if TYPE_CHECKING:
    from jax import Array

    from taylorsgd.landscapes.landscape import Landscape

__all__ = ["NormalLandscape", "normal_sampler", "refuse_parameters", "same_type"]


Noise = Symbol | tuple[Symbol, ...]
Exponents = tuple[int, ...]
"""The exponents of a monomial in the normal numbers."""


def _checked_noise(noise: Any, landscape: NormalLandscape) -> Noise:
    if isinstance(noise, Symbol):
        symbols = (noise,)
    elif isinstance(noise, (str, bytes)) or not (hasattr(noise, "__iter__") or hasattr(noise, "__len__")):
        raise TypeError(f"noise={noise!r} must be a SymPy symbol, such as Symbol('x'), or a sequence of them")
    else:
        symbols = distinct_symbols(noise, "noise")
    for symbol in symbols:
        if any(symbol.assumptions0.get(sign) for sign in ("nonnegative", "nonpositive", "rational", "imaginary")):
            raise ValueError(
                f"noise={noise} is declared to be what no normal number is; leave the assumptions of {symbol} out"
            )
        if symbol in landscape.variables:
            raise ValueError(
                f"noise={noise} must be none of the variables {landscape.variables}: descent does not move it"
            )
    return noise if isinstance(noise, Symbol) else symbols


def _checked_variances(variances: Any, landscape: NormalLandscape) -> tuple[Expr, ...]:
    if variances is None:
        return (Integer(1),) * len(landscape.noises)
    entries = listed(variances, "variances", "[1, 2]")
    if len(entries) != len(landscape.noises):
        raise ValueError(
            f"variances={variances!r} has {len(entries)} entries; give {len(landscape.noises)}, one for each of "
            f"{landscape.noises}"
        )
    checked = tuple(exact_expression(entry, f"variances[{i}]") for i, entry in enumerate(entries))
    for i, variance in enumerate(checked):
        if variance.is_extended_nonnegative is False:
            raise ValueError(f"variances[{i}]={variance} must be a number or expression of at least 0")
        if variance.has(*landscape.variables, *landscape.noises):
            raise ValueError(f"variances[{i}]={variance} must depend on neither the variables nor the noise")
    return checked


@frozen
class NormalLandscape(ExactPopulation):
    """A random loss l_x(θ) that is a polynomial in independent normal numbers x; the test loss is l = E[l_x].

    A float inside the loss, or in a point, means the binary fraction that it is: 0.5 is 1/2, and 0.1 is
    3602879701896397/36028797018963968. Write `sympy.Rational(1, 10)` for a tenth.

    Args:
        sample_loss: l_x, a SymPy expression in the variables and the noise: polynomial in the noise, and as
            smooth in the variables as the formula asks. Other symbols stay symbolic parameters.
        variables: the P parameters θ that descent moves, distinct SymPy symbols.
        noise: the symbol x of the normal number, none of the variables; or a sequence of D such symbols
            (x_1, …, x_D), independent of each other. Correlated data enter as linear functions of them.
        variances: v_i = E[x_i²], a sequence of one number or expression of at least 0 for each symbol of the noise;
            None for standard normal numbers. In the units of x².

    Attributes:
        sample_loss: l_x as an expression.
        variables: tuple of P SymPy symbols.
        noise: the symbol of x, or the tuple of them.
        noises: tuple of the symbols of x, also where there is one.
        variances: tuple of as many SymPy expressions.
        exponents: for each component the exponents of its monomial in x, one for each symbol of the noise.
        components: the coefficients (c_0, …, c_K) of 1, x, …, x^K in l_x; for a sequence of symbols those of 1 and of
            the monomials that l_x holds.
        parameters: what else is symbolic in l_x or the variances: symbols, sorted by name.

    Raises:
        TypeError: the loss or a variance is no scalar expression, or a variable or the noise is no symbol.
        ValueError: the loss is not polynomial in the noise, the noise is one of the variables, there are no
            variables, one is repeated, or there are not as many variances as symbols of the noise, or one is negative.

    Example:
        The loss θ²/2 + xθ has gradient covariance 1, and x² in place of x has the skewness of a chi-squared:

        >>> from sympy import symbols
        >>> theta, x = symbols("theta x")
        >>> NormalLandscape(theta**2 / 2 + x * theta, [theta], x).cumulant((1, 1), at=3).item()
        Fraction(1, 1)
        >>> NormalLandscape(theta**2 / 2 + x**2 * theta, [theta], x).cumulant((1, 1, 1), at=3).item()
        Fraction(8, 1)

        Two correlated features, x and (x + y)/√2, as the Hessian of a linear regression shows:

        >>> from sympy import sqrt
        >>> u, v, y = symbols("u v y")
        >>> two = NormalLandscape((u * x + v * (x + y) / sqrt(2)) ** 2 / 2, [u, v], [x, y])
        >>> two.cumulant((2,), at=[0, 0])
        array([[1, sqrt(2)/2],
               [sqrt(2)/2, 1]], dtype=object)
    """

    sample_loss: Expr = field(converter=lambda loss: exact_expression(loss, "sample_loss"))
    variables: tuple[Symbol, ...] = field(converter=distinct_symbols)
    noise: Noise = field(converter=Converter(_checked_noise, takes_self=True))  # type: ignore[misc]
    variances: tuple[Expr, ...] = field(
        default=None,
        kw_only=True,
        converter=Converter(_checked_variances, takes_self=True),  # type: ignore[misc]
    )

    def __attrs_post_init__(self) -> None:
        """Read off the coefficients, to refuse a loss that is not polynomial; nothing is differentiated yet."""
        _ = self.components

    @property
    def noises(self) -> tuple[Symbol, ...]:
        """The symbols of the normal numbers, a tuple also where there is one."""
        return self.noise if isinstance(self.noise, tuple) else (self.noise,)

    @property
    def exponents(self) -> tuple[Exponents, ...]:
        """For each component the exponents of its monomial in x."""
        return tuple(_coefficients(self.sample_loss, self.noise))

    @property
    def components(self) -> tuple[Expr, ...]:
        """The coefficients c_k of l_x = Σ_k x^k c_k."""
        return tuple(_coefficients(self.sample_loss, self.noise).values())

    @property
    def parameters(self) -> tuple[Symbol, ...]:
        """The symbols of l_x and the variances that are neither variables nor the noise, sorted by name."""
        others = self.sample_loss.free_symbols.union(*(variance.free_symbols for variance in self.variances))
        return tuple(sorted(others - {*self.variables, *self.noises}, key=str))  # type: ignore[arg-type]

    def point(self, at: Any) -> Point:
        """Return `at` as a tuple of P exact SymPy expressions, free of the noise.

        Args:
            at: a sequence, a mapping from the variables, or for P = 1 a number; see `ExactPopulation.point`.

        Raises:
            TypeError: an entry is neither a number nor a SymPy expression.
            ValueError: `at` does not match the variables, or an entry is not finite or holds the noise.

        Example:
            >>> from sympy import symbols
            >>> u, v, x = symbols("u v x")
            >>> NormalLandscape(u**2 + x * v, [u, v], x).point([1, 0.5])
            (1, 1/2)
        """
        point = super().point(at)
        for i, entry in enumerate(point):
            if entry.has(*self.noises):
                raise ValueError(f"at[{i}]={entry} holds the noise {self.noise}; a point does not depend on the data")
        return point

    # -- the numerical twin ----------------------------------------------------------------------------

    def jax(self) -> Landscape:
        """The same landscape for JAX: l_x compiled from the SymPy expression, and a sampler of x_i ~ N(0, v_i).

        The loss takes θ as one array of shape (P,), in the order of the variables, and x: one number, or an array of
        shape (D,) where the noise is a sequence of D symbols. It computes in the floating type of θ. Equal landscapes
        share one twin, so that compiled functions are found again.

        Returns:
            A `taylorsgd.Landscape`.

        Raises:
            ValueError: the loss has symbolic parameters, which are named.

        Example:
            >>> from sympy import symbols
            >>> theta, x = symbols("theta x")
            >>> toy = NormalLandscape(theta**2 / 2 + x * theta, [theta], x)
            >>> float(toy.jax().loss(toy.array(2), 3.0))
            8.0
        """
        return _twin(self)

    def as_landscape(self) -> Landscape:
        """What `measure`, `predict` and `simulate` work on when they are handed this landscape: `jax()`."""
        return self.jax()

    def array(self, at: Any) -> Array:
        """A point as a JAX array of shape (P,), as the twin's loss takes it.

        Args:
            at: the point, in any form that `point` takes.

        Returns:
            An array of JAX's default floating type.

        Raises:
            TypeError: an entry is neither a number nor a SymPy expression.
            ValueError: `at` does not match the variables, or an entry is no real number.

        Example:
            >>> from sympy import pi, symbols
            >>> u, v, x = symbols("u v x")
            >>> print(NormalLandscape(u**2 + x * v, [u, v], x).array({u: 1, v: pi / 2}))
            [1.        1.5707964]
        """
        import jax.numpy as jnp

        point = self.point(at)
        for i, entry in enumerate(point):
            if not entry.is_extended_real or entry.free_symbols:
                raise ValueError(f"at[{i}]={entry} must be a real number to become an entry of an array")
        return jnp.array([float(entry) for entry in point])

    def population_loss(self, theta: Any) -> Array:
        """The test loss l(θ) = E[l_x(θ)] at an array θ, without sampling, for JAX to transform.

        Args:
            theta: the parameters, an array of shape (P,), in the order of the variables.

        Returns:
            A scalar array.

        Raises:
            ValueError: the loss has symbolic parameters, which are named, or θ has another shape.

        Example:
            >>> from sympy import symbols
            >>> theta, x = symbols("theta x")
            >>> toy = NormalLandscape(theta**2 / 2 + x**2 * theta, [theta], x)
            >>> float(toy.population_loss(toy.array(2)))
            4.0
        """
        return _compiled(self, self.loss)(theta, self._origin())

    def _origin(self) -> Any:
        """A point x = 0 of the data."""
        import numpy as np

        return np.zeros(len(self.noises)) if isinstance(self.noise, tuple) else 0.0

    # -- what exact cumulants ask ----------------------------------------------------------------------

    @property
    def _labels(self) -> Sequence[Exponents]:
        return self.exponents

    def _describe(self, component: int) -> str:
        powers = zip(self.noises, self.exponents[component], strict=True)
        if not isinstance(self.noise, tuple):
            return "the coefficient of " + "".join(f"{symbol}**{power}" for symbol, power in powers)
        return "the coefficient of " + str(prod((symbol**power for symbol, power in powers), start=Integer(1)))

    def _product(self, left: Exponents, right: Exponents) -> Exponents:
        return tuple(map(add, left, right))

    def _means(self, nodes: int) -> dict[Exponents, Expr]:
        reached = {(0,) * len(self.noises)}
        for _ in range(nodes):
            reached = {self._product(one, other) for one in reached for other in self.exponents}
        return {exponents: self._mean(exponents) for exponents in sorted(reached)}

    def _mean(self, exponents: Exponents) -> Expr:
        if any(power % 2 for power in exponents):
            return Integer(0)
        return prod(
            (factorial2(k - 1) * v ** (k // 2) for k, v in zip(exponents, self.variances, strict=True) if k),
            start=Integer(1),
        )


def refuse_parameters(landscape: NormalLandscape) -> None:
    """Raise where numbers are asked of a landscape with symbols.

    Raises:
        ValueError: naming the symbols.
    """
    if landscape.parameters:
        names = ", ".join(map(str, landscape.parameters))
        raise ValueError(f"{landscape} has symbols without a number: {names}; give each of them a number")


@lru_cache(maxsize=64)
def _twin(landscape: NormalLandscape) -> Landscape:
    from taylorsgd.landscapes.landscape import Landscape

    return Landscape(_compiled(landscape, landscape.sample_loss), normal_sampler(landscape), landscape.population_loss)


@lru_cache(maxsize=128)
def _compiled(landscape: NormalLandscape, expression: Expr) -> Callable[[Any, Any], Any]:
    """An expression in the variables and the noise as a JAX function of θ, shape (P,), and x."""
    import jax.numpy as jnp

    refuse_parameters(landscape)
    compiled = lambdify([landscape.variables, landscape.noise], expression, modules="jax", cse=True)

    def sample_loss(theta: Any, x: Any) -> Any:
        theta, x = same_type(landscape, theta, x)
        # the result as an array, because an expression without θ or x gives a bare number
        return jnp.asarray(compiled(theta, x), theta.dtype)

    return sample_loss


def same_type(landscape: NormalLandscape, theta: Any, x: Any) -> tuple[Array, Array]:
    """θ and x as arrays of one floating type: float32 descent stays float32 where x was drawn in float64.

    Raises:
        ValueError: θ or x has another shape than the landscape's.
    """
    import jax.numpy as jnp

    theta = jnp.asarray(theta)
    if theta.shape != (landscape.dimension,):
        raise ValueError(
            f"theta has shape {theta.shape}; for the variables {landscape.variables} it must have shape "
            f"({landscape.dimension},)"
        )
    x = jnp.asarray(x, theta.dtype)
    if isinstance(landscape.noise, tuple) and x.shape != (len(landscape.noise),):
        raise ValueError(
            f"x has shape {x.shape}; for the noise {landscape.noise} it must have shape ({len(landscape.noise)},)"
        )
    return theta, x


@lru_cache(maxsize=128)
def _coefficients(loss: Expr, noise: Noise) -> dict[Exponents, Expr]:
    noises = noise if isinstance(noise, tuple) else (noise,)
    try:
        polynomial = Poly(loss, *noises)
    except PolynomialError as error:
        raise ValueError(
            f"sample_loss={loss} must be a polynomial in the noise {noise}: the moments of a normal number "
            f"are exact for polynomials only ({error})"
        ) from error
    constant = (0,) * len(noises)
    if isinstance(noise, tuple):
        found = sorted({constant, *polynomial.monoms()}, key=lambda exponents: (sum(exponents), exponents))
    else:  # all powers; the degree of the zero polynomial is −oo
        found = [(k,) for k in range(int(max(polynomial.degree(), 0)) + 1)]
    return {exponents: _coefficient(loss, noises, exponents) for exponents in found}


def _coefficient(loss: Expr, noises: tuple[Symbol, ...], exponents: Exponents) -> Expr:
    """A derivative at x = 0 instead of Poly's own coefficient, which comes expanded: c_k stays as it was written."""
    for symbol, power in zip(noises, exponents, strict=True):
        loss = loss.diff((symbol, power)).subs(symbol, 0) / factorial(power)
    return loss


def normal_sampler(landscape: NormalLandscape) -> Callable[[Any, int], Any]:
    """A function (key, n) that draws n points x_i ~ N(0, v_i): shape (n,), or (n, D) for a sequence of D symbols.

    Raises:
        ValueError: a variance has symbols, which are named, or is no number of at least 0.
    """
    refuse_parameters(landscape)
    if all(variance == 1 for variance in landscape.variances):
        scales = None
    else:
        scales = tuple(float(variance) ** 0.5 for variance in landscape.variances)
    return partial(_normal, len(landscape.noises) if isinstance(landscape.noise, tuple) else None, scales)


def _normal(width: int | None, scales: tuple[float, ...] | None, key: Any, n: int) -> Any:
    import jax
    import jax.numpy as jnp

    drawn = jax.random.normal(key, (n,) if width is None else (n, width))
    if scales is None:
        return drawn
    return drawn * (scales[0] if width is None else jnp.array(scales))
