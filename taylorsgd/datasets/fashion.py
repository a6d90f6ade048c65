"""Fashion-MNIST whole, from its own files. Nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from taylorsgd.arguments import checked_path, is_one_of
from taylorsgd.datasets.idx import read_idx_images

__all__ = ["fashion_mnist", "fashion_mnist_folder"]

FOLDERS = ("/usr/share/datasets/fashion-mnist", "~/.cache/taylorsgd/fashion-mnist")
VARIABLE = "TAYLORSGD_FASHION_MNIST"
SIZES = {"train": 60_000, "test": 10_000}
HELP = (
    "get it with `apt-get install dataset-fashion-mnist` (Debian), or put the four *-ubyte.gz files of "
    f"github.com/zalandoresearch/fashion-mnist into a folder and name it in the environment variable {VARIABLE}"
)


def fashion_mnist(
    folder: str | Path | None = None, part: Literal["train", "test", "whole"] = "whole"
) -> tuple[np.ndarray, np.ndarray]:
    """Read Fashion-MNIST (Xiao et al. 2017).

    Args:
        folder: where the files are; None for the first of: the folder in the environment variable
            TAYLORSGD_FASHION_MNIST, /usr/share/datasets/fashion-mnist (Debian's package dataset-fashion-mnist),
            ~/.cache/taylorsgd/fashion-mnist.
        part: "train" (60,000 images), "test" (10,000) or "whole", one after the other.

    Returns:
        Images of type uint8, (n, 28, 28), and labels from 0 to 9 of type uint8, (n,).

    Raises:
        FileNotFoundError: if a file is missing: which, and how to get it.
        ValueError: if `part` is unknown, or a file is damaged: which, what was expected and what was found.
    """
    if not is_one_of(part, (*SIZES, "whole")):
        raise ValueError(f"part={part!r} is unknown; give 'train', 'test' or 'whole'")
    place = fashion_mnist_folder(folder)
    try:
        parts = read_idx_images(place)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error}; {HELP}") from error
    for name, size in SIZES.items():
        found = parts[name][0].shape
        if found != (size, 28, 28, 1):
            raise ValueError(
                f"{place} holds {name} images of shape {found}, and {(size, 28, 28, 1)} was expected; {HELP}"
            )
    chosen = [parts[name] for name in SIZES if part in (name, "whole")]
    images, labels = (np.concatenate(column) for column in zip(*chosen, strict=True))
    return images[..., 0], labels.astype(np.uint8)


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
        yield checked_path(folder, "folder").expanduser()
        return
    if os.environ.get(VARIABLE):
        yield Path(os.environ[VARIABLE]).expanduser()
    yield from (Path(name).expanduser() for name in FOLDERS)
