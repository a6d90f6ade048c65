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
from taylorsgd.reproducing.verdicts import NEITHER, Verdict

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
    content = json.loads((folder / "sgd-diagrams.json").read_text(encoding="utf-8"))
    for finding in content["findings"]:
        row = next(line for line in text.splitlines() if finding["claim"].replace("|", "\\|") in line)
        verdict = finding["verdict"]
        mark = "agrees" if finding["agrees"] else f"**{verdict}**: {finding['reason']}"
        assert row.endswith(f"| {mark} | exact |")
        assert finding["found"].replace("|", "\\|") in row
    assert all(f"- {note}" in text for note in content["notes"])
    count = len(content["findings"])
    assert f"- Claims, one on other images counted again: {count}; {count - 1} *agrees*, 1 *" in text
    assert "- Controls: 1; 1 *agrees*.\n" in text  # that of the errata
    errata = len(json.loads((folder / "igr-errata.json").read_text(encoding="utf-8"))["findings"])
    assert f"- Of all these rows: {count + errata} *exact*, without random numbers.\n" in text
    assert "`taylorsgd reproduce sgd-diagrams`, with settings of its own" in text
    assert "Not run here: `igr-egr`, " in text and "`sgd-errata`" in text
    assert text.index("SGD at Small Learning Rates") < text.index("## Errata")


def variant(source: Path, target: Path, changes: dict[int, Verdict], exact: int | None = None, **content: Any) -> None:
    """A verdict like that of the diagrams, with other verdicts on some findings, as another run would leave it."""
    told = json.loads((source / "sgd-diagrams.json").read_text(encoding="utf-8"))
    for number, verdict in changes.items():
        told["findings"][number] |= {"verdict": verdict, "reason": "because" * (verdict != Verdict.AGREES)}
    if exact is not None:
        told["findings"][exact]["exact"] = True
    target.write_text(json.dumps(told | content), encoding="utf-8")
    copy(source / "sgd-diagrams.csv", target.with_suffix(".csv"))


def test_runs_of_other_sizes_images_and_seeds_share_a_table(folder: Path, tmp_path: Path) -> None:
    """The verdict of the largest size with the first seed, for how many seeds it is so, on each kind of images.

    The verdict with another seed may come from a smaller size, and what draws nothing is so for all seeds.
    """
    quick, full = ({"links": size.links} for size in (DiagramSize(), DiagramSize(links=4)))
    variant(folder, tmp_path / "sgd-diagrams.json", {0: Verdict.UNRESOLVED}, settings=quick | {"seed": 0}, data="A")
    for seed, verdict in enumerate((Verdict.AGREES, Verdict.LOOSE, Verdict.AGREES)):
        path = tmp_path / f"sgd-diagrams-full-seed-{seed}.json"
        size = quick if seed == 2 else full
        variant(folder, path, {0: verdict}, settings=size | {"seed": seed}, data="A", exact=1)
    variant(folder, tmp_path / "sgd-diagrams-b.json", {0: Verdict.WRONG}, settings=quick | {"seed": 0}, data="B")
    (tmp_path / "sgd-diagrams.run.json").write_text(
        json.dumps({"seconds": 12.3, "processor seconds": 20.1, "machine": "a lathe"}), encoding="utf-8"
    )
    text = write_report(tmp_path).read_text(encoding="utf-8")
    claim = json.loads((tmp_path / "sgd-diagrams.json").read_text(encoding="utf-8"))["findings"][0]
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if claim["claim"] in line)
    found = claim["found"]
    assert lines[first - 2] == "| figure | claim | images | quick | full | verdict | seeds |"
    assert lines[first].endswith(
        f"| A | *not resolved at this scale*: {found} | {found} | agrees | **2 of 3**, else *worded too loosely* |"
    )
    assert lines[first + 2].endswith("| agrees | exact |") and lines[first + 4].endswith("| agrees | 3 of 3 |")
    assert lines[first + 1] == f"|  |  | B | {found} | — | **paper wrong (proved here)**: because | 1 of 1 |"
    count = len(json.loads((tmp_path / "sgd-diagrams.json").read_text(encoding="utf-8"))["findings"])
    assert f"again: {2 * count}; {2 * count - 3} *agrees*, 3 *paper wrong" in text
    assert "| `taylorsgd reproduce sgd-diagrams --quick [--data DIR]` | A | 0, 2 | 12 | 20 | a lathe |" in text
    assert "--full [--data DIR]` | A | 0, 1 | — | — | — |" in text
    assert (
        f"- Of all these rows: 1 *exact*, without random numbers; {count - 1} with 3 seeds, of which 1 with a verdict "
        f"that depends on the seed, in bold; {count} with 1 seed.\n" in text
    )


def test_reasons_stand_beside_a_verdict_unless_its_rule_says_them(folder: Path, tmp_path: Path) -> None:
    variant(folder, tmp_path / "sgd-diagrams.json", {0: Verdict.UNRESOLVED, 1: Verdict.UNRESOLVED})
    content = json.loads((tmp_path / "sgd-diagrams.json").read_text(encoding="utf-8"))
    content["findings"][0]["reason"] = NEITHER
    (tmp_path / "sgd-diagrams.json").write_text(json.dumps(content), encoding="utf-8")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    plain, with_reason = (
        next(line for line in text.splitlines() if f["claim"] in line) for f in content["findings"][:2]
    )
    assert plain.endswith("| **not resolved at this scale** | exact |")
    assert with_reason.endswith("| **not resolved at this scale**: because | exact |")
    assert f"has no reason beside it, {NEITHER}.\n" in text


def test_a_run_of_which_pieces_are_left_passes_no_verdict(folder: Path, tmp_path: Path) -> None:
    """What its pieces decide stands below the table; verdicts are those of the largest size that came to its end."""
    quick, full = ({"links": size.links, "seed": 0} for size in (DiagramSize(), DiagramSize(links=4)))
    variant(folder, tmp_path / "sgd-diagrams.json", {}, settings=quick)
    path = tmp_path / "sgd-diagrams-full.json"
    variant(folder, path, {0: Verdict.UNRESOLVED}, settings=full, whole=False, notes=["pieces so far: 1 of 9"])
    text = write_report(tmp_path).read_text(encoding="utf-8")
    (first, *_) = json.loads(path.read_text(encoding="utf-8"))["findings"]
    (row,) = (line for line in text.splitlines() if first["claim"] in line and line.startswith("|"))
    assert row.endswith(f"| {first['found']} | — | agrees | 1 of 1 |")
    (note,) = (
        line for line in text.splitlines() if line.startswith("- (full, the first pieces) pieces so far: 1 of 9")
    )
    assert f"{first['claim']}: {first['found']}, *not resolved at this scale*" in note
    assert "`taylorsgd reproduce sgd-diagrams --full` | — | 0 |" in text


def test_tables_have_as_many_cells_in_every_row(folder: Path) -> None:
    text = write_report(folder).read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(blocks) == 3
    for lines in blocks:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
        assert len(lines) > 2 and set(lines[1]) == {"|", " ", "-"}


def test_errata_have_their_numbers_and_their_command(folder: Path) -> None:
    text = write_report(folder).read_text(encoding="utf-8").partition("## Errata")[2]
    assert "Each is shown by `taylorsgd reproduce igr-errata`" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| A.23 ")]
    assert [cell.strip() for cell in row.split("|")[4:7]] == ["516", "75", "75"]
    assert row.endswith("| **paper wrong (proved here)** | exact |")
    (row,) = [line for line in text.splitlines() if line.startswith("| Lemmas A.1 to A.4, f_1 ")]
    assert row.endswith("| agrees | exact |")


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
