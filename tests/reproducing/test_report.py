"""REPRODUCTION.md: what verdicts become, what is left out, and what is said of damaged ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from taylorsgd.cli import main
from taylorsgd.reproducing import load_experiment, report, run_experiment, write_report
from taylorsgd.reproducing.barrett_dherin import euler_errata
from taylorsgd.reproducing.barrett_dherin.euler_errata import IgrErrataSize
from taylorsgd.reproducing.tenka import diagram_figures
from taylorsgd.reproducing.tenka.diagram_figures import DiagramSize

SMALL: dict[str, Any] = {"sgd-diagrams": DiagramSize(links=0), "igr-errata": IgrErrataSize(order=1)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One experiment at a size of its own and one that lists mistakes."""
    output = tmp_path_factory.mktemp("verdicts")
    for name, settings in SMALL.items():
        run_experiment(name, output=output, settings=settings, say=lambda line: None)
    return output


def test_every_verdict_is_on_the_page(folder: Path) -> None:
    text = write_report(folder).read_text(encoding="utf-8")
    verdict = json.loads((folder / "sgd-diagrams.json").read_text(encoding="utf-8"))
    for finding in verdict["findings"]:
        row = next(line for line in text.splitlines() if finding["claim"].replace("|", "\\|") in line)
        assert row.endswith(f"| {'yes' if finding['agrees'] else '**no**'} |")
        assert finding["found"].replace("|", "\\|") in row
    assert all(f"- {note}" in text for note in verdict["notes"])
    assert f"{len(verdict['findings'])} claims are looked at; {len(verdict['findings']) - 1} agree" in text
    assert "`taylorsgd reproduce sgd-diagrams`, with settings of its own" in text
    assert "Not run here: `igr-egr`, " in text and "`sgd-errata`" in text
    assert text.index("SGD at Small Learning Rates") < text.index("## Errata")


def test_claims_that_could_not_be_judged_are_neither_kept_nor_broken(folder: Path, tmp_path: Path) -> None:
    verdict = json.loads((folder / "sgd-diagrams.json").read_text(encoding="utf-8"))
    before = write_report(folder).read_text(encoding="utf-8")
    verdict["findings"][0]["agrees"] = None
    (tmp_path / "sgd-diagrams.json").write_text(json.dumps(verdict), encoding="utf-8")
    copy(folder / "sgd-diagrams.csv", tmp_path)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "1 could not be judged" in text and "could not be judged" not in before
    row = next(line for line in text.splitlines() if verdict["findings"][0]["claim"] in line)
    assert row.endswith("| not judged |")


def test_tables_have_as_many_cells_in_every_row(folder: Path) -> None:
    text = write_report(folder).read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(blocks) == 2
    for lines in blocks:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
        assert len(lines) > 3 and set(lines[1]) == {"|", " ", "-"}


def test_errata_have_their_numbers_and_their_command(folder: Path) -> None:
    text = write_report(folder).read_text(encoding="utf-8").partition("## Errata")[2]
    assert "Each is shown by `taylorsgd reproduce igr-errata`" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| A.23 ")]
    assert [cell.strip() for cell in row.split("|")[4:7]] == ["516", "75", "75"] and row.endswith("**no** |")
    (row,) = [line for line in text.splitlines() if line.startswith("| Lemmas A.1 to A.4, f_1 ")]
    assert row.endswith("| yes |")


def test_the_size_is_recognized(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "sgd-diagrams.json").read_text(encoding="utf-8"))
    content["settings"] = {"links": DiagramSize().links}
    (tmp_path / "sgd-diagrams.json").write_text(json.dumps(content), encoding="utf-8")
    copy(folder / "sgd-diagrams.csv", tmp_path)
    assert "`taylorsgd reproduce sgd-diagrams --quick`. Judged" in write_report(tmp_path).read_text("utf-8")


def test_nothing_to_report_and_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sgd-diagrams.json").touch()  # an interrupted run
    with pytest.raises(FileNotFoundError, match="holds no verdict.*taylorsgd reproduce NAME --output"):
        write_report(tmp_path)
    with pytest.raises(SystemExit):
        main(["reproduce", "--report", "--output", str(tmp_path)])
    assert "holds no verdict" in capsys.readouterr().err
    for text in ("{", "[]", '{"findings": []}'):
        (tmp_path / "sgd-diagrams.json").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="sgd-diagrams.json is no verdict.*run sgd-diagrams again"):
            write_report(tmp_path)


@pytest.mark.parametrize("damage", ["half", "a row less", "another number", "gone"])
@pytest.mark.parametrize("name", SMALL)
def test_verdicts_without_their_numbers_are_refused(name: str, damage: str, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        copy(path, tmp_path)
    table = tmp_path / f"{name}.csv"
    text = table.read_bytes()
    if damage == "gone":
        table.unlink()
    else:
        last = text.rstrip().rfind(b"\n") + 1
        changed = {
            "half": text[: len(text) // 2],
            "a row less": text[:last],
            "another number": text.replace(b"1", b"2"),
        }
        table.write_bytes(changed[damage])
    with pytest.raises(
        ValueError, match=rf"{name}.csv is not the table that .* is about, or is cut off; run {name} ag"
    ):
        write_report(tmp_path)


def test_all_of_them_run_once_and_what_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: Any) -> Any:
        raise FileNotFoundError("no images here")

    monkeypatch.setattr(report, "experiment_names", lambda: ("igr-egr", *SMALL))
    for module, settings in ((diagram_figures, SMALL["sgd-diagrams"]), (euler_errata, SMALL["igr-errata"])):
        sizes = {"quick": settings, "full": settings}
        monkeypatch.setattr(module, "EXPERIMENT", replace(module.EXPERIMENT, sizes=sizes))
    monkeypatch.setattr("taylorsgd.reproducing.labelled_images.load_images", missing)
    assert main(["reproduce", "--all", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "igr-egr is left out: no images here" in printed and not (tmp_path / "igr-egr.json").exists()
    assert "sgd-diagrams: spacetimes" in printed and printed.endswith("REPRODUCTION.md\n")
    page = (tmp_path / report.PAGE).read_text("utf-8")
    assert "Not run here: `igr-egr`." in page and "`taylorsgd reproduce sgd-diagrams --quick`" in page
    before = (tmp_path / "sgd-diagrams.json").stat().st_mtime_ns
    report.run_all(output=tmp_path, say=(said := []).append)
    assert f"sgd-diagrams: its verdict is in {tmp_path} already" in said
    assert (tmp_path / "sgd-diagrams.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="size='huge' must be one of quick, full"):
        report.run_all("huge", tmp_path)
    assert load_experiment("sgd-diagrams").sizes["quick"] == SMALL["sgd-diagrams"]
