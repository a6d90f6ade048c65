"""The command line: the commands demo, derive, diagrams and reproduce."""

from __future__ import annotations

import os
from collections.abc import Sequence

from taylorsgd.cli.interrupting import leave_when_interrupted
from taylorsgd.cli.terminals import spell_out

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after the program's name; those of the process by default, which then ends as soon as it
            is interrupted.

    Returns:
        The exit status: 0, 1 where output can't be written, or 130 when interrupted. Bad arguments exit with status 2
        and one line on standard error.
    """
    if arguments is None:
        leave_when_interrupted()  # before anything large is imported
        spell_out()
        os.environ["MPLBACKEND"] = "Agg"  # files are written, and no window is opened
    from taylorsgd.cli.commands import run

    return run(arguments)
