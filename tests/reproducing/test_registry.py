"""Experiments by name: which there are, what they are given, and what is said of bad arguments."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from taylorsgd.cli import main
from taylorsgd.reproducing import (
    Experiment,
    Finding,
    Outcome,
    Work,
    experiment_names,
    load_experiment,
    registry,
    run_experiment,
)
from taylorsgd.reproducing.registry import PAPERS
from taylorsgd.reproducing.significance import trend
from taylorsgd.reproducing.verdict_files import read_run


def test_the_experiments_are_found() -> None:
    names = experiment_names()
    assert len(names) == len(set(names)) == 22 and list(names) == sorted(names)
    for name in names:
        experiment = load_experiment(name)
        assert isinstance(experiment, Experiment) and set(experiment.sizes) == set(experiment.lasts)
        assert {"quick", "full"} <= set(experiment.sizes) <= {"quick", "full", "paper"} >= set(experiment.gpu)
        kinds = {type(settings) for settings in experiment.sizes.values()}
        assert len(kinds) == 1 and name in experiment.describe(name)


def test_every_experiment_has_a_name_and_a_line_in_its_papers_docstring() -> None:
    for paper in PAPERS:
        modules = (importlib.import_module(f"{paper.__name__}.{m.name}") for m in pkgutil.iter_modules(paper.__path__))
        there = {id(thing) for module in modules for thing in vars(module).values() if isinstance(thing, Experiment)}
        assert there == {id(load_experiment(name)) for name in paper.EXPERIMENTS}
        lines = [line.split()[0] for line in str(paper.__doc__).splitlines() if line.startswith("    ")]
        assert sorted(lines) == sorted(paper.EXPERIMENTS)


def test_the_command_line_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    places = [listed.index(f"{name}: ") for name in experiment_names()]
    assert places == sorted(places) and listed.count("--quick takes") == len(places)


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch, fashion: Path) -> Callable[..., list[Any]]:
    """In place of an experiment one that only notes what its run is given; a function that runs it."""

    def run(output: Path, **changes: Any) -> list[Any]:
        given: list[Any] = []

        def look(size: Any, work: Work) -> Outcome:
            given.extend((size, work.images))
            work.say("looked")
            work.keep("a part", dict)
            return Outcome(Figure(), [{"x": 1}], [Finding("it is run", "it was", True, {})])

        changes = {"run": look, "usual": lambda: fashion} | changes
        experiment = replace(load_experiment("sgd-test-loss"), **changes)
        monkeypatch.setattr(registry, "load_experiment", lambda name: experiment)
        outcome = run_experiment("sgd-test-loss", output=output, say=given.append)
        assert outcome.agrees and not (output / "sgd-test-loss.parts").exists()
        return given

    return run


def test_the_papers_images_are_the_usual_ones(echo: Callable[..., list[Any]], tmp_path: Path) -> None:
    _, size, images, *said = echo(tmp_path)
    assert size == load_experiment("sgd-test-loss").sizes["quick"]
    assert str(images) == "IDX images: 30 training and 10 test images of 4 × 6 × 1"
    assert said[0] == "looked" and "agrees: it is run" in said[1]


def test_without_images_of_its_own_an_experiment_is_given_digits_or_nothing(
    echo: Callable[..., list[Any]], tmp_path: Path
) -> None:
    assert echo(tmp_path, usual=None)[2].name == "scikit-learn's digits"
    assert echo(tmp_path, data=None)[2] is None


def test_what_leaves_nothing_to_compare_is_not_judged(tmp_path: Path) -> None:
    finding = Finding.of_trend("it rises", trend([1.0], [2.0], expected=1))
    assert finding.agrees is None and "not resolved at this scale: it rises" in str(finding)
    assert not Outcome(Figure(), [{}], [finding]).agrees


def test_another_seed_and_other_images_have_files_of_their_own(
    echo: Callable[..., list[Any]], tmp_path: Path, fashion: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo(tmp_path)
    given: list[Any] = []
    run_experiment("sgd-test-loss", output=tmp_path, data=fashion, seed=7, say=given.append)
    assert load_experiment("sgd-test-loss").settings("full", 7).seed == 7
    stems = ("sgd-test-loss", "sgd-test-loss-idx-images-seed-7")
    ends = (".csv", ".json", ".png", ".svg", ".run.json")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {s + e for s in stems for e in ends}
    read = [read_run(tmp_path / f"{stem}.json") for stem in stems]
    assert [(run.size, run.data, run.seed) for run in read if run] == [("quick", "IDX images", s) for s in (0, 7)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "igr-nothing"}, "name='igr-nothing' is no experiment; there are igr-egr, "),
        ({"name": "igr-slope", "size": "huge"}, "size='huge' must be one of quick, full"),
        ({"name": "igr-two-parameters", "data": "images"}, "data='images': igr-two-parameters takes no data"),
        ({"name": "igr-two-parameters", "seed": 1}, "seed=1: this experiment draws no random numbers"),
        ({"name": "sgd-helix", "seed": 1, "settings": 0}, "seed=1: settings of one's own have a seed of their own"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        run_experiment(**arguments, output=tmp_path)


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a folder of images.*cs.toronto.edu.*MNIST"):
        run_experiment("igr-slope", output=tmp_path, data=tmp_path)
