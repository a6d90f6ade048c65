"""The verdicts of a folder as one page, REPRODUCTION.md: figure, claim, found, agrees; and the errata."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from taylorsgd.reproducing.experiment import Experiment, Say
from taylorsgd.reproducing.registry import PAPERS, experiment_names, load_experiment, run_experiment
from taylorsgd.whole_files import whole_file

__all__ = ["PAGE", "run_all", "write_report"]

PAGE = "REPRODUCTION.md"
"""The name of the page."""
YES, NO, UNJUDGED = "yes", "**no**", "not judged"
"""What the page says of a claim."""
NEEDED = {"title", "shows", "judged by", "settings", "findings", "notes", "numbers"}
"""What the page asks of a verdict."""
ERRATA = "errata"
"""The last word of the names of the experiments that list mistakes."""


def run_all(
    size: str = "quick", output: Path | str = Path("."), data: Path | str | None = None, say: Say = print
) -> Path:
    """Run every experiment that has no verdict with these settings in the folder yet, and write the page.

    An interrupted run goes on where it was when it is started again. An experiment whose data are missing, or that
    finds that it can't be run, is left out and named; the others go on.

    Args:
        size: "quick" or "full".
        output: the folder.
        data: a folder of images for the experiments that take them; None means their defaults.
        say: what is called with every line for the user.

    Returns:
        The page.

    Raises:
        OSError: if files can't be written.
        ValueError: if there is no such size.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for name in experiment_names():
        experiment = load_experiment(name)
        experiment.settings(size)  # complain of a wrong one before anything runs
        content = _verdict(name, output)
        if content is not None and _size(experiment, content) == size:
            say(f"{name}: its verdict is in {output} already")
            continue
        try:
            run_experiment(name, size, output, data if experiment.data is not None else None, say=say)
        except (ValueError, OSError, ArithmeticError) as error:
            say(f"{name} is left out: {error}")
    return write_report(output)


def write_report(folder: Path | str) -> Path:
    """Write REPRODUCTION.md from the verdicts in a folder.

    Args:
        folder: where the experiments left their files.

    Returns:
        The page, in the same folder.

    Raises:
        FileNotFoundError: if the folder holds no verdict.
        ValueError: if a verdict can't be read.
    """
    folder = Path(folder)
    verdicts = {name: content for name in experiment_names() if (content := _verdict(name, folder)) is not None}
    if not verdicts:
        raise FileNotFoundError(
            f"{folder} holds no verdict, NAME.json of an experiment; taylorsgd reproduce NAME --output {folder} "
            "leaves one"
        )
    missing = [name for name in experiment_names() if name not in verdicts]
    claims = [f for name in verdicts if not _is_errata(name) for f in _claims(verdicts[name])]
    count = Counter(_mark(finding["agrees"]) for finding in claims)
    unjudged = f", {count[UNJUDGED]} could not be judged" if count[UNJUDGED] else ""
    lines = [
        "# Reproduction",
        "",
        "The claims of the papers, run again. This page is written by `taylorsgd reproduce --report`, from the "
        "verdicts that the commands below leave; each also leaves its picture and its numbers. By what a claim is "
        "judged was fixed before it was run. Behind ± stands one standard error; a 95 % interval is called that.",
        "",
        f"{len(claims)} claims are looked at; {count[YES]} agree with what was found, {count[NO]} do not{unjudged}. "
        "Mistakes in print are listed at the end.",
        "",
    ]
    if missing:
        lines += [f"Not run here: {', '.join(f'`{name}`' for name in missing)}.", ""]
    errata = []
    for paper in PAPERS:
        mine = [name for name in verdicts if name in paper.EXPERIMENTS]
        errata += [(name, paper.TITLE) for name in mine if _is_errata(name)]
        of_paper = [name for name in mine if not _is_errata(name)]
        if of_paper:
            lines += [f"## *{paper.TITLE}*", ""]
        for name in of_paper:
            lines += _section(name, verdicts[name])
    if errata:
        lines += ["## Errata", ""]
    for name, title in errata:
        lines += _errata(name, title, verdicts[name], folder)
    page = folder / PAGE
    with whole_file(page) as file:
        file.write(("\n".join(lines).rstrip() + "\n").encode())
    return page


def _verdict(name: str, folder: Path) -> dict[str, Any] | None:
    """What an experiment found; None if it has not been run, or was interrupted."""
    path = folder / f"{name}.json"
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no verdict of taylorsgd reproduce: {error}; run {name} again") from error
    if not isinstance(content, dict) or not content.keys() >= NEEDED:
        raise ValueError(
            f"{path} is no verdict of taylorsgd reproduce: it needs {', '.join(sorted(NEEDED))}; run {name} again"
        )
    numbers = folder / f"{name}.csv"
    if not numbers.exists() or sha256(numbers.read_bytes()).hexdigest() != content["numbers"]:
        raise ValueError(f"{numbers} is not the table that {path.name} is about, or is cut off; run {name} again")
    return content


def _size(experiment: Experiment, content: dict[str, Any]) -> str | None:
    """Which of its sizes an experiment was run in; None for settings of the user's own."""
    for size, settings in experiment.sizes.items():
        if json.loads(json.dumps(asdict(settings))) == content["settings"]:
            return size
    return None


def _is_errata(name: str) -> bool:
    return name.rpartition("-")[2] == ERRATA


def _claims(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings about what the paper claims."""
    return [finding for finding in content["findings"] if finding["source"] == "paper"]


def _command(name: str, content: dict[str, Any]) -> str:
    experiment = load_experiment(name)
    size = _size(experiment, content)
    words = ["taylorsgd reproduce", name, *([f"--{size}"] if size else [])]
    words += ["[--data DIR]"] if experiment.data is not None else []
    return f"`{' '.join(words)}`" + ("" if size else ", with settings of its own")


def _section(name: str, content: dict[str, Any]) -> list[str]:
    """One experiment: its figures, the command, a row for each claim, and its notes."""
    controls = [finding for finding in content["findings"] if finding["source"] != "paper"]
    rows = [
        (content["shows"] if number == 0 else "", f["claim"], f["found"], _mark(f["agrees"]))
        for number, f in enumerate(_claims(content))
    ]
    rows += [("", f"Control: {f['claim']}", f["found"], _mark(f["agrees"])) for f in controls]
    return [
        f"### {content['title'][0].upper()}{content['title'][1:]}",
        "",
        f"{_command(name, content)}. Judged by {content['judged by']}.",
        "",
        *_table(("figure", "claim", "found", "agrees"), rows),
        *_notes(content),
    ]


def _errata(name: str, title: str, content: dict[str, Any], folder: Path) -> list[str]:
    """The mistakes of a paper: what is printed, what is right, and the numbers that show it."""
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    values = ("value as printed", "value as derived", "value by the judge")
    wanted = ("where", "printed", "right", *values, "judge")
    rows = [
        (
            *(_number(row[column]) if column in values else row[column] for column in wanted),
            _mark(row["the printed one is right"] == "True"),
        )
        for row in table
    ]
    return [
        f"### *{title}*",
        "",
        f"Each is shown by {_command(name, content)}.",
        "",
        *_table((*wanted, "printed is right"), rows),
        *_notes(content),
    ]


def _notes(content: dict[str, Any]) -> list[str]:
    return ["", *(f"- {note}" for note in content["notes"]), *([""] if content["notes"] else [])]


def _number(text: str) -> str:
    """A rational as a decimal of four digits."""
    numerator, _, denominator = text.partition("/")
    return f"{float(numerator) / float(denominator or 1):.4g}"


def _mark(agrees: bool | None) -> str:
    return {True: YES, False: NO, None: UNJUDGED}[agrees]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown; bars and line breaks would end a cell."""
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)
    lines = [header, ["---"] * len(header), *escaped]
    return [f"| {' | '.join(line)} |" for line in lines]
