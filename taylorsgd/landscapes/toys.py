"""The paper's artificial landscapes, with known answers: GAUSS, HELIX and MEAN ESTIMATION (section C.1).

Each is a random loss l_x(θ) whose data are standard normal numbers x, exact as a SymPy expression and, from
that same expression, a JAX landscape with a sampler:

    GAUSS             l_x(h) = (h + x² e^{−h}) / 2                           non-Gaussian gradients
    HELIX             l_x(u, v, z) = (u² + v² + (u cos z + v sin z)²) / 2
                                     + x (u cos(z − π/4) + v sin(z − π/4))   eternal drift along a valley
    MEAN ESTIMATION   l_x(θ) = H θ² / 2 + x S θ                              every formula is exact
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import Converter, field, frozen
from sympy import Expr, Rational, Symbol, cos, exp, pi, sin, symbols

from taylorsgd.landscapes.exact import Point, exact_expression
from taylorsgd.landscapes.normal import NormalLandscape

__all__ = ["ToyLandscape", "gauss", "helix", "mean_estimation"]


def _named(_: Any, __: Any, name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name={name!r} must be a text")


def _start(at: Any, toy: Any) -> Point:
    return toy.point(at)


@frozen(init=False, repr=False)
class ToyLandscape(NormalLandscape):
    """A landscape of the paper: a loss with standard normal data, a name and a point to start from.

    Hand it to `Formula.evaluate` for exact answers, and to `measure`, `predict` and `simulate` as it is.

    Args:
        name: what the paper calls it.
        sample_loss: l_x, a SymPy expression in the variables and the noise, polynomial in the noise.
        variables: the P parameters θ that descent moves, distinct SymPy symbols.
        noise: the symbol x of the normal number, or a sequence of such symbols.
        start: where descent starts in the paper, in any form that `point` takes.
        variances: of each x, as `NormalLandscape` takes them; None for standard normal numbers.

    Attributes:
        name: a string.
        start: tuple of P exact SymPy expressions.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: as `NormalLandscape`, or `start` does not match the variables.

    Example:
        >>> toy = helix()
        >>> toy
        <ToyLandscape HELIX, l_x(u, v, z) = u**2/2 + v**2/2 + x*(...) + (u*cos(z) + v*sin(z))**2/2>
        >>> toy.start
        (0, 0, 0)
    """

    name: str = field(validator=_named)
    start: Point = field(converter=Converter(_start, takes_self=True))

    def __init__(
        self,
        name: str,
        sample_loss: Any,
        variables: Iterable[Symbol],
        noise: Symbol | Iterable[Symbol],
        start: Any,
        variances: Any = None,
    ) -> None:
        """Check the loss, then the starting point."""
        self.__attrs_init__(sample_loss, variables, noise, name, start, variances=variances)  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        """The name and the loss."""
        variables = ", ".join(map(str, self.variables))
        return f"<ToyLandscape {self.name}, l_{self.noise}({variables}) = {self.sample_loss}>"


def gauss() -> ToyLandscape:
    """GAUSS (C.1.1): fit a centered normal of variance e^h to standard normal data.

        l_x(h) = (h + x² e^{−h}) / 2,        l(h) = (h + e^{−h}) / 2

    x² is chi-squared, with cumulants 2^{m−1} (m−1)!, so for m nodes with degrees k_i ≥ 0 and with r = e^{−h}:

        cumulant = (−1)^{Σ k_i} r^m (m − 1)! / 2        (for one node add 1/2 at degree 1, h/2 at degree 0)

    At the minimum h = 0, where it starts: G = 0, H = C = 1/2 (the Fisher information), J = −1/2 and skewness
    S = −1.

    Returns:
        A landscape with the one variable h, which starts at h = 0.

    Example:
        After one update the skewness of the gradient shows at order 3, as −η³ S J / 6:

        >>> import taylorsgd as ts
        >>> toy = gauss()
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)
        >>> f.evaluate(toy, at=toy.start, N=1)
        -eta**3/12 + eta**2/8 + 1/2
    """
    h, x = symbols("h x")
    return ToyLandscape("GAUSS", (h + x**2 * exp(-h)) / 2, [h], x, start=[0])


def helix(tilt: Any = 0) -> ToyLandscape:
    """HELIX (C.1.2): a valley of minima along which SGD drifts forever, though the landscape is periodic.

        l_x(u, v, z) = (u² + v² + (u cos z + v sin z)²) / 2  +  x (u cos(z − π/4) + v sin(z − π/4))

    The valley is u = v = 0. There, with n = (cos z, sin z, 0) and w = (cos(z − π/4), sin(z − π/4), 0), which
    makes w·n = 1/√2,

        H = diag(1, 1, 0) + n n^T  (eigenvalues 1, 2, 0),        C = w w^T,        Σ_{μν} C_{μν} J_{μνz} = −1

    The test loss is l = (u² + v² + (u cos z + v sin z)²) / 2: the noise has mean 0.

    With a tilt α z is added to every l_x. Then the valley rises along z by α, which pulls by −ηα per update against
    the drift of η²/(6 − 4η): with 0 < α < η/(6 − 4η) SGD climbs for ever, and its test loss grows without bound.

    Args:
        tilt: α, a number or expression.

    Returns:
        A landscape with the variables u, v, z, which starts at u = v = z = 0.

    Raises:
        TypeError: if the tilt is no scalar.
        ValueError: if it is not finite, or depends on the variables or the noise.

    Example:
        SGD moves towards +z at order η³, by (T choose 2)/2:

        >>> import taylorsgd as ts
        >>> toy = helix()
        >>> f = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), order=3)
        >>> f.evaluate(toy, at=toy.start, N=10)
        Matrix([
        [        0],
        [        0],
        [45*eta**3/2]])
    """
    u, v, z, x = symbols("u v z x")
    valley = u**2 + v**2 + (cos(z) * u + sin(z) * v) ** 2
    noise = cos(z - pi / 4) * u + sin(z - pi / 4) * v
    slope = exact_expression(tilt, "tilt")
    if slope.has(u, v, z, x):
        raise ValueError(f"tilt={tilt} must not depend on the variables u, v, z or the noise x")
    name = "HELIX" if slope == 0 else "TILTED HELIX"
    return ToyLandscape(name, Rational(1, 2) * valley + slope * z + x * noise, [u, v, z], x, start=[0, 0, 0])


def mean_estimation(H: Any = None, S: Any = None) -> ToyLandscape:
    """MEAN ESTIMATION (C.1.3): a parabola with additive normal noise, where resummed formulas are exact.

        l_x(θ) = H θ² / 2 + x S θ,        l(θ) = H θ² / 2

    G = Hθ, the Hessian is H and C = S²; all other cumulants of derivatives vanish. So θ_T is normal, for
    SGD with one epoch and batch size 1 with

        mean θ_0 K^T,        variance η² S² (1 − K^{2T}) / (1 − K²),        K = 1 − ηH

    Args:
        H: the Hessian, a positive number or expression; None for the positive symbol H.
        S: the square root of the gradient's covariance, likewise.

    Returns:
        A landscape with the one variable theta, which starts at the minimum θ = 0. With symbolic H or S it is
        exact only: the JAX side needs numbers.

    Raises:
        TypeError: H or S is no scalar.
        ValueError: H or S is not positive.

    Example:
        >>> import taylorsgd as ts
        >>> toy = mean_estimation()
        >>> toy.cumulant((1, 1), at=3)
        array([[S**2]], dtype=object)
        >>> f = ts.derive(ts.GeneralizationGap(), ts.GD(), order=1)
        >>> f.evaluate(toy, at=0, N=10, T=5)
        S**2*eta/2
    """
    theta, x = symbols("theta x")
    hessian, scale = _positive(H, "H"), _positive(S, "S")
    loss = Rational(1, 2) * hessian * theta**2 + x * scale * theta
    return ToyLandscape("MEAN ESTIMATION", loss, [theta], x, start=[0])


def _positive(value: Any, name: str) -> Expr:
    if value is None:
        return Symbol(name, positive=True)
    exact = exact_expression(value, name)
    if exact.is_positive is False or not exact.is_finite and exact.is_number:
        raise ValueError(f"{name}={value} must be a positive number or expression")
    if exact.has(*symbols("theta x")):
        raise ValueError(f"{name}={value} must not depend on the variable theta or the noise x")
    return exact
