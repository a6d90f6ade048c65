"""The mistakes of *SGD at Small Learning Rates* and of its authors' table of coefficients, each shown by a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb
from typing import Any

import jax
import numpy as np
from sympy import Rational, symbols

from taylorsgd.descent import perturb, simulate
from taylorsgd.diagrams import Value, diagrams_of_order
from taylorsgd.formulas import Displacement, GeneralizationGap, TestLoss, derive
from taylorsgd.formulas.evaluation import evaluate_value
from taylorsgd.landscapes import FiniteLandscape, helix
from taylorsgd.reproducing.embedding import without_links
from taylorsgd.reproducing.errata import Erratum, errata_outcome
from taylorsgd.reproducing.expectations import Expectations
from taylorsgd.reproducing.experiment import Experiment, Outcome, Say
from taylorsgd.reproducing.images import Images
from taylorsgd.reproducing.sgd_landscape import descents
from taylorsgd.spacetime import GD, ODE, SDE, SGD
from taylorsgd.symbols import eta

__all__ = ["EXPERIMENT", "ErrataSize", "PRINTED"]

x, y = symbols("x y")
PLACE = FiniteLandscape(
    [x**2 + x * y + y**2 - x**3 / 3 + x * y**2 / 2, x**2 / 2 + y**2 - x + 2 * y + x**2 * y / 2],
    [Rational(1, 3), Rational(2, 3)],
    [x, y],
)
"""A landscape without symmetries."""
START = (Rational(1), Rational(1, 2))
VALLEY = FiniteLandscape(
    [x**4 + x**3 + x**2 + 2 * x, x**4 + x**3 + x**2 - x], [Rational(1, 3), Rational(2, 3)], [x]
)
"""A landscape with a minimum at 0, where H = 2, C = 2, S = 2 and J = 6."""
POINTS = 3
"""N, small enough that every training set can be visited; T = N for one epoch."""

GHG = Value((-1, 0, 1))
CH = Value((-1, 0, 0), (0, 1, 1))
NABLA_C_G = Value((-1, 0, 0), (0, 0, 1))  # κ(∇l, ∇∇l)·G = ½ ∇C·G
SJ = Value((-1, 0, 0, 0), (0, 1, 1, 1))
NABLA_C = Value((-1, 0, 1), (0, 1, 1), ("@0", "", ""))  # ½ ∇C
HG = Value((-1, 0, 1), marks=("@0", "", ""))


@dataclass(frozen=True)
class ErrataSize:
    """The settings of what can only be simulated, on HELIX.

    Attributes:
        rate: the learning rate η.
        updates: T of SGD.
        trials: of SGD.
        time: T of the SDE.
        paths: of the SDE.
        refinement: steps of the SDE in one update.
    """

    rate: float = 0.1
    updates: int = 3000
    trials: int = 600
    time: int = 300
    paths: int = 1000
    refinement: int = 4


def _run(size: ErrataSize, images: Images | None, say: Say) -> Outcome:
    errata = [*_of_the_table(), *_of_epochs_and_noise(), *_at_minima(), *_of_definitions()]
    say("Simulating HELIX")
    return errata_outcome([*errata, *_of_helix(size)], NOTES)


NOTES = (
    "where nothing else is said the numbers are coefficients of a power of η on a landscape of two variables and two "
    f"losses, with N = {POINTS}; displacements are their first components",
    "the authors' table is that of their code (bohrium/perturb, coefficients.py, January 2020); T:k there is C(T, k)",
    "a green disk is what the software derives, a red cross what is printed, both over what descent does",
)


# -- on the landscape without symmetries ---------------------------------------------------------------------


def value(of: Value, place: FiniteLandscape = PLACE, at: Any = START) -> Any:
    """A value on the landscape, in moments if it stands for them; the first component of a vector."""
    joint = place.moment if of.moments else place.cumulant
    found = evaluate_value(of, lambda degrees: joint(degrees, at), {})
    return np.asarray(found).reshape(-1)[0]


def by_descent(observable: Any, spacetime: Any, order: int) -> Any:
    """A coefficient by direct perturbation."""
    found = perturb(observable, spacetime, PLACE, START, order)
    return _entry(found).coeff(eta, order)


def by_formula(observable: Any, spacetime: Any, order: int, **sizes: int) -> Any:
    """The same coefficient by the derived formula."""
    return _entry(derive(observable, spacetime, order).evaluate(PLACE, START, **sizes)).coeff(eta, order)


def _entry(found: Any) -> Any:
    return found[0] if hasattr(found, "shape") else found


TREES = {"I": (-1, 0), "V": (-1, 0, 0), "Y": (-1, 0, 0, 0), "Z": (-1, 0, 0, 1)}
PRINTED: Mapping[str, tuple[tuple[Any, int, str, str], ...]] = {
    "test loss, order 2": ((1, 2, "V", "012"), (Rational(1, 2), 1, "V", "011")),
    "test loss, order 3": (
        (-4, 3, "Z", "0123"),
        (-2, 3, "Y", "0123"),
        (-Rational(3, 2), 2, "Y", "0122"),
        (-1, 2, "Z", "0122"),
        (-1, 2, "Z", "0112"),
        (-Rational(1, 6), 1, "Y", "0111"),
    ),
    "gap, order 2": (
        (-3, 2, "V", "001"),
        (-1, 2, "V", "011"),
        (4, 2, "V", "012"),
        (-Rational(1, 2), 1, "V", "000"),
        (Rational(1, 2), 1, "V", "011"),
    ),
    "gap, order 3": (
        (4, 3, "Z", "0121"),
        (5, 3, "Z", "0112"),
        (2, 3, "Z", "0012"),
        (1, 3, "Z", "0122"),
        (-12, 3, "Z", "0123"),
        (4, 3, "Y", "0012"),
        (2, 3, "Y", "0122"),
        (-6, 3, "Y", "0123"),
        (3, 2, "Y", "0001"),
        (Rational(7, 2), 2, "Y", "0011"),
        (-Rational(9, 2), 2, "Y", "0122"),
        (-2, 2, "Y", "0012"),
        (Rational(1, 6), 1, "Y", "0000"),
        (-Rational(1, 6), 1, "Y", "0111"),
    ),
    "GD - SGD, order 2": ((-1, 2, "V", "001"), (1, 2, "V", "012")),
}
"""The authors' table in moments: a number, the k of C(T, k), a tree and its parts; but for test losses over N."""


def printed(entry: str) -> Any:
    """A coefficient of the authors' table on the landscape, for T = N."""
    total = sum(
        number * comb(POINTS, k) * value(Value(TREES[tree], tuple(map(int, parts)), moments=True))
        for number, k, tree, parts in PRINTED[entry]
    )
    return total if entry.startswith("test loss") else total / POINTS


def _of_the_table() -> Iterator[Erratum]:
    one, where = SGD(N=POINTS, B=1, E=1), "authors' table"
    gap, loss = GeneralizationGap(), TestLoss()
    symbolic = SGD(B=1, E=1)
    for entry, observable, order, says, right in (
        (
            "test loss, order 2",
            loss,
            2,
            "C(T,2) G·H·G in moments",
            "2 C(T,2) G·H·G, that is T(T−½) G·H·G + (T/2) C·H",
        ),
        ("test loss, order 3", loss, 3, "the test loss of one epoch at order 3", "it is right"),
        ("gap, order 2", gap, 2, "the generalization gap of one epoch at order 2", "it is right"),
        (
            "gap, order 3",
            gap,
            3,
            "the generalization gap of one epoch at order 3",
            "twelve of the values have other coefficients",
        ),
    ):
        yield Erratum(
            f"{where}, {entry}",
            says,
            right,
            printed(entry),
            by_formula(observable, symbolic, order, N=POINTS),
            by_descent(observable, one, order),
        )
    gd = GD(N=POINTS, T=POINTS)
    yield Erratum(
        f"{where}, GD − SGD",
        "−C(T,2)/N · ½∇C·G",
        "+C(T,2)/N · ½∇C·G",
        printed("GD - SGD, order 2"),
        by_formula(loss, GD(), 2, N=POINTS, T=POINTS) - by_formula(loss, symbolic, 2, N=POINTS),
        by_descent(loss, gd, 2) - by_descent(loss, one, 2),
    )


def _of_epochs_and_noise() -> Iterator[Erratum]:
    """Corollaries 1 to 3 and the examples of appendix A."""
    n, epochs = POINTS, 2
    loss, moved = TestLoss(), Displacement()
    one, many, gd = SGD(N=n, B=1, E=1), SGD(N=n, B=1, E=epochs), GD(N=n, T=n)
    half_c = value(NABLA_C)
    yield Erratum(
        "Corollary 1",
        "E[θ_GD − θ_SGD] = η² (N−1)/(4N) ∇C for T = N",
        "η² (N−1)/4 ∇C; the N belongs to the regularizer",
        Rational(n - 1, 2 * n) * half_c,
        by_formula(moved, GD(), 2, N=n, T=n) - by_formula(moved, SGD(B=1, E=1), 2, N=n),
        by_descent(moved, gd, 2) - by_descent(moved, one, 2),
    )
    share = Rational((epochs - 1) * n, 2 * epochs)
    yield Erratum(
        "Corollary 2",
        "M epochs at η/M less one at η: E[Δθ] = η² (M−1)N/(4M) ∇C",
        "η² (M−1)N/(4M) ∇(C + G·G)",
        share * half_c,
        by_formula(moved, SGD(B=1), 2, N=n, E=epochs) / epochs**2 - by_formula(moved, SGD(B=1), 2, N=n, E=1),
        by_descent(moved, many, 2) / epochs**2 - by_descent(moved, one, 2),
    )
    yield Erratum(
        "A.1.4",
        "M epochs at η/M less one at η: E[Δl] = η² (M−1)N/(4M) G·∇C",
        "and η² (M−1)N/(2M) G·H·G besides",
        share * value(NABLA_C_G),
        by_formula(loss, SGD(B=1), 2, N=n, E=epochs) / epochs**2 - by_formula(loss, SGD(B=1), 2, N=n, E=1),
        by_descent(loss, many, 2) / epochs**2 - by_descent(loss, one, 2),
    )
    sgd = by_formula(loss, SGD(B=1, E=1), 2, N=n)
    for name, flow, symbolic, sizes, right in (
        ("SDE", SDE(T=n, B=1), SDE(), {"T": n, "B": 1}, "−(T/2) G·H·G"),
        ("ODE", ODE(T=n), ODE(), {"T": n}, "(T/2) (C·H − G·H·G)"),
    ):
        yield Erratum(
            f"Corollary 3, {name}",
            f"SGD's test loss exceeds the {name}'s by (T/2) C·H at η²",
            right,
            Rational(n, 2) * value(CH),
            sgd - by_formula(loss, symbolic, 2, **sizes),
            by_descent(loss, one, 2) - by_descent(loss, flow, 2),
        )
    shuffled = SGD(N=n, B=1, E=epochs, shuffle=True)
    at_four = by_descent(loss, shuffled, 4) - by_descent(loss, many, 4)
    yield Erratum(
        "A.2, footnote 1",
        "shuffling between epochs has only an o(η³) effect",
        f"it is right, and sharp: at η⁴ the test loss changes by {at_four}",
        Rational(0),
        by_formula(loss, SGD(B=1, shuffle=True), 3, N=n, E=epochs)
        - by_formula(loss, SGD(B=1), 3, N=n, E=epochs),
        by_descent(loss, shuffled, 3) - by_descent(loss, many, 3),
    )


# -- at minima -----------------------------------------------------------------------------------------------


def _at_minima() -> Iterator[Erratum]:
    """A.8.2 and the limits of Corollaries 4 and 5."""
    n, loss = POINTS, TestLoss()
    sgd = derive(loss, SGD(B=1, E=1), 3)
    skew = (
        (sgd.assume("minimum") - sgd.assume("minimum", "gaussian")).evaluate(VALLEY, [0], N=n).coeff(eta, 3)
    )
    all_noise = perturb(loss, SGD(N=n, B=1, E=1), VALLEY, [0], 3).coeff(eta, 3)
    others = sgd.assume("minimum", "gaussian").evaluate(VALLEY, [0], N=n).coeff(eta, 3)
    yield Erratum(
        "A.8.2 and B.6.5",
        "non-Gaussian noise adds +(T/6) η³ S·J to the test loss at a minimum",
        "−(T/6) η³ S·J",
        Rational(n, 6) * value(SJ, VALLEY, [0]),
        skew,
        all_noise - others,
        "direct perturbation less the Gaussian terms",
    )

    rate = Rational(1, 50)
    exact = Expectations(VALLEY, float(rate), (-1.5, 1.5), 60)
    tensors = [VALLEY.cumulant(degrees, 0).item() for degrees in ((1, 1), (2,), (3,))]
    noise, curvature, jerk = (Rational(t.numerator, t.denominator) for t in map(Fraction, tensors))
    limit = derive(Displacement(), SGD(B=1, E=1), 3, resum="continuous").assume("minimum").limit()
    yield Erratum(
        "Corollary 4",
        "the displacement tends to −(η³/2) Σ C J / (η (H_μ + H_ν) H_λ)",
        "−(η/2) Σ C J / ((H_μ + H_ν) H_λ)",
        -(rate**2) * noise * jerk / (4 * curvature**2),
        _entry(limit.evaluate(VALLEY, [0], eta=rate)),
        exact.limit(lambda theta: theta),
        f"the stationary mean at η = {rate}",
        0.1,
    )

    many = 32
    quadratics = FiniteLandscape([x**2 / 2 - x, x**2 + x], [Rational(1, 2)] * 2, [x])
    leading = Rational(1, many) / Rational(3, 2)  # C/(N H)
    gap = derive(GeneralizationGap(), GD(), 3, resum="discrete").assume("minimum").limit()
    small = gap.evaluate(quadratics, [0], N=many, eta=Rational(1, 10**6))
    yield Erratum(
        "Corollary 5, limit",
        "the generalization gap of GD tends to tr(C H⁻¹)/N as T → ∞ and η → 0",
        "so at order 1 or with additive noise; else O(1/N²) remains at η⁰: N² times that",
        Rational(0),
        many**2 * (small - leading),
        many**2 * (_gap_of_minimizers(many) - leading),
        f"enumeration of all training sets of {many} points",
        0.05,
    )


def _gap_of_minimizers(points: int) -> Rational:
    """E[l(θ̂) − l̂(θ̂)] for θ̂ the minimum of the mean of `points` of θ²/2 − θ and θ² + θ, drawn with equal odds."""
    total = Fraction(0)
    for first in range(points + 1):
        second = points - first
        curvature, slope = Fraction(first + 2 * second, points), Fraction(second - first, points)
        minimizer = -slope / curvature
        training = curvature * minimizer**2 / 2 + slope * minimizer
        total += Fraction(comb(points, first), 2**points) * (Fraction(3, 4) * minimizer**2 - training)
    return Rational(total.numerator, total.denominator)


# -- definitions ---------------------------------------------------------------------------------------------


def _of_definitions() -> Iterator[Erratum]:
    """A.3's linkless diagrams and C.4's estimate of C."""
    order = 3
    diagrams = list(diagrams_of_order(order))
    alone = sum(
        all(
            diagram.degree(node) != 2 or len(diagram.blocks[diagram.parts[node]]) == 1
            for node, parent in enumerate(diagram.parents)
            if parent >= 0
        )
        for diagram in diagrams
    )
    yield Erratum(
        "A.3",
        "a diagram is linkless when each of its degree-2 nodes is in a part of size one",
        "when no such node but the root is (Definition 2); linkless diagrams of order 3",
        alone,
        sum(diagram.is_linkless for diagram in diagrams),
        len({reduced for diagram in diagrams if (reduced := without_links(diagram)).order == order}),
        "counting classes under reduction",
    )

    trace = Value((-1, 0), (0, 0), marks=("", ""))
    slopes = [
        [loss.diff(v).subs(dict(zip((x, y), START, strict=True))) for v in (x, y)] for loss in PLACE.losses
    ]
    pairs = [
        (w * u, first, second)
        for first, w in zip(slopes, PLACE.weights, strict=True)
        for second, u in zip(slopes, PLACE.weights, strict=True)
    ]
    difference = sum(
        weight * (a - b) * (a + b) / 4
        for weight, first, second in pairs
        for a, b in zip(first, second, strict=True)
    )
    estimate = sum(
        weight * a * (a - b) for weight, first, second in pairs for a, b in zip(first, second, strict=True)
    )
    yield Erratum(
        "C.4",
        "Ĉ = (l_x − l_y)_μ l_xy/2 is unbiased, with l_xy the mean over the batch x, y",
        "∇l_x·∇(l_x − l_y) is, for the trace of C",
        difference,
        estimate,
        Rational(value(trace)),
        "the cumulants of the landscape",
    )


# -- HELIX ---------------------------------------------------------------------------------------------------


def _of_helix(size: ErrataSize) -> Iterator[Erratum]:
    """The drift along the valley in units of η², where only simulation can judge."""
    place, rate = helix(), Rational(size.rate).limit_denominator(10**6)
    spacetime = SGD(B=1, E=1)
    drifts = {
        method: derive(Displacement(), dynamics, 3, resum=method).assume("minimum").drift()
        for method, dynamics in (("continuous", SDE(B=1)), ("discrete", spacetime))
    }
    derived = {
        method: drift.evaluate(place, place.start, eta=rate)[2] / rate**2 for method, drift in drifts.items()
    }
    with jax.enable_x64(True):
        key, start = jax.random.key(0), place.array(place.start)
        run = simulate(
            place,
            start,
            SDE(T=size.time, B=1),
            size.rate,
            size.paths,
            key,
            test_points=1,
            refinement=size.refinement,
        )
    sde = float(np.asarray(run.displacement.mean)[2]) / (size.time * size.rate**2)
    yield Erratum(
        "4.2, the SDE on HELIX",
        "an SDE-based analysis predicts a constant velocity of 0",
        "that is the stationary analysis; the SDE itself drifts by η²/6, like SGD",
        Rational(0),
        derived["continuous"],
        sde,
        f"{size.paths} paths",
        0.05,
    )
    ends = descents(size.rate, size.updates, size.trials, 1)[:, -1, 2]
    yield Erratum(
        "4.2, SGD on HELIX",
        f"a velocity of η²/6 per update, at η = {size.rate:g}",
        "η²/(6 − 4η) with exact sums",
        Rational(1, 6),
        derived["discrete"],
        float(ends.mean()) / (size.updates * size.rate**2),
        f"{size.trials} trajectories of {size.updates} updates",
        0.02,
    )


EXPERIMENT = Experiment(
    title="mistakes in the paper and in its authors' table",
    shows="Tenka, Corollaries 1 to 5, 4.2, A.1 to A.3, A.8, B.6.5 and C.4",
    claim="what is printed there",
    judged="direct perturbation over all training sets or enumeration, exactly; the stationary mean within 10%, "
    "remainders within 5%, drifts by simulation within 5% (SDE) and 2% (SGD)",
    sizes={"quick": ErrataSize(), "full": ErrataSize(updates=10_000, trials=1000, time=1000, refinement=16)},
    lasts={"quick": "about 30 s", "full": "about 3 minutes"},
    run=_run,
)
"""The experiment."""
