"""All experiments by name, and what running one does."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

import taylorsgd.reproducing as room
from taylorsgd.reproducing.experiment import Experiment, Outcome, Say, write_files
from taylorsgd.reproducing.parts import Parts

__all__ = ["experiment_names", "load_experiment", "run_experiment"]

PAPERS = {"igr": "Implicit Gradient Regularization", "sgd": "SGD at Small Learning Rates"}
"""The papers by the first word of their experiments' names."""


def experiment_names() -> tuple[str, ...]:
    """The names of all experiments: the files of this room that begin with a paper's word.

    Example:
        >>> "igr-two-parameters" in experiment_names()
        True
    """
    found = (module.name for module in pkgutil.iter_modules(room.__path__))
    return tuple(sorted(name.replace("_", "-") for name in found if name.partition("_")[0] in PAPERS))


def load_experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in experiment_names():
        raise ValueError(f"name={name!r} is no experiment; there are {', '.join(experiment_names())}")
    return import_module(f"{room.__name__}.{name.replace('-', '_')}").EXPERIMENT


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
    if size not in experiment.sizes:
        raise ValueError(f"size={size!r} must be one of {', '.join(experiment.sizes)}")
    if settings is None:
        settings = experiment.sizes[size]
    images = None
    if experiment.data is not None:
        from taylorsgd.reproducing.images import load_images

        images = load_images(experiment.usual() if data is None and experiment.usual else data)
    elif data is not None:
        raise ValueError(f"data={str(data)!r}: {name} takes no data")
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.json").touch()  # complain before the work rather than after it
    say(experiment.describe(name))
    parts = Parts(output / f"{name}.parts", f"{settings!r}\n{images and images.digest}")
    outcome = experiment.run(settings, images, say, *([parts] if experiment.resumes else []))
    for line in (*map(str, outcome.findings), *(f"Note: {note}" for note in outcome.notes)):
        say(line)
    for path in write_files(name, experiment, settings, outcome, output):
        say(f"Written: {path}")
    parts.clear()
    return outcome
