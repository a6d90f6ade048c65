r"""What a term says of itself, against numbers.

Identities, for every term of every observable and spacetime up to order 3, in cumulants, in moments and resummed:
    (1) a value that is said to be at least 0 (as a matrix, positive semidefinite) is, on random landscapes, with H ≥ 0
        and s convex where that is a condition; and the coefficient has the sign that is said, at many sizes
    (2) a value that is said to vanish does, on random landscapes that are noiseless, quadratic, Gaussian or at a
        minimum; and one that is not said to does not, on some such landscape
    (3) the powers are those of the coefficient as one of T, N, B grows, in T where T = EN/B; the zeros are zeros
    (4) the diagrams in which the root is tied are those that only a training loss has
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Rational, Symbol

import taylorsgd as ts
from taylorsgd.formulas.assumptions import ASSUMPTIONS
from taylorsgd.formulas.evaluation import evaluate_value
from taylorsgd.formulas.explaining import Explanation
from taylorsgd.landscapes import NormalLandscape
from taylorsgd.symbols import B, E, N, T

x, y = sympy.symbols("x y")
CONVEX = 2 * x**2 + x * y + y**2
OBSERVABLES = [
    ts.TestLoss(),
    ts.TrainLoss(),
    ts.GeneralizationGap(),
    ts.Displacement(),
    ts.Observable(CONVEX),
    ts.Variance(ts.TestLoss()),
    ts.Variance(ts.TrainLoss()),
    ts.SecondMoment(ts.Displacement(), ts.Displacement()),
    ts.Covariance(ts.TestLoss(), ts.Displacement()),
    ts.Covariance(ts.Observable(CONVEX), ts.GeneralizationGap()),
]
SPACETIMES = [
    ts.SGD(),
    ts.SGD(E=1),
    ts.SGD(N=4, B=2, E=3),
    ts.GD(),
    ts.Replacement(),
    ts.SDE(),
    ts.ODE(),
    ts.SGD(shuffle=True),
    ts.Grid([[True, False, True], [False, True, False]]),
]


@cache
def formulas() -> list[tuple[Any, ts.Formula]]:
    found = []
    for observable in OBSERVABLES:
        for spacetime in SPACETIMES:
            pair = isinstance(observable, (ts.SecondMoment, ts.Covariance))
            try:
                f = ts.derive(observable, spacetime, 2 if pair and spacetime != ts.SGD() else 3)
            except ValueError:  # no training set
                continue
            found.append((spacetime, f))
    return found


@cache
def explanations() -> list[tuple[Any, ts.Term, Explanation]]:
    return [(place, term, term.explain(place)) for place, f in formulas() for term in f]


@cache
def values() -> dict[Any, Explanation]:
    """Every value that occurs, in cumulants and in moments, with what one of its terms says."""
    found = {term.value: said for _, term, said in explanations()}
    in_moments = [f.to_moments() for place, f in formulas() if place == ts.SGD()]
    found |= {value: term.explain(ts.SGD()) for value, term in {t.value: t for f in in_moments for t in f}.items()}
    return found


@cache
def observed(at: tuple[Any, ...], degree: int) -> np.ndarray:
    """The derivatives of CONVEX."""
    entries = np.empty((2,) * degree, dtype=object)
    point = dict(zip((x, y), at, strict=True))
    for index in np.ndindex(entries.shape):
        along = [(x, y)[i] for i in index]
        entries[index] = (sympy.diff(CONVEX, *along) if along else CONVEX).subs(point)
    return entries


def number(value: Any, landscape: Any, at: Any) -> np.ndarray:
    """A value on a landscape; its powers of η left out."""
    joint = partial(landscape.moment if value.moments else landscape.cumulant, at=at)
    return np.asarray(evaluate_value(value, joint, {"s": partial(observed, tuple(at))}), dtype=float)


def with_convex_loss(landscape: ts.FiniteLandscape, at: Any) -> ts.FiniteLandscape:
    """The same, with a bowl that makes H at the point positive semidefinite."""
    steep = sum(abs(entry) for entry in np.ravel(landscape.cumulant((2,), at)))
    bowl = Rational(int(np.ceil(float(steep))) + 1, 2) * ((x - at[0]) ** 2 + (y - at[1]) ** 2)
    return ts.FiniteLandscape([loss + bowl for loss in landscape.losses], landscape.weights, (x, y))


def test_values_of_one_sign(landscapes) -> None:
    definite = {value: said for value, said in values().items() if said.sign is not None and value.order}
    unconditional = [value for value, said in definite.items() if not said.conditions]
    assert len(definite) > 20 and len(unconditional) > 10
    seen: set[str] = set()

    @settings(max_examples=10)
    @given(landscapes(2, 4))
    def check(drawn: Any) -> None:
        landscape, at = drawn
        bowl = with_convex_loss(landscape, at)
        for value, said in definite.items():
            seen.update(said.conditions)
            found = number(value, bowl if "H ≥ 0" in said.conditions else landscape, at)
            least = np.linalg.eigvalsh((found + found.T) / 2).min() if found.ndim else found
            assert least >= -1e-9 * (1 + np.abs(found).max()), (value, found)

    check()
    assert seen == {"H ≥ 0", "∇∇s ≥ 0"}


def test_a_condition_is_needed() -> None:
    """G·H·G and C·H are of either sign where H is."""
    landscape = ts.FiniteLandscape([-(x**2) - y**2 + x, -(x**2) - y**2 + 2 * y], [Rational(1, 2)] * 2, [x, y])
    for text in ("G H G", "C H"):
        f = ts.derive(ts.TestLoss(), ts.SGD(), 2)
        (term,) = (term for term in f if f.coefficient(text) == term.coefficient and term.order == 2)
        assert term.explain().conditions == ("H ≥ 0",) and term.explain().sign == 1
        assert number(term.value, landscape, [0, 0]) < 0


SIZES = [(n, b, e) for n in (1, 2, 3, 4, 6, 12, 60) for b in (1, 2, 3, 6, 12) for e in (1, 2, 3, 7) if n % b == 0]


def test_coefficients_have_the_sign_that_is_said() -> None:
    definite = 0
    for place, term, said in explanations():
        if said.sign is None:
            continue
        definite += 1
        for n, b, e in SIZES:
            try:
                sizes = {N: n, B: b, E: e, T: e * n // b}
                known = term.coefficient.subs(sizes)
            except ZeroDivisionError:
                continue
            if known.is_finite:  # shuffling divides by N − 1
                assert known * said.sign >= 0, (place, term, sizes)
    assert definite > 100


def at_minimum(landscape: ts.FiniteLandscape, at: Any) -> ts.FiniteLandscape:
    slope = landscape.cumulant((1,), at)
    line = sum(Rational(int(g.numerator), int(g.denominator)) * v for g, v in zip(slope, (x, y), strict=True))
    return ts.FiniteLandscape([loss - line for loss in landscape.losses], landscape.weights, (x, y))


def gaussian(landscape: ts.FiniteLandscape, _: Any) -> NormalLandscape:
    """Two of the losses, one of them times a normal number."""
    return NormalLandscape(landscape.losses[0] + Symbol("xi") * landscape.losses[1], (x, y), Symbol("xi"))


MAKE = {
    "minimum": at_minimum,
    "gaussian": gaussian,
    "noiseless": lambda landscape, _: ts.FiniteLandscape(landscape.losses[:1], [1], (x, y)),
    "quadratic": None,
}


@pytest.mark.parametrize("assumption", list(ASSUMPTIONS))
def test_where_values_vanish(landscapes, assumption: str) -> None:
    make = MAKE[assumption]
    remaining = {value for value, said in values().items() if assumption not in said.vanishes}
    vanishing = values().keys() - remaining
    assert vanishing and remaining

    @settings(max_examples=5)
    @given(landscapes(2, 2 if assumption == "quadratic" else 5))
    def check(drawn: Any) -> None:
        landscape, at = drawn
        special = make(landscape, at) if make else landscape
        for value in vanishing:
            assert np.abs(number(value, special, at)).max() < 1e-9, value
        for value in [*remaining]:
            if np.abs(number(value, special, at)).max() > 0:
                remaining.discard(value)

    check()
    # what is left held only for want of luck: a value of a cumulant or moment that no landscape drawn has
    assert len(remaining) <= len(values()) // 20, remaining


def in_t(place: Any, coefficient: Any) -> Any:
    if isinstance(place, ts.SGD) and E in place.free_symbols:
        return coefficient.subs(E, B * T / N)
    if isinstance(place, ts.SGD) and not place.T.is_number:
        return coefficient.subs(N, B * T)
    return coefficient


def test_powers_of_sizes() -> None:
    told = 0
    for place, term, said in explanations():
        written = in_t(place, term.coefficient)
        assert sympy.cancel(written - said.coefficient) == 0
        expected = {str(s) for s in written.free_symbols}
        assert expected <= said.powers.keys() <= {"T", "N", "B"}, (place, term)
        for size, power in said.powers.items():
            assert power is not None
            others = {N: 7, B: 3, T: 11}
            others.pop(Symbol(size))
            first, second = (written.subs(others).subs(Symbol(size), big) for big in (10**8, 2 * 10**8))
            assert round(float(sympy.log(abs(second / first), 2)), 5) == power, (place, term, size)
            told += 1
        for zero in said.zeros:
            size, _, number = zero.removeprefix("at ").partition(" = ")
            value = Symbol(number) if number.isalpha() else int(number)
            assert 0 in {c.subs(Symbol(size), value) for c in (term.coefficient, written)}, (term, zero)
    assert told > 500


def test_sizes_without_a_spacetime() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), 2)
    for term in f:
        if E in term.coefficient.free_symbols:
            assert term.explain().powers == term.explain(ts.SGD()).powers
    assert f.terms[-1].explain().powers == {"T": 2, "N": -1, "B": 0}
    heavy = ts.derive(ts.TestLoss(), ts.GD(), 1, update=ts.HeavyBall(Rational(1, 2)))
    assert heavy.terms[-1].explain(ts.GD()).powers == {"T": 1, "N": 0}
    assert heavy.terms[-1].explain(ts.GD()).sign is None  # 2^-T: its sign is not looked for


def test_tied_roots() -> None:
    for term in ts.derive(ts.GeneralizationGap(), ts.SGD(), 3):
        assert term.explain().training == len(term.diagrams)
    for term in ts.derive(ts.TestLoss(), ts.SGD(), 3):
        assert term.explain().training == 0 and "training set" not in str(term.explain())
    kinds = {term.explain().training for term in ts.derive(ts.TrainLoss(), ts.SGD(), 2)}
    assert {0, 1, 2} <= kinds


@pytest.mark.parametrize("resum", ["discrete", "continuous"])
def test_resummed_terms_of_one_sign(resum: str) -> None:
    """Evaluated at ηλ ≤ 1 on a bowl, through the source that they make."""
    bowl = 2 * x**2 + x * y + y**2
    landscape = ts.FiniteLandscape(
        [bowl + x**3 - x, bowl + x * y**2 + 2 * y, bowl - y**3], [Rational(1, 3)] * 3, [x, y]
    )
    definite = 0
    for observable in OBSERVABLES[:3]:
        for place, sizes in ((ts.SGD(E=1), {"N": 4, "B": 2}), (ts.GD(), {"N": 3, "T": 4})):
            f = ts.derive(observable, place, 2, resum=resum)
            for term in f:
                said = term.explain(place)
                assert set(said.vanishes) == {a for a in ASSUMPTIONS if not f.replaced([term]).assume(a)}
                if said.sign is None or not term.order:
                    continue
                definite += 1
                g = f.replaced([term]).lower()
                tensors = {part: np.asarray(landscape.cumulant(part, [0, 0]), dtype=float) for part in g.parts}
                tensors[(2,)] = np.asarray(landscape.cumulant((2,), [0, 0]), dtype=float)
                for eta in (0.01, 0.1, 0.2):
                    assert float(g(tensors, eta=eta, **sizes)) * said.sign >= -1e-7, (term, eta)
                assert ("ηH ≤ 1" in said.conditions) == (resum == "discrete")
    assert definite >= 8


def explained(observable: Any, spacetime: Any, text: str, order: int = 2) -> Explanation:
    f = ts.derive(observable, spacetime, order)
    (found,) = [term for term in f if str(term.value) == text]
    return found.explain(spacetime)


def test_what_happens_in_words() -> None:
    chain, fork = explained(ts.TestLoss(), ts.SGD(), "G_μ H^μ_ν G^ν").actions
    assert chain == (
        "((.)): an earlier update a along -∇l changes the gradient of a later update b through the Hessian ∇∇l; "
        "b changes the loss through its gradient ∇l"
    )
    assert fork == "(. .): updates a and b along -∇l together change the loss through its Hessian ∇∇l"
    (tied,) = explained(ts.GeneralizationGap(), ts.GD(), "C^μ_μ").actions
    assert tied.endswith("the loss that is observed is that of the training point of a")
    (moved,) = explained(ts.Displacement(), ts.SGD(), "½ ∇^μ C^ν_ν").actions
    assert moved.endswith("b is what moves θ; a and b use the same training point")
    (joint,) = explained(ts.Variance(ts.Displacement()), ts.SGD(), "C^μν").actions
    assert "moves θ (first of the pair)" in joint and "moves θ (second of the pair)" in joint
    assert explained(ts.TestLoss(), ts.SGD(), "l").actions == (".: the loss stands at its value before any update",)


def test_noise_in_words() -> None:
    assert explained(ts.TestLoss(), ts.SGD(), "G_μ G^μ").noise == ()
    assert explained(ts.TestLoss(), ts.SGD(), "C_μν H^μν").noise == ("the covariance C of the gradients at one point",)
    assert explained(ts.TestLoss(), ts.SGD(), "½ (∇_μ C^ν_ν) G^μ").noise == (
        "the covariance at one point of its gradient ∇l and its Hessian ∇∇l",
    )
    assert explained(ts.TestLoss(), ts.SGD(), "S_μνλ J^μνλ", 3).noise == (
        "the third cumulant S of the gradients at one point: skewness",
    )


def test_the_lines() -> None:
    text = str(explained(ts.TestLoss(), ts.SGD(), "C_μν H^μν"))
    assert text.splitlines()[-3:] == [
        "  vanishes       without noise: all points would have one loss",
        "  size           the coefficient grows as T^2, falls as 1/N, is independent of B",
        "  sign           never negative where H ≥ 0",
    ]
    assert "positive semidefinite, in every landscape" in str(
        explained(ts.Variance(ts.Displacement()), ts.SGD(), "C^μν")
    )
    assert "it is a vector" in str(explained(ts.Displacement(), ts.SGD(), "G^μ"))
    assert "vanishes       at a minimum: it holds G; at T = 1" in str(
        explained(ts.Displacement(), ts.SGD(), "H^μ_ν G^ν")
    )
    assert "if s is a penalty" in str(explained(ts.Observable(x), ts.SGD(), "G_μ ∇^μ s"))
    assert all(len(line) <= 110 for _, _, said in explanations() for line in str(said).splitlines()[1:])
    with pytest.raises(TypeError, match="spacetime=3 is no spacetime"):
        ts.derive(ts.TestLoss(), ts.SGD(), 0).terms[0].explain(3)


@given(st.integers(1, 4))
def test_every_shape_of_diagram_is_told(order: int) -> None:
    for diagram in ts.diagrams_of_order(order):
        value = ts.Value(diagram.parents, diagram.parts)
        said = ts.Term(sympy.Integer(1), value, (diagram,)).explain()
        assert all(f" {letter}" in said.actions[0] for letter in "abcd"[:order])
        assert len(said.noise) == sum(len(block) > 1 for block in diagram.blocks)
