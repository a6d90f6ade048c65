r"""Conjecture 1 of *SGD at Small Learning Rates*: does sectional curvature regularize learning?

Weight space gets an inverse metric η^{μν}(θ); Λ = η raises indices, and c is the learning rate. In normal coordinates
at θ_0 = 0, where metric and connection are those of flat space whatever the curvature,

    η^{μν} = δ^{μν} + ⅓ R^μ_α^ν_β θ^α θ^β + …
           = δ^{μν} + (k/3 + k² |θ|²/15 + …) (|θ|² δ^{μν} − θ^μ θ^ν)    of constant curvature k.

The losses are the same functions of these coordinates for every k. One epoch of SGD with B = 1 then has the gap

    c T/N tr C + c² (no k) + c³ [(no k) + T(T−1)/(6N) R^{μανβ} C_{μν} C_{αβ}] + …

if it steps in coordinates, θ ← θ − cη∇l, and no k at c³ if it steps along geodesics. (In R^{μανβ} C_{μν} C_{αβ} each
plane of two of C's eigenvectors counts its sectional curvature, times both eigenvalues: it rises with every one.)

Along geodesics curvature enters at c⁴, with a sign that depends on the losses: where G = 0 and H = ±1 it is −(1/9) k c⁴
at a minimum and +(1/9) k c⁴ at a maximum, for the three losses of `tilted`.

The gap of a field is exact: with m_a counting how often the loss a was met, times c, the training loss is
Σ_a m_a l_a/(cT), an observable like any other. Direct perturbation judges; the formulas are derived beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sympy import Add, Expr, Integer, Matrix, Poly, Rational, Symbol, expand, eye, symbols

import taylorsgd as ts
from taylorsgd.landscapes.curved import at_rate, geodesic_descent
from taylorsgd.landscapes.training_fields import natural_gradient
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.pictures import panels
from taylorsgd.symbols import eta

__all__ = ["EXPERIMENT", "CurvatureSize", "curved_metric", "gap_of_field"]

x, y = symbols("x y")
LOSSES = [x + 2 * y + x**2 + x * y, -3 * x + y - y**2 + x**3, x / 2 - y + x * y + x**2 * y]
"""Three losses without symmetries, equally likely; their gradients at 0 have a covariance of full rank."""
SHARES = [Rational(1, 3)] * 3
ORDER = 3
STEPS = ("coordinates", "geodesics")


@dataclass(frozen=True)
class CurvatureSize:
    """The settings.

    Attributes:
        points: the numbers N = T of training points.
        fourth: whether to look at order 4 along geodesics as well.
    """

    points: tuple[int, ...] = (2, 3)
    fourth: bool = True


def curved_metric(curvature: Any) -> Matrix:
    """The inverse metric of a surface of constant curvature k in normal coordinates, through |θ|⁶.

    Example:
        >>> curved_metric(0)
        Matrix([
        [1, 0],
        [0, 1]])
    """
    square = x**2 + y**2
    across = Matrix([[y**2, -x * y], [-x * y, x**2]])
    k = curvature
    return (eye(2) + across * (k * Rational(1, 3) + k**2 * square / 15 + 2 * k**3 * square**2 / 189)).applyfunc(expand)


def gap_of_field(field: Any, losses: Sequence[Expr], spacetime: Any, order: int, method: Callable[..., Any]) -> Expr:
    """The expected test loss minus the expected training loss after training along a field, through c^order.

    Args:
        field: a `FiniteField` with one field for each of the losses, in their order; h may stand for c in it.
        losses: l_a.
        spacetime: where every batch has the same size, so that the T batches weigh alike.
        order: the order.
        method: `derived` or `direct`.
    """
    counts = symbols(f"m:{len(losses)}")
    rows = [[*u, *(Integer(a == b) for b in range(len(losses)))] for a, u in enumerate(field.fields)]
    counting = ts.FiniteField(rows, field.weights, [*field.variables, *counts])
    start = [0] * len(counting.variables)
    test = Add(*(share * loss for share, loss in zip(field.weights, losses, strict=True)))
    seen = Add(*(m * loss for m, loss in zip(counts, losses, strict=True)))
    tested = at_rate(method(ts.Observable(test), spacetime, counting, start, order), order)
    trained = at_rate(method(ts.Observable(seen), spacetime, counting, start, order + 1), order + 1)
    return expand(tested - expand(trained / eta) / spacetime.sizes["T"])


def direct(observable: Any, spacetime: Any, field: Any, start: Any, order: int) -> Any:
    """By running the updates."""
    return ts.perturb(observable, spacetime, field, start, order)


def derived(observable: Any, spacetime: Any, field: Any, start: Any, order: int) -> Any:
    """By the formula."""
    return ts.derive(observable, spacetime, order).evaluate(field, start)


def tilted(hessian: int) -> list[Expr]:
    """Three losses with gradients that cancel at 0, where the Hessian of each is ±1.

    Example:
        >>> tilted(1)[0]
        x**2/2 + x + y**2/2
    """
    return [expand(slope + Rational(hessian, 2) * (x**2 + y**2)) for slope in (x, y, -x - y)]


def at_fourth_order(hessian: int) -> Expr:
    """By how much curvature 1 changes the gap at c⁴, N = T = 2, along geodesics on the `tilted` losses."""
    losses, epoch, order = tilted(hessian), ts.SGD(N=2, B=1, E=1), 4
    landscape = ts.FiniteLandscape(losses, SHARES, [x, y])

    def gap(curvature: int) -> Expr:
        field = geodesic_descent(landscape, curved_metric(Integer(curvature)), order, at=[0, 0])
        return gap_of_field(field, losses, epoch, order, direct)

    change = expand(gap(1) - gap(0))
    assert all(change.coeff(eta, d) == 0 for d in range(order))
    return change.coeff(eta, order)


def steps_in_coordinates(curvature: Any, scale: Any = 1, order: int = ORDER) -> Any:
    """θ ← θ − cη∇l with an inverse metric so many times that of a curvature, through degree `order` in θ.

    From 0, terms of higher degree meet higher powers of c in the gap.
    """
    field = natural_gradient(ts.FiniteLandscape(LOSSES, SHARES, [x, y]), scale * curved_metric(curvature))
    return ts.FiniteField([[_through(u, order) for u in one] for one in field.fields], SHARES, [x, y])


def _through(polynomial: Expr, degree: int) -> Expr:
    """A polynomial without its terms of higher degree."""
    kept = [(powers, number) for powers, number in Poly(polynomial, x, y).terms() if sum(powers) <= degree]
    return Poly.from_dict(dict(kept), x, y).as_expr()


def steps_along_geodesics(curvature: Any) -> Any:
    """θ ← exp_θ(−cη∇l)."""
    landscape = ts.FiniteLandscape(LOSSES, SHARES, [x, y])
    return geodesic_descent(landscape, curved_metric(curvature), ORDER, at=[0, 0])


def predicted(points: int) -> Any:
    """T(T−1)/(6N) R^{μανβ} C_{μν} C_{αβ} per curvature, which is 2 det C for a surface."""
    covariance = ts.FiniteLandscape(LOSSES, SHARES, [x, y]).cumulant((1, 1), [0, 0])
    return Rational(points - 1, 6) * 2 * Matrix(covariance.tolist()).det()


def _slopes(make: Callable[[Any], Any], spacetime: Any, method: Callable[..., Any]) -> list[Any]:
    """By how much every order of the gap grows from curvature 0 to 1; through order 3 curvature enters linearly."""
    before, after = (gap_of_field(make(Integer(k)), LOSSES, spacetime, ORDER, method) for k in (0, 1))
    return [expand(after - before).coeff(eta, d) for d in range(ORDER + 1)]


def run(size: CurvatureSize, work: Work) -> Outcome:
    """Look at every order of the gap, under either kind of step."""
    rows: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for points in size.points:
        epoch = ts.SGD(N=points, B=1, E=1)
        for name, make in zip(STEPS, (steps_in_coordinates, steps_along_geodesics), strict=True):
            work.say(f"N = T = {points}, steps along {name} …")
            found = _slopes(make, epoch, direct)
            both = points == min(size.points) and name == "coordinates"
            same = found == _slopes(make, epoch, derived) if both else None
            wanted = predicted(points) if name == "coordinates" else Integer(0)
            rows += [
                {
                    "N": points, "steps": name, "order": d, "gap per curvature": found[d],
                    "expected": wanted if d == ORDER else 0, "judge": "direct perturbation",
                }
                for d in range(1, ORDER + 1)
            ]  # fmt: skip
            if same is not None:
                terms = ", ".join(f"{found[d]} at c{'¹²³'[d - 1]}" for d in range(1, ORDER + 1))
                findings.append(
                    Finding(
                        "the derived formulas find the same as direct perturbation",
                        f"steps in coordinates, N = T = {points}: per unit of curvature {terms} by direct "
                        f"perturbation; by the formulas {'the same' if same else 'other numbers'}",
                        same,
                        {"orders": ORDER},
                        "control",
                    )
                )
    of = {(row["N"], row["steps"], row["order"]): row for row in rows}
    low = [row["gap per curvature"] for row in rows if row["order"] < ORDER]
    third = {(n, steps): of[n, steps, ORDER]["gap per curvature"] for n in size.points for steps in STEPS}
    first = of[size.points[0], "coordinates", ORDER]["gap per curvature"]
    scaled, fourth = _shrinking_sphere(), None
    findings += [
        Finding(
            "Conjecture 1: the generalization gap falls as all sectional curvatures grow, at fixed T and small c",
            f"steps in coordinates: it rises, by {first} c³ per unit of curvature at N = T = {size.points[0]}, with "
            f"metric and connection at θ_0 fixed; spheres of radius ρ, curvature 1/ρ²: it rises at order c, as "
            f"{scaled} times the curvature",
            bool(first < 0),
            {"slope": float(first)},
            proof="the coefficients are exact, by direct perturbation, and the lowest order in c decides for small c",
        ),
        Finding(
            "curvature does not enter at orders c and c²",
            f"of {len(low)} coefficients per unit of curvature, with either kind of step, {low.count(0)} are 0",
            low.count(0) == len(low),
            {"orders": ORDER - 1},
            "control",
        ),
        Finding(
            "at order c³ it enters as T(T−1)/(6N) R^{μανβ} C_{μν} C_{αβ}, if steps are in normal coordinates",
            "; ".join(f"{third[n, 'coordinates']} at N = T = {n}, by that {predicted(n)}" for n in size.points),
            all(third[n, "coordinates"] == predicted(n) for n in size.points),
            {"slope": float(first)},
            "control",
        ),
        Finding(
            "not at c³ either if steps are along geodesics, at fixed losses in normal coordinates",
            "; ".join(f"{third[n, 'geodesics']} at N = T = {n}" for n in size.points),
            all(third[n, "geodesics"] == 0 for n in size.points),
            {"orders": ORDER},
            "control",
        ),
    ]
    if size.fourth:
        work.say("order 4, steps along geodesics …")
        fourth = bowl, hill = at_fourth_order(1), at_fourth_order(-1)
        findings.append(
            Finding(
                "along geodesics it enters at c⁴, with the conjectured sign at a minimum and the other at a maximum",
                f"where G = 0, H = ±1, N = T = 2: {bowl} c⁴ and {hill} c⁴ per unit of curvature",
                bool(bowl < 0 < hill),
                {"minimum": float(bowl), "maximum": float(hill)},
                "control",
            )
        )
    notes = [
        "c is the learning rate; T = N updates with batches of one point; all numbers are exact.",
        "In other coordinates with the same metric and connection at θ_0 steps in coordinates give other numbers: "
        "only steps along geodesics know no coordinates.",
    ]
    slopes = {key: row["gap per curvature"] for key, row in of.items()}
    return Outcome(_picture(size, slopes, fourth), rows, findings, notes)


def _shrinking_sphere() -> Expr:
    """The gap's order c, N = T = 1, on a sphere of curvature k = 1/ρ² in coordinates that are angles: over k, tr C."""
    k = Symbol("k", positive=True)
    field = steps_in_coordinates(1, scale=k, order=1)  # lengths are ρ = 1/√k times angles
    gap = gap_of_field(field, LOSSES, ts.SGD(N=1, B=1, E=1), 1, direct)
    return (gap.coeff(eta, 1) / k).simplify()


def _picture(size: CurvatureSize, slopes: Mapping[Any, Any], fourth: Any) -> Any:
    """The share of curvature in the gap over the learning rate, as found and as predicted."""
    figure, axes = panels(11 if fourth else 6, 4, columns=2 if fourth else 1)
    first, *others = list(axes) if fourth else [axes]
    rates, few = [i / 100 for i in range(21)], [i / 50 for i in range(11)]
    for number, points in enumerate(size.points):
        line, found = float(predicted(points)), float(slopes[points, "coordinates", ORDER])
        colour = f"C{number}"
        label = f"in coordinates, N = T = {points}"
        first.plot(rates, [line * c**3 for c in rates], color=colour, label=f"{label}: predicted")
        first.plot(few, [found * c**3 for c in few], "x", color=colour, label=f"{label}: found")
        still = float(slopes[points, "geodesics", ORDER])
        first.plot(
            few, [still * c**3 for c in few], ".", color="0.5", label="along geodesics: found" if not number else None
        )
    first.set(xlabel="learning rate $c$", ylabel="what curvature 1 adds to the gap, at $c^3$")
    first.legend()
    for second in others:
        for name, slope in zip(("at a minimum, H = 1", "at a maximum, H = −1"), fourth, strict=True):
            second.plot(rates, [float(slope) * c**4 for c in rates], label=f"along geodesics, {name}")
        second.axhline(0, color="0.5")
        second.set(xlabel="learning rate $c$", ylabel="what curvature 1 adds to the gap, at $c^4$")
        second.legend()
    return figure


EXPERIMENT = Experiment(
    title="does sectional curvature regularize?",
    shows="SGD at Small Learning Rates, Conjecture 1 (section B.7)",
    claim="If all sectional curvatures at θ_0 grow, the generalization gap of SGD at a fixed T falls, at any small "
    "enough learning rate.",
    judged="the sign of the first order in the learning rate at which the exact gap depends on the curvature",
    sizes={"quick": CurvatureSize((2,)), "full": CurvatureSize()},
    lasts={"quick": "a minute", "full": "two minutes"},
    run=run,
)
"""Conjecture 1."""
