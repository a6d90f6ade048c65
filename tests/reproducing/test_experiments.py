"""Every experiment at a tiny size: its four files and its verdict, and the same bytes when it is run again.

What the experiments rest on has tests of its own: the two-parameter model against the library's losses,
training against plain loops, perturbations against their definition, statistics against SciPy.
"""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from taylorsgd.cli import main
from taylorsgd.reproducing import (
    Experiment,
    Finding,
    Outcome,
    experiment_names,
    igr_two_parameters,
    load_experiment,
    registry,
    run_experiment,
    training,
)
from taylorsgd.reproducing.igr_two_parameters import TwoParameterSize
from taylorsgd.reproducing.images import load_images
from taylorsgd.reproducing.training import train
from taylorsgd.reproducing.trends import trend

NAMES = ("igr-egr", "igr-rate-width", "igr-robustness", "igr-slope", "igr-two-parameters")

TINY: dict[str, dict[str, Any]] = {
    "igr-two-parameters": {"starts": TwoParameterSize().starts[:1]},
    "igr-rate-width": {
        "widths": (12, 16), "rates": (0.05, 0.1), "seeds": 2, "layers": 2, "points": 40, "tested": 50,
        "epochs": 40, "batch": 8, "every": 10, "full_batch_rates": (0.1, 0.2), "full_batch_epochs": 100,
    },
    "igr-slope": {
        "width": 16, "rates": (0.05, 0.1), "seeds": 2, "layers": 3, "points": 40, "tested": 50, "epochs": 40,
        "batch": 8, "every": 10, "sigmas": (0.1, 1.0), "draws": 2,
    },
    "igr-egr": {
        "channels": (2,), "rates": (0.05, 0.1), "rate": 0.05, "mus": (0.01,), "seeds": 2, "points": 20,
        "tested": 20, "side": 4, "epochs": 2, "batch": 10, "every": 1,
    },
}  # fmt: skip
TINY["igr-robustness"] = TINY["igr-slope"]
TRAININGS = {"igr-rate-width": 3, "igr-slope": 1, "igr-egr": 6}
"""How often networks are trained at these sizes: two widths and full batches; two rates and a μ of two seeds."""


def run(name: str, output: Path, data: Path | None = None, **changes: Any) -> tuple[Outcome, list[str]]:
    settings = replace(load_experiment(name).sizes["quick"], **{**TINY[name], **changes})
    said: list[str] = []
    return run_experiment(name, output=output, data=data, settings=settings, say=said.append), said


def test_the_experiments_are_found() -> None:
    assert set(NAMES) <= set(experiment_names())
    for name in experiment_names():
        experiment = load_experiment(name)
        assert isinstance(experiment, Experiment) and {"quick", "full"} == set(experiment.sizes) == set(
            experiment.lasts
        )
        kinds = {type(settings) for settings in experiment.sizes.values()}
        assert len(kinds) == 1 and name in experiment.describe(name)


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_leaves_its_files(name: str, tmp_path: Path) -> None:
    outcome, said = run(name, tmp_path / "once")
    files = sorted((tmp_path / "once").iterdir())
    assert [path.name for path in files] == [
        f"{name}{suffix}" for suffix in (".csv", ".json", ".png", ".svg")
    ]
    numbers, verdict, picture, drawing = files
    assert picture.read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(drawing)
    with numbers.open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(outcome.table) > 0
    content = json.loads(verdict.read_text(encoding="utf-8"))
    assert content["agrees"] == outcome.agrees
    assert [finding["agrees"] for finding in content["findings"]] == [f.agrees for f in outcome.findings]
    assert set(content["settings"]) == {field.name for field in fields(load_experiment(name).sizes["quick"])}
    text = "\n".join(said)
    assert text.startswith(f"{name}: ") and "Judged by: " in text and "--full takes " in text
    assert all(finding.claim in text for finding in outcome.findings)


@pytest.mark.parametrize("name", ["igr-two-parameters", "igr-robustness"])
def test_the_same_files_twice(name: str, tmp_path: Path) -> None:
    for folder in ("once", "again"):
        run(name, tmp_path / folder)
    for path in (tmp_path / "once").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", TRAININGS)
def test_an_interrupted_run_trains_no_network_twice(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at its second training, or after its only one, it goes on there and leaves the same files."""
    run(name, tmp_path / "whole")
    trained: list[Any] = []

    def counting(*arguments: Any, **options: Any) -> Any:
        if len(trained) == 1 and not resumed:
            raise KeyboardInterrupt
        trained.append(arguments)
        return train(*arguments, **options)

    def interrupted(*arguments: Any) -> Any:
        if not resumed:
            raise KeyboardInterrupt
        return drawn(*arguments)

    drawn = registry.write_files
    monkeypatch.setattr(training, "train", counting)
    monkeypatch.setattr(registry, "write_files", interrupted)
    resumed = False
    with pytest.raises(KeyboardInterrupt):
        run(name, tmp_path / "parts")
    before, resumed = len(trained), True
    run(name, tmp_path / "parts")
    assert before == 1
    whole = sorted((tmp_path / "whole").iterdir())
    assert [path.read_bytes() for path in whole] == [
        (tmp_path / "parts" / path.name).read_bytes() for path in whole
    ]
    assert len(trained) == TRAININGS[name]


def test_images_of_a_folder(cifar10: Path, fashion: Path) -> None:
    assert str(load_images(fashion)) == "IDX images: 30 training and 10 test images of 4 × 6 × 1"
    (cifar10 / "test_batch.bin").unlink()
    assert str(load_images(cifar10)) == "CIFAR-10: 80 training and 20 test images of 32 × 32 × 3"


def test_the_large_network_wants_cifar10_and_says_how_long_it_takes(cifar10: Path, tmp_path: Path) -> None:
    large = {"only_cifar10": True, "channels": (2, 3), "epochs": 1, "seeds": 1, "rates": (0.05,)}
    with pytest.raises(ValueError, match="ResNet-18.*not on scikit-learn's digits.*--data"):
        run("igr-egr", tmp_path, **large)
    outcome, said = run("igr-egr", tmp_path, cifar10, **large)
    assert "CIFAR-10: 20 training and 20 test images of 4 × 4 × 3" in outcome.notes
    assert any("2 networks of 1 epochs will take about" in line for line in said)


@pytest.mark.parametrize("name", ["igr-robustness", "igr-rate-width"])
def test_networks_that_never_fit_are_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match="no network fits all 40 training images in 10 epochs"):
        run(name, tmp_path, rates=(1e-6, 2e-6), epochs=10)


def test_what_leaves_nothing_to_compare_is_not_judged(tmp_path: Path) -> None:
    finding = Finding.of_trend("it rises", trend([1.0], [2.0], expected=1))
    assert finding.agrees is None and "not judged: it rises" in str(finding)
    assert not Outcome(Figure(), [{}], [finding]).agrees


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "igr-nothing"}, "name='igr-nothing' is no experiment; there are igr-egr, "),
        ({"name": "igr-slope", "size": "huge"}, "size='huge' must be one of quick, full"),
        ({"name": "igr-two-parameters", "data": "images"}, "data='images': igr-two-parameters takes no data"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        run_experiment(**arguments, output=tmp_path)


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a folder of images.*cs.toronto.edu.*MNIST"):
        run_experiment("igr-slope", output=tmp_path, data=tmp_path)


def test_the_command_line_lists_and_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in NAMES) and "--quick takes" in listed
    small = replace(TwoParameterSize(), **TINY["igr-two-parameters"])
    experiment = replace(igr_two_parameters.EXPERIMENT, sizes={"quick": small, "full": small})
    monkeypatch.setattr(igr_two_parameters, "EXPERIMENT", experiment)
    assert main(["reproduce", "igr-two-parameters", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    # What Table A.1's values give: everything but the flattest minimum, which descent on E_μ is said to reach.
    refuted = [line for line in printed.splitlines() if "does not agree" in line]
    assert len(refuted) == 1 and "flattest region" in refuted[0]
    assert "agrees: at I, one step is O(h^3) from the modified flow" in printed
