"""All experiments by name, and what running one does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import taylorsgd.reproducing.barrett_dherin as barrett_dherin
import taylorsgd.reproducing.tenka as tenka
from taylorsgd.display.figures import house_style
from taylorsgd.reproducing.experiment import Experiment, Outcome, Say, Work, write_files
from taylorsgd.reproducing.resuming import Finished
from taylorsgd.whole_files import refuse_unwritable

__all__ = ["PAPERS", "experiment_names", "load_experiment", "run_experiment"]

PAPERS = (tenka, barrett_dherin)
"""The papers' folders, each with its TITLE and its EXPERIMENTS."""


def experiment_names() -> tuple[str, ...]:
    """The names of all experiments.

    Example:
        >>> "igr-two-parameters" in experiment_names()
        True
    """
    return tuple(sorted(name for paper in PAPERS for name in paper.EXPERIMENTS))


def load_experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ValueError: if there is none.
    """
    for paper in PAPERS:
        if name in paper.EXPERIMENTS:
            module, _, constant = paper.EXPERIMENTS[name].partition(":")
            return getattr(import_module(f"{paper.__name__}.{module}"), constant or "EXPERIMENT")
    raise ValueError(f"name={name!r} is no experiment; there are {', '.join(experiment_names())}")


def run_experiment(
    name: str,
    size: str = "quick",
    output: Path | str = Path("."),
    data: Path | str | None = None,
    settings: Any = None,
    say: Say = print,
) -> Outcome:
    """Run an experiment, say what it finds, and write its picture, numbers and verdict.

    Args:
        name: the experiment's name.
        size: "quick" or "full".
        output: the folder for the files, made if need be.
        data: a folder of images for an experiment that takes them; None means those that it names.
        settings: the experiment's settings; None means those of that size.
        say: what is called with every line for the user.

    Returns:
        The `Outcome`.

    Raises:
        ValueError: if there is no such experiment or size, the experiment takes no data, or the data are damaged.
        OSError: if the data are missing, or files can't be written.
    """
    experiment = load_experiment(name)
    settings = experiment.settings(size) if settings is None else settings
    images = None
    if experiment.data is not None:
        from taylorsgd.reproducing.labelled_images import load_images

        images = load_images(experiment.usual() if data is None and experiment.usual else data)
    elif data is not None:
        raise ValueError(f"data={str(data)!r}: {name} takes no data")
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    refuse_unwritable(output)
    say(experiment.describe(name))
    finished = Finished(output / f"{name}.parts", f"{settings!r}\n{images and images.digest}")
    with house_style():
        outcome = experiment.run(settings, Work(say, finished, images))
        for line in (*map(str, outcome.findings), *(f"Note: {note}" for note in outcome.notes)):
            say(line)
        for path in write_files(name, experiment, settings, outcome, output):
            say(f"Written: {path}")
    finished.clear()
    return outcome
