"""The command line: taylorsgd demo | derive | diagrams | reproduce."""

from taylorsgd.cli.commands import main

__all__ = ["main"]
