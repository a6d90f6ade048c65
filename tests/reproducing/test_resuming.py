"""Finished parts of a run: kept under its settings, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taylorsgd.reproducing.resuming import Finished


def test_parts_of_other_settings_are_not_taken(tmp_path: Path) -> None:
    one = Finished(tmp_path, "trials=1")("a part", lambda: {"x": np.arange(3)})
    other = Finished(tmp_path, "trials=2")("a part", lambda: {"x": np.arange(4)})
    assert len(one["x"]) == 3 and len(other["x"]) == 4
    assert len(Finished(tmp_path, "trials=1")("a part", dict)["x"]) == 3


def test_what_a_part_took_is_not_lost(tmp_path: Path) -> None:
    def slow() -> dict[str, np.ndarray]:
        sum(k * k for k in range(200_000))
        return {"x": np.arange(3)}

    first, again = (Finished(tmp_path, "one") for _ in range(2))
    first("a part", slow)
    assert list(again("a part", dict)) == ["x"] and not first.saved.any()
    assert (again.saved > 0).all()


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 100, "half", "flipped"])
def test_damaged_parts_are_named(content: bytes | str, tmp_path: Path) -> None:
    Finished(tmp_path, "one")("a part", lambda: {"x": np.arange(3000)})
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    damaged = {"half": whole[:middle], "flipped": flipped}
    path.write_bytes(damaged[content] if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=rf"{path.name}, a part of an interrupted run, is damaged .*; remove it"):
        Finished(tmp_path, "one")("a part", dict)


def test_a_part_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        Finished(tmp_path, "one")("a part", lambda: {"x": np.arange(3)})
    assert not list(tmp_path.iterdir())
