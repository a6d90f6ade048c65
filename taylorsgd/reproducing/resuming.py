"""Finished parts of a long run, kept in its folder until the run is over: so it can be interrupted and resumed."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from taylorsgd.whole_files import whole_file

__all__ = ["Finished"]

TOOK = "seconds, and processor seconds"
"""Under this name a part holds what it took."""


class Finished:
    """A folder of arrays by name, each made once.

    A part is only taken from the folder by a run with the same settings and data, whose digest is in its file's
    name. A file appears there whole or not at all.

    Args:
        folder: where the files are; made with the first of them.
        same: what determines the numbers: a text that two runs share only if their parts are equal.
        most: how many parts may be made now; None for all.

    Attributes:
        saved: the seconds, and the processor's seconds, that were not needed again, (2,).
        whole: whether every part that was asked after may be made or was there.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = Finished(Path(folder), "seed 0")("sum", lambda: {"total": np.array(3)})
        ...     again = Finished(Path(folder), "seed 0")("sum", lambda: {"total": np.array(4)})
        ...     other = Finished(Path(folder), "seed 1")("sum", lambda: {"total": np.array(5)})
        >>> int(first["total"]), int(again["total"]), int(other["total"])
        (3, 3, 5)
    """

    def __init__(self, folder: Path, same: str, most: int | None = None) -> None:
        """Nothing is read or written yet."""
        self.folder = folder
        self.same = same
        self.most = most
        self.saved = np.zeros(2)
        self.whole = True

    def may(self, name: str) -> bool:
        """Whether a part is there, or may still be made now."""
        allowed = self.most is None or self.most > 0 or self._path(name).exists()
        self.whole &= allowed
        return allowed

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(f"{self.same}\n{name}".encode()).hexdigest()[:16]
        return self.folder / f"{name.replace(' ', '-')}-{digest}.npz"

    def __call__(self, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        """The part of that name, computed if no run has finished it.

        Args:
            name: the part's name.
            compute: makes it, arrays by name.

        Raises:
            OSError: if a file can't be read or written.
            ValueError: if a file is damaged: it is named.
        """
        path = self._path(name)
        if path.exists():
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    part = dict(stored)
                self.saved += part.pop(TOOK)
                return part
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(f"{path}, a part of an interrupted run, is damaged ({error}); remove it") from error
        if self.most is not None:
            self.most -= 1
        before = perf_counter(), process_time()
        part = compute()
        took = np.array([perf_counter(), process_time()]) - before
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, **part, **{TOOK: took})  # type: ignore[arg-type]
        return part

    def clear(self) -> None:
        """Remove the folder, once the run is over."""
        shutil.rmtree(self.folder, ignore_errors=True)
