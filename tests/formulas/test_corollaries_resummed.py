"""The paper's results at a minimum, derived by the software (Tenka, section 3), and their errata.

Proposition 1    −S·J / (18 ‖ηH‖) from skewed noise as T → ∞, for isotropic curvature
Corollary 3      the skewness term at finite T
Corollary 4      the displacement −(η/2) Σ C_μν J_μνλ / ((H_μ + H_ν) H_λ), with the right powers of η
Corollary 5      overfitting and generalization gap of GD; Takeuchi's criterion and the AIC
HELIX            the drift η²/6 (continuous) and η²/(6 − 4η) (discrete)
"""

import numpy as np
import pytest
import sympy as sp
from sympy import Rational

import taylorsgd as ts
from taylorsgd.symbols import N, T, eta

P = sp.Symbol("P")
mu, nu, rho = sp.symbols("mu nu rho", integer=True)
lam, C, S, J = (sp.IndexedBase(name) for name in ("lambda", "C", "S", "J"))


def at_minimum(observable, spacetime, order, method):
    return ts.derive(observable, spacetime, order, resum=method).assume("minimum")


def summand(expression):
    """The summand of the only sum in an expression, with what multiplies it."""
    (total,) = expression.atoms(sp.Sum)
    return sp.simplify(expression.coeff(total) * total.function), [limits[0] for limits in total.limits]


@pytest.mark.shows("GD", "test loss", resum="continuous")
def test_corollary_5_overfitting():
    excess = at_minimum(ts.TestLoss(), ts.GD(), 2, "continuous")[2].to_sympy()
    found, indices = summand(excess)
    assert indices == [mu]
    expected = C[mu, mu] / (2 * N * lam[mu]) * (1 - sp.exp(-T * eta * lam[mu])) ** 2
    assert sp.simplify(found - expected) == 0


@pytest.mark.shows("GD", "gap", resum="continuous")
def test_corollary_5_gap():
    gap = at_minimum(ts.GeneralizationGap(), ts.GD(), 1, "continuous")
    found, indices = summand(gap.to_sympy())
    assert indices == [mu]
    assert sp.simplify(found - C[mu, mu] / (N * lam[mu]) * (1 - sp.exp(-T * eta * lam[mu]))) == 0
    takeuchi, _ = summand(gap.limit().to_sympy())
    assert takeuchi == C[mu, mu] / (N * lam[mu])


def test_aic_is_the_dimension_over_n():
    gap = at_minimum(ts.GeneralizationGap(), ts.GD(), 1, "discrete").limit()
    fisher = np.array([[3, 1, 0], [1, 2, 1], [0, 1, 5]], dtype=object) * sp.Integer(1)

    class WellSpecified:
        def cumulant(self, degrees, at):
            return fisher  # C = H

    assert gap.evaluate(WellSpecified(), at=None, N=7, eta=Rational(1, 10)) == Rational(3, 7)


def test_corollary_3_skewness():
    skewness = at_minimum(ts.TestLoss(), ts.SGD(B=1, E=1), 3, "continuous")[3]
    found, indices = summand(skewness.to_sympy())
    assert len(indices) == 3
    rate = eta * sum(lam[i] for i in indices)
    steps = ts.SGD(B=1, E=1).T
    expected = -(eta**3) / 6 * S[tuple(indices)] * J[tuple(indices)] * (1 - sp.exp(-steps * rate)) / rate
    assert sp.simplify(sp.expand(found - expected)) == 0
    assert not at_minimum(ts.TestLoss(), ts.SDE(), 3, "continuous")[3]  # Gaussian noise misses it


def test_proposition_1():
    limit = at_minimum(ts.TestLoss(), ts.SGD(B=1, E=1), 3, "continuous")[3].limit()
    found, indices = summand(limit.to_sympy())
    curvature = sp.Symbol("h", positive=True)
    isotropic = found.subs({lam[i]: curvature for i in indices})
    # −S·J / (18 ηh) with the three η that raise J's indices
    expected = -(eta**3) * S[tuple(indices)] * J[tuple(indices)] / (18 * eta * curvature)
    assert sp.simplify(isotropic - expected) == 0


@pytest.mark.shows("one epoch", "displacement", resum="continuous")
@pytest.mark.shows("SDE", "displacement", resum="continuous")
@pytest.mark.parametrize("spacetime", [ts.SGD(B=1, E=1), ts.SDE(B=1)], ids=repr)
def test_corollary_4(spacetime):
    displacement = at_minimum(ts.Displacement(), spacetime, 3, "continuous")
    assert displacement.order == 3 and len(displacement.terms) == 1
    found, indices = summand(displacement.limit().to_sympy())
    assert mu not in indices  # the open index
    a, b = indices
    expected = -eta / 2 * C[a, b] * J[mu, a, b] / ((lam[a] + lam[b]) * lam[mu])
    assert sp.simplify(found.subs(J[a, b, mu], J[mu, a, b]) - expected) == 0
    drift, _ = summand(displacement.drift().to_sympy())
    assert sp.simplify(drift.subs(J[a, b, mu], J[mu, a, b]) - expected * eta * lam[mu]) == 0


def test_corollary_4_in_numbers():
    """One dimension: H = 2, J = 6, C = 2, and −(η/2) CJ/(2H · H) by resolvents, not by the closed form."""
    x = sp.Symbol("x")
    losses = [x**4 + x**3 + x**2 + 2 * x, x**4 + x**3 + x**2 - x]
    place = ts.FiniteLandscape(losses, [sp.Rational(1, 3), sp.Rational(2, 3)], [x])
    displacement = at_minimum(ts.Displacement(), ts.SDE(B=1), 3, "continuous").limit()
    assert displacement.evaluate(place, [0]) == sp.Matrix([-3 * eta / 4])
    assert displacement.evaluate(place, [0], eta=sp.Rational(1, 50)) == sp.Matrix([-sp.Rational(3, 200)])


@pytest.mark.parametrize("spacetime", [ts.SGD(B=1, E=1), ts.SDE(B=1)], ids=repr)
def test_helix_drifts_along_z(spacetime):
    helix = ts.landscapes.helix()
    drift = at_minimum(ts.Displacement(), spacetime, 3, "continuous").drift()
    assert drift.evaluate(helix, [0, 0, 0]) == sp.Matrix([0, 0, eta**2 / 6])


def test_helix_drifts_along_z_in_exact_sums():
    helix = ts.landscapes.helix()
    drift = at_minimum(ts.Displacement(), ts.SGD(B=1, E=1), 3, "discrete").drift()
    found = drift.evaluate(helix, [0, 0, 0])
    assert found[0] == found[1] == 0
    assert sp.simplify(found[2] - eta**2 / (6 - 4 * eta)) == 0
    half_turn = drift.evaluate(helix, [0, 0, sp.pi])  # the drift is the same all along the valley
    assert sp.simplify(half_turn[2] - eta**2 / (6 - 4 * eta)) == 0


def test_drift_is_the_growth_of_the_displacement():
    helix = ts.landscapes.helix()
    displacement = at_minimum(ts.Displacement(), ts.SGD(B=1, E=1), 3, "discrete")
    rate = Rational(1, 4)
    early, late = (displacement.evaluate(helix, [0, 0, 0], eta=rate, N=steps) for steps in (120, 121))
    drift = displacement.drift().evaluate(helix, [0, 0, 0], eta=rate)
    assert abs(sp.N(late[2] - early[2] - drift[2], 30)) < 1e-20
    assert drift[2] == Rational(1, 80)


def test_a_limit_needs_a_minimum():
    formula = ts.derive(ts.TestLoss(), ts.GD(), 2, resum="discrete")
    with pytest.raises(ValueError, match=r"holds G.*assume\('minimum'\)"):
        formula.limit()
    with pytest.raises(ValueError, match="polynomial in T"):
        ts.derive(ts.TestLoss(), ts.GD(), 2).limit()
    with pytest.raises(ValueError, match="open indices"):
        formula.drift()
    with pytest.raises(NotImplementedError, match="grid"):
        ts.derive(ts.TestLoss(), ts.SGD(N=2, B=1, E=2), 2, resum="discrete").assume("minimum").limit()
    with pytest.raises(ValueError, match="is a number"):
        ts.derive(ts.TestLoss(), ts.GD(T=5), 2, resum="discrete").assume("minimum").limit()


def test_a_limit_names_what_diverges():
    x, y = sp.symbols("x y")
    valley = ts.FiniteLandscape([x**2 / 2 + x + y, x**2 / 2 - x - y], [Rational(1, 2)] * 2, [x, y])
    limit = at_minimum(ts.GeneralizationGap(), ts.GD(N=2), 1, "discrete").limit()
    with pytest.raises(ValueError, match=r"the term .*flat direction"):
        limit.evaluate(valley, [0, 0])
    quiet = ts.FiniteLandscape([x**2 / 2 + x, x**2 / 2 - x], [Rational(1, 2)] * 2, [x, y])
    assert limit.evaluate(quiet, [0, 0]) == Rational(1, 2)  # no noise along y: nothing diverges
    steep = ts.FiniteLandscape([2 * x**2 + x, 2 * x**2 - x], [Rational(1, 2)] * 2, [x])
    with pytest.raises(ValueError, match="eigenvalue 4, at or beyond 2/eta = 4"):
        limit.evaluate(steep, [0], eta=Rational(1, 2))
    saddle = ts.FiniteLandscape([x**2 - y**2 + x, x**2 - y**2 - x], [Rational(1, 2)] * 2, [x, y])
    with pytest.raises(ValueError, match="no minimum"):
        limit.evaluate(saddle, [0, 0])
