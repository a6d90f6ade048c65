"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taylorsgd.whole_files import refuse_unwritable, whole_file


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


def test_nothing_is_written_once_a_process_ends(tmp_path: Path) -> None:
    """What is being written is removed; what would fail by that, or begin after it, waits for the end."""
    program = f"""
import os, pathlib, threading, time
from taylorsgd.whole_files import stop_writing, whole_file
folder = pathlib.Path({str(tmp_path)!r})
def writes(name, begins):
    begins.wait()
    with whole_file(folder / name) as file:
        begun.set()
        stopped.wait()
        file.write(b"new")
    os._exit(1)
now, begun, stopped = threading.Event(), threading.Event(), threading.Event()
now.set()
for name, begins in (("first", now), ("second", stopped)):
    threading.Thread(target=writes, args=(name, begins)).start()
begun.wait()
stop_writing()
stopped.set()
time.sleep(0.3)
print(*threading.enumerate(), sep=chr(10))
os._exit(0)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "") and len(run.stdout.splitlines()) == 3
    assert not list(tmp_path.iterdir())


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    refuse_unwritable(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        refuse_unwritable(tmp_path / "nowhere")
