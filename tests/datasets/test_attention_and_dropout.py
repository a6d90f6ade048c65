"""Soft attention and dropout, which the paper names: predicted, and held against simulation at fixed sample sizes.

(1) the head is attention: by a plain loop over tokens, and whatever their order
(2) SGD on it does what order 2 predicts, and order 1 is refuted by the same trials
(3) a mask averages to 1, and with keep=1 there is none
(4) SGD with dropout does what is predicted with the masks as part of the points, and not what is without them
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts
from taylorsgd.landscapes import attention_head, with_dropout

SGD = ts.SGD(N=6, B=1, E=1)


def sequences() -> tuple[Any, Any]:
    """Which of two tokens, that point in opposite directions, comes with the louder marker."""
    generator = np.random.default_rng(0)
    tokens = generator.normal(size=(40, 4, 3))
    return tokens.astype(np.float32), (tokens[:, 0, 0] > tokens[:, 1, 1]).astype(int)


@pytest.fixture(scope="module")
def head() -> Any:
    return attention_head(*sequences(), width=2, seed=1)


def test_it_is_attention(head: Any) -> None:
    """(1)."""
    place, theta = head
    tokens, labels = sequences()
    wide = {name: np.asarray(leaf, float) for name, leaf in theta.items()}
    scale = {name: (2 / sum(leaf.shape)) ** 0.5 for name, leaf in wide.items()}
    query, key, value, dense = (wide[name] * scale[name] for name in ("query", "key", "value", "dense"))
    summed = np.zeros(2)
    for one in tokens[3]:
        weights = [np.exp((one @ query) @ (other @ key) / 2**0.5) for other in tokens[3]]
        mixed = sum(w * (other @ value) for w, other in zip(weights, tokens[3], strict=True)) / sum(weights)
        summed += np.tanh(mixed) @ dense / 4
    scores = summed + wide["dense bias"] * (2 / 3) ** 0.5
    plain = np.log(np.exp(scores).sum()) - scores[labels[3]]
    assert float(place.losses(theta, place.rows([3]))[0]) == pytest.approx(plain, rel=1e-5)
    turned = attention_head(tokens[:, ::-1], labels, width=2, seed=1)[0]
    np.testing.assert_allclose(turned.losses(theta, turned.data), place.losses(theta, place.data), rtol=1e-5)


def test_attention_is_predicted(head: Any) -> None:
    """(2): χ² over two learning rates of the test loss, z below 3 for each."""
    place, theta = head
    rates = [0.02, 0.04]
    run = ts.simulate(place, theta, SGD, rates, 4000, key=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a softmax has no kinks
        found = ts.predict(ts.derive(ts.TestLoss(), SGD, 2), place, theta, eta=rates, key=2, tolerance=0.1)
    comparison = ts.compare(found, run)
    assert comparison.degrees == 2 and comparison.agrees and np.abs(comparison.deviations).max() < 3, comparison
    straight = found.contributions[:2].sum(axis=0)
    assert np.abs(straight - comparison.simulated)[-1] > 5 * comparison.simulated_error[-1]


def masked_loss(theta: Any, x: Any, mask: Any) -> Any:
    hidden = jnp.tanh(theta["in"] @ x[:2]) * mask
    return (theta["out"] @ hidden - x[2]) ** 2 / 2


HIDDEN = {"in": np.array([[0.5, -0.3], [0.2, 0.6], [-0.4, 0.4], [0.7, 0.1]]), "out": np.array([0.5, -0.4, 0.6, 0.3])}
INPUTS = np.random.default_rng(1).normal(size=(30, 3)).astype(np.float32)


def test_masks() -> None:
    """(3)."""
    dropped = with_dropout(masked_loss, INPUTS, (4,), keep=0.8)
    _, mask = dropped.draw(jax.random.key(0), (20000,))
    mask = np.asarray(mask, float)
    np.testing.assert_allclose(mask.mean(axis=0), 1, atol=4 * (0.25 / 20000) ** 0.5)
    np.testing.assert_allclose(np.cov(mask.T), 0.25 * np.eye(4), atol=0.02)
    whole = with_dropout(masked_loss, INPUTS, (4,), keep=1)
    assert (whole.draw(jax.random.key(0), (10,))[1] == 1).all()


def test_dropout_is_predicted() -> None:
    """(4): the change of a parameter's observable, z below 3; without masks it is refuted."""
    moved = ts.Observable(lambda theta: jnp.sum(theta["out"] ** 2), "r")
    dropped, rates = with_dropout(masked_loss, INPUTS, (4,), keep=0.6), [0.01, 0.02]
    formula = ts.derive(moved, SGD, 2)
    run = ts.simulate(dropped, HIDDEN, SGD, rates, 4000, key=1, observables=[moved])
    found = ts.predict(formula, dropped, HIDDEN, eta=rates, key=2, samples=10000, tolerance=0.3)
    comparison = ts.compare(found, run)
    assert comparison.degrees == 2 and comparison.agrees and np.abs(comparison.deviations).max() < 3, comparison
    whole = ts.Landscape(lambda theta, x: masked_loss(theta, x, jnp.ones(4)), INPUTS)
    without = ts.predict(ts.derive(moved, SGD, 1), whole, HIDDEN, eta=rates, key=2)
    assert np.abs(ts.compare(without, run, strict=False).deviations).min() > 5


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (attention_head, {"tokens": np.ones((2, 3))}, ValueError, "tokens has shape (2, 3)"),
        (attention_head, {"labels": [0.5, 1.0]}, TypeError, "labels has dtype float32"),
        (attention_head, {"labels": [-1, 1]}, ValueError, "labels range from -1 to 1"),
        (attention_head, {"width": 0}, ValueError, "width=0"),
        (with_dropout, {"keep": 0}, ValueError, "keep=0 must be a probability"),
        (with_dropout, {"keep": "a"}, TypeError, "keep='a'"),
        (with_dropout, {"shape": 3}, TypeError, "shape=3 must be a sequence"),
        (with_dropout, {"loss": 3}, TypeError, "loss=3 is not a function"),
    ],
)
def test_errors(function: Any, arguments: Any, error: Any, message: str) -> None:
    good: Any = {"tokens": np.ones((2, 3, 1)), "labels": [0, 1]}
    if function is with_dropout:
        good = {"loss": masked_loss, "data": INPUTS, "shape": (4,)}
    with pytest.raises(error, match=re.escape(message)):
        function(**good | arguments)
