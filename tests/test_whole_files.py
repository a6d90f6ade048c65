"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taylorsgd.whole_files import refuse_unwritable, remove_unfinished, whole_file


def test_a_file_that_is_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and [entry.name for entry in tmp_path.iterdir()] == ["note"]
    with whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_links_stay_links_and_modes_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    with whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and target.stat().st_mode & 0o777 == 0o640
    mask = os.umask(0o027)
    try:
        with whole_file(tmp_path / "fresh") as file:
            file.write(b"x")
    finally:
        os.umask(mask)
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o640


def test_devices_and_folders_are_not_replaced(tmp_path: Path) -> None:
    for path in (Path(os.devnull), tmp_path):
        with pytest.raises(ValueError, match="is no file, and can't be replaced by one"), whole_file(path):
            pass


def test_what_is_being_written_can_be_removed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "note") as file:
        file.write(b"new")
        remove_unfinished()
        assert not list(tmp_path.iterdir())


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        refuse_unwritable(tmp_path / "nowhere")
