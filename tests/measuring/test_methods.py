"""Methods of measuring: the default for every formula, refusals that say what to write, plans, typed results.

The prediction from random draws along eigenvectors must scatter as its covariance says: that is the only place where
errors of contractions go through a formula that is not linear in them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.measuring import DenseMeasurement, Measured, Measurement, SpectralMeasurement

KEY = jax.random.key(0)
PLAIN = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
RESUMMED = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2, resum="discrete")
POINTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
MANY = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
THETA = jnp.array([0.5, -0.25, 0.75])


def loss(theta: Any, x: Any) -> Any:
    return jnp.sum(jnp.cosh(theta + x / 2)) + (theta @ x) ** 2 / 4


LANDSCAPE = ts.Landscape(loss, POINTS)


@pytest.mark.parametrize(
    ("formula", "method", "kind"),
    [
        (PLAIN, None, Measurement),
        (PLAIN, ts.MatrixFree("exact"), Measurement),
        (RESUMMED, None, DenseMeasurement),
        (RESUMMED, ts.Dense(), DenseMeasurement),
        (RESUMMED, ts.TopEigenpairs(2), SpectralMeasurement),
    ],
)
def test_a_method_for_every_formula(formula: ts.Formula, method: Any, kind: type) -> None:
    measured = ts.measure(formula, LANDSCAPE, THETA, method=method, key=KEY)
    assert type(measured) is kind and isinstance(measured, Measured)
    assert measured.exact is (method is not None or formula is RESUMMED)  # else C_μν H^μν is drawn
    header, rows = measured.table()
    assert rows and all(len(row) == len(header) for row in rows)
    assert "<table" in measured._repr_html_() and str(measured).splitlines()[0].split()[0] == header[0]


@pytest.mark.parametrize(
    ("former", "spelling"),
    [
        ({"eigenpairs": 8}, r"eigenpairs=8 belongs .* method=TopEigenpairs\(8\)"),
        ({"eigenpairs": 8, "batch": 2}, r"method=TopEigenpairs\(8, batch=2\)"),
        ({"estimator": "exact"}, r"method=MatrixFree\(estimator='exact'\)"),
        ({"batch": 2, "chunk": 5}, r"batch=2, chunk=5 belong .* method=MatrixFree\(batch=2, chunk=5\)"),
        ({"memory": 10**6}, r"method=MatrixFree\(memory=1000000\)"),
        ({"checkpoint": "state.npz"}, r"method=MatrixFree\(checkpoint='state.npz'\)"),
    ],
)
def test_what_used_to_be_a_flag_names_its_method(former: dict[str, Any], spelling: str) -> None:
    with pytest.raises(TypeError, match=spelling):
        ts.measure(RESUMMED, LANDSCAPE, THETA, key=KEY, **former)
    with pytest.raises(TypeError, match=spelling):
        ts.plan(RESUMMED, LANDSCAPE, **former)
    with pytest.raises(TypeError, match=spelling):
        ts.predict(RESUMMED, LANDSCAPE, THETA, eta=0.1, N=3, **former)


def test_impossible_methods() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'draws'"):
        ts.measure(PLAIN, LANDSCAPE, THETA, draws=3)  # type: ignore[call-overload]
    for wrong in ("exact", ts.MatrixFree):
        with pytest.raises(TypeError, match=r"must be MatrixFree\(\), Dense\(\) or TopEigenpairs\(k\)"):
            ts.measure(PLAIN, LANDSCAPE, THETA, method=wrong)  # type: ignore[call-overload]
    for formula, method, fit in (
        (PLAIN, ts.Dense(), "takes MatrixFree"),
        (PLAIN, ts.TopEigenpairs(2), "takes MatrixFree"),
        (RESUMMED, ts.MatrixFree(), r"takes Dense\(\) or TopEigenpairs\(k\)"),
    ):
        with pytest.raises(ValueError, match=fit):
            ts.measure(formula, LANDSCAPE, THETA, method=method, key=KEY)
    with pytest.raises(ValueError, match="key=None"):
        ts.measure(RESUMMED, LANDSCAPE, THETA, method=ts.TopEigenpairs(1))
    with pytest.raises(ValueError, match="batch=0"):
        ts.TopEigenpairs(1, batch=0)
    with pytest.raises(ValueError, match=r"method=TopEigenpairs\(k\)\) shows"):
        ts.plan(RESUMMED, LANDSCAPE, method=ts.Dense())


def test_a_plan_along_eigenvectors_counts_their_labels() -> None:
    plan = ts.plan(RESUMMED, ts.Landscape(loss, MANY), method=ts.TopEigenpairs(2, batch=3))
    text = str(plan)
    assert "diagrams along 2 eigenvectors by centred" in text and "D[e]" in text
    assert len(plan.values) == len(set(plan.values)) and plan.eigenvectors == 2
    wider = ts.plan(RESUMMED, ts.Landscape(loss, MANY), method=ts.TopEigenpairs(4, batch=3))
    ratio = wider.gradients_once / plan.gradients_once
    assert 1 < ratio < 4  # at most G_i G_j H_ij, C_ij H_ij and the like have two labels, and some none
    labelled = [m for m in plan.steps if m.labels]
    assert {m.labels for m in labelled} >= {1} and all(share[3] == m.labels for m in labelled for share in m.work)
    # Gradients of l along one eigenvector: a Hessian-vector product of 9 multiplications, for each of two labels.
    (one,) = {
        m for m in labelled if m.source.kind == "population" and m.cuts == 1 and not m.incoming and m.ends == "vector"
    }
    assert plan._gradients(one.work) == pytest.approx(2 * 9 / 3 * 200)


def test_predictions_along_eigenvectors_have_the_scatter_of_their_draws() -> None:
    landscape, lowered, eta = ts.Landscape(loss, MANY), RESUMMED.lower(), np.array([0.02, 0.1])
    dense = lowered(ts.measure(RESUMMED, landscape, THETA), eta=eta, N=10)
    found = [
        ts.measure(RESUMMED, landscape, THETA, key=jax.random.key(seed), samples=256, method=ts.TopEigenpairs(3))
        for seed in range(12)
    ]
    errors = np.array([lowered.uncertainty(each, eta, N=10).sampling for each in found])
    scores = (np.array([lowered(each, eta=eta, N=10) for each in found]) - dense) / errors
    assert np.abs(scores).max() < 5 and 0.2 < np.mean(scores**2) < 3
    one = ts.predict(RESUMMED, landscape, THETA, eta=eta, N=10, measurement=found[0])
    np.testing.assert_allclose(one.standard_error, errors[0], rtol=1e-3)
    correlation = one.covariance[0, 1] / np.prod(one.standard_error)
    assert found[0].samples == 256 and 0.9 < correlation <= 1 + 1e-9  # both rates share every draw


def test_exact_predictions_along_all_eigenvectors_are_the_dense_ones() -> None:
    for observable in (ts.TestLoss(), ts.Displacement()):
        formula = ts.derive(observable, ts.SGD(B=1, E=1), order=2, resum="discrete")
        dense, spectral = (
            ts.predict(formula, LANDSCAPE, THETA, eta=[0.05, 0.1], N=4, method=method)
            for method in (ts.Dense(), ts.TopEigenpairs(3))
        )
        np.testing.assert_allclose(spectral.mean, dense.mean, rtol=2e-4, atol=1e-5)
        assert spectral.covariance.shape == dense.covariance.shape and not spectral.covariance.any()


def test_a_plan_along_directions():
    """Of one component, as often as there are: of a symmetric matrix those on and above the diagonal."""
    epoch = ts.SGD(B=1, E=1)
    scatter = ts.derive(ts.Covariance(ts.Displacement(), ts.Displacement()), epoch, 2)
    moved = ts.derive(ts.Displacement(), epoch, 2)
    for formula, count in ((scatter, 6), (moved, 3)):
        plan = ts.plan(formula, LANDSCAPE, along=jnp.eye(3))
        assert plan.repeats == count and not plan.open
        assert f"All of this {count} times, once for every component" in str(plan)
    assert ts.plan(moved, LANDSCAPE).repeats == 1
    for bad, along, message in (
        ([scatter, scatter], jnp.eye(3), "one formula"),
        (PLAIN, jnp.eye(3), "with open indices"),
        (ts.derive(ts.Displacement(), epoch, 1, resum="discrete"), jnp.eye(3), "there is no plan"),
        (moved, jnp.ones(()), "must count the directions"),
        (moved, (), "holds no directions"),
    ):
        with pytest.raises(ValueError, match=message):
            ts.plan(bad, LANDSCAPE, along=along)
