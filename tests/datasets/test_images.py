"""Fashion-MNIST from its files: real ones where they are installed, damaged ones always; the paper's nets."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from taylorsgd.datasets.fashion import SIZES, fashion_mnist_folder
from taylorsgd.landscapes import convolutional_net, fashion_mnist, logistic_regression

try:
    FOLDER: Path | None = fashion_mnist_folder()
except FileNotFoundError:
    FOLDER = None
needs_data = pytest.mark.skipif(FOLDER is None, reason="Debian's package dataset-fashion-mnist is not installed")


@needs_data
def test_the_real_images() -> None:
    images, labels = fashion_mnist()
    assert images.shape == (70_000, 28, 28) and images.dtype == np.uint8
    assert (np.bincount(labels) == 7_000).all()  # balanced, as published
    assert fashion_mnist(part="test")[0].shape == (10_000, 28, 28)
    np.testing.assert_array_equal(images[60_000:], fashion_mnist(part="test")[0])
    assert 0.28 < images.mean() / 255 < 0.29


def idx(shape: tuple[int, ...], fill: int = 3, magic: bytes | None = None) -> bytes:
    head = (bytes((0, 0, 8, len(shape))) if magic is None else magic) + struct.pack(f">{len(shape)}I", *shape)
    return head + bytes([fill]) * int(np.prod(shape))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four small files of the right form."""
    monkeypatch.setitem(SIZES, "train", 3)
    monkeypatch.setitem(SIZES, "test", 2)
    for name, size in (("train", 3), ("t10k", 2)):
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx((size, 28, 28))))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx((size,))))
    return tmp_path


def test_small_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = fashion_mnist(folder)
    assert images.shape == (5, 28, 28) and labels.tolist() == [3] * 5
    monkeypatch.setenv("TAYLORSGD_FASHION_MNIST", str(folder))
    assert fashion_mnist(part="train")[0].shape == (3, 28, 28)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", gzip.compress(idx((3, 28, 28)))[:-9], "decompress"),
        ("train-images-idx3-ubyte.gz", b"plain bytes", "decompress"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"")[:10] + b"\xff\xff\xff" * 9, "decompress"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx((3, 28, 28), magic=b"\0\0\x0d\x03")), "does not begin"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx((3, 28, 27))), "images are 28 × 27, and the test"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx((3, 28, 28))[:-5]), "it may be cut off"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx((2,), fill=10)), "labels hold 10"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(b"\0\0"), "does not begin"),
    ],
    ids=["cut", "plain", "broken", "magic", "shape", "short", "label", "empty"],  # compressed bytes hold the time
)  # fmt: skip
def test_damaged_files(folder: Path, file: str, content: bytes, message: str) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        fashion_mnist(folder)
    assert str(folder) in str(caught.value) and "apt-get install" in str(caught.value)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-images.*apt-get install dataset-fashion-mnist"):
        fashion_mnist(folder)
    with pytest.raises(FileNotFoundError, match="in none of .*nowhere.*apt-get install"):
        fashion_mnist(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="part='t10k' is unknown"):
        fashion_mnist(folder, part="t10k")  # type: ignore[arg-type]


def images(channels: int) -> Any:
    shape = (6, 28, 28) if channels == 1 else (6, 32, 32, channels)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("net", [logistic_regression, convolutional_net])
def test_nets(net: Any, channels: int) -> None:
    landscape, theta = net(images(channels), range(6))
    losses = landscape.losses(theta, landscape.data)
    assert losses.shape == (6,) and bool(jnp.isfinite(losses).all())
    if net is logistic_regression:
        np.testing.assert_allclose(losses, np.log(10), rtol=1e-6)  # from 0 all classes are alike
    moved = jax.grad(landscape.population_loss)(theta)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(moved))


def test_parameters_are_standard_normal_and_seeded() -> None:
    _, theta = convolutional_net(images(1), range(6), seed=1)
    weights = jnp.concatenate([leaf.ravel() for leaf in theta.values()])
    assert abs(float(weights.mean())) < 4 / len(weights) ** 0.5
    assert abs(float(weights.std()) - 1) < 4 / len(weights) ** 0.5
    _, other = convolutional_net(images(1), range(6), seed=2)
    assert not any(bool(jnp.allclose(other[name], leaf)) for name, leaf in theta.items())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_convolutional_net_in_plain_loops(channels: int) -> None:
    """The layers of section C.2.1 as sums over taps, with Xavier scales √(2/(fan in + fan out)), biases of fan in 1."""
    landscape, theta = convolutional_net(images(channels), range(6), seed=3)
    raw = {name: np.asarray(leaf, np.float64) for name, leaf in theta.items()}
    ins = {"convolution 1": 25 * channels, "convolution 2": 250, "dense 1": raw["dense 1"].shape[0], "dense 2": 10}
    signal = images(channels)[4].astype(np.float64) / 255
    signal = signal.reshape(*signal.shape[:2], channels)
    for name in ("convolution 1", "convolution 2"):
        side = (signal.shape[0] - 5) // 2 + 1
        after = np.zeros((side, side, 10))
        for i in range(side):
            for j in range(side):
                window = signal[2 * i : 2 * i + 5, 2 * j : 2 * j + 5]
                after[i, j] = np.einsum("abc,abcd->d", window, raw[name]) * np.sqrt(2 / (ins[name] + 10))
        signal = np.tanh(after + raw[f"{name} bias"] * np.sqrt(2 / 11))
    hidden = signal.ravel() @ raw["dense 1"] * np.sqrt(2 / (ins["dense 1"] + 10))
    hidden = np.tanh(hidden + raw["dense 1 bias"] * np.sqrt(2 / 11))
    scores = hidden @ raw["dense 2"] * np.sqrt(2 / 20) + raw["dense 2 bias"] * np.sqrt(2 / 11)
    expected = np.log(np.exp(scores).sum()) - scores[4]
    np.testing.assert_allclose(landscape.losses(theta, landscape.data)[4], expected, rtol=2e-5)


def test_impossible_images() -> None:
    with pytest.raises(ValueError, match=r"images has shape \(6, 784\)"):
        logistic_regression(images(1).reshape(6, -1), range(6))
    with pytest.raises(ValueError, match="labels range from 5 to 10"):
        convolutional_net(images(1), range(5, 11))
    with pytest.raises(ValueError, match="too small"):
        convolutional_net(images(1)[:, :12], range(6))
