"""Training many networks at once, against plain loops; and what is recorded, against plain evaluation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from taylorsgd.landscapes import explicitly_regularized, gradient_regularizer
from taylorsgd.reproducing import perturbing, training
from taylorsgd.reproducing.images import Images, load_images
from taylorsgd.reproducing.networks import (
    accuracy,
    cross_entropy,
    new_perceptron,
    new_residual_net,
    perceptron,
    residual_net,
)
from taylorsgd.reproducing.training import stacked, train


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
    slope = jax.jit(jax.grad(explicitly_regularized(loss, mu)))
    for i in range(2):
        theta, records = start[i], []
        for epoch in range(3):
            if epoch:
                order = np.random.default_rng((seeds[i], epoch)).permutation(50)
                for rows in (order[:20], order[20:40]):
                    x, y = (part[rows] for part in images.train)
                    theta = jax.tree.map(lambda t, g, h=rates[i]: t - h * g, theta, slope(theta, x, y))
            tested = accuracy(perceptron(theta, images.test[0]), images.test[1])
            trained = accuracy(perceptron(theta, images.train[0]), images.train[1])
            regularizer = gradient_regularizer(loss, theta, *images.train)
            norm = sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(theta))
            records.append([loss(theta, *images.train), regularizer, trained, tested, norm])
        found = [run.loss, run.regularizer, run.train_accuracy, run.test_accuracy, run.squared_norm]
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


def test_epochs_must_be_whole_checkpoints(images: Images) -> None:
    with pytest.raises(ValueError, match="every=2 does not divide epochs=3"):
        train(perceptron, None, images, [0.1], [0], epochs=3, batch=5, every=2)


def test_perturbations_are_relative_to_each_parameter() -> None:
    theta = {"a": np.full((3, 20000), 2.0, np.float32), "b": np.zeros((3, 5), np.float32)}
    seeds = np.array([0, 1, 0])
    noise = perturbing._noise(theta, seeds, 1)
    assert (noise["a"][0] == noise["a"][2]).all() and (noise["a"][0] != noise["a"][1]).all()
    assert (noise["a"] != perturbing._noise(theta, seeds, 2)["a"]).all()

    def spread(theta: Any, x: Any, y: Any) -> Any:
        return jnp.std(theta["a"]) + jnp.sum(jnp.abs(theta["b"]))

    found = perturbing._measured(spread, theta, noise, 0.3, None, None)
    np.testing.assert_allclose(found, 0.6, rtol=0.02)  # four standard deviations of 1/√(2·20000)
    np.testing.assert_array_equal(perturbing._measured(spread, theta, noise, 0.0, None, None), 0)


def test_a_residual_net_with_closed_branches_is_its_skeleton() -> None:
    """With all factors at 0 only the first convolution, the skips and the last layer are left."""
    theta = new_residual_net(0, 3, (4, 4), blocks=2)
    assert jax.tree.map(jnp.shape, theta["stages"][1][0])["first"] == (3, 3, 4, 4)
    theta["stages"] = [[{**block, "scale": 0.0} for block in stage] for stage in theta["stages"][:1]]
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 3)).astype("f4")
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    convolved = sum(
        padded[:, i : i + 6, j : j + 6] @ theta["first"][i, j] for i in range(3) for j in range(3)
    )
    expected = np.maximum(convolved, 0).mean((1, 2)) @ theta["W"]
    np.testing.assert_allclose(residual_net(theta, x), expected, rtol=1e-4, atol=1e-5)


def test_a_resnet_18_has_its_number_of_parameters() -> None:
    shapes = new_residual_net(0, 3, (64, 128, 256, 512))
    convolutions = 3 * 64 * 9 + 4 * 64**2 * 9
    for ins, outs in ((64, 128), (128, 256), (256, 512)):
        convolutions += 9 * (ins * outs + 3 * outs**2) + ins * outs
    others = 2 * (64 + 128 + 256 + 512) + 8  # biases and factors
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == convolutions + others + 512 * 10 + 10
    scores = jax.eval_shape(residual_net, shapes, jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32))
    assert scores.shape == (2, 10)


def test_images_are_shuffled_split_and_pooled() -> None:
    whole = load_images()
    assert whole.train[0].min() == -1 and whole.train[0].max() == 1
    assert len(whole.train[1]) + len(whole.test[1]) == 1797
    small = whole.pooled(4)
    np.testing.assert_allclose(small.train[0][3, 1, 2, 0], whole.train[0][3, 2:4, 4:6, 0].mean(), rtol=1e-6)
    assert whole.pooled(8).train[0].shape == whole.train[0].shape == whole.pooled(100).train[0].shape


@pytest.mark.parametrize(
    ("height", "side", "pooled"), [(28, 8, 7), (28, 12, 14), (32, 16, 16), (8, 8, 8), (7, 3, 7)]
)
def test_images_are_pooled_in_whole_blocks(height: int, side: int, pooled: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, height, height, 3))
    y = np.zeros(2, np.int32)
    small, _ = Images("noise", (x, y), (x, y)).pooled(side).train
    assert small.shape == (2, pooled, pooled, 3)
    k = height // pooled
    np.testing.assert_allclose(small[1, -1, 0], x[1, -k:, :k].mean(axis=(0, 1)), rtol=1e-12)
