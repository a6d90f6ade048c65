"""Progress of long work: a bar with the time left, where somebody watches and more than a few seconds are ahead."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

__all__ = ["tracked", "watched"]

Item = TypeVar("Item")

PATIENCE = 1.5
"""For how many seconds work is looked at before a bar may come."""
WORTHWHILE = 3.0
"""How many seconds must be left for it."""


def watched() -> bool:
    """Whether somebody watches: standard error is a terminal, or this is a notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def tracked(items: Iterable[Item], what: str, total: float, progress: bool | None = None) -> Iterator[Item]:
    """Yield items, under a bar with the time left.

    Args:
        items: what to go through.
        what: the bar's name, such as "Simulating".
        total: how many items there will be.
        progress: True for a bar from the start, False for none; None for a bar where somebody watches and, after a
            moment, more than a few seconds are still ahead.

    Example:
        >>> list(tracked("abc", "Spelling", 3))
        ['a', 'b', 'c']
    """
    if progress is False or (progress is None and not watched()):
        yield from items
        return
    start, done = monotonic(), 0
    bar: Any = _bar(what, total, 0) if progress else None
    try:
        for item in items:
            yield item
            done += 1
            if bar is None:
                past = monotonic() - start
                if past > PATIENCE and past / done * (total - done) > WORTHWHILE:
                    bar = _bar(what, total, done)
            else:
                bar.update(bar.task_ids[0], completed=done)
    finally:
        if bar is not None:
            with suppress(Exception):
                bar.stop()


def _bar(what: str, total: float, done: int) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True) if not _in_notebook() else None)
    bar.add_task(what, total=total, completed=done)
    bar.start()
    return bar


def _in_notebook() -> bool:
    return not (sys.stderr is not None and sys.stderr.isatty()) and watched()
