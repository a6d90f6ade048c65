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
    if not (sys.stderr is not None and sys.stderr.isatty()) and watched():
        return _NotebookBar(what, total, done)
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True))
    bar.add_task(what, total=total, completed=done)
    bar.start()
    return bar


class _NotebookBar:
    """A bar in a notebook, in plain HTML: rich's own needs widgets."""

    task_ids = (0,)

    def __init__(self, what: str, total: float, done: int) -> None:
        from IPython.display import display

        self.what, self.total, self.first, self.start, self.shown = what, total, done, monotonic(), 0.0
        self.display: Any = display(self._html(done), display_id=True)

    def update(self, task: int, completed: int) -> None:
        """Show how far the work is, a few times in a second."""
        if monotonic() - self.shown > 0.3:
            self.shown = monotonic()
            self.display.update(self._html(completed))

    def stop(self) -> None:
        """Take the bar away."""
        from IPython.display import HTML

        self.display.update(HTML(""))

    def _html(self, done: int) -> Any:
        from IPython.display import HTML

        speed = (done - self.first) / max(monotonic() - self.start, 1e-9)
        left = f", {max(self.total - done, 0) / speed:.0f} s left" if speed > 0 else ""
        share = min(done / self.total, 1.0) if self.total else 1.0
        return HTML(f'<progress value="{share:.3f}"></progress> {self.what}: {share:.0%}{left}')
