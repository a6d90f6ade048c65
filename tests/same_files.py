"""Whether two runs of an experiment left the same."""

from __future__ import annotations

from pathlib import Path

from taylorsgd.reproducing.registry import RUN


def assert_same(folder: Path, again: Path, *ends: str) -> None:
    """Files are the same, byte for byte, but for the one that says how long it took."""
    paths = [path for path in folder.iterdir() if path.name.endswith(ends) and not path.name.endswith(RUN)]
    assert len(paths) == len(ends)
    for path in paths:
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name
