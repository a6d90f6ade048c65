"""Processes that were forked from one in which JAX ran, where it would wait for threads that are not there."""

from __future__ import annotations

import os

from jax._src import xla_bridge

__all__ = ["refuse_forks"]

_forked: list[int] = []
"""The parents of this process that had used JAX before it was forked from them."""


def _note() -> None:
    running = getattr(xla_bridge, "backends_are_initialized", None)  # no public function says
    if running is None or running():
        _forked.append(os.getppid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note)


def refuse_forks() -> None:
    """Raise in a process that was forked after JAX had started, rather than wait for ever.

    Raises:
        RuntimeError: saying what to do instead.
    """
    if _forked:
        raise RuntimeError(
            f"this process was forked from process {_forked[-1]} after JAX had started there, and JAX's threads are "
            "not here: computing would never end; start processes by multiprocessing.get_context('spawn'), or before "
            "anything is measured or simulated"
        )
