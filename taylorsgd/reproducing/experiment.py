"""What an experiment is, what its run is given, what it finds, and the files that it leaves."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from taylorsgd.reproducing.resuming import Finished
from taylorsgd.reproducing.significance import SignTest, Trend
from taylorsgd.reproducing.verdicts import Verdict, judge
from taylorsgd.whole_files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Experiment", "Finding", "Outcome", "Work", "write_files"]

Say = Callable[[str], None]
"""Tells the user how far an experiment has come."""


@dataclass(frozen=True)
class Work:
    """What a run is given besides its settings.

    Attributes:
        say: tells the user how far it has come.
        keep: keeps finished parts of a long run, so that it can be interrupted and goes on with the others.
        images: `Images`, for an experiment that names `data`; None for others.
    """

    say: Say
    keep: Finished
    images: Any = None


@dataclass(frozen=True)
class Finding:
    """One claim, what was found, and the verdict, by the rules of `taylorsgd.reproducing.verdicts`.

    What speaks against a claim is written down with the experiment, before it is run, and counts only if the
    criterion is not met.

    Attributes:
        claim: what is claimed, in a sentence.
        found: the statistic, in a line.
        agrees: whether it is as claimed, by the criterion that the experiment fixed; None if what came out
            leaves nothing to judge by.
        numbers: the statistic's numbers, by name.
        source: "paper", or "control" for what the paper does not claim but a reader should know.
        proof: what shows exactly that the claim is wrong: a calculation, a counterexample.
        case: a case within the claim's words in which it is not so.
        contrary: the p-value of the claim's contrary, where there is a test of it.
        unmet: the precondition or the control that fails, so that nothing is resolved; empty if none does.
        exact: whether no random number enters it, even if the experiment draws some.
    """

    claim: str
    found: str
    agrees: bool | None
    numbers: Mapping[str, float]
    source: str = "paper"
    proof: str = ""
    case: str = ""
    contrary: float = 1.0
    unmet: str = ""
    exact: bool = False

    @classmethod
    def of_trend(cls, claim: str, trend: Trend, source: str = "paper", case: str = "", unmet: str = "") -> Finding:
        """A claim that something rises or falls, judged by a trend."""
        numbers = {"tau": trend.tau, "z": trend.z, "p_value": trend.p_value, "pairs": trend.pairs}
        against = {"case": case, "contrary": trend.contrary, "unmet": unmet}
        return cls(claim, str(trend), trend.agrees, numbers, source, **against)

    @classmethod
    def of_most(cls, claim: str, test: SignTest, found: str = "{}", source: str = "paper", case: str = "") -> Finding:
        """A claim about each of some runs, judged by whether it is so for most; `found` says where the test goes."""
        numbers = {"count": test.count, "of": test.of, "p_value": test.p_value}
        return cls(claim, found.format(test), test.agrees, numbers, source, case=case, contrary=test.contrary)

    @property
    def verdict(self) -> Verdict:
        """Which of the four."""
        return self._judged[0]

    @property
    def reason(self) -> str:
        """Why it does not agree; empty if it does."""
        return self._judged[1]

    @property
    def _judged(self) -> tuple[Verdict, str]:
        return judge(self.agrees, self.proof, self.case, self.contrary, self.unmet)

    def content(self) -> dict[str, Any]:
        """What its verdict file says of it."""
        said = {name: getattr(self, name) for name in ("claim", "found", "agrees", "numbers", "source", "exact")}
        return said | {"verdict": str(self.verdict), "reason": self.reason}

    def __str__(self) -> str:
        """The verdict with the claim, the statistic, and the reason if it does not agree."""
        control = "" if self.source == "paper" else " [control]"
        why = f"\n    {self.reason}" if self.reason else ""
        return f"{self.verdict}{control}: {self.claim}\n    {self.found}{why}"


@dataclass(frozen=True)
class Outcome:
    """What a run of an experiment found.

    Attributes:
        figure: the picture.
        table: the numbers behind it, a sequence of rows with the same columns.
        findings: the claims, each with its verdict.
        notes: what a reader should know: data, sizes, what was left out and why.
    """

    figure: Figure
    table: Sequence[Mapping[str, Any]]
    findings: Sequence[Finding]
    notes: Sequence[str] = ()

    @property
    def agrees(self) -> bool:
        """Whether everything that the paper claims was found."""
        return all(finding.verdict is Verdict.AGREES for finding in self.findings if finding.source == "paper")


@dataclass(frozen=True)
class Experiment:
    """A claim of a paper, and how to see whether it is so.

    Attributes:
        title: what is looked at.
        shows: the paper and its figures.
        claim: what the paper says.
        judged: the criterion, fixed before anything is run.
        sizes: by name, "quick", "full" and for some "paper", as published: the settings, a frozen dataclass of the
            experiment's own. If it draws random numbers, it has a field `seed` that all of them depend on.
        lasts: by the same names, about how long each takes.
        run: a function of settings and `Work` that returns an `Outcome`.
        data: for an experiment on images, which ones it takes; None if it needs none.
        usual: finds the folder of images that is taken if the user names none; None for scikit-learn's digits.
        gpu: by name, the sizes that are meant for a GPU.
        pieces: by name, the sizes that may be run a few pieces at a time, with a verdict on those so far.
    """

    title: str
    shows: str
    claim: str
    judged: str
    sizes: Mapping[str, Any]
    lasts: Mapping[str, str]
    run: Callable[..., Outcome]
    data: str | None = field(default=None)
    usual: Callable[[], Path] | None = None
    gpu: Sequence[str] = ()
    pieces: Sequence[str] = ()

    def settings(self, size: str, seed: int | None = None) -> Any:
        """The settings of a size, with another seed if one is given.

        Raises:
            ValueError: if there is no such size, or a seed is given where no random numbers are drawn.
        """
        if size not in self.sizes:
            raise ValueError(f"size={size!r} must be one of {', '.join(self.sizes)}")
        settings = self.sizes[size]
        if seed is None:
            return settings
        if not self.is_random:
            raise ValueError(f"seed={seed!r}: this experiment draws no random numbers: {self.title}")
        return replace(settings, seed=seed)

    @property
    def is_random(self) -> bool:
        """Whether it draws random numbers, and so takes a seed."""
        return hasattr(next(iter(self.sizes.values())), "seed")

    def size_of(self, settings: Mapping[str, Any]) -> str | None:
        """The name of the size with these settings, read from a verdict, whatever their seed; None if there is none."""
        for size, own in self.sizes.items():
            if json.loads(json.dumps(asdict(own))) | {"seed": None} == {**settings, "seed": None}:
                return size
        return None

    def describe(self, name: str) -> str:
        """Some lines that say what the experiment is about."""
        parts = [f"{name}: {self.title} ({self.shows})", f"Claim: {self.claim}", f"Judged by: {self.judged}"]
        if self.data is not None:
            parts.append(f"Data: {self.data}")
        parts.append("; ".join(f"--{size} takes {time}" for size, time in self.lasts.items()) + ".")
        return "\n".join(fill(part, 110, subsequent_indent="    ") for part in parts)


def write_files(
    name: str,
    experiment: Experiment,
    settings: Any,
    outcome: Outcome,
    output: Path,
    images: Any = None,
    stem: str = "",
    whole: bool = True,
) -> list[Path]:
    """Write the picture, the numbers and the verdict, byte for byte the same for the same outcome.

    Args:
        name: the experiment's name.
        experiment: the experiment.
        settings: its settings in this run.
        outcome: what it found.
        output: the folder.
        images: the `Images` that it was given, if any.
        stem: of the files' names; empty for the experiment's name.
        whole: whether no pieces of the run are left.

    Returns:
        The files: NAME.png, NAME.svg, NAME.csv and NAME.json, with the stem for NAME.

    Raises:
        OSError: if a file can't be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(outcome.figure)
    outcome.figure.draw_without_rendering()  # which lays it out: once, and not again for each file
    outcome.figure.set_layout_engine("none")
    paths = [output / f"{stem or name}{suffix}" for suffix in (".png", ".svg", ".csv", ".json")]
    picture, drawing, numbers, verdict = paths
    with whole_file(picture) as file:
        outcome.figure.savefig(file, format="png", dpi=150)
    with matplotlib.rc_context({"svg.hashsalt": name}):  # else the ids in the file differ every time
        with whole_file(drawing) as file:
            outcome.figure.savefig(file, format="svg", metadata={"Date": None})
    rows = StringIO(newline="")
    writer = csv.DictWriter(rows, fieldnames=list(outcome.table[0]))
    writer.writeheader()
    writer.writerows(outcome.table)
    with whole_file(numbers) as file:
        file.write(rows.getvalue().encode())
    content = {
        "name": name,
        "title": experiment.title,
        "shows": experiment.shows,
        "claim": experiment.claim,
        "judged by": experiment.judged,
        "data": images and images.name,
        "settings": asdict(settings),
        "whole": whole,
        "agrees": outcome.agrees,
        "findings": [finding.content() for finding in outcome.findings],
        "notes": list(outcome.notes),
        "numbers": sha256(rows.getvalue().encode()).hexdigest(),
    }
    with whole_file(verdict) as file:
        file.write(f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode())
    return paths
