"""taylorsgd reproduce: the list, one experiment whole, the same files twice, and bad arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taylorsgd.cli import main
from taylorsgd.reproducing import experiment_names, load_experiment


def test_the_list_names_all_experiments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(experiment_names())
    for name in experiment_names():
        experiment = load_experiment(name)
        assert set(experiment.sizes) == set(experiment.lasts) == {"quick", "full"}
        assert experiment.claim and experiment.judged


def test_two_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Local errors have the claimed orders, and the same command writes the same bytes."""
    contents = []
    for folder in ("first", "second"):
        assert main(["reproduce", "igr-two-parameters", "--output", str(tmp_path / folder)]) == 0
        files = sorted((tmp_path / folder).iterdir())
        assert [file.suffix for file in files] == [".csv", ".json", ".png", ".svg"]
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]
    verdict = json.loads((tmp_path / "first" / "igr-two-parameters.json").read_text(encoding="utf-8"))
    orders = [finding for finding in verdict["findings"] if "one step is O(h^" in finding["claim"]]
    assert len(orders) == 4 and all(finding["agrees"] for finding in orders)
    assert "does not agree" in capsys.readouterr().out or verdict["agrees"]


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in [
        (["igr-nothing"], "'igr-nothing' is no experiment; there are igr-"),
        ([], "argument NAME: give one of igr-"),
        (["igr-two-parameters", "--data", str(tmp_path)], "takes no data"),
        (["igr-two-parameters", "--quick", "--full"], "not allowed with"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            main(["reproduce", *arguments, "--output", str(tmp_path)])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
