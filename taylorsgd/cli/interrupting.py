"""Leaving at Ctrl-C, wherever the program is: in Python, in a compiler, or in code that was compiled.

Python raises KeyboardInterrupt between two of its own instructions only: a compiler may run for seconds before, what
calls back from compiled code may swallow it, and unwinding half-finished calls into XLA may crash. So a thread waits
for the signal and ends the process. Nothing is lost by that: files take their names when they are complete.
"""

from __future__ import annotations

import os
import signal
import threading

from taylorsgd.whole_files import stop_writing

__all__ = ["leave_when_interrupted"]

STATUS = 130
"""What shells report of a program that was interrupted."""


def leave_when_interrupted() -> None:
    """From now on end the process with one line and status 130 when it is interrupted; for its main thread to call.

    A process that was told to ignore interrupts, as `nohup` does, goes on doing so.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: None)
    threading.Thread(target=_leave, args=(heard,), daemon=True).start()


def _leave(heard: int) -> None:
    while os.read(heard, 1) != bytes([signal.SIGINT]):
        pass
    stop_writing()
    os.write(2, b"\ninterrupted\n")
    os._exit(STATUS)
