"""Working out free sizes from any sizes that determine them.

A spacetime names sizes that depend on each other: T = E·N/B and M = E/B. A user may give any of them; the
free symbols are solved for, and what is given twice must agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from sympy import Eq, Expr, Integer, Pow, Symbol, cancel, factor, factor_terms, nan, oo, powsimp, simplify, solve, zoo

from taylorsgd import symbols
from taylorsgd.arguments import as_whole, pairs_of
from taylorsgd.exact_numbers import as_exact, refuse_infinite

__all__ = ["exact_number", "is_too_large", "solve_sizes", "substituted", "tidied"]

MOST_FACTORED = 256
"""The largest power whose polynomials are factored."""


def solve_sizes(
    tables: Iterable[Mapping[str, Expr]], free: Iterable[Symbol], given: Mapping[str, Any]
) -> dict[Symbol, Expr]:
    """Solve for the free symbols of some spacetimes.

    Args:
        tables: for every spacetime, its sizes by name, as expressions in its free symbols.
        free: further symbols that may be given by their own names.
        given: values by name: integers or SymPy expressions.

    Returns:
        A value for every free symbol that the given sizes determine.

    Raises:
        TypeError: if a value is neither an integer nor a SymPy expression, or nothing maps names to them.
        ValueError: if a name is unknown, a value is not finite, the sizes contradict each other, or a derived size is
            given without enough others.

    Example:
        >>> from taylorsgd.spacetime import SGD
        >>> solve_sizes([SGD(B=2).sizes], [], {"T": 15, "N": 10})
        {N: 10, E: 3}
    """
    tables = list(tables)
    own = {symbol.name: symbol for symbol in free}
    known = sorted({name for table in tables for name in table} | set(own))
    equations: list[tuple[str, Expr, Expr]] = []
    hints: list[tuple[Expr, Expr]] = []
    for name, value in pairs_of(given, "given"):
        number = _exact(name, value)
        sides = dict.fromkeys(table[name] for table in tables if name in table)
        if name in own:
            # A symbol means itself. What another spacetime derives under its name (B = N of GD beside the B
            # of SGD) may fill a gap, but can't contradict it.
            hints += [(side, number) for side in sides if side != own[name]]
            sides = {own[name]: None}
        if not sides:
            raise ValueError(f"{name}={value} is no size of this formula; it has {', '.join(known) or 'none'}")
        equations += [(name, side, number) for side in sides]
    solution: dict[Any, Any] = {}
    values = {symbol for _, _, number in equations for symbol in number.free_symbols}
    while equations:
        equations.sort(key=lambda equation: (len(_unknown(equation[1], solution)), equation[1].count_ops()))
        if len(_unknown(equations[0][1], solution)) > 1 and _fill(hints, solution):
            continue
        name, side, number = equations.pop(0)
        unknown = _unknown(side, solution)
        current = side.xreplace(solution)
        if not unknown:
            if simplify(current - number) != 0:
                raise ValueError(
                    f"{name}={number} contradicts the other sizes, which make {name} = {current}; "
                    f"given were {', '.join(f'{key}={value}' for key, value in given.items())}"
                )
        elif len(unknown) == 1:
            (symbol,) = unknown
            roots = [number] if current == symbol else solve(Eq(current, number), symbol)
            if len(roots) != 1:
                raise ValueError(f"{name}={number} does not determine {symbol} in {name} = {side}")
            solution[symbol] = roots[0]
        else:
            rest = [(side, number), *((s, n) for _, s, n in equations)]
            symbols = sorted({u for s, _ in rest for u in _unknown(s, solution)}, key=str)
            found = solve([s.subs(solution) - n for s, n in rest], symbols, dict=True)
            if not found:
                raise ValueError(
                    f"{name}={number} contradicts the other sizes; "
                    f"given were {', '.join(f'{key}={value}' for key, value in given.items())}"
                )
            if (
                len(found) != 1
                or set(found[0]) != set(symbols)
                or any(root.free_symbols - values for root in found[0].values())
            ):
                raise ValueError(
                    f"{name}={number} is not enough: here {name} = {side}; "
                    f"give {' or '.join(str(u) for u in sorted(unknown, key=str))} as well"
                )
            solution |= found[0]
            break
    while _fill(hints, solution):
        pass
    return solution


def substituted(coefficient: Expr, sizes: Mapping[Any, Expr]) -> Expr:
    """A coefficient with numbers or expressions for some of its symbols, factored.

    Averages over orders divide by (N)_k, which vanishes for small training sets. There the batches are so few
    or so small that the whole coefficient has a limit as N alone goes there, and it is what counts.

    Example:
        >>> from taylorsgd.symbols import B, N
        >>> substituted((B - N) ** 2 / (N - 1), {N: Integer(1), B: Integer(1)})
        0
    """
    result = coefficient.xreplace(sizes)
    if result.has(nan, zoo):
        result = coefficient.xreplace({key: size for key, size in sizes.items() if key != symbols.N})
        result = cancel(result).xreplace({symbols.N: sizes.get(symbols.N, symbols.N)})
    return tidied(result)  # type: ignore[arg-type]


def is_too_large(value: Any, spacetimes: Iterable[Any]) -> bool:
    """Whether a resummed value of fixed data vanishes as its training set is too small for the cumulant of a part.

    Parts of k nodes have k-th cumulants of N equally likely points: nothing at N = 1, and of two points no third one.
    """
    rows = [spacetime.sizes["N"] for spacetime in spacetimes if spacetime.data == "fixed" and spacetime.random]
    largest = max(map(len, value.blocks), default=1)
    return value.is_resummed and any((size == 1 and largest > 1) or (size == 2 and largest == 3) for size in rows)


@lru_cache(maxsize=1024)
def tidied(coefficient: Expr) -> Expr:
    """A coefficient factored, with powers of one base in one: β^{T+1}, not β β^T.

    Example:
        >>> from sympy.abc import b, T
        >>> tidied(b**2 * b**T + b * b**T)
        b**(T + 1)*(b + 1)
    """
    if any(power.exp.is_Integer and abs(power.exp) > MOST_FACTORED for power in coefficient.atoms(Pow)):
        return factor_terms(coefficient)  # β^1000000, whose polynomials have as many coefficients
    factored = factor(coefficient)
    powers = [power for power in factored.atoms(Pow) if power.exp.free_symbols]
    return powsimp(factored, combine="exp", deep=True) if powers else factored


def exact_number(scale: Any) -> Expr | None:
    """What formulas and series are scaled by: an exact number or expression, or None for anything else.

    Raises:
        TypeError: for a float.

    Example:
        >>> from fractions import Fraction
        >>> exact_number(Fraction(1, 3)), exact_number("1/3")
        (1/3, None)
    """
    if isinstance(scale, (bool, float)):
        raise TypeError(f"{scale!r} is not exact; scale a formula by an int, a Fraction or a SymPy expression")
    number = as_exact(scale)
    if number is not None and number.has(nan, oo, -oo, zoo):
        raise ValueError(f"{scale!r} is no finite number; scale a formula by one")
    return number


def _fill(hints: list[tuple[Expr, Expr]], solution: dict[Any, Any]) -> bool:
    """Solve one hint that has a single unknown, if there is one."""
    for side, number in hints:
        unknown = _unknown(side, solution)
        if len(unknown) == 1:
            (symbol,) = unknown
            roots = solve(Eq(side.subs(solution, simultaneous=True), number), symbol)
            if len(roots) == 1:
                solution[symbol] = roots[0]
                return True
    return False


def _unknown(side: Expr, solution: Mapping[Any, Any]) -> set[Symbol]:
    return {symbol for symbol in side.free_symbols if symbol not in solution}  # type: ignore[misc]


def _exact(name: str, value: Any) -> Expr:
    whole = as_whole(value)
    number = Integer(whole) if whole is not None else as_exact(value) if isinstance(value, (Expr, Fraction)) else None
    if number is None:
        raise TypeError(f"{name}={value!r} is not a size; give an integer or a SymPy expression")
    refuse_infinite(number, value, name)
    return number
