"""Whatever is given for an argument: an answer, or an error of this package that says what is wrong.

Hypothesis puts things from a pool in place of one or two arguments of a call that works. What is right among them is
checked elsewhere; everything else is refused by a `raise` in this package, not by an accident in it, in SymPy or JAX.
"""

from __future__ import annotations

import dis
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
import sympy
from argument_table import CALLS, MADE_BY_OTHERS, MEASURED, POOL, WITHOUT_ARGUMENTS
from hypothesis import given, settings
from hypothesis import strategies as st

import taylorsgd as ts

PACKAGE = Path(ts.__file__).parent
KINDS = (TypeError, ValueError, NotImplementedError, MemoryError, OverflowError, RuntimeError, OSError, KeyError)
"""What may be raised; KeyError where something is looked up."""
CALLS_USERS = {
    ("point_functions.py", "__call__"),
    ("local_expansion.py", "_expression"),
    ("evaluation.py", "_derivatives"),
    ("tangent_kernel.py", "__init__"),
    ("pytree_arithmetic.py", "stepping"),
}
"""Where functions of users are called, whose own errors are passed on."""
LIMIT = 60.0
"""How many seconds an example may take on a busy machine before it counts as one that never ends."""


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Files are written to a folder of their own."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("fuzz"))
    MEASURED.save("measured.npz")
    yield
    os.chdir(before)


class Endless(BaseException):
    """Nobody catches it by accident."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise in the middle of what takes longer, where there are signals."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Endless(f"no answer in {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def frames(error: BaseException) -> list[TracebackType]:
    found, at = [], error.__traceback__
    while at is not None:
        found.append(at)
        at = at.tb_next
    return found


def is_here(frame: TracebackType) -> bool:
    return Path(frame.tb_frame.f_code.co_filename).is_relative_to(PACKAGE)


def is_raised_here(error: BaseException) -> bool:
    """Whether a `raise` in the package made the error: not Python in the middle of an expression, nor a library."""
    *_, last = frames(error)
    instruction = last.tb_frame.f_code.co_code[last.tb_lasti]
    return is_here(last) and dis.opname[instruction] == "RAISE_VARARGS"


def is_from_users_function(error: BaseException) -> bool:
    """Whether the last that the package did was to call a user's function."""
    own = [frame.tb_frame.f_code for frame in frames(error) if is_here(frame)]
    return bool(own) and (Path(own[-1].co_filename).name, own[-1].co_name) in CALLS_USERS


def finite(answer: Any) -> bool:
    """Whether an exact answer holds nothing infinite; of others the numbers may overflow."""
    return not isinstance(answer, sympy.Basic) or not answer.has(sympy.nan, sympy.oo, -sympy.oo, sympy.zoo)


def judge(name: str, arguments: dict[str, Any]) -> None:
    """Call, and fail unless there is an answer that can be shown, or an error as it should be."""
    try:
        with limited(LIMIT), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", np.exceptions.ComplexWarning)  # a part of a number dropped in silence
            answer = CALLS[name].function(**arguments)
            shown = repr(answer)
    except Exception as error:
        if is_from_users_function(error):
            return
        assert isinstance(error, KINDS), f"{type(error).__name__} is not among the kinds that are documented"
        assert is_raised_here(error), f"an accident: {type(error).__name__}: {error}"
        assert str(error).strip("'\"").strip(), "the error says nothing"
    else:
        assert shown and finite(answer)


def examples(name: str) -> int:
    """As many as the profile says, more or fewer as the call is cheap or dear."""
    return max(1, round(settings.get_profile(settings.get_current_profile_name()).max_examples * CALLS[name].share))


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_or_an_error_of_ours(name: str) -> None:
    replaced = st.dictionaries(
        st.sampled_from(list(CALLS[name].arguments)), st.sampled_from(list(POOL)), min_size=1, max_size=2
    )

    @settings(max_examples=examples(name))
    @given(replaced)
    def of_anything(labels: dict[str, str]) -> None:
        judge(name, CALLS[name].arguments | {argument: POOL[label] for argument, label in labels.items()})

    of_anything()


@pytest.mark.parametrize("name", [name for name in CALLS if name != "landscapes.fashion_mnist"])
def test_the_calls_work(name: str) -> None:
    """Else every error would be of the same argument."""
    CALLS[name].function(**CALLS[name].arguments)


def test_every_public_function_is_called() -> None:
    names = {name for name in ts.__all__ if callable(getattr(ts, name))}
    there = {f"landscapes.{name}" for name in ts.landscapes.__all__ if name not in ts.__all__ and name != "Measurement"}
    called = {name.split(",")[0].removesuffix("[]") for name in CALLS}
    called |= {name.split(".")[0] for name in called if not name.startswith("landscapes.")}
    assert names | there <= called | WITHOUT_ARGUMENTS | MADE_BY_OTHERS
