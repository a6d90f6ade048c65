"""MNIST and its successors, such as Fashion-MNIST, from their IDX files."""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["has_idx_files", "read_idx_images"]

CLASSES = 10
BYTES = 8
"""The code of unsigned bytes in an IDX header."""
PARTS = {"train": "train", "test": "t10k"}
EXPECTED = (
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, plain "
    "or with .gz (MNIST, or Fashion-MNIST from https://github.com/zalandoresearch/fashion-mnist)"
)


def has_idx_files(folder: Path | str) -> bool:
    """Whether a folder holds images in IDX files."""
    return any(Path(folder).glob("*-images-idx3-ubyte*"))


def read_idx_images(folder: Path | str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the images and labels of a folder of MNIST's four files, or of those of a set like it.

    Args:
        folder: the folder with the files, plain or compressed by gzip.

    Returns:
        By name, "train" and "test": images, bytes of shape (n, height, width, 1), and labels 0 to 9, (n,).

    Raises:
        FileNotFoundError: if there is no such folder, or one of the files is not in it.
        ValueError: if a file is damaged, or images and labels differ in number: the file is named.

    Source: Y. LeCun, C. Cortes and C. Burges, the MNIST database; H. Xiao, K. Rasul and R. Vollgraf, 2017.
    """
    import numpy as np

    folder = Path(folder)
    found = {}
    for part, prefix in PARTS.items():
        images = _array(folder, f"{prefix}-images-idx3-ubyte", dimensions=3)
        labels = _array(folder, f"{prefix}-labels-idx1-ubyte", dimensions=1)
        if len(images) != len(labels):
            raise ValueError(f"{folder}: {len(images)} {prefix} images, but {len(labels)} labels")
        if not images.size:
            raise ValueError(f"{folder}: the {part} images are {' × '.join(map(str, images.shape))}: there are none")
        if found and images.shape[1:] != found["train"][0].shape[1:3]:
            shapes = [" × ".join(map(str, shape)) for shape in (found["train"][0].shape[1:3], images.shape[1:])]
            raise ValueError(f"{folder}: the training images are {shapes[0]}, and the test images {shapes[1]}")
        if labels.max() >= CLASSES:
            raise ValueError(f"{folder}: the {prefix} labels hold {labels.max()}; expected 0 to {CLASSES - 1}")
        found[part] = images[..., None], labels.astype(np.int32)
    return found


def _array(folder: Path, name: str, dimensions: int) -> np.ndarray:
    import numpy as np

    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.exists()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} holds no file {name}; expected {EXPECTED}")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} can't be decompressed ({error}); it may be cut off. Expected {EXPECTED}") from None
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes([0, 0, BYTES, dimensions]):
        raise ValueError(f"{path} does not begin like an IDX file of {dimensions} dimensions; expected {EXPECTED}")
    shape = tuple(np.frombuffer(data[4:start], dtype=">u4").tolist())
    if len(data) - start != prod(shape):
        raise ValueError(
            f"{path} holds {len(data) - start} bytes after its header, which announces {prod(shape)} "
            f"({' × '.join(map(str, shape))}); it may be cut off"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
