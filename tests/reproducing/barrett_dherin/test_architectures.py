"""The networks, against their skeletons and the number of parameters that their names promise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from taylorsgd.reproducing.barrett_dherin.architectures import new_residual_net, residual_net


def test_a_residual_net_with_closed_branches_is_its_skeleton() -> None:
    """With all factors at 0 only the first convolution, the skips and the last layer are left."""
    theta = new_residual_net(0, 3, (4, 4), blocks=2)
    assert jax.tree.map(jnp.shape, theta["stages"][1][0])["first"] == (3, 3, 4, 4)
    theta["stages"] = [[{**block, "scale": 0.0} for block in stage] for stage in theta["stages"][:1]]
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 3)).astype("f4")
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    convolved = sum(padded[:, i : i + 6, j : j + 6] @ theta["first"][i, j] for i in range(3) for j in range(3))
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
