"""Training many networks at once, against plain loops; and what is recorded, against plain evaluation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from taylorsgd.landscapes import explicitly_regularized, gradient_regularizer
from taylorsgd.reproducing.barrett_dherin import training
from taylorsgd.reproducing.barrett_dherin.architectures import accuracy, cross_entropy, new_perceptron, perceptron
from taylorsgd.reproducing.barrett_dherin.training import stacked, train
from taylorsgd.reproducing.labelled_images import Images, load_images


@pytest.fixture(scope="module")
def images() -> Images:
    return load_images().subset(50, 30)


def loss(theta: Any, x: Any, y: Any) -> Any:
    return cross_entropy(perceptron(theta, x), y)


@pytest.mark.parametrize("mu", [0.0, 0.05])
def test_training_is_a_plain_loop(images: Images, mu: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks with rates and orders of their own; the records of a set evaluated in parts."""
    monkeypatch.setattr(training, "EVALUATED_AT_ONCE", 20)
    start = [new_perceptron(seed, 64, 6, layers=3) for seed in (0, 1)]
    rates, seeds = [0.05, 0.1], [5, 6]
    run = train(perceptron, stacked(start), images, rates, seeds, epochs=2, batch=20, mu=mu)
    assert run.steps.tolist() == [0, 2, 4] and run.parameters == 6 * 64 + 6 + 42 + 70
    gradient = jax.jit(jax.grad(explicitly_regularized(loss, mu)))
    for i in range(2):
        theta, records = start[i], []
        for epoch in range(3):
            if epoch:
                order = np.random.default_rng((seeds[i], epoch)).permutation(50)
                for rows in (order[:20], order[20:40]):
                    x, y = (part[rows] for part in images.train)
                    theta = jax.tree.map(lambda t, g, h=rates[i]: t - h * g, theta, gradient(theta, x, y))
            tested = accuracy(perceptron(theta, images.test[0]), images.test[1])
            trained = accuracy(perceptron(theta, images.train[0]), images.train[1])
            regularizer = gradient_regularizer(loss, theta, *images.train)
            norm = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(theta)) ** 0.5
            slope = (regularizer * run.parameters) ** 0.5
            of_test = [loss(theta, *images.test), gradient_regularizer(loss, theta, *images.test)]
            records.append([loss(theta, *images.train), regularizer, slope, trained, *of_test, tested, norm])
        found = [run.loss, run.regularizer, run.slope, run.train_accuracy]
        found += [run.test_loss, run.test_regularizer, run.test_accuracy, run.norm]
        np.testing.assert_allclose(np.array([each[i] for each in found]).T, np.array(records), rtol=2e-4)


def test_the_best_checkpoint_is_kept(images: Images) -> None:
    theta = stacked([new_perceptron(seed, 64, 12, layers=3) for seed in (0, 1, 2)])
    rates, seeds = [0.1, 0.1, 1e-6], [0, 1, 2]
    for only_fitted in (False, True):
        run = train(perceptron, theta, images, rates, seeds, 60, 10, every=5, only_fitted=only_fitted)
        assert run.fitted.tolist() == [True, True, not only_fitted]
        for i in np.flatnonzero(run.fitted):
            eligible = run.train_accuracy[i] > 0.999 if only_fitted else np.ones(13, bool)
            highest = run.test_accuracy[i][eligible].max()
            assert run.best[i] == np.flatnonzero(eligible & (run.test_accuracy[i] == highest))[0]
            kept = jax.tree.map(lambda leaf, i=i: leaf[i], run.theta)
            np.testing.assert_allclose(loss(kept, *images.train), run.at_best(run.loss)[i], rtol=1e-4)
        assert np.isnan(run.at_best(run.loss)).tolist() == (~run.fitted).tolist()


def test_training_goes_on_until_all_fit(images: Images) -> None:
    """One more network that takes longer prolongs it for all, one that diverges or never fits does not for ever."""
    theta = [new_perceptron(seed, 64, 12, layers=3) for seed in (0, 0, 0)]

    def epochs(rates: list[float], most: int) -> int:
        run = train(
            perceptron, stacked(theta[: len(rates)]), images, rates, [0] * len(rates), 5, 10, every=5, most=most
        )
        return int(run.steps[-1]) // 5

    fast, slow = epochs([0.1], 200), epochs([0.02], 200)
    assert 5 < fast < slow < 200
    assert epochs([0.1, 0.02], 200) == slow and epochs([0.1, 1e6], 200) == fast and epochs([1e-6], 50) == 50
    assert epochs([1e6], 200) == 5
    longer = train(perceptron, stacked(theta[:1]), images, [0.1], [0], slow, 10, every=5)
    prolonged = train(perceptron, stacked(theta[:2]), images, [0.1, 0.02], [0, 0], 5, 10, every=5, most=200)
    np.testing.assert_allclose(prolonged.loss[0], longer.loss[0], rtol=1e-4)


def test_epochs_must_be_whole_checkpoints(images: Images) -> None:
    with pytest.raises(ValueError, match="every=2 does not divide most=5"):
        train(perceptron, None, images, [0.1], [0], epochs=4, batch=5, every=2, most=5)
    with pytest.raises(ValueError, match="every=2 does not divide epochs=3"):
        train(perceptron, None, images, [0.1], [0], epochs=3, batch=5, every=2)
