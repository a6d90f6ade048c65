"""All experiments by name, and what running one does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

import taylorsgd.reproducing.barrett_dherin as barrett_dherin
import taylorsgd.reproducing.tenka as tenka
from taylorsgd.display.figures import house_style
from taylorsgd.reproducing.experiment import Experiment, Outcome, Say, Work, write_files
from taylorsgd.reproducing.hardware import write_run
from taylorsgd.reproducing.resuming import Finished
from taylorsgd.whole_files import refuse_unwritable

__all__ = ["PAPERS", "RUN", "experiment_names", "file_stem", "load_experiment", "run_experiment"]

PAPERS = (tenka, barrett_dherin)
"""The papers' folders, each with its TITLE and its EXPERIMENTS."""
RUN = ".run.json"
"""The end of the name of the file that says what a run took."""


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
    seed: int | None = None,
    pieces: int | None = None,
) -> Outcome:
    """Run an experiment, say what it finds, and write its picture, numbers and verdict, and what it took.

    The files are called after the experiment and after what is not usual of the run: the images, the size, the seed.

    Args:
        name: the experiment's name.
        size: "quick", "full" or, where there is one, "paper".
        output: the folder for the files, made if need be.
        data: a folder of images for an experiment that takes them; None means those that it names.
        settings: the experiment's settings; None means those of that size.
        say: what is called with every line for the user.
        seed: of all random numbers; None means that of the settings.
        pieces: how many pieces of a long run to do now, in a size that is made of pieces; None means all that are
            left. The verdict is on those done so far, and the same call goes on with the next.

    Returns:
        The `Outcome`.

    Raises:
        ValueError: if there is no such experiment or size, the experiment takes no data or no seed, the size is not
            made of pieces, or the data are damaged.
        OSError: if the data are missing, or files can't be written.
    """
    start = np.array([perf_counter(), process_time()])
    experiment = load_experiment(name)
    if settings is None:
        settings = experiment.settings(size, seed)
    elif seed is not None:
        raise ValueError(f"seed={seed!r}: settings of one's own have a seed of their own")
    if pieces is not None and size not in experiment.pieces:
        raise ValueError(f"pieces={pieces!r}: {name} --{size} is not made of pieces; leave them out")
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
    stem = file_stem(name, size, images.name if images is not None and data is not None else None, seed)
    finished = Finished(output / f"{stem}.parts", f"{settings!r}\n{images and images.digest}", pieces)
    with house_style():
        outcome = experiment.run(settings, Work(say, finished, images))
        for line in (*map(str, outcome.findings), *(f"Note: {note}" for note in outcome.notes)):
            say(line)
        for path in write_files(name, experiment, settings, outcome, output, images, stem, finished.whole):
            say(f"Written: {path}")
    seconds = [perf_counter(), process_time()] - start + finished.saved
    write_run(output / f"{stem}{RUN}", *map(float, seconds))
    if finished.whole:
        finished.clear()
    else:
        say("Pieces are left; the same command goes on with them")
    return outcome


def file_stem(name: str, size: str, images: str | None, seed: int | None) -> str:
    """What the files of a run are called: the experiment, and what is not usual of the run.

    Example:
        >>> file_stem("igr-slope", "full", "scikit-learn's digits", 1)
        'igr-slope-scikit-learns-digits-full-seed-1'
    """
    words = [name]
    if images is not None:
        words.append(images.lower().replace("'", "").replace(" ", "-"))
    if size != "quick":
        words.append(size)
    if seed is not None:
        words.append(f"seed-{seed}")
    return "-".join(words)
