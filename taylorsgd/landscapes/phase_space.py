r"""Heavy ball on the pair (θ, w) of parameters and velocity: a random field on phase space.

v ← βv − rg, θ ← θ + v forgets its velocity in 1/(1 − β) updates. Seen over many of these, `generator(…, HeavyBall(β))`
is what moves θ alone. As long as the velocity lasts the pair is what moves, and with

    r = η²,        β = 1 − γη,        v = ηw

every update of it is a small one, one of descent at the rate η along a field:

    w ← w + η (−γw − g),        θ ← θ + η (w + η (−γw − g)).

Whatever holds for fields holds for it: `generator`, with independent updates for any γ, is that of Langevin's equation
θ̇ = w, ẇ = −γw − G with the noise ηC/B, and says what a discrete run adds to it.

**At a fixed β** the velocity moves by much in one update, and 𝓖 is no series about the identity: it is the logarithm of
v ↦ βv, k log β on what is of degree k in v, and every order in η asks for divided differences of log at 1, β, β², ….
"""

from __future__ import annotations

from typing import Any

from sympy import Symbol, expand

from taylorsgd import symbols
from taylorsgd.exact_numbers import distinct_symbols, exact_argument
from taylorsgd.landscapes.finite import FiniteLandscape
from taylorsgd.landscapes.finite_field import FiniteField

__all__ = ["with_velocity"]


def with_velocity(
    landscape: FiniteLandscape, friction: Any, *, velocities: Any = None, step: Symbol = symbols.h
) -> FiniteField:
    """Heavy ball as a field on pairs of parameters and velocities: u = (w + h(−γw − ∇l_x), −γw − ∇l_x).

    At the learning rate η = h a step along it is one of heavy ball at the rate η² with the momentum β = 1 − γη and the
    velocity v = ηw. It is linear in l, so that a batch is the mean of its points.

    Args:
        landscape: the losses.
        friction: γ, a number or expression; 0 for none.
        velocities: symbols for w, one for each variable; None for new ones, called w_ and the variable's name.
        step: the symbol h that stands for the learning rate inside the field; `at_rate` puts η in its place.

    Returns:
        A `FiniteField` of twice as many variables, the velocities last.

    Raises:
        TypeError: if `landscape` is no `FiniteLandscape`, γ no expression, or a velocity or `step` no symbol.
        ValueError: if there are not as many velocities as variables, or they are not distinct from these.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Rational, symbols
        >>> x, w = symbols("x w")
        >>> coin = ts.FiniteLandscape([x**2 / 2 + x, x**2 / 2 - x], [Rational(1, 2)] * 2, [x])
        >>> pair = with_velocity(coin, 2, velocities=[w])
        >>> moves = ts.generator(2, ts.SGD(B=1, E=1))
        >>> moves.drift[1].evaluate(pair, at=[x, w]).subs(ts.symbols.h, 0).T        # Langevin's
        Matrix([[eta*w, -2*eta*w - eta*x]])
        >>> moves.diffusion[2].evaluate(pair, at=[x, w]).subs(ts.symbols.h, 0)
        Matrix([
        [0,      0],
        [0, eta**2]])
    """
    if not isinstance(landscape, FiniteLandscape):
        raise TypeError(f"landscape={landscape!r} must be a FiniteLandscape")
    if not isinstance(step, Symbol):
        raise TypeError(f"step={step!r} must be a symbol, such as symbols.h")
    gamma = exact_argument(friction, "friction")
    places = landscape.variables
    names = tuple(Symbol(f"w_{place}") for place in places) if velocities is None else velocities
    speeds = distinct_symbols(names, "velocities")
    if len(speeds) != len(places) or {*speeds} & {*places, step}:
        raise ValueError(
            f"velocities={velocities!r} must be {len(places)} symbols, one for each of {places}, and others than these "
            f"and {step}"
        )
    fields = []
    for loss in landscape.losses:
        pushes = [-gamma * w - loss.diff(place) for w, place in zip(speeds, places, strict=True)]
        fields.append(
            [*(expand(w + step * push) for w, push in zip(speeds, pushes, strict=True)), *map(expand, pushes)]
        )
    return FiniteField(fields, landscape.weights, [*places, *speeds])
