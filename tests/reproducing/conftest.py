"""Tiny folders of images in the formats of CIFAR-10 and MNIST."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest


def records(count: int, side: int = 32) -> bytes:
    """CIFAR-10 records: random pixels, brighter where the label is larger, so that there is something to learn."""
    random = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.uint8) % 10
    pixels = np.clip(random.normal(20 + 22 * labels[:, None], 15, (count, 3 * side * side)), 0, 255)
    return np.concatenate([labels[:, None], pixels.astype(np.uint8)], axis=1).tobytes()


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """100 images in two files, and 20 to test on."""
    folder = tmp_path / "cifar"
    folder.mkdir()
    for name, count in (("data_batch_1.bin", 60), ("data_batch_2.bin", 40), ("test_batch.bin", 20)):
        (folder / name).write_bytes(records(count))
    return folder


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim])
        + np.array(array.shape, ">u4").tobytes()
        + array.astype(np.uint8).tobytes()
    )


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    """30 and 10 images of 4 × 6 pixels, some of the files compressed."""
    folder = tmp_path / "fashion"
    folder.mkdir()
    for prefix, count in (("train", 30), ("t10k", 10)):
        images = np.arange(count * 24).reshape(count, 4, 6) % 256
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images), mtime=0))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return folder
