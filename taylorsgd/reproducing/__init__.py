"""Published claims, run again: each experiment draws its figure, writes its numbers and passes a verdict.

An experiment names a figure of a paper and what the paper claims of it, and says beforehand by which statistic
the claim is judged. It runs in two sizes, `quick` (well under three minutes on two cores) and `full`, and
leaves four files: NAME.png, NAME.svg, NAME.csv with the numbers behind them and NAME.json with the verdict; a fifth,
NAME.run.json, says what it took, and where. The same command on the same machine gives the same numbers twice, and
another seed other random numbers. Every claim gets one of four verdicts (`Verdict`), passed by stated rules: it
agrees; the paper is wrong, as is proved here; it is worded too loosely; or it is not resolved at this scale.

A claim of the form "y falls with x" is judged by Kendall's τ within groups that have all else in common, at
the level 0.01, one-sided (`trend`); one of the form "the error is O(h^p)" by the slope of log error against log h.

`run_all` runs them all, and `write_report` makes one page of their verdicts, REPRODUCTION.md.

Each paper has a folder: its `__init__` holds the paper's TITLE, and in EXPERIMENTS where there is an `Experiment` of
which name. What stands beside the folders serves both.
"""

from typing import TYPE_CHECKING

from taylorsgd._lazy import listing, loader

if TYPE_CHECKING:
    from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
    from taylorsgd.reproducing.registry import experiment_names, load_experiment, run_experiment
    from taylorsgd.reproducing.report import run_all, write_report
    from taylorsgd.reproducing.verdicts import Verdict

__all__ = [
    "Experiment", "Finding", "Outcome", "Verdict", "Work", "experiment_names", "load_experiment", "run_all",
    "run_experiment", "write_report",
]  # fmt: skip

__dir__ = listing(__name__)
__getattr__ = loader(
    __name__,
    {
        "taylorsgd.reproducing.experiment": "Experiment Finding Outcome Work",
        "taylorsgd.reproducing.registry": "experiment_names load_experiment run_experiment",
        "taylorsgd.reproducing.report": "run_all write_report",
        "taylorsgd.reproducing.verdicts": "Verdict",
    },
)
