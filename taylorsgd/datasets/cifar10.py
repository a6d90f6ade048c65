"""CIFAR-10 from the files of its binary version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RECORD", "WHERE", "read_cifar10"]

SIDE, COLORS, CLASSES = 32, 3, 10
RECORD = 1 + COLORS * SIDE * SIDE
"""Bytes in one record: a label, then 32 × 32 pixels of red, of green and of blue."""
TEST = "test_batch.bin"
WHERE = (
    'the "CIFAR-10 binary version (suitable for C programs)" at https://www.cs.toronto.edu/~kriz/cifar.html '
    "holds data_batch_1.bin to data_batch_5.bin and test_batch.bin"
)
"""Where the data set is to be had."""


def read_cifar10(folder: Path | str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the images and labels of a folder of CIFAR-10's binary files.

    `test_batch.bin`, where there is one, is the test set; every other file `*.bin`, such as
    `data_batch_1.bin`, is a part of the training set. Any whole number of records will do.

    Args:
        folder: the folder with the files.

    Returns:
        By name, "train" and, if there is one, "test": images, bytes of shape (n, 32, 32, 3), rows from the top,
        colours last, and labels 0 to 9, of shape (n,).

    Raises:
        FileNotFoundError: if there is no such folder, or no such file in it.
        ValueError: if a file is no whole number of records, or a label is out of range: the file and the
            record are named.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "data_batch_1.bin").write_bytes(bytes([7] + 3072 * [255]) * 5)
        ...     images, labels = read_cifar10(folder)["train"]
        >>> images.shape, labels.tolist()
        ((5, 32, 32, 3), [7, 7, 7, 7, 7])

    Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    import numpy as np

    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; {WHERE}")
    train = sorted(path for path in folder.glob("*.bin") if path.name != TEST)
    if not train:
        raise FileNotFoundError(f"{folder} holds no file data_batch_*.bin; {WHERE}")
    found = {"train": [_records(path) for path in train]}
    if (folder / TEST).exists():
        found["test"] = [_records(folder / TEST)]
    whole = {part: np.concatenate(records) for part, records in found.items()}
    return {
        part: (records[:, 1:].reshape(-1, COLORS, SIDE, SIDE).transpose(0, 2, 3, 1), records[:, 0].astype(np.int32))
        for part, records in whole.items()
    }


def _records(path: Path) -> np.ndarray:
    import numpy as np

    data = np.fromfile(path, dtype=np.uint8)
    count, left = divmod(data.size, RECORD)
    if left or not count:
        raise ValueError(
            f"{path} has {data.size} bytes: {count} records of {RECORD} bytes and {left} more; expected a whole "
            f"number of records, at least one (a whole file has 10000, {10000 * RECORD} bytes). "
            f"It may be cut off; {WHERE}"
        )
    records = data.reshape(count, RECORD)
    wrong = np.flatnonzero(records[:, 0] >= CLASSES)
    if wrong.size:
        raise ValueError(
            f"{path}: record {wrong[0]} of {count} has the label {records[wrong[0], 0]}; expected 0 to "
            f"{CLASSES - 1}. It may be damaged, or another data set (CIFAR-100 has two labels a record); {WHERE}"
        )
    return records
