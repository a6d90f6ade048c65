"""What the two author responses claim: sharp minima that overfit less, an exchange of limits, an estimate of ∇C."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import product
from operator import add
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq
from sympy import Expr, Matrix, Rational, Symbol, diff, expand, integrate, lambdify, nsimplify, simplify, solve

import taylorsgd as ts
from taylorsgd.landscapes import mean_estimation
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.pictures import panels
from taylorsgd.reproducing.significance import order_of_convergence
from taylorsgd.reproducing.tenka.exact_expectations import Expectations
from taylorsgd.symbols import eta

__all__ = ["EXPERIMENT", "ResponseSize"]

theta = Symbol("theta")
ORDER_BAND = 0.05
"""How far a fitted order may be from the expected one."""


@dataclass(frozen=True)
class ResponseSize:
    """The settings.

    Attributes:
        rates: learning rates for the limits of a single minimum, falling.
        complete: orders d at which L_{d,∞} holds all terms up to a power of η, with that power.
        hopping: learning rates for two minima.
        points: Chebyshev points.
    """

    rates: tuple[float, ...] = (0.1, 0.05, 0.025)
    complete: tuple[tuple[int, int], ...] = ((2, 1), (6, 2))
    hopping: tuple[float, ...] = (0.4, 0.3, 0.2, 0.15, 0.1)
    points: int = 80


def _run(size: ResponseSize, work: Work) -> Outcome:
    work.say("Sharp and flat minima")
    sharp = _Sharpness()
    work.say("The exchange of limits")
    limits = _Limits(size)
    work.say("The estimate of ∇C")
    findings = [*sharp.findings(), *limits.findings(), *_estimates()]
    return Outcome(_picture(sharp, limits), [*sharp.rows(), *limits.rows()], findings, NOTES)


NOTES = (
    "L_{d,∞} has all terms through η only from d = 2 on, and all through η² from d = 6 on: a diagram of order d whose "
    "parts number P tends to something of order η^(d − P)",
    "E[l(θ_T)] is found without sampling, by the update's action on functions, to about 12 digits",
    "the second response prints the estimate as 2 l_x · ∇(l_x − l_y); the first two nablas are missing",
)


def _row(series: str, x: float, value: float) -> dict[str, Any]:
    return {"series": series, "x": x, "value": value}


class _Sharpness:
    """The test loss aθ²/2 after T updates from 0 on the training loss aθ²/2 + bθ."""

    a, b, rate, updates = (Symbol(name, positive=True) for name in ("a", "b", "eta", "T"))
    times = (10, 100, 1000)
    step = 0.01
    curvatures = np.geomspace(1e-3, 100, 201)

    def overfitting(self, a: Any, updates: int) -> Any:
        """b²/(2a) (1 − (1 − ηa)^T)² for b = 1 and the step η."""
        return (1 - (1 - self.step * a) ** updates) ** 2 / (2 * a)

    def findings(self) -> list[Finding]:
        a, b = self.a, self.b
        training = a * theta**2 / 2 + b * theta
        (minimum,) = solve(diff(training, theta), theta)
        there = (a * theta**2 / 2).subs(theta, minimum)
        falls = diff(there, a)
        # By the update itself, for a number of T: θ ← θ − η(aθ + b)
        place, few = Rational(0), 4
        for _ in range(few):
            place = expand(place - eta * (a * place + b))
        closed = b**2 / (2 * a) * (1 - (1 - eta * a) ** few) ** 2
        # Corollary 5 with one training point whose b has variance S², in exact sums
        overfit = ts.derive(ts.TestLoss(), ts.GD(), 2, resum="discrete").assume("minimum")
        corollary = overfit.evaluate(mean_estimation(a, b), 0, eta=eta, N=1, T=few)
        same = simplify(corollary - closed) == 0 and simplify(a * place**2 / 2 - closed) == 0
        worst: Any = brentq(lambda y: 2 * y * np.exp(-y) - (1 - np.exp(-y)), 0.5, 3)
        peaks = {T: float(self.curvatures[np.argmax(self.overfitting(self.curvatures, T))]) for T in self.times}
        products = {T: self.step * T * peak for T, peak in peaks.items()}
        return [
            Finding(
                "at the minimum −b/a of the training loss aθ²/2 + bθ the test loss aθ²/2 is b²/(2a), so that sharp "
                "minima overfit less (first response)",
                f"θ = {minimum}, test loss {there}, whose derivative by a is {falls}",
                minimum == -b / a and simplify(there - b**2 / (2 * a)) == 0 and bool(falls.is_negative),
                {"coefficient": float(there * a / b**2)},
            ),
            Finding(
                "after T updates the overfitting is that of Corollary 5 (first response: η translates gradients into "
                "displacements)",
                f"b²/(2a) (1 − (1 − ηa)^T)² by descent and by the derived formula at T = {few}, N = 1: "
                + ("the same polynomial" if same else "different"),
                same,
                {"updates": few},
            ),
            Finding(
                "flat minima overfit little because convergence is slow, so that medium ones with ηTa of order 1 "
                "overfit most (first response)",
                "largest at "
                + ", ".join(f"ηTa = {y:.2f} for T = {T}" for T, y in products.items())
                + f"; continuous time has {worst:.4f}; agrees if within 10%",
                all(abs(y / worst - 1) < 0.1 for y in products.values()),
                {f"T = {T}": y for T, y in products.items()},
            ),
        ]

    def rows(self) -> list[dict[str, Any]]:
        curves = {f"overfitting, T = {T}": self.overfitting(self.curvatures, T) for T in self.times}
        curves["overfitting, T = oo"] = 1 / (2 * self.curvatures)
        return [
            _row(name, x, float(y))
            for name, curve in curves.items()
            for x, y in zip(self.curvatures[::5], curve[::5], strict=True)
        ]


def _single() -> ts.FiniteLandscape:
    """One minimum at 0 between convex losses, with skewed noise that depends on θ: G = 0, H = 1, C = 1/2."""
    base = theta**2 / 2 + theta**3 / 6 + theta**4 / 8
    losses = [base + theta + theta**2 / 4, base - theta / 2 - theta**2 / 8]
    return ts.FiniteLandscape(losses, [Rational(1, 3), Rational(2, 3)], [theta])


def _double() -> ts.FiniteLandscape:
    """A minimum at 0, a barrier at 1, a deeper minimum at 5/2, and noise ±3/5 that can cross."""
    slope = theta * (theta - 1) * (theta - Rational(5, 2)) * Rational(2, 5)
    base = integrate(expand(slope), theta)
    return ts.FiniteLandscape(
        [base + s * theta for s in (Rational(3, 5), -Rational(3, 5))], [Rational(1, 2)] * 2, [theta]
    )


class _Limits:
    """LHS(η) = lim_d lim_T L_d(η, T) against RHS(η) = lim_T lim_d L_d(η, T) = lim_T E[l(θ_T)]."""

    def __init__(self, size: ResponseSize) -> None:
        self.size = size
        self.single, self.double = _single(), _double()

    @cached_property
    def formulas(self) -> Mapping[int, ts.Formula]:
        """The resummed test loss from a minimum, by order."""
        spacetime = ts.SGD(B=1, E=1)
        orders = [order for order, _ in self.size.complete]
        return {d: ts.derive(ts.TestLoss(), spacetime, d, resum="discrete").assume("minimum") for d in orders}

    def left(self, landscape: ts.FiniteLandscape, order: int, rate: float) -> float:
        """L_{d,∞}(η) at the minimum 0."""
        return float(self.formulas[order].limit().evaluate(landscape, [0], eta=nsimplify(rate)))

    def exact(self, landscape: ts.FiniteLandscape, rate: float) -> Expectations:
        """E[l(θ_T)] at any T."""
        interval = (-2.0, 2.0) if landscape is self.single else (-1.0, 3.3)
        return Expectations(landscape, rate, interval, self.size.points)

    @cached_property
    def errors(self) -> Mapping[int, list[float]]:
        """|L_{d,∞}(η) − RHS(η)| with one minimum, by order and rate."""
        right = [self.exact(self.single, rate).limit() for rate in self.size.rates]
        return {
            d: [abs(self.left(self.single, d, rate) - r) for rate, r in zip(self.size.rates, right, strict=True)]
            for d in self.formulas
        }

    @cached_property
    def hops(self) -> list[tuple[float, float, float]]:
        """η, L_{2,∞}(η) and RHS(η) with two minima."""
        return [
            (rate, self.left(self.double, 2, rate), self.exact(self.double, rate).limit()) for rate in self.size.hopping
        ]

    def findings(self) -> list[Finding]:
        found = []
        for order, power in self.size.complete:
            fitted = order_of_convergence(self.size.rates[-2:], self.errors[order][-2:])
            found.append(
                Finding(
                    f"with one minimum the limits agree beyond η^{power}: L_{{{order},∞}} − RHS is O(η^{power + 1}) "
                    "(Proposition A)",
                    f"slope of log error against log η {fitted:.3f}; agrees if within {ORDER_BAND}",
                    abs(fitted - power - 1) < ORDER_BAND,
                    {"slope": fitted},
                )
            )
        rate, left, right = self.hops[-1]
        deep = float(self.double.loss.subs(theta, Rational(5, 2)))
        apart = [abs(after - before) for _, before, after in self.hops]
        found.append(
            Finding(
                "positive definite Hessians near the minimum suffice for the exchange of limits (Proposition A)",
                f"with a deeper minimum that noise can reach RHS → l(5/2) = {deep:.4f}, while LHS → l(0) = 0: at "
                f"η = {rate:g} they are {right:.4f} and {left:.4f}, though no Hessian fluctuates and l″(0) = 1; agrees "
                "if the difference falls with η",
                apart[-1] < apart[0],
                {"RHS": right, "LHS": left, "difference": apart[-1]},
                proof="a counterexample whose values are exact: noise of any size leads out of the shallower minimum, "
                "and T → ∞ comes first",
            )
        )
        reach: list[Any] = [brentq(lambdify(theta, diff(loss, theta)), -2, 2) for loss in self.single.losses]
        found.append(
            Finding(
                "for all ε some η keeps |θ_T − θ_0| < ε with probability 1 for all T (proof idea of Proposition A)",
                "no: while all batches are of one point, θ_T tends to that point's own minimum whatever η is: "
                + " or ".join(f"{r:.3f}" for r in sorted(reach)),
                max(map(abs, reach)) < 1e-6,
                {"reach": max(map(abs, reach))},
                proof="at every η there are such batches, with a probability above 0",
            )
        )
        return found

    def path(self, landscape: ts.FiniteLandscape, rate: float, most: int) -> tuple[np.ndarray, np.ndarray]:
        """E[l(θ_T)] at powers of two."""
        times = 2 ** np.arange(most)
        exact = self.exact(landscape, rate)
        return times, np.array([exact.test_loss(0.0, int(t)) for t in times])

    def rows(self) -> list[dict[str, Any]]:
        rows = [
            _row(f"|L_{d},oo - RHS|", rate, error)
            for d, errors in self.errors.items()
            for rate, error in zip(self.size.rates, errors, strict=True)
        ]
        for name, column in (("LHS at order 2, two minima", 1), ("RHS, two minima", 2)):
            rows += [_row(name, hop[0], hop[column]) for hop in self.hops]
        return rows


def _estimates() -> list[Finding]:
    """The mean over independent x and y of the estimates of ∇C, exactly, over all pairs of points."""
    x, y = Symbol("x"), Symbol("y")
    variables = Matrix([x, y])
    losses = [x**3 - 2 * x * y + y, 2 * x**2 * y - y**2 + x, x * y**2 / 2 - 3 * x]
    weights = [Rational(w, 6) for w in (1, 2, 3)]
    at = {x: 1, y: -Rational(1, 2)}

    def slope(loss: Expr) -> Matrix:
        return Matrix([diff(loss, v) for v in (x, y)])

    def mean(term: Any) -> Any:
        pairs = product(zip(losses, weights, strict=True), repeat=2)
        total: Any = Matrix.zeros(2, 1)
        for (one, w), (other, u) in pairs:
            total += w * u * term(one, other)
        return total.subs(at)

    def covariance(first: Any) -> Any:
        """Σ_ν Var of the entries of a function of the loss."""
        weighted = list(zip(map(first, losses), weights, strict=True))
        average = reduce(add, (w * each for each, w in weighted))
        return sum(w * each.dot(each) for each, w in weighted) - average.dot(average)

    noise: Any = slope(covariance(slope)).subs(at)
    estimate = mean(lambda one, other: 2 * slope(one - other).jacobian(variables).T * slope(one))
    printed = mean(lambda one, other: 2 * one * slope(one - other))
    spread: Any = slope(covariance(lambda loss: Matrix([loss]))).subs(at)
    return [
        Finding(
            "2∇l_x·∇∇(l_x − l_y) is an unbiased estimate of ∇C, C the trace of the covariance (second response)",
            f"mean over all pairs {list(estimate)}, ∇C = {list(noise)}",
            estimate == noise,
            {"x": float(estimate[0]), "y": float(estimate[1])},
        ),
        Finding(
            "without its first nablas, as it is printed, it estimates the gradient of Var l instead",
            f"mean over all pairs {list(printed)}, ∇Var l = {list(spread)}",
            printed == spread and printed != noise,
            {"x": float(printed[0]), "y": float(printed[1])},
            "control",
        ),
    ]


def _picture(sharp: _Sharpness, limits: _Limits) -> Figure:
    figure, grid = panels(13, 9, 2, 2)
    overfit, errors, settled, hopping = grid.flat
    a = sharp.curvatures
    for T in sharp.times:
        overfit.loglog(a, sharp.overfitting(a, T), label=f"$T = {T}$")
    overfit.loglog(a, 1 / (2 * a), "k--", label="$T → ∞$: $b^2/2a$")
    overfit.set(xlabel="curvature $a$", ylabel="overfitting / $b^2$", ylim=(1e-4, 1e2))
    overfit.set_title(f"Flat and sharp minima overfit less, $η = {sharp.step:g}$")
    overfit.legend()

    rates = np.array(limits.size.rates)
    for (order, power), marker in zip(limits.size.complete, "os^", strict=False):
        error = np.array(limits.errors[order])
        errors.loglog(rates, error, marker, label=f"$d = {order}$")
        errors.loglog(rates, error[-1] * (rates / rates[-1]) ** (power + 1), "-", color="0.5", lw=0.8)
    errors.set(
        xlabel="$η$", ylabel=r"$|L_{d,\infty}(η) - \lim_T E\,l(θ_T)|$", title="One minimum: lines of slope 2 and 3"
    )
    errors.legend()

    rate = limits.size.rates[0]
    times, values = limits.path(limits.single, rate, 14)
    settled.semilogx(times, values, "ko", label="exact")
    for order, formula in limits.formulas.items():
        curve = [float(formula.evaluate(limits.single, [0], eta=nsimplify(rate), N=int(t))) for t in times[:6]]
        curve += [limits.left(limits.single, order, rate)] * (len(times) - 6)
        settled.semilogx(times, curve, label=f"resummed, $d = {order}$")
    plain = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 4).assume("minimum")
    polynomial = [plain.evaluate(limits.single, [0], N=int(t)).subs(eta, nsimplify(rate)) for t in times]
    settled.semilogx(times, polynomial, ":", color="0.4", label="polynomial in $T$, $d = 4$")
    settled.set(xlabel="$T$", ylabel=r"$E\,l(θ_T)$", ylim=(0, 1.6 * values[-1]), title=f"One minimum, $η = {rate:g}$")
    settled.legend()

    for rate, left, right in limits.hops[:: max(1, len(limits.hops) // 3)]:
        times, values = limits.path(limits.double, rate, 24)
        (line,) = hopping.semilogx(times, values, "o-", ms=3, label=f"exact, $η = {rate:g}$")
        hopping.axhline(left, color=line.get_color(), ls="--", lw=1)
        hopping.axhline(right, color=line.get_color(), ls=":", lw=1)
    hopping.set(xlabel="$T$", ylabel=r"$E\,l(θ_T)$", title="Two minima: LHS dashed, RHS dotted")
    hopping.legend()
    return figure


EXPERIMENT = Experiment(
    title="sharp minima, an exchange of limits, an estimate of ∇C",
    shows="Tenka's two author responses to reviews",
    claim="for a given tilt of the training loss sharp minima overfit less; the limits d → ∞ and T → ∞ may be "
    "exchanged near a minimum, to all powers of η; 2∇l_x·∇∇(l_x − l_y) is an unbiased estimate of ∇C",
    judged="exact symbols; the slopes of log |L_{d,∞} − lim_T E l(θ_T)| against log η; whether the difference falls "
    "with η where a second minimum is in reach; exact enumeration of all pairs of points",
    sizes={"quick": ResponseSize(), "full": ResponseSize(rates=(0.1, 0.05, 0.025, 0.0125), points=100)},
    lasts={"quick": "about 15 s", "full": "about 20 s"},
    run=_run,
)
"""The experiment."""
