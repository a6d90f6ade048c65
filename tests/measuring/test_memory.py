"""What measuring takes in memory: some vectors like θ for each draw, and never anything of P × P."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.measuring import running
from taylorsgd.measuring.running import Runner

POINTS = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
THIRD = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)


def loss(theta: Any, x: Any) -> Any:
    return jnp.sum(jnp.tanh(jnp.tanh(x @ theta["in"]) @ theta["mid"]) ** 2)


def parameters(width: int) -> Any:
    keys = jax.random.split(jax.random.key(1))
    return {
        "in": jax.random.normal(keys[0], (8, width)) / 8**0.5,
        "mid": jax.random.normal(keys[1], (width, width)) / width**0.5,
    }


def test_memory_grows_like_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: dict[int, list[int]] = {}
    kernel = running.stage_derivatives

    def watched(*arguments: Any, **settings: Any) -> Any:
        analysis = kernel.lower(*arguments, **settings).compile().memory_analysis()
        taken = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
        compiled.setdefault(arguments[1]["mid"].size, []).append(taken)
        return kernel(*arguments, **settings)

    monkeypatch.setattr(running, "stage_derivatives", watched)
    landscape = ts.Landscape(loss, POINTS)
    sizes = []
    for width in (60, 120):
        theta = parameters(width)
        sizes.append(sum(leaf.size for leaf in theta.values()))
        ts.measure(THIRD, landscape, theta, key=jax.random.key(0), samples=2, method=ts.MatrixFree(chunk=1))
    small, large = (np.array(taken) for taken in compiled.values())
    assert len(small) == len(large) >= 5
    batch = 4 * 40 * 8 * 120  # bytes of what arises at a micro-batch, the population here
    assert large.max() < 4 * 20 * sizes[1] + 8 * batch
    growth = (large.max() - small.max()) / (4 * (sizes[1] - sizes[0]))
    assert growth < 12  # vectors like θ; a P × P array would make it thousands


def test_chunks_fit_the_memory() -> None:
    landscape, theta = ts.Landscape(loss, POINTS), parameters(60)
    plan = ts.plan(THIRD, landscape)
    given = [Runner(plan, landscape, theta, {}, memory).draws_at_once for memory in (10**6, 10**7, 10**8)]
    assert 1 <= given[0] < given[1] < given[2] <= 1024
    assert 6 < given[1] / given[0] < 20
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), theta)
    assert Runner(plan, landscape, wide, {}, 10**7).draws_at_once > 1.9 * given[1]
    settings: dict[str, Any] = {"key": jax.random.key(0), "samples": 50}
    whole = ts.measure(THIRD, landscape, theta, **settings)
    pieces = ts.measure(THIRD, landscape, theta, method=ts.MatrixFree(memory=10**6), **settings)
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-3, atol=1e-3 * whole.standard_error.max())


def test_a_memory_that_holds_no_draw_is_refused() -> None:
    landscape, theta = ts.Landscape(loss, POINTS), parameters(60)
    with pytest.raises(MemoryError, match=r"memory=1000 bytes: a single draw .* 4080 parameters") as refused:
        ts.measure(THIRD, landscape, theta, key=jax.random.key(0), method=ts.MatrixFree(memory=1000))
    least = int(str(refused.value).split("give memory=")[1].split()[0])
    assert Runner(ts.plan(THIRD, landscape), landscape, theta, {}, least).draws_at_once == 1
    with pytest.raises(MemoryError):
        Runner(ts.plan(THIRD, landscape), landscape, theta, {}, least - 4)
    with pytest.raises(ValueError, match="memory=0 must be an integer of at least 1"):
        ts.measure(THIRD, landscape, theta, key=jax.random.key(0), method=ts.MatrixFree(memory=0))
    resummed = ts.derive(ts.TestLoss(), ts.GD(), order=2, resum="discrete")
    with pytest.raises(ValueError, match="memory=1000.* is for plain formulas"):
        ts.measure(resummed, landscape, theta, method=ts.MatrixFree(memory=1000))
