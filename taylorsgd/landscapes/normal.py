"""A SymPy loss that is polynomial in one standard normal number: every moment and cumulant is exact.

With x ~ N(0, 1) and l_x(θ) = Σ_k x^k c_k(θ), moments of the derivatives follow from those of x,

    E[x^{2k}] = (2k − 1)!! = 1·3·5 ⋯ (2k − 1),        E[x^{2k+1}] = 0,

whatever smooth functions of θ the c_k are. The same expression, compiled for JAX and with x drawn from a
pseudorandom generator, is the landscape's numerical twin.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from attrs import Converter, field, frozen
from sympy import Expr, Integer, Poly, PolynomialError, Rational, Symbol, factorial, factorial2, lambdify

from taylorsgd.exact_numbers import distinct_symbols
from taylorsgd.landscapes.exact import ExactPopulation, Point, exact_expression

if TYPE_CHECKING:
    from jax import Array

    from taylorsgd.landscapes.landscape import Landscape

__all__ = ["NormalLandscape"]


def _checked_noise(noise: Any, landscape: NormalLandscape) -> Symbol:
    if not isinstance(noise, Symbol):
        raise TypeError(f"noise={noise!r} must be a SymPy symbol, such as Symbol('x')")
    if any(noise.assumptions0.get(sign) for sign in ("nonnegative", "nonpositive", "rational", "imaginary")):
        raise ValueError(f"noise={noise} is declared to be what no normal number is; leave its assumptions out")
    if noise in landscape.variables:
        raise ValueError(f"noise={noise} must be none of the variables {landscape.variables}: descent does not move it")
    return noise


@frozen
class NormalLandscape(ExactPopulation):
    """A random loss l_x(θ) that is a polynomial in a standard normal number x; the test loss is l = E[l_x].

    A float inside the loss, or in a point, means the binary fraction that it is: 0.5 is 1/2, and 0.1 is
    3602879701896397/36028797018963968. Write `sympy.Rational(1, 10)` for a tenth.

    Args:
        sample_loss: l_x, a SymPy expression in the variables and the noise: polynomial in the noise, and as
            smooth in the variables as the formula asks. Other symbols stay symbolic parameters.
        variables: the P parameters θ that descent moves, distinct SymPy symbols.
        noise: the symbol x of the standard normal number, none of the variables.

    Attributes:
        sample_loss: l_x as an expression.
        variables: tuple of P SymPy symbols.
        noise: the symbol of x.
        components: the coefficients (c_0, …, c_D) of 1, x, …, x^D in l_x.
        parameters: what else is symbolic in l_x: symbols, sorted by name.

    Raises:
        TypeError: the loss is no scalar expression, or a variable or the noise is no symbol.
        ValueError: the loss is not polynomial in the noise, the noise is one of the variables, there are no
            variables, or one is repeated.

    Example:
        The loss θ²/2 + xθ has gradient covariance 1, and x² in place of x has the skewness of a chi-squared:

        >>> from sympy import symbols
        >>> theta, x = symbols("theta x")
        >>> NormalLandscape(theta**2 / 2 + x * theta, [theta], x).cumulant((1, 1), at=3).item()
        Fraction(1, 1)
        >>> NormalLandscape(theta**2 / 2 + x**2 * theta, [theta], x).cumulant((1, 1, 1), at=3).item()
        Fraction(8, 1)
    """

    sample_loss: Expr = field(converter=lambda loss: exact_expression(loss, "sample_loss"))
    variables: tuple[Symbol, ...] = field(converter=distinct_symbols)
    noise: Symbol = field(converter=Converter(_checked_noise, takes_self=True))  # type: ignore[misc]

    def __attrs_post_init__(self) -> None:
        """Read off the coefficients, to refuse a loss that is not polynomial; nothing is differentiated yet."""
        _ = self.components

    @property
    def components(self) -> tuple[Expr, ...]:
        """The coefficients (c_0, …, c_D) of l_x = Σ_k x^k c_k."""
        return _coefficients(self.sample_loss, self.noise)

    @property
    def parameters(self) -> tuple[Symbol, ...]:
        """The symbols of l_x that are neither variables nor the noise, sorted by name."""
        others = self.sample_loss.free_symbols - {*self.variables, self.noise}
        return tuple(sorted(others, key=str))  # type: ignore[arg-type]

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
            if entry.has(self.noise):
                raise ValueError(f"at[{i}]={entry} holds the noise {self.noise}; a point does not depend on the data")
        return point

    # -- the numerical twin ----------------------------------------------------------------------------

    def jax(self) -> Landscape:
        """The same landscape for JAX: l_x compiled from the SymPy expression, and a sampler of x ~ N(0, 1).

        The loss takes θ as one array of shape (P,), in the order of the variables, and one number x; it
        computes in the floating type of θ. Equal landscapes share one twin, so that compiled functions are
        found again.

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
        return _compiled(self, self.loss)(theta, 0.0)

    # -- what exact cumulants ask ----------------------------------------------------------------------

    def _describe(self, component: int) -> str:
        return f"the coefficient of {self.noise}**{component}"

    def _product(self, left: int, right: int) -> int:
        return left + right

    def _means(self, nodes: int) -> list[Rational]:
        highest = nodes * (len(self.components) - 1)
        return [Integer(0) if k % 2 else Integer(factorial2(k - 1)) for k in range(highest + 1)]


@lru_cache(maxsize=64)
def _twin(landscape: NormalLandscape) -> Landscape:
    from taylorsgd.landscapes.landscape import Landscape

    return Landscape(_compiled(landscape, landscape.sample_loss), _standard_normal, landscape.population_loss)


@lru_cache(maxsize=128)
def _compiled(landscape: NormalLandscape, expression: Expr) -> Callable[[Any, Any], Any]:
    """An expression in the variables and the noise as a JAX function of θ, shape (P,), and x, a number."""
    import jax.numpy as jnp

    if landscape.parameters:
        names = ", ".join(map(str, landscape.parameters))
        raise ValueError(f"{landscape} has symbols without a number: {names}; give each of them a number")
    compiled = lambdify([landscape.variables, landscape.noise], expression, modules="jax", cse=True)

    def sample_loss(theta: Any, x: Any) -> Any:
        theta = jnp.asarray(theta)
        if theta.shape != (landscape.dimension,):
            raise ValueError(
                f"theta has shape {theta.shape}; for the variables {landscape.variables} it must have shape "
                f"({landscape.dimension},)"
            )
        # x in the type of θ, so that float32 descent stays float32 where x was drawn in float64; the result
        # as an array, because an expression without θ or x gives a bare number
        return jnp.asarray(compiled(theta, jnp.asarray(x, theta.dtype)), theta.dtype)

    return sample_loss


@lru_cache(maxsize=128)
def _coefficients(loss: Expr, noise: Symbol) -> tuple[Expr, ...]:
    try:
        degree = Poly(loss, noise).degree()
    except PolynomialError as error:
        raise ValueError(
            f"sample_loss={loss} must be a polynomial in the noise {noise}: the moments of a normal number "
            f"are exact for polynomials only ({error})"
        ) from error
    # Derivatives at x = 0 instead of Poly's own coefficients, which come expanded: c_k stays as it was
    # written. The zero polynomial has degree −oo.
    return tuple(loss.diff((noise, k)).subs(noise, 0) / factorial(k) for k in range(int(max(degree, 0)) + 1))


def _standard_normal(key: Any, n: int) -> Any:
    """Draw n standard normal numbers, an array of shape (n,)."""
    import jax

    return jax.random.normal(key, (n,))
