"""Real images from their own files: Fashion-MNIST in IDX format. Nothing is downloaded."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

__all__ = ["fashion_mnist", "fashion_mnist_folder"]

FOLDERS = ("/usr/share/datasets/fashion-mnist", "~/.cache/taylorsgd/fashion-mnist")
VARIABLE = "TAYLORSGD_FASHION_MNIST"
SIZES = {"train": 60_000, "t10k": 10_000}
HELP = (
    "get it with `apt-get install dataset-fashion-mnist` (Debian), or put the four *-ubyte.gz files of "
    f"github.com/zalandoresearch/fashion-mnist into a folder and name it in the environment variable {VARIABLE}"
)


def fashion_mnist(
    folder: str | Path | None = None, part: Literal["train", "t10k", "whole"] = "whole"
) -> tuple[np.ndarray, np.ndarray]:
    """Read Fashion-MNIST (Xiao et al. 2017).

    Args:
        folder: where the files are; None for the first of: the folder in the environment variable
            TAYLORSGD_FASHION_MNIST, /usr/share/datasets/fashion-mnist (Debian's package dataset-fashion-mnist),
            ~/.cache/taylorsgd/fashion-mnist.
        part: "train" (60,000 images), "t10k" (10,000) or "whole", one after the other.

    Returns:
        Images of type uint8, (n, 28, 28), and labels from 0 to 9 of type uint8, (n,).

    Raises:
        FileNotFoundError: if a file is missing: which, and how to get it.
        ValueError: if `part` is unknown, or a file is damaged: which, what was expected and what was found.
    """
    if part not in (*SIZES, "whole"):
        raise ValueError(f"part={part!r} is unknown; give 'train', 't10k' or 'whole'")
    place = fashion_mnist_folder(folder)
    names = [name for name in SIZES if part in (name, "whole")]
    images = [_idx(place / f"{name}-images-idx3-ubyte.gz", (SIZES[name], 28, 28)) for name in names]
    labels = [_idx(place / f"{name}-labels-idx1-ubyte.gz", (SIZES[name],)) for name in names]
    for name, found in zip(names, labels, strict=True):
        if found.max() > 9:
            raise ValueError(
                f"{place / f'{name}-labels-idx1-ubyte.gz'} is damaged: label {found.max()} at position "
                f"{found.argmax()}; labels are 0 to 9"
            )
    return np.concatenate(images), np.concatenate(labels)


def fashion_mnist_folder(folder: str | Path | None = None) -> Path:
    """The folder that the files are read from.

    Raises:
        FileNotFoundError: if there is none.
    """
    tried = list(_folders(folder))
    for place in tried:
        if place.is_dir():
            return place
    raise FileNotFoundError(f"Fashion-MNIST is in none of {', '.join(map(str, tried))}; {HELP}")


def _folders(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder).expanduser()
        return
    if os.environ.get(VARIABLE):
        yield Path(os.environ[VARIABLE]).expanduser()
    yield from (Path(name).expanduser() for name in FOLDERS)


def _idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """One gzipped IDX file of bytes: a magic number 0, 0, 8, axes; the sizes; the bytes."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {HELP}")
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: it is no whole gzip file ({error}); {HELP}") from error
    header = 4 + 4 * len(shape)
    magic = bytes((0, 0, 8, len(shape)))
    if content[:4] != magic:
        raise ValueError(
            f"{path} is damaged: it begins with {content[:4].hex(' ')}, an IDX file of bytes with {len(shape)} axes "
            f"with {magic.hex(' ')}; {HELP}"
        )
    found = struct.unpack(f">{len(shape)}I", content[4:header]) if len(content) >= header else ()
    if found != shape:
        raise ValueError(f"{path} is damaged: it holds sizes {found}, and {shape} were expected; {HELP}")
    expected = int(np.prod(shape))
    if len(content) - header != expected:
        raise ValueError(
            f"{path} is damaged: {len(content) - header} bytes follow the header, and {expected} were expected; {HELP}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
