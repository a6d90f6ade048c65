"""The gates through which plain arguments come in: whole numbers, numbers, lists, names, switches, paths.

Anything may be given: arrays without a truth value, objects without a length, numbers that fill a machine. What is
not right is refused here, by an error that names the argument, its value and what would be right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isfinite
from operator import index
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = [
    "as_float", "as_whole", "checked_order", "checked_path", "finite_number", "is_one_of", "listed", "pairs_of",
    "switched", "whole_number",
]  # fmt: skip

MOST_ORDER = 20
"""The highest order whose diagrams are gone through, where there are 35 million trees alone.

It is also the highest whose diagrams are counted, in about a minute; two orders more take three times as long.
"""


def as_whole(value: Any) -> int | None:
    """An integer, of Python, NumPy, JAX or SymPy, as Python's; None for anything else, booleans among it.

    Example:
        >>> as_whole(3), as_whole(3.0), as_whole(True), as_whole([3])
        (3, None, None, None)
    """
    if type(value) is int:
        return value
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool" or getattr(value, "shape", ()) != ():
        return None
    try:
        return index(value)
    except TypeError:  # of no integer, nor of one that JAX only traces
        return None


def whole_number(
    value: Any, name: str, least: int = 0, most: int | None = None, *, why: str = "", says: str = "must be"
) -> int:
    """An argument that must be an integer in a range.

    Args:
        value: what was given.
        name: the argument's name, for errors.
        least: the least that will do.
        most: the most that will do; None for any.
        why: why more will not do.
        says: what the error says of anything else, up to "an integer of at least …".

    Raises:
        ValueError: if it is no integer, or out of range.

    Example:
        >>> whole_number(-1, "trials", 2)
        Traceback (most recent call last):
        ValueError: trials=-1 must be an integer of at least 2
    """
    number = as_whole(value)
    if number is None or number < least:
        raise ValueError(f"{name}={value!r} {says} an integer of at least {least}")
    if most is not None and number > most:
        raise ValueError(f"{name}={value!r} {why or 'is too large'}; it must be at most {most}")
    return number


def checked_order(order: Any, least: int = 0) -> int:
    """An order of an expansion: the edges of its diagrams.

    Raises:
        ValueError: if it is no integer of at least `least`, or has more diagrams than can be listed.

    Example:
        >>> checked_order(10**30)
        Traceback (most recent call last):
        ValueError: order=1000000000000000000000000000000 has more diagrams than can be listed; it must be at most 20
    """
    return whole_number(
        order,
        "order",
        least,
        MOST_ORDER,
        why="has more diagrams than can be listed",
        says="is not an order; it must be",
    )


def as_float(value: Any) -> float | None:
    """A real number, of any kind, as Python's; None for anything else, booleans and texts among it.

    Example:
        >>> as_float(3), as_float("3"), as_float(1j)
        (3.0, None, None)
    """
    if isinstance(value, (bool, str, bytes)) or getattr(value, "shape", ()) != ():
        return None
    if not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):  # of a symbol, or a complex number
        return None
    except OverflowError:  # of an integer of more than 308 digits
        return float("inf")


def finite_number(value: Any, name: str) -> float:
    """An argument that must be a finite real number.

    Raises:
        TypeError: if it is no real number.
        ValueError: if it is not finite.

    Example:
        >>> finite_number("1", "tolerance")
        Traceback (most recent call last):
        TypeError: tolerance='1' must be a number
    """
    number = as_float(value)
    if number is None:
        raise TypeError(f"{name}={value!r} must be a number")
    if not isfinite(number):
        raise ValueError(f"{name}={value!r} must be finite")
    return number


def listed(entries: Any, name: str, example: str = "", *, empty: bool = False, what: str = "a sequence") -> list[Any]:
    """A sequence as a list.

    Args:
        entries: what was given; a text or a mapping is no sequence here.
        name: the argument's name, for errors.
        example: what could be given, for errors.
        what: what it is a sequence of, for errors.
        empty: whether it may be empty.

    Raises:
        TypeError: if it is no sequence.
        ValueError: if it is empty and may not be.

    Example:
        >>> listed(3, "losses", "[x**2, x]")
        Traceback (most recent call last):
        TypeError: losses=3 must be a sequence; write for example losses=[x**2, x]
    """
    hint = f"; write for example {name}={example}" if example else ""
    # An array without an axis has the method of iteration, and not the iteration; SymPy's matrices have only a length.
    iterable = hasattr(entries, "__iter__") or hasattr(entries, "__len__")
    if isinstance(entries, (str, bytes, Mapping)) or not iterable or getattr(entries, "shape", None) == ():
        raise TypeError(f"{name}={entries!r} must be {what}{hint}")
    try:
        found = list(entries)
    except TypeError as error:
        raise TypeError(f"{name}={entries!r} must be {what}{hint}") from error
    if not found and not empty:
        raise ValueError(f"{name}={entries!r} is empty{hint}")
    return found


def is_one_of(value: Any, known: Collection[str | None]) -> bool:
    """Whether an argument is one of the names that are known, or None where that is; asked of anything.

    Example:
        >>> is_one_of("fresh", ("fresh", "fixed")), is_one_of([], ("fresh", "fixed"))
        (True, False)
    """
    return (value is None or isinstance(value, str)) and value in known


def switched(value: Any, name: str) -> bool:
    """An argument that must be True or False.

    Raises:
        TypeError: if it is neither.

    Example:
        >>> switched("yes", "sums")
        Traceback (most recent call last):
        TypeError: sums='yes' must be True or False
    """
    numpys = str(getattr(value, "dtype", "")) == "bool" and value.shape == ()
    if not isinstance(value, bool) and not numpys:
        raise TypeError(f"{name}={value!r} must be True or False")
    return bool(value)


def checked_path(path: Any, name: str = "path") -> Path:
    """A file's or folder's name as a path.

    Raises:
        TypeError: if it is none.

    Example:
        >>> checked_path(3)
        Traceback (most recent call last):
        TypeError: path=3 must be the name of a file or folder, a text or a pathlib.Path
    """
    if not isinstance(path, (str, PathLike)):
        raise TypeError(f"{name}={path!r} must be the name of a file or folder, a text or a pathlib.Path")
    return Path(path)


def pairs_of(mapping: Any, name: str) -> Iterable[tuple[Any, Any]]:
    """The keys and values of an argument that must be a mapping.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{name}={mapping!r} must be a mapping, such as a dictionary")
    return mapping.items()
