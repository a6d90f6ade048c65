"""The mistakes of *SGD at Small Learning Rates* and of its authors' table of coefficients, each shown by a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from math import comb
from typing import Any

import jax
import numpy as np
from sympy import Rational

import taylorsgd as ts
from taylorsgd.landscapes import helix
from taylorsgd.reproducing.errata import Erratum, errata_outcome
from taylorsgd.reproducing.experiment import Experiment, Outcome, Work
from taylorsgd.reproducing.tenka.authors_table import (
    GD,
    ONE_EPOCH,
    PLACE,
    POINTS,
    START,
    Dynamics,
    entry,
    errata_of_the_table,
    found_twice,
    value,
    x,
    y,
)
from taylorsgd.reproducing.tenka.exact_expectations import Expectations
from taylorsgd.reproducing.tenka.helix_descents import derived_drift, descents
from taylorsgd.reproducing.tenka.single_embeddings import without_links
from taylorsgd.symbols import eta

__all__ = ["EXPERIMENT", "ErrataSize"]

VALLEY = ts.FiniteLandscape([x**4 + x**3 + x**2 + 2 * x, x**4 + x**3 + x**2 - x], [Rational(1, 3), Rational(2, 3)], [x])
"""A landscape with a minimum at 0, where H = 2, C = 2, S = 2 and J = 6."""
CH = ts.Value((-1, 0, 0), (0, 1, 1))
NABLA_C_G = ts.Value((-1, 0, 0), (0, 0, 1))  # κ(∇l, ∇∇l)·G = ½ ∇C·G
SJ = ts.Value((-1, 0, 0, 0), (0, 1, 1, 1))
NABLA_C = ts.Value((-1, 0, 1), (0, 1, 1), ("@0", "", ""))  # ½ ∇C


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
        seed: of what the SDE and SGD on HELIX draw.
    """

    rate: float = 0.1
    updates: int = 3000
    trials: int = 600
    time: int = 300
    paths: int = 1000
    refinement: int = 4
    seed: int = 0


def _run(size: ErrataSize, work: Work) -> Outcome:
    errata = [*errata_of_the_table(), *_of_epochs_and_noise(), *_at_minima(), *_of_definitions()]
    work.say("Simulating HELIX")
    return errata_outcome([*errata, *_of_helix(size)], NOTES)


NOTES = (
    "where nothing else is said the numbers are coefficients of a power of η on a landscape of two variables and two "
    f"losses, with N = {POINTS}; displacements are their first components",
    "the authors' table is that of their code (bohrium/perturb, coefficients.py, January 2020); T:k there is C(T, k)",
    "a green disk is what the software derives, a red cross what is printed, both over what descent does",
)


# -- on the landscape without symmetries ---------------------------------------------------------------------


def _of_epochs_and_noise() -> Iterator[Erratum]:
    """Corollaries 1 to 3 and the examples of appendix A."""
    n, epochs = POINTS, 2
    loss, moved = ts.TestLoss(), ts.Displacement()
    many = Dynamics(partial(ts.SGD, B=1), {"N": n, "E": epochs})
    scaled = (Rational(1, epochs**2), many), (-1, ONE_EPOCH)  # M epochs at η/M less one at η
    half_c, share = value(NABLA_C), Rational((epochs - 1) * n, 2 * epochs)
    yield Erratum(
        "Corollary 1",
        "E[θ_GD − θ_SGD] = η² (N−1)/(4N) ∇C for T = N",
        "η² (N−1)/4 ∇C; the N belongs to the regularizer",
        Rational(n - 1, 2 * n) * half_c,
        *found_twice(moved, 2, (1, GD), (-1, ONE_EPOCH)),
    )
    yield Erratum(
        "Corollary 2",
        "M epochs at η/M less one at η: E[Δθ] = η² (M−1)N/(4M) ∇C",
        "η² (M−1)N/(4M) ∇(C + G·G)",
        share * half_c,
        *found_twice(moved, 2, *scaled),
    )
    yield Erratum(
        "A.1.4",
        "M epochs at η/M less one at η: E[Δl] = η² (M−1)N/(4M) G·∇C",
        "and η² (M−1)N/(2M) G·H·G besides",
        share * value(NABLA_C_G),
        *found_twice(loss, 2, *scaled),
    )
    for name, flow, right in (
        ("SDE", Dynamics(ts.SDE, {"T": n, "B": 1}), "−(T/2) G·H·G"),
        ("ODE", Dynamics(ts.ODE, {"T": n}), "(T/2) (C·H − G·H·G)"),
    ):
        yield Erratum(
            f"Corollary 3, {name}",
            f"SGD's test loss exceeds the {name}'s by (T/2) C·H at η²",
            right,
            Rational(n, 2) * value(CH),
            *found_twice(loss, 2, (1, ONE_EPOCH), (-1, flow)),
        )
    shuffled = Dynamics(partial(ts.SGD, B=1, shuffle=True), many.sizes)
    at_four = shuffled.direct(loss, 4) - many.direct(loss, 4)
    yield Erratum(
        "A.2, footnote 1",
        "shuffling between epochs has only an o(η³) effect",
        f"it is right, and sharp: at η⁴ the test loss changes by {at_four}",
        Rational(0),
        *found_twice(loss, 3, (1, shuffled), (-1, many)),
    )


# -- at minima -----------------------------------------------------------------------------------------------


def _at_minima() -> Iterator[Erratum]:
    """A.8.2 and the limits of Corollaries 4 and 5."""
    n, loss = POINTS, ts.TestLoss()
    sgd = ts.derive(loss, ts.SGD(B=1, E=1), 3)
    skew = (sgd.assume("minimum") - sgd.assume("minimum", "gaussian")).evaluate(VALLEY, [0], N=n).coeff(eta, 3)
    all_noise = ts.perturb(loss, ts.SGD(N=n, B=1, E=1), VALLEY, [0], 3).coeff(eta, 3)
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
    limit = ts.derive(ts.Displacement(), ts.SGD(B=1, E=1), 3, resum="continuous").assume("minimum").limit()
    yield Erratum(
        "Corollary 4",
        "the displacement tends to −(η³/2) Σ C J / (η (H_μ + H_ν) H_λ)",
        "−(η/2) Σ C J / ((H_μ + H_ν) H_λ)",
        -(rate**2) * noise * jerk / (4 * curvature**2),
        entry(limit.evaluate(VALLEY, [0], eta=rate)),
        exact.limit(lambda theta: theta),
        f"the stationary mean at η = {rate}",
        0.1,
    )

    many = 32
    quadratics = ts.FiniteLandscape([x**2 / 2 - x, x**2 + x], [Rational(1, 2)] * 2, [x])
    leading = Rational(1, many) / Rational(3, 2)  # C/(N H)
    gap = ts.derive(ts.GeneralizationGap(), ts.GD(), 3, resum="discrete").assume("minimum").limit()
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


def _gap_of_minimizers(points: int) -> Any:
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
    diagrams = list(ts.diagrams_of_order(order))
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

    trace = ts.Value((-1, 0), (0, 0), marks=("", ""))
    at = dict(zip((x, y), START, strict=True))
    slopes = [[loss.diff(v).subs(at) for v in (x, y)] for loss in PLACE.losses]
    pairs = [  # of all entries of the slopes of two points, with the weights of both
        (w * u, a, b)
        for (first, w), (second, u) in product(zip(slopes, PLACE.weights, strict=True), repeat=2)
        for a, b in zip(first, second, strict=True)
    ]
    difference = sum(weight * (a - b) * (a + b) / 4 for weight, a, b in pairs)
    estimate = sum(weight * a * (a - b) for weight, a, b in pairs)
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
    place, rate = helix(), Rational(str(size.rate))
    diffusing, descending = jax.random.split(jax.random.key(size.seed))
    with jax.enable_x64(True):
        start, where = place.array(place.start), ts.SDE(T=size.time, B=1)
        smooth: Any = {"test_points": 1, "refinement": size.refinement}
        run = ts.simulate(place, start, where, size.rate, size.paths, diffusing, **smooth)
    sde = float(np.asarray(run.displacement.mean)[2]) / (size.time * size.rate**2)
    yield Erratum(
        "4.2, the SDE on HELIX",
        "an SDE-based analysis predicts a constant velocity of 0",
        "that is the stationary analysis; the SDE itself drifts by η²/6, like SGD",
        Rational(0),
        derived_drift(rate, ts.SDE(B=1), "continuous") / rate**2,
        sde,
        f"{size.paths} paths",
        0.05,
        simulated=True,
    )
    ends = descents(size.rate, size.updates, size.trials, descending)[:, -1, 2]
    yield Erratum(
        "4.2, SGD on HELIX",
        f"a velocity of η²/6 per update, at η = {size.rate:g}",
        "η²/(6 − 4η) with exact sums",
        Rational(1, 6),
        derived_drift(rate) / rate**2,
        float(ends.mean()) / (size.updates * size.rate**2),
        f"{size.trials} trajectories of {size.updates} updates",
        0.02,
        simulated=True,
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
