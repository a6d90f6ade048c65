"""Files that are there whole or not at all: whoever is interrupted, killed or out of space leaves the old one."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from taylorsgd.arguments import checked_path

__all__ = ["refuse_unwritable", "stop_writing", "whole_file"]

_unfinished: set[str] = set()
"""The files that are being written now, under their other names."""
_stopped = threading.Event()
"""Set when the process is about to end."""


@contextmanager
def whole_file(path: str | Path) -> Iterator[IO[bytes]]:
    """A new file to write bytes to, which takes its name when it is complete and on the disk.

    It is written under another name in the same folder first. A link stays a link: what it leads to is replaced.

    Args:
        path: its name.

    Raises:
        TypeError: if it is no path.
        ValueError: if there is something of that name that is no file.
        OSError: if it can't be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder, "note.txt")) as file:
        ...         _ = file.write(b"one")
        ...     Path(folder, "note.txt").read_text()
        'one'
    """
    target = checked_path(path).resolve()
    if target.exists() and not target.is_file():
        raise ValueError(f"{path} is no file, and can't be replaced by one; give another path")
    _wait_if_stopped()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    _unfinished.add(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a crash could leave the new name with nothing in it
        os.chmod(name, target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        _wait_if_stopped()  # what was written to was removed, and that is no error to tell of
        raise
    finally:
        _unfinished.discard(name)


def stop_writing() -> None:
    """Remove what is being written, and let nothing else begin: for a thread that is about to end the process."""
    _stopped.set()
    for name in tuple(_unfinished):
        Path(name).unlink(missing_ok=True)


def _wait_if_stopped() -> None:
    while _stopped.is_set():
        threading.Event().wait()


def refuse_unwritable(folder: str | Path) -> None:
    """Raise at once if nothing can be written into a folder, rather than after the work.

    Raises:
        OSError: as writing would.
    """
    with tempfile.TemporaryFile(dir=folder):
        pass


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
