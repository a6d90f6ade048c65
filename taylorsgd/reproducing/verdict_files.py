"""The runs whose verdicts lie in a folder: of which experiment, size, images and seed, what was found, what it took."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from taylorsgd.reproducing.registry import RUN, experiment_names, load_experiment

__all__ = ["Run", "read_run", "runs_in"]

NEEDED = {"name", "title", "shows", "judged by", "data", "settings", "findings", "notes", "numbers"}
"""What the page asks of a verdict."""
SIZES = ("quick", "full", "paper")


@dataclass(frozen=True)
class Run:
    """A run of an experiment that left its verdict.

    Attributes:
        name: the experiment's.
        size: the name of its settings; None for settings of the user's own.
        data: the images' name; None without any.
        seed: of its random numbers; None without any.
        content: the verdict.
        took: the seconds and the machine, or nothing if no file says so.
        table: the file with the numbers.
    """

    name: str
    size: str | None
    data: str | None
    seed: int | None
    content: dict[str, Any]
    took: dict[str, Any]
    table: Path

    @property
    def rank(self) -> tuple[int, str, int]:
        """Smaller sizes, and then smaller seeds, come first."""
        return (SIZES.index(self.size) if self.size in SIZES else -1, self.data or "", self.seed or 0)

    @property
    def is_whole(self) -> bool:
        """Whether no pieces of the run are left."""
        return self.content.get("whole", True)

    @property
    def command(self) -> str:
        """What was typed, up to the folder of the images and the seed."""
        words = ["taylorsgd reproduce", self.name, *([f"--{self.size}"] if self.size else [])]
        words += ["[--data DIR]"] if self.data is not None else []
        return f"`{' '.join(words)}`" + ("" if self.size else ", with settings of its own")


def runs_in(folder: Path) -> dict[str, list[Run]]:
    """All runs in a folder by the experiment's name, each experiment's by size, images and seed.

    Raises:
        ValueError: if a verdict can't be read.
    """
    names = sorted(experiment_names(), key=len, reverse=True)
    found: dict[str, list[Run]] = {}
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith(RUN) or not path.name.startswith(tuple(names)):
            continue
        run = read_run(path)
        if run is not None:
            found.setdefault(run.name, []).append(run)
    return {name: sorted(found[name], key=lambda run: run.rank) for name in experiment_names() if name in found}


def read_run(path: Path) -> Run | None:
    """The run that left a verdict; None if there is none, or it was interrupted.

    Raises:
        ValueError: if it can't be read, or the numbers beside it are not its own.
    """
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no verdict of taylorsgd reproduce: {error}; run {path.stem} again") from error
    if not isinstance(content, dict) or not content.keys() >= NEEDED or content["name"] not in experiment_names():
        raise ValueError(
            f"{path} is no verdict of taylorsgd reproduce: it needs {', '.join(sorted(NEEDED))}; run {path.stem} again"
        )
    numbers = path.with_suffix(".csv")
    if not numbers.exists() or sha256(numbers.read_bytes()).hexdigest() != content["numbers"]:
        raise ValueError(f"{numbers} is not the table that {path.name} is about, or is cut off; run {path.stem} again")
    name, settings = content["name"], content["settings"]
    size = load_experiment(name).size_of(settings)
    took = path.with_suffix(RUN)
    said = json.loads(took.read_text(encoding="utf-8")) if took.exists() else {}
    return Run(name, size, content["data"], settings.get("seed"), content, said, numbers)
