"""Measurements on disk: saved, loaded, interrupted and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.landscapes import DenseMeasurement, Measurement, SpectralMeasurement
from taylorsgd.measuring import MatrixFree, TopEigenpairs
from taylorsgd.measuring.running import Runner
from taylorsgd.measuring.storage import digest, read_arrays, write_arrays

POINTS = jnp.array([[0.5, -1.0], [-0.25, 0.75], [1.0, 0.5], [0.0, 0.25], [2.0, -0.5]])
SCALARS = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 3)
VECTORS = ts.derive(ts.Displacement(), ts.GD(), 2)
KEY = jax.random.key(3)


def loss(theta: Any, x: Any) -> Any:
    u, v = jax.tree.leaves(theta)
    return (u * v + x[0]) ** 2 / 2 + jnp.cosh(u - x[1] * v)


LANDSCAPE = ts.Landscape(loss, POINTS)
SAMPLER = ts.Landscape(loss, lambda key, n: jax.random.normal(key, (n, 2)))
THETA = {"u": jnp.array(0.5), "v": [jnp.array(-0.75)]}


def same(left: Any, right: Any) -> None:
    assert left.values == right.values and left.sampled == right.sampled and left.samples == right.samples
    assert jax.tree.structure(left.mean) == jax.tree.structure(right.mean)
    for name in ("mean", "sampled_covariance"):
        for a, b in zip(*(jax.tree.leaves(getattr(one, name)) for one in (left, right)), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


@pytest.mark.parametrize("formula", [SCALARS, VECTORS], ids=["scalars", "vectors"])
def test_saved_and_loaded(formula: Any, tmp_path: Path) -> None:
    measured = ts.measure(formula, LANDSCAPE, THETA, key=KEY, samples=8, method=MatrixFree(batch=2))
    measured.save(tmp_path / "measured.npz")
    again = Measurement.load(tmp_path / "measured.npz")
    same(again, measured)
    assert jnp.all(
        jnp.array(jax.tree.leaves(formula.lower()(again, eta=0.1, N=3, T=3)))
        == jnp.array(jax.tree.leaves(formula.lower()(measured, eta=0.1, N=3, T=3)))
    )
    known = json.loads(again.provenance)
    assert known["key"] == np.asarray(jax.random.key_data(KEY)).tolist()
    assert known["samples"] == 8 and known["batch"] == 2 and "gradients of one point" in known["plan"]
    assert {"taylorsgd", "jax", "numpy"} == set(known["versions"])


class Pair(NamedTuple):
    u: Any
    v: Any


def test_other_structures_need_an_example(tmp_path: Path) -> None:
    theta = Pair(jnp.array(0.5), jnp.array(-0.75))
    measured = ts.measure(VECTORS, LANDSCAPE, theta, key=KEY, samples=4)
    measured.save(tmp_path / "measured.npz")
    with pytest.raises(ValueError, match="give like=theta"):
        Measurement.load(tmp_path / "measured.npz")
    same(Measurement.load(tmp_path / "measured.npz", like=theta), measured)


@pytest.mark.parametrize("landscape", [LANDSCAPE, SAMPLER], ids=["population", "sampler"])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_resumed_to_the_same_numbers(
    landscape: Any, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"key": KEY, "samples": 22}
    path = tmp_path / "state.npz"
    whole = ts.measure(SCALARS, landscape, THETA, method=MatrixFree(batch=2, chunk=5), **settings)
    settings["method"] = MatrixFree(batch=2, chunk=5, checkpoint=path)
    estimates, calls = Runner.estimates, []

    def interrupted(self: Runner, points: Any) -> Any:
        calls.append(None)
        if len(calls) == stop + 1:
            raise KeyboardInterrupt
        return estimates(self, points)

    monkeypatch.setattr(Runner, "estimates", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ts.measure(SCALARS, landscape, THETA, **settings)
    assert path.exists() is (stop > 0)
    resumed = ts.measure(SCALARS, landscape, THETA, **settings)
    assert len(calls) == stop + 1 + 5 - stop  # nothing is done twice but the chunk that was interrupted
    same(resumed, whole)
    same(ts.measure(SCALARS, landscape, THETA, **settings), whole)
    assert len(calls) == 6  # all was known
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"key": jax.random.key(4)}, "key"),
        ({"samples": 30}, "samples"),
        ({"method": {"batch": 3}}, "batch"),
        ({"theta": {"u": jnp.array(0.5), "v": [jnp.array(-0.7)]}}, "theta"),
        ({"landscape": ts.Landscape(loss, POINTS * 2)}, "data"),
        ({"formula": ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2)}, "values"),
        ({"method": {"estimator": "correlators"}}, "estimator"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(change: Any, named: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "formula": SCALARS, "landscape": LANDSCAPE, "theta": THETA, "key": KEY, "samples": 6,
    }  # fmt: skip
    method: dict[str, Any] = {"batch": 2, "chunk": 3, "checkpoint": tmp_path / "state.npz"}
    ts.measure(**settings, method=MatrixFree(**method))
    method |= change.pop("method", {})
    with pytest.raises(ValueError, match=f"belongs to another measurement: they differ in .*{named}"):
        ts.measure(**settings | change, method=MatrixFree(**method))


def test_dense_tensors_saved_and_loaded(tmp_path: Path) -> None:
    formula = ts.derive(ts.TestLoss(), ts.GD(), order=2, resum="discrete")
    measured = ts.measure(formula, LANDSCAPE, THETA)
    path = tmp_path / "dense.npz"
    measured.save(path)
    again = DenseMeasurement.load(path)
    assert (again.points, again.exact) == (5, True) and list(again.tensors) == list(measured.tensors)
    for part, tensor in measured.tensors.items():
        np.testing.assert_array_equal(again[part], tensor)
        assert again[part].dtype == tensor.dtype
    sizes: dict[str, Any] = {"eta": 0.1, "N": 3, "T": 3}
    assert formula.lower()(again, **sizes) == formula.lower()(measured, **sizes)
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            DenseMeasurement.load(path)
    write_arrays(path, "dense measurement", {"parts": [[1]], "points": 5, "exact": True}, {})
    with pytest.raises(ValueError, match="can't be read as a dense measurement: 'tensor 0'"):
        DenseMeasurement.load(path)
    write_arrays(path, "measurement", {}, {})
    with pytest.raises(ValueError, match="holds a measurement, not a dense measurement"):
        DenseMeasurement.load(path)


@pytest.mark.parametrize("observable", [ts.TestLoss(), ts.Displacement()], ids=repr)
def test_eigenpairs_saved_and_loaded(observable: Any, tmp_path: Path) -> None:
    formula = ts.derive(observable, ts.SGD(B=1, E=1), order=2, resum="discrete")
    measured = ts.measure(formula, LANDSCAPE, THETA, key=KEY, samples=32, method=TopEigenpairs(2))
    path = tmp_path / "spectral.npz"
    measured.save(path)
    again = SpectralMeasurement.load(path)
    assert repr(again) == repr(measured) and again.neglected == measured.neglected
    sizes: dict[str, Any] = {"eta": 0.01, "N": 3}
    g = formula.lower()
    for found, expected in (
        (g(again, **sizes), g(measured, **sizes)),
        (g.uncertainty(again, **sizes).sampling, g.uncertainty(measured, **sizes).sampling),
        (g.uncertainty(again, **sizes).neglected, g.uncertainty(measured, **sizes).neglected),
    ):
        np.testing.assert_array_equal(found, expected)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged"):
        SpectralMeasurement.load(path)
    write_arrays(path, "spectral measurement", {"left": [0, 0], "diagrams": [], "rest": False}, {})
    with pytest.raises(ValueError, match="can't be read as a spectral measurement: 'values'"):
        SpectralMeasurement.load(path)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "measured.npz"
    ts.measure(SCALARS, LANDSCAPE, THETA, key=KEY, samples=4).save(path)
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            Measurement.load(path)
    ts.measure(SCALARS, LANDSCAPE, THETA, key=KEY, samples=4, method=MatrixFree(checkpoint=tmp_path / "state.npz"))
    with pytest.raises(ValueError, match="holds a checkpoint, not a measurement"):
        Measurement.load(tmp_path / "state.npz")
    with pytest.raises(FileNotFoundError):
        Measurement.load(tmp_path / "nothing.npz")


def test_links_stay_links_and_devices_are_left_alone(tmp_path: Path) -> None:
    target, link = tmp_path / "kept.npz", tmp_path / "link.npz"
    link.symlink_to(target)
    write_arrays(link, "kind", {}, {"a": np.ones(2)})
    assert link.is_symlink() and not target.is_symlink()
    _, arrays = read_arrays(target, "kind")
    assert arrays["a"].tolist() == [1, 1]
    for place in (tmp_path, Path("/dev/null")):
        with pytest.raises(ValueError, match="is no file, and can't be replaced"):
            write_arrays(place, "kind", {}, {})
    assert Path("/dev/null").is_char_device()


def test_points_that_hold_random_keys() -> None:
    """A loss with noise of its own per point."""
    points = {"x": jnp.linspace(-1.0, 1.0, 8), "key": jax.random.split(jax.random.key(0), 8)}
    landscape = ts.Landscape(lambda theta, p: jnp.cosh(theta + p["x"] + jax.random.normal(p["key"])), points)
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=1)
    measured = ts.measure(formula, landscape, 0.5, key=0, samples=8)
    losses = jax.vmap(lambda p: jnp.cosh(0.5 + p["x"] + jax.random.normal(p["key"])))(points)
    assert float(measured.mean[0]) == pytest.approx(float(losses.mean()), rel=1e-5)
    other = points | {"key": jax.random.split(jax.random.key(1), 8)}
    assert digest(points) == digest(dict(points)) != digest(other)
