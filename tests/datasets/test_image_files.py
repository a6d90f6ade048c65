"""Files of images: CIFAR-10's binary records and MNIST's IDX arrays, whole and damaged."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taylorsgd.datasets.cifar10 import RECORD, read_cifar10
from taylorsgd.datasets.idx import has_idx_files, read_idx_images


def record(label: int, pixels: np.ndarray) -> bytes:
    """One record as the data set's page describes it: label, then red, green and blue, each row by row."""
    return bytes([label]) + b"".join(pixels[:, :, colour].tobytes() for colour in range(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_records_become_images(folder: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    labels = [3, 0, 9, 9, 1, 5, 2]
    written = [record(label, image) for label, image in zip(labels, images, strict=True)]
    (folder / "data_batch_2.bin").write_bytes(b"".join(written[3:5]))
    (folder / "data_batch_1.bin").write_bytes(b"".join(written[:3]))
    (folder / "test_batch.bin").write_bytes(b"".join(written[5:]))
    found = read_cifar10(folder)
    assert list(found) == ["train", "test"]
    np.testing.assert_array_equal(found["train"][0], images[:5])
    assert found["train"][1].tolist() == labels[:5] and found["test"][1].tolist() == labels[5:]
    np.testing.assert_array_equal(found["test"][0], images[5:])
    (folder / "test_batch.bin").unlink()
    assert list(read_cifar10(folder)) == ["train"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "data_batch_1.bin has 0 bytes: 0 records of 3073 bytes and 0 more"),
        (bytes(2 * RECORD - 1), "has 6145 bytes: 1 records of 3073 bytes and 3072 more.*cut off"),
        (bytes(RECORD) + bytes([10]) + bytes(RECORD - 1), "record 1 of 2 has the label 10; expected 0 to 9"),
    ],
)
def test_damaged_records_are_named(folder: Path, content: bytes, words: str) -> None:
    (folder / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_cifar10(folder)
    assert "cs.toronto.edu" in str(caught.value)


def test_missing_records_are_named(folder: Path) -> None:
    for where, words in ((folder / "nowhere", "nowhere is not a folder"), (folder, "holds no file data_batch")):
        with pytest.raises(FileNotFoundError, match=words) as caught:
            read_cifar10(where)
        assert "cs.toronto.edu" in str(caught.value)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def arrays(folder: Path) -> dict[str, np.ndarray]:
    """MNIST's four files, one of them compressed."""
    random = np.random.default_rng(1)
    written = {}
    for prefix, count in (("train", 6), ("t10k", 3)):
        written[f"{prefix}-images-idx3-ubyte"] = random.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        written[f"{prefix}-labels-idx1-ubyte"] = random.integers(0, 10, count, dtype=np.uint8)
    for name, array in written.items():
        (folder / name).write_bytes(idx(array))
    name = "t10k-images-idx3-ubyte"
    (folder / name).unlink()
    (folder / f"{name}.gz").write_bytes(gzip.compress(idx(written[name])))
    return written


def test_idx_files_become_images(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    assert has_idx_files(folder) and not has_idx_files(folder / "nowhere")
    found = read_idx_images(folder)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        np.testing.assert_array_equal(found[part][0][..., 0], arrays[f"{prefix}-images-idx3-ubyte"])
        np.testing.assert_array_equal(found[part][1], arrays[f"{prefix}-labels-idx1-ubyte"])


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("train-images-idx3-ubyte", lambda data: data[:-1], "holds 119 bytes after its header, which announces 120"),
        ("train-images-idx3-ubyte", lambda data: data[:9], "does not begin like an IDX file of 3 dimensions"),
        ("train-labels-idx1-ubyte", lambda data: b"\1" + data[1:], "does not begin like an IDX file of 1 dim"),
        ("train-labels-idx1-ubyte", lambda data: idx(np.zeros(5, np.uint8)), "6 train images, but 5 labels"),
        ("train-labels-idx1-ubyte", lambda data: idx(np.full(6, 11, np.uint8)), "labels hold 11; expected 0 to 9"),
        ("train-images-idx3-ubyte", lambda data: idx(np.zeros((0, 4, 5), np.uint8)), "0 train images, but 6 labels"),
        ("train-images-idx3-ubyte", lambda data: idx(np.zeros((6, 0, 0), np.uint8)), "6 × 0 × 0: there are none"),
        (
            "train-images-idx3-ubyte",
            lambda data: idx(np.zeros((6, 5, 4), np.uint8)),
            "the training images are 5 × 4, and the test images 4 × 5",
        ),
        ("t10k-images-idx3-ubyte.gz", lambda data: data[:-9], "can't be decompressed.*cut off"),
    ],
)
def test_damaged_idx_files_are_named(
    folder: Path, arrays: dict[str, np.ndarray], name: str, change: Any, words: str
) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=words):
        read_idx_images(folder)


def test_sets_without_images(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"):
        empty = idx(np.zeros((0, 4, 5) if "images" in name else (0,), np.uint8))
        (folder / name).write_bytes(gzip.compress(empty) if name.endswith("gz") else empty)
    with pytest.raises(ValueError, match="the test images are 0 × 4 × 5: there are none"):
        read_idx_images(folder)


def test_missing_idx_files_are_named(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="no file t10k-labels-idx1-ubyte; expected train-images"):
        read_idx_images(folder)
