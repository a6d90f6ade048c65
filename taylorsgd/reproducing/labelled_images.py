"""Images to learn from: a folder of the user's, or scikit-learn's digits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taylorsgd.datasets.cifar10 import WHERE, read_cifar10
from taylorsgd.datasets.idx import has_idx_files, read_idx_images

__all__ = ["CLASSES", "DIGITS", "Images", "load_images"]

LEAST = 5
"""The fewest images of a set."""
CLASSES = 10
"""Every set here has ten."""
KNOWN = {
    "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13": "MNIST",
    "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7": "Fashion-MNIST",
}
"""Sets in IDX files by the hash of their training labels."""
DIGITS = "scikit-learn's 1797 digits, or the images of --data (MNIST's, Fashion-MNIST's or CIFAR-10's files)"
"""What experiments take that are not about particular images."""


@dataclass(frozen=True)
class Images:
    """Labelled images, in a training set and a test set.

    Attributes:
        name: what they are, for notes.
        train: images, floats in [−1, 1] of shape (n, height, width, colours), and labels, integers (n,).
        test: likewise.
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def subset(self, train: int, test: int) -> Images:
        """The first images of each set, or all if there are fewer."""
        first = [tuple(array[:n] for array in part) for part, n in ((self.train, train), (self.test, test))]
        return Images(self.name, *first)  # type: ignore[arg-type]

    def pooled(self, side: int) -> Images:
        """Square images averaged over equal blocks, down to as near side × side pixels as whole blocks allow."""
        height = self.train[0].shape[1]
        factor = min((k for k in range(1, height + 1) if height % k == 0), key=lambda k: abs(np.log(height / k / side)))
        small = []
        for x, y in (self.train, self.test):
            n, height, width, colours = x.shape
            blocks = x.reshape(n, height // factor, factor, width // factor, factor, colours)
            small.append((blocks.mean(axis=(2, 4)), y))
        return Images(self.name, *small)

    @property
    def digest(self) -> str:
        """What tells these images from others: a hash of all labels and of the first hundred images."""
        arrays = [array for x, y in (self.train, self.test) for array in (x[:100], y)]
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()

    def __str__(self) -> str:
        """The name, the numbers of images and their shape."""
        height, width, colours = self.train[0].shape[1:]
        return (
            f"{self.name}: {len(self.train[1])} training and {len(self.test[1])} test images of "
            f"{height} × {width} × {colours}"
        )


def load_images(folder: Path | str | None = None) -> Images:
    """Load the images of a folder, or scikit-learn's digits, in an order shuffled once and for all.

    A folder without a test set is split, four to one.

    Args:
        folder: one with CIFAR-10's binary files or with MNIST's or Fashion-MNIST's IDX files; None means digits.

    Returns:
        The images.

    Raises:
        FileNotFoundError: if the folder, or what is expected in it, does not exist.
        ValueError: if a file is damaged, or there are fewer than five images.

    Example:
        >>> print(load_images())
        scikit-learn's digits: 1438 training and 359 test images of 8 × 8 × 1
    """
    if folder is None:
        from sklearn.datasets import load_digits

        digits: Any = load_digits()
        images = digits.images[..., None] * (255 / 16)
        name, parts = "scikit-learn's digits", {"train": (images, digits.target)}
    elif has_idx_files(folder):
        parts = read_idx_images(folder)
        name = KNOWN.get(hashlib.sha256(parts["train"][1].astype(np.uint8).tobytes()).hexdigest(), "IDX images")
    else:
        if not any(Path(folder).glob("*.bin")):
            raise FileNotFoundError(
                f"data={str(folder)!r}: expected a folder of images: {WHERE}; or MNIST's or Fashion-MNIST's four "
                "files *-ubyte or *-ubyte.gz"
            )
        name, parts = "CIFAR-10", read_cifar10(folder)
    for part, (_, labels) in parts.items():
        if len(labels) < LEAST:
            raise ValueError(f"data={str(folder)!r} holds {len(labels)} {part} images; at least {LEAST} are needed")
    shuffled = {part: _shuffled(*images) for part, images in parts.items()}
    x, y = shuffled["train"]
    if "test" in shuffled:
        return Images(name, (x, y), shuffled["test"])
    test = len(y) // 5
    return Images(name, (x[test:], y[test:]), (x[:test], y[:test]))


def _shuffled(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order].astype(np.float32) / np.float32(127.5) - 1, labels[order].astype(np.int32)
