"""The command line: the commands demo, derive, diagrams and reproduce."""

from taylorsgd.cli.commands import main

__all__ = ["main"]
