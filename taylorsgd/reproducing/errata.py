"""Mistakes of a paper, each shown by a number: as printed, as derived, and as it is.

What is printed is evaluated on a small landscape where everything is exact, beside what the software derives; the
judge is neither of them but descent itself: direct perturbation over all training sets, enumeration, or, where
only that is possible, simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from taylorsgd.reproducing.experiment import Finding, Outcome
from taylorsgd.reproducing.pictures import panels

__all__ = ["Erratum", "errata_outcome"]

EXACT = 0.0


@dataclass(frozen=True)
class Erratum:
    """A statement of a paper, and the number that shows whether it is right.

    Attributes:
        where: the statement's place in the paper.
        says: what is printed, in a line.
        right: what is so, in a line.
        printed: the number by what is printed.
        derived: the number by what the software derives.
        direct: the number by descent itself.
        judge: how `direct` was found.
        tolerance: how far, relative to `direct`, a right number may be from it; 0 for exact numbers.
        simulated: whether random numbers enter one of them.
    """

    where: str
    says: str
    right: str
    printed: Any
    derived: Any
    direct: Any
    judge: str = "direct perturbation"
    tolerance: float = EXACT
    simulated: bool = False

    def is_right(self, number: Any) -> bool:
        """Whether a number is as descent itself has it."""
        if self.tolerance == EXACT:
            return bool(number == self.direct)
        return abs(float(number) - float(self.direct)) <= self.tolerance * abs(float(self.direct))

    def row(self) -> dict[str, Any]:
        """The row of the table."""
        return {
            "where": self.where,
            "printed": self.says,
            "right": self.right,
            "value as printed": self.printed,
            "value as derived": self.derived,
            "value by the judge": self.direct,
            "judge": self.judge,
            "the printed one is right": self.is_right(self.printed),
        }

    def finding(self) -> Finding:
        """The verdict on what is printed."""
        numbers = {name: float(getattr(self, name)) for name in ("printed", "derived", "direct")}
        found = (
            f"{self.right}: {_short(self.direct)} by {self.judge}, {_short(self.derived)} as derived, "
            f"{_short(self.printed)} as printed"
        )
        proof = f"{self.right}, by {self.judge}" if self.is_right(self.derived) else ""
        claim, right = f"{self.where}: {self.says}", self.is_right(self.printed)
        return Finding(claim, found, right, numbers, proof=proof, exact=not self.simulated)


def errata_outcome(errata: Sequence[Erratum], notes: Sequence[str]) -> Outcome:
    """The table, the picture, the verdicts on what is printed and, as a control, the one on what is derived."""
    wrong = [erratum.where for erratum in errata if not erratum.is_right(erratum.derived)]
    control = Finding(
        "what the software derives is right in each case",
        f"{len(errata) - len(wrong)} of {len(errata)}" + (f"; not {', '.join(wrong)}" if wrong else ""),
        not wrong,
        {"right": len(errata) - len(wrong)},
        "control",
        exact=not any(erratum.simulated for erratum in errata),
    )
    findings = [*(erratum.finding() for erratum in errata), control]
    return Outcome(_picture(errata), [erratum.row() for erratum in errata], findings, notes)


def _short(number: Any) -> str:
    return f"{float(number):.4g}"


REACH = 3.0
"""Larger ratios are drawn at the margin, with their number."""


def _picture(errata: Sequence[Erratum]) -> Figure:
    """The printed and the derived number of each erratum, over the judge's."""
    figure, axes = panels(11, 0.42 * len(errata) + 1.6)
    axes.axvline(1, color="0.75", lw=6, zorder=0)
    for row, erratum in enumerate(errata):
        for number, marker, color, size in (
            (erratum.derived, "o", "tab:green", 9),
            (erratum.printed, "X", "tab:red", 7),
        ):
            ratio = float(number) / float(erratum.direct) if erratum.direct else 1 + float(number)
            shown = max(-REACH, min(REACH, ratio))
            axes.plot(shown, row, marker, color=color, ms=size, mec="white")
            if shown != ratio:
                axes.annotate(f"{ratio:.3g}", (shown, row), (0, -11), textcoords="offset points", ha="center", size=7)
    axes.plot([], [], "X", color="tab:red", label="as printed")
    axes.plot([], [], "o", color="tab:green", label="as derived")
    axes.set(
        yticks=range(len(errata)),
        yticklabels=[erratum.where for erratum in errata],
        xlim=(-REACH - 0.4, REACH + 0.4),
        ylim=(len(errata) - 0.4, -0.8),
        xlabel="relative to descent itself: 1 is right",
    )
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right")
    return figure
