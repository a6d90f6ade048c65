"""The experiments on *Implicit Gradient Regularization* at a tiny size: files, verdicts, and runs that are resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taylorsgd.cli import main
from taylorsgd.reproducing import Outcome, registry
from taylorsgd.reproducing.barrett_dherin import EXPERIMENTS, training, two_parameter_paths
from taylorsgd.reproducing.barrett_dherin.training import train
from taylorsgd.reproducing.barrett_dherin.two_parameter_paths import TwoParameterSize
from taylorsgd.reproducing.registry import RUN
from taylorsgd.reproducing.verdicts import Verdict

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


Run = Callable[..., tuple[Outcome, list[str]]]


@pytest.fixture
def run(run_small: Run) -> Run:
    return lambda name, output, data=None, **changes: run_small(name, output, data, **{**TINY[name], **changes})


def test_every_experiment_is_run_here_or_among_the_errata() -> None:
    assert {*TINY, "igr-errata"} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", TINY)
def test_an_experiment_leaves_its_files(name: str, run: Run, check_files: Callable[..., Any], tmp_path: Path) -> None:
    outcome, said = run(name, tmp_path)
    check_files(name, tmp_path, outcome)
    text = "\n".join(said)
    assert text.startswith(f"{name}: ") and "Judged by: " in text and "--full takes " in text
    assert all(finding.claim in text for finding in outcome.findings)


@pytest.mark.parametrize("name", ["igr-two-parameters", "igr-robustness"])
def test_the_same_files_twice(name: str, run: Run, tmp_path: Path) -> None:
    for folder in ("once", "again"):
        run(name, tmp_path / folder)
    for path in (tmp_path / "once").iterdir():
        if not path.name.endswith(RUN):  # which says how long it took
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("name", TRAININGS)
def test_an_interrupted_run_trains_no_network_twice(
    name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    whole = sorted(path for path in (tmp_path / "whole").iterdir() if not path.name.endswith(RUN))
    assert [path.read_bytes() for path in whole] == [(tmp_path / "parts" / path.name).read_bytes() for path in whole]
    assert len(trained) == TRAININGS[name]


def test_the_large_network_wants_cifar10_and_says_how_long_it_takes(run: Run, cifar10: Path, tmp_path: Path) -> None:
    large = {"only_cifar10": True, "channels": (2, 3), "epochs": 1, "seeds": 1, "rates": (0.05,)}
    with pytest.raises(ValueError, match="ResNet-18.*not on scikit-learn's digits.*--data"):
        run("igr-egr", tmp_path, **large)
    outcome, said = run("igr-egr", tmp_path, cifar10, **large)
    assert "CIFAR-10: 20 training and 20 test images of 4 × 4 × 3" in outcome.notes
    assert any("2 networks of 1 epochs will take about" in line for line in said)


@pytest.mark.parametrize("name", ["igr-robustness", "igr-rate-width"])
def test_networks_that_never_fit_are_an_error(name: str, run: Run, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match="no network fits all 40 training images in 10 epochs"):
        run(name, tmp_path, rates=(1e-6, 2e-6), epochs=10)


def test_the_command_runs_it_and_prints_its_verdicts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(TwoParameterSize(), **TINY["igr-two-parameters"])
    experiment = replace(two_parameter_paths.EXPERIMENT, sizes={"quick": small, "full": small})
    monkeypatch.setattr(two_parameter_paths, "EXPERIMENT", experiment)
    assert main(["reproduce", "igr-two-parameters", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    # What Table A.1's values give: everything but the flattest minimum, which descent on E_μ is said to reach.
    others = tuple(verdict for verdict in Verdict if verdict is not Verdict.AGREES)
    refuted = [line for line in printed.splitlines() if line.startswith(others)]
    assert len(refuted) == 1 and "flattest region" in refuted[0]
    assert "agrees: at I, one step is O(h^3) from the modified flow" in printed
