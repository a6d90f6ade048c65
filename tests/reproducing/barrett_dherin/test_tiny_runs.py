"""The experiments on *Implicit Gradient Regularization* at a tiny size: files, verdicts, and runs that are resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from same_files import assert_same

from taylorsgd.cli import main
from taylorsgd.reproducing import Outcome, registry, run_experiment, write_report
from taylorsgd.reproducing.barrett_dherin import EXPERIMENTS, rate_and_width, training, two_parameter_paths
from taylorsgd.reproducing.barrett_dherin.explicit_penalty import Tier
from taylorsgd.reproducing.barrett_dherin.rate_and_width import RateWidthSize
from taylorsgd.reproducing.barrett_dherin.training import train
from taylorsgd.reproducing.barrett_dherin.two_parameter_paths import TwoParameterSize
from taylorsgd.reproducing.verdicts import Verdict

TINY: dict[str, dict[str, Any]] = {
    "igr-two-parameters": {"starts": TwoParameterSize().starts[:1]},
    "igr-rate-width": {
        "widths": (12, 16), "rates": (0.05, 0.1), "initializations": 2, "layers": 2, "points": 40, "tested": 50,
        "epochs": 40, "most": 40, "batch": 8, "every": 10, "batches": (4,), "full_batch_rates": (0.1, 0.2),
        "full_batch_points": 20, "full_batch_epochs": 90, "full_batch_most": 90, "full_batch_initializations": 2,
    },
    "igr-slope": {
        "width": 16, "rates": (0.05, 0.1), "initializations": 2, "layers": 3, "points": 40, "tested": 50,
        "epochs": 40, "most": 40, "batch": 8, "every": 10, "sigmas": (0.1, 1.0), "draws": 2,
    },
    "igr-egr": {
        "tiers": (
            Tier(network="perceptron", widths=(5,), rates=(0.05, 0.1), rate=0.05, mus=(0.01,), points=20, side=4,
                 epochs=2, batch=20, every=1),
            Tier(network="residual net", widths=(2,), rates=(0.05,), rate=0.05, mus=(0.01,), points=20, side=4,
                 epochs=2, batch=10, every=1),
        ),
        "initializations": 2, "tested": 20,
    },
}  # fmt: skip
TINY["igr-robustness"] = TINY["igr-slope"]
TRAININGS = {"igr-rate-width": 4, "igr-slope": 1, "igr-egr": 7}
"""How often networks are trained at these sizes: two widths, another batch size and full batches; one width;
perceptrons at two rates and a μ, and two residual nets at a rate and a μ."""


WHOLLY_DRAWN = "igr-robustness"
"""It is run again to compare the files, pictures and all."""


Run = Callable[..., tuple[Outcome, list[str]]]
Once = Callable[[str], tuple[Outcome, list[str], Path]]


@pytest.fixture
def run(run_small: Run, request: pytest.FixtureRequest) -> Run:
    def with_images(name: str, output: Path, data: Path | None = None, **changes: Any) -> tuple[Outcome, list[str]]:
        if name == "igr-egr" and not changes:  # so that the large network's programs are compiled for both
            data = request.getfixturevalue("cifar10")
        return run_small(name, output, data, **{**TINY[name], **changes})

    return with_images


@pytest.fixture(scope="module")
def first_runs() -> dict[str, tuple[Outcome, list[str], Path]]:
    return {}


@pytest.fixture
def once(
    run: Run,
    first_runs: dict[str, tuple[Outcome, list[str], Path]],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Once:
    """An experiment's outcome, what it said and the folder of its files, run by the first test that asks."""

    def outcome(name: str) -> tuple[Outcome, list[str], Path]:
        if name not in first_runs:
            if name != WHOLLY_DRAWN:
                request.getfixturevalue("drawn_once")
            folder = tmp_path_factory.mktemp(name)
            first_runs[name] = *run(name, folder), folder
        return first_runs[name]

    return outcome


def test_every_experiment_is_run_here_or_among_the_errata() -> None:
    assert {*TINY, "igr-errata"} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", TINY)
def test_an_experiment_leaves_its_files(name: str, once: Once, check_files: Callable[..., Any]) -> None:
    outcome, said, folder = once(name)
    check_files(name, folder, outcome)
    text = "\n".join(said)
    assert text.startswith(f"{name}: ") and "Judged by: " in text and "--full takes " in text
    assert all(finding.claim in text for finding in outcome.findings)


def test_the_same_files_twice(once: Once, run: Run, tmp_path: Path) -> None:
    *_, folder = once(WHOLLY_DRAWN)
    run(WHOLLY_DRAWN, tmp_path)
    assert_same(folder, tmp_path, ".png", ".svg", ".csv", ".json")
    assert all(path.stat().st_size > 10_000 for path in folder.iterdir() if path.name.endswith("g"))


@pytest.mark.parametrize("name", TRAININGS)
def test_an_interrupted_run_trains_no_network_twice(
    name: str, once: Once, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Interrupted at its second training, or after its only one, it goes on there and leaves the same files."""
    *_, folder = once(name)
    request.getfixturevalue("undrawn")  # pictures are made of the numbers
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
        run(name, tmp_path)
    before, resumed = len(trained), True
    run(name, tmp_path)
    assert before == 1
    assert_same(folder, tmp_path, ".csv", ".json")
    assert len(trained) == TRAININGS[name]


def test_a_path_whose_last_steps_are_rounded_away_is_drawn_to_its_end() -> None:
    points = np.array([[1.0 - 2.0**-k, 0.0] for k in range(60)])
    assert (points[-2] == points[-1]).all()
    drawn = two_parameter_paths._thinned(points)
    numbers = [number for number, _ in drawn]
    assert numbers[0] == 0 and numbers == sorted(set(numbers)) and len(numbers) > 40
    assert drawn[-1][1].tolist() == [1.0, 0.0]


def test_a_run_in_pieces_judges_those_done_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks, one after the other, then all that are left; no piece is done twice."""
    size = replace(
        RateWidthSize(),
        **TINY["igr-rate-width"]
        | {"apart": True, "widths": (12,), "rates": (0.1, 0.05), "initializations": 1, "batches": ()}
        | {"full_batch_initializations": 1, "full_batch_rates": (0.2,), "most": 200},
    )
    experiment = replace(rate_and_width.EXPERIMENT, sizes={"quick": size, "full": size})
    monkeypatch.setattr(rate_and_width, "EXPERIMENT", experiment)
    monkeypatch.setattr(rate_and_width, "draw", lambda *_: Figure())  # which takes the longest here
    trained: list[Any] = []
    monkeypatch.setattr(training, "train", lambda *a, **o: trained.append(a) or train(*a, **o))
    said: list[str] = []
    first = run_experiment("igr-rate-width", "full", tmp_path, pieces=1, say=said.append)
    assert len(first.table) == len(trained) == 1 and said[-1].startswith("Pieces are left")
    assert any("pieces so far: 1 of 2 networks" in note for note in first.notes)
    assert len(run_experiment("igr-rate-width", "full", tmp_path, pieces=1, say=said.append).table) == 2
    last = run_experiment("igr-rate-width", "full", tmp_path, say=said.append)
    assert len(trained) == len(last.table) == 3 and not any("pieces" in note for note in last.notes)
    assert not (tmp_path / "igr-rate-width-full.parts").exists()
    with pytest.raises(ValueError, match="pieces=1: igr-rate-width --quick is not made of pieces"):
        run_experiment("igr-rate-width", "quick", tmp_path, pieces=1)


@pytest.mark.usefixtures("drawn_once")
def test_first_pieces_that_do_not_fit_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = {"apart": True, "widths": (12,), "rates": (1e-6, 2e-6), "initializations": 1, "epochs": 10, "most": 10}
    size = replace(RateWidthSize(), **TINY["igr-rate-width"] | slow)
    monkeypatch.setattr(
        rate_and_width, "EXPERIMENT", replace(rate_and_width.EXPERIMENT, sizes={"quick": size, "full": size})
    )
    outcome = run_experiment("igr-rate-width", "full", tmp_path, pieces=1, say=lambda line: None)
    assert not outcome.findings and [row["fitted"] for row in outcome.table] == [False]
    assert outcome.notes[1] == "pieces so far: 1 of 2 networks with batches of 8"
    assert "none of them fits all 40 training images in 10 epochs: width 12 at h = 1e-06: E " in outcome.notes[2]
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "the first pieces)" in page and outcome.notes[2] in page


def test_the_large_network_wants_cifar10_and_says_how_long_it_takes(run: Run, cifar10: Path, tmp_path: Path) -> None:
    net = replace(TINY["igr-egr"]["tiers"][1], epochs=1)
    large = {"published": True, "tiers": (net,), "initializations": 1}
    with pytest.raises(ValueError, match="ResNet-18.*not on scikit-learn's digits.*--data"):
        run("igr-egr", tmp_path, **large)
    outcome, said = run("igr-egr", tmp_path, cifar10, **large)
    assert any("CIFAR-10: 20 training and 20 test images of 4 × 4 × 3" in note for note in outcome.notes)
    assert any("2 networks of 1 epochs will take about" in line for line in said)


@pytest.mark.parametrize("name", ["igr-robustness", "igr-rate-width"])
def test_networks_that_never_fit_are_an_error(name: str, run: Run, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match="no network fits all 40 training images in 10 epochs"):
        run(name, tmp_path, rates=(1e-6, 2e-6), epochs=10, most=10)


def test_the_command_runs_it_and_prints_its_verdicts(
    once: Once,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    *_, folder = once("igr-two-parameters")
    request.getfixturevalue("undrawn")
    small = replace(TwoParameterSize(), **TINY["igr-two-parameters"])
    experiment = replace(two_parameter_paths.EXPERIMENT, sizes={"quick": small, "full": small})
    monkeypatch.setattr(two_parameter_paths, "EXPERIMENT", experiment)
    assert main(["reproduce", "igr-two-parameters", "--output", str(tmp_path)]) == 0
    assert_same(folder, tmp_path, ".csv", ".json")
    printed = capsys.readouterr().out
    # What Table A.1's values give: everything but the flattest minimum, which descent on E_μ is said to reach.
    others = tuple(verdict for verdict in Verdict if verdict is not Verdict.AGREES)
    refuted = [line for line in printed.splitlines() if line.startswith(others)]
    assert len(refuted) == 1 and "flattest region" in refuted[0]
    assert "agrees: at I, one step is O(h^3) from the modified flow" in printed
