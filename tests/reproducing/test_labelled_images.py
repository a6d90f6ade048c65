"""Images: read, shuffled, split, pooled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taylorsgd.reproducing.labelled_images import Images, load_images


def test_images_of_a_folder(cifar10: Path, fashion: Path) -> None:
    assert str(load_images(fashion)) == "IDX images: 30 training and 10 test images of 4 × 6 × 1"
    (cifar10 / "test_batch.bin").unlink()
    assert str(load_images(cifar10)) == "CIFAR-10: 80 training and 20 test images of 32 × 32 × 3"


def test_images_are_shuffled_split_and_pooled() -> None:
    whole = load_images()
    assert whole.train[0].min() == -1 and whole.train[0].max() == 1
    assert len(whole.train[1]) + len(whole.test[1]) == 1797
    small = whole.pooled(4)
    np.testing.assert_allclose(small.train[0][3, 1, 2, 0], whole.train[0][3, 2:4, 4:6, 0].mean(), rtol=1e-6)
    assert whole.pooled(8).train[0].shape == whole.train[0].shape == whole.pooled(100).train[0].shape


@pytest.mark.parametrize(("height", "side", "pooled"), [(28, 8, 7), (28, 12, 14), (32, 16, 16), (8, 8, 8), (7, 3, 7)])
def test_images_are_pooled_in_whole_blocks(height: int, side: int, pooled: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, height, height, 3))
    y = np.zeros(2, np.int32)
    small, _ = Images("noise", (x, y), (x, y)).pooled(side).train
    assert small.shape == (2, pooled, pooled, 3)
    k = height // pooled
    np.testing.assert_allclose(small[1, -1, 0], x[1, -k:, :k].mean(axis=(0, 1)), rtol=1e-12)
