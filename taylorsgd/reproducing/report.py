"""The verdicts of a folder as one page, REPRODUCTION.md: figure, claim, found, verdict; the errata; what runs took."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taylorsgd.reproducing.experiment import Say
from taylorsgd.reproducing.registry import PAPERS, experiment_names, file_stem, load_experiment, run_experiment
from taylorsgd.reproducing.verdict_files import Run, read_run, runs_in
from taylorsgd.reproducing.verdicts import NEITHER, RULES, Verdict
from taylorsgd.whole_files import whole_file

__all__ = ["PAGE", "run_all", "write_report"]

PAGE = "REPRODUCTION.md"
"""The name of the page."""
ERRATA = "errata"
"""The last word of the names of the experiments that list mistakes."""
NONE = "—"
"""In a cell, that there is nothing to say."""
Row = tuple[str, ...]


def run_all(
    size: str = "quick",
    output: Path | str = Path("."),
    data: Path | str | None = None,
    say: Say = print,
    seed: int | None = None,
) -> Path:
    """Run every experiment that has no verdict with these settings in the folder yet, and write the page.

    An interrupted run goes on where it was when it is started again. An experiment that has no such size, whose data
    are missing, or that finds that it can't be run, is left out and named; the others go on.

    Args:
        size: "quick", "full" or "paper".
        output: the folder.
        data: a folder of images for the experiments that take them; None means their defaults.
        say: what is called with every line for the user.
        seed: of all random numbers, for the experiments that draw some; None means those of their settings.

    Returns:
        The page.

    Raises:
        OSError: if files can't be written.
        ValueError: if no experiment has such a size, or the data are damaged.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    experiments = {name: load_experiment(name) for name in experiment_names()}
    if not any(size in experiment.sizes for experiment in experiments.values()):
        next(iter(experiments.values())).settings(size)  # which names those that there are
    images = None
    if data is not None:
        from taylorsgd.reproducing.labelled_images import load_images

        images = load_images(data).name
    for name, experiment in experiments.items():
        given, own = (data, images) if experiment.data is not None else (None, None)
        chosen = seed if experiment.is_random else None
        run = read_run(output / f"{file_stem(name, size, own, chosen)}.json")
        if run is not None and run.size == size:
            say(f"{name}: its verdict is in {output} already")
            continue
        try:
            run_experiment(name, size, output, given, say=say, seed=chosen)
        except (ValueError, OSError, ArithmeticError) as error:
            say(f"{name} is left out: {error}")
    return write_report(output)


def write_report(folder: Path | str) -> Path:
    """Write REPRODUCTION.md from the verdicts in a folder.

    Runs of all sizes, images and seeds are on it. What it says of a claim is the verdict of the largest size that was
    run to its end and the first seed; it adds for how many of the seeds it is the same.

    Args:
        folder: where the experiments left their files.

    Returns:
        The page, in the same folder.

    Raises:
        FileNotFoundError: if the folder holds no verdict.
        ValueError: if a verdict can't be read.
    """
    folder = Path(folder)
    runs = runs_in(folder)
    if not runs:
        raise FileNotFoundError(
            f"{folder} holds no verdict, NAME.json of an experiment; taylorsgd reproduce NAME --output {folder} "
            "leaves one"
        )
    missing = [name for name in experiment_names() if name not in runs]
    page = [
        "# Reproduction",
        "",
        "The claims of the papers, run again. This page is written by `taylorsgd reproduce --report`, from the "
        "verdicts that the commands below leave; each also leaves its picture and its numbers. By what a claim is "
        "judged was fixed before it was run. Behind ± stands one standard error; a 95 % interval is called that.",
        "",
        *_headline(runs),
        "The verdicts, each passed by its rule:",
        "",
        *(f"- *{verdict}*: {rule}." for verdict, rule in RULES.items()),
        "",
        f"Where *{Verdict.UNRESOLVED}* has no reason beside it, {NEITHER}.",
        "",
        "A row's verdict is that of the largest size that was run on those images, with the first seed; “seeds” says "
        "for how many of the seeds it is the same, each at the largest size that it was run at, or *exact* where no "
        "random number is drawn. A control is what a paper does not claim but a reader should know.",
        "",
    ]
    if missing:
        page += [f"Not run here: {', '.join(f'`{name}`' for name in missing)}.", ""]
    errata = []
    for paper in PAPERS:
        mine = [name for name in runs if name in paper.EXPERIMENTS]
        errata += [(name, paper.TITLE) for name in mine if _is_errata(name)]
        of_paper = [name for name in mine if not _is_errata(name)]
        if of_paper:
            page += [f"## *{paper.TITLE}*", ""]
        for name in of_paper:
            page += _section(runs[name])
    if errata:
        page += ["## Errata", ""]
    for name, title in errata:
        page += _errata(title, runs[name])
    page += _what_it_took(runs)
    page += _for_a_gpu()
    path = folder / PAGE
    with whole_file(path) as file:
        file.write(("\n".join(page).rstrip() + "\n").encode())
    return path


def _is_errata(name: str) -> bool:
    return name.rpartition("-")[2] == ERRATA


# -- claims ----------------------------------------------------------------------------------------------------


def _by_data(runs: Iterable[Run]) -> dict[str | None, list[Run]]:
    """Runs by their images."""
    groups: dict[str | None, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.data, []).append(run)
    return groups


def _first_of_size(runs: Sequence[Run]) -> dict[str | None, Run]:
    """The run with the first seed of each size."""
    first: dict[str | None, Run] = {}
    for run in runs:
        first.setdefault(run.size, run)
    return first


def _said(run: Run, claim: str) -> dict[str, Any] | None:
    """What a run found of a claim."""
    return next((finding for finding in run.content["findings"] if finding["claim"] == claim), None)


@dataclass(frozen=True)
class _Row:
    """A claim on some images: the finding that its verdict is from, and what each seed's largest run found."""

    finding: dict[str, Any]
    by_seed: Sequence[dict[str, Any]]
    drawn: bool

    @property
    def is_control(self) -> bool:
        """Whether it is none of the paper's."""
        return self.finding["source"] != "paper"

    @property
    def is_exact(self) -> bool:
        """Whether no random number enters it."""
        return not self.drawn or self.finding.get("exact", False)

    @property
    def alike(self) -> int:
        """How many of the seeds give the same verdict."""
        return sum(each["verdict"] == self.finding["verdict"] for each in self.by_seed)

    @property
    def seeds(self) -> str:
        """What stands in the column of that name."""
        if self.is_exact:
            return "exact"
        count = f"{self.alike} of {len(self.by_seed)}"
        verdicts = dict.fromkeys(each["verdict"] for each in self.by_seed)
        others = ", ".join(f"*{verdict}*" for verdict in verdicts if verdict != self.finding["verdict"])
        return f"**{count}**, else {others}" if others else count


def _judged(runs: Sequence[Run]) -> dict[str, _Row]:
    """Every claim on some images."""
    judged = {}
    for claim in dict.fromkeys(finding["claim"] for run in runs for finding in run.content["findings"]):
        said = [(run, found) for run in runs if (found := _said(run, claim))]
        ended = [(run, found) for run, found in said if run.is_whole] or said
        last = {run.seed: (run, found) for run, found in ended}  # of each seed the largest, which comes last
        largest = max(run.rank[0] for run, _ in last.values())
        first = min(seed or 0 for seed, (run, _) in last.items() if run.rank[0] == largest)
        finding = next(found for seed, (_, found) in last.items() if (seed or 0) == first)
        judged[claim] = _Row(finding, [found for _, found in last.values()], runs[0].seed is not None)
    return judged


def _headline(runs: dict[str, list[Run]]) -> list[str]:
    """How many claims, controls and printed statements got which verdict, and with how many seeds."""
    counts: dict[str, Counter[str]] = {"claims": Counter(), "controls": Counter(), "errata": Counter()}
    rows = []
    for name, mine in runs.items():
        for group in _by_data(mine).values():
            for row in _judged(group).values():
                kind = "controls" if row.is_control else "errata" if _is_errata(name) else "claims"
                counts[kind][row.finding["verdict"]] += 1
                rows.append(row)
    lines = []
    for kind, words in (
        ("claims", "Claims, one on other images counted again"),
        ("controls", "Controls"),
        ("errata", "Printed statements that look like mistakes, listed at the end"),
    ):
        if counts[kind]:
            parts = ", ".join(f"{counts[kind][v]} *{v}*" for v in Verdict if counts[kind][v])
            lines.append(f"- {words}: {counts[kind].total()}; {parts}.")
    return [*lines, _of_seeds(rows), ""]


def _of_seeds(rows: Sequence[_Row]) -> str:
    """How many rows are exact, how many rest on how many seeds, and for how many of those the seeds differ."""
    drawn = [row for row in rows if not row.is_exact]
    parts = [f"{len(rows) - len(drawn)} *exact*, without random numbers"] if len(drawn) < len(rows) else []
    for seeds in sorted({len(row.by_seed) for row in drawn}, reverse=True):
        these = [row for row in drawn if len(row.by_seed) == seeds]
        differ = sum(row.alike < seeds for row in these)
        unlike = f", of which {differ} with a verdict that depends on the seed, in bold" if differ else ""
        parts.append(f"{len(these)} with {seeds} seed{'s' * (seeds > 1)}{unlike}")
    return f"- Of all these rows: {'; '.join(parts)}."


def _section(runs: Sequence[Run]) -> list[str]:
    """One experiment: its figures, the command, a row for each claim and set of images, and its notes."""
    content = runs[0].content
    groups = _by_data(runs)
    sizes = list(dict.fromkeys(run.size for run in sorted(runs, key=lambda run: run.rank[0]) if run.is_whole))
    if None not in sizes:
        sizes = [*dict.fromkeys(("quick", "full", *sizes))]
    rows: list[tuple[bool, Row]] = []
    judged = {data: _judged(group) for data, group in groups.items()}
    for claim in dict.fromkeys(claim for claims in judged.values() for claim in claims):
        for data, group in groups.items():
            if claim not in judged[data]:
                continue
            row = judged[data][claim]
            first = _first_of_size([run for run in group if run.is_whole])
            cells = [_cell(first.get(size), claim, row.finding["verdict"]) for size in sizes]
            label = f"Control: {claim}" if row.is_control else claim
            rows.append((row.is_control, (label, *([data] if data else []), *cells, _mark(row.finding), row.seeds)))
    rows.sort(key=lambda row: row[0])  # which leaves each kind in its order
    shown = [
        (
            content["shows"] if number == 0 else "",
            "" if number and row[0] == rows[number - 1][1][0] else row[0],
            *row[1:],
        )
        for number, (_, row) in enumerate(rows)
    ]
    header = (
        "figure",
        "claim",
        *(["images"] if runs[0].data else []),
        *(s or "found" for s in sizes),
        "verdict",
        "seeds",
    )
    judging = {run.content["judged by"] for run in runs}
    return [
        f"### {content['title'][0].upper()}{content['title'][1:]}",
        "",
        f"{', '.join(dict.fromkeys(run.command for run in runs))}. Judged by {'; or '.join(sorted(judging))}.",
        "",
        *_table(header, shown),
        *_notes(runs),
    ]


def _cell(run: Run | None, claim: str, verdict: str) -> str:
    """What a run found of a claim, with its verdict if that is not the row's."""
    said = run and _said(run, claim)
    if not said:
        return NONE
    return said["found"] if said["verdict"] == verdict else f"*{said['verdict']}*: {said['found']}"


def _mark(finding: dict[str, Any]) -> str:
    """The verdict, and why, unless its rule says so already."""
    if finding["verdict"] == Verdict.AGREES:
        return Verdict.AGREES
    reason = "" if finding["reason"] == NEITHER else f": {finding['reason']}"
    return f"**{finding['verdict']}**{reason}"


def _notes(runs: Sequence[Run]) -> list[str]:
    """The notes of the runs with the first seeds, each once; with the run that it is of, unless it is of all.

    Of a run of which only some pieces are done it says what they found.
    """
    firsts = [run for group in _by_data(runs).values() for run in _first_of_size(group).values()]
    lines = [line for run in firsts if not run.is_whole for line in _of_pieces(run)]
    firsts = [run for run in firsts if run.is_whole]
    for note in dict.fromkeys(note for run in firsts for note in run.content["notes"]):
        of = [
            ", ".join(part for part in (run.data, run.size) if part) for run in firsts if note in run.content["notes"]
        ]
        lines.append(f"- {note}" if len(of) == len(firsts) else f"- ({'; '.join(of)}) {note}")
    return ["", *lines, *([""] if lines else [])]


def _of_pieces(run: Run) -> list[str]:
    """The notes of a run in pieces, of which some are left, and whatever those that are done decide."""
    of = ", ".join(part for part in (run.data, f"{run.size}, the first pieces") if part)
    found = [
        f"{finding['claim']}: {finding['found']}, *{finding['verdict']}*"
        for finding in run.content["findings"]
        if finding["agrees"] is not None
    ]
    return [f"- ({of}) {'; '.join([*run.content['notes'], *found])}"]


# -- errata, and what runs took ----------------------------------------------------------------------------------


def _errata(title: str, runs: Sequence[Run]) -> list[str]:
    """The mistakes of a paper: what is printed, what is right, and the numbers that show it."""
    run = runs[0]
    with run.table.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    values = ("value as printed", "value as derived", "value by the judge")
    wanted = ("where", "printed", "right", *values, "judge")
    judged = _judged(runs)
    rows = []
    for row, finding in zip(table, run.content["findings"], strict=False):  # the last finding is the control
        cells = [_number(row[column]) if column in values else row[column] for column in wanted]
        of_all = judged[finding["claim"]]
        rows.append((*cells, _bold(of_all.finding["verdict"]), of_all.seeds))
    return [
        f"### *{title}*",
        "",
        f"Each is shown by {run.command}.",
        "",
        *_table((*wanted, "verdict", "seeds"), rows),
        *_notes([run]),
    ]


def _bold(verdict: str) -> str:
    return verdict if verdict == Verdict.AGREES else f"**{verdict}**"


def _number(text: str) -> str:
    """A rational as a decimal of four digits."""
    numerator, _, denominator = text.partition("/")
    return f"{float(numerator) / float(denominator or 1):.4g}"


def _what_it_took(runs: dict[str, list[Run]]) -> list[str]:
    """For each command and set of images: the seeds, the seconds of the first, and the machine."""
    rows = []
    for mine in runs.values():
        for data, group in _by_data(mine).items():
            for size, first in _first_of_size(group).items():
                seeds = [str(run.seed) for run in group if run.size == size and run.seed is not None]
                took = first.took
                rows.append(
                    (
                        first.command,
                        data or NONE,
                        ", ".join(seeds) or NONE,
                        f"{took['seconds']:.0f}" if took else NONE,
                        f"{took['processor seconds']:.0f}" if took else NONE,
                        took["machine"] if took else NONE,
                    )
                )
    header = ("command", "images", "seeds", "seconds", "processor seconds", "machine")
    return ["## What the runs took", "", "Seconds are those of the first seed.", "", *_table(header, rows), ""]


def _for_a_gpu() -> list[str]:
    """The commands that are meant for a GPU."""
    lines = []
    for name in experiment_names():
        experiment = load_experiment(name)
        for size in experiment.gpu:
            data = " --data DIR" if experiment.data is not None else ""
            lines.append(f"- `taylorsgd reproduce {name} --{size}{data}`: {experiment.lasts[size]}")
    return ["## What needs a GPU", "", *lines] if lines else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown; bars and line breaks would end a cell."""
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)
    lines = [header, ["---"] * len(header), *escaped]
    return [f"| {' | '.join(line)} |" for line in lines]
