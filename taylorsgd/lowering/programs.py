"""Coefficients and numbers of updates as functions of whatever sizes the user gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from operator import index
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Num
from sympy import Expr, Symbol

from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.formulas.sizes import solve_sizes
from taylorsgd.formulas.term import Combination
from taylorsgd.lowering.coefficients import evaluate_expression, without_poles
from taylorsgd.lowering.real_arrays import real_array, real_numbers, refuse_other_shapes
from taylorsgd.spacetime import Spacetime

__all__ = ["Program", "free_symbols", "known_names", "make_program", "refuse_no_numbers"]


MOST_UPDATES = 2**31
"""The most updates that the discrete sums over times count."""


@dataclass(frozen=True)
class Program:
    """Expressions in the sizes of a formula, in terms of a determining set of the given sizes.

    Attributes:
        expressions: in stand-in symbols named like the given sizes.
        used: the names of the sizes in a smallest determining set.
        implied: what the used sizes make of the other given ones.
        updates: what they make of the number of updates, where it is determined.
        free: the symbols that need a value.
        counted: whether a discrete sum counts updates.
    """

    expressions: tuple[Expr, ...]
    used: tuple[str, ...]
    implied: tuple[tuple[str, Expr], ...]
    updates: tuple[Expr, ...] = ()
    free: frozenset[Any] = frozenset()
    counted: bool = False

    def prepare(
        self, formula: Combination, sizes: Mapping[str, Any], dtype: Any
    ) -> dict[str, Num[jax.Array, "*sizes"]]:
        """Check the sizes where they are concrete, and keep the used ones as arrays."""
        if not any(isinstance(size, Tracer) for size in sizes.values()):
            _check_sizes(formula, self, sizes)
        return {name: real_array(sizes[name], name, dtype) for name in self.used}

    def evaluate(self, given: Mapping[str, Any]) -> list[Any]:
        """The expressions as arrays, or Python floats where they hold no size."""
        values = {_stand_in(name): size for name, size in given.items()}
        known: dict[Expr, Any] = {}
        return [evaluate_expression(expression, values, known) for expression in self.expressions]


def known_names(formula: Combination, names: Iterable[str]) -> list[str]:
    """The names of a formula's sizes, in order.

    Raises:
        ValueError: for another name, with those that there are.
    """
    known = {name for spacetime in formula.spacetimes for name in spacetime.sizes}
    known |= {symbol.name for symbol in free_symbols(formula)}  # type: ignore[attr-defined]
    for name in sorted(set(names) - known):
        raise ValueError(f"{name} is no size of this formula; it has {', '.join(sorted(known)) or 'none'}")
    return sorted(known)


def make_program(formula: Combination, expressions: Sequence[Expr], names: Sequence[str]) -> Program:
    """Solve, once for a set of names, for the free symbols of a formula in terms of what is given.

    Args:
        formula: the formula, for its spacetimes and free symbols.
        expressions: what is to be computed, in those symbols.
        names: the names of the sizes that are given.

    Returns:
        The program.

    Raises:
        TypeError: if a size is no number.
        ValueError: if a name is unknown, or the names do not determine all symbols.
    """
    tables = [spacetime.sizes for spacetime in formula.spacetimes]
    needed = free_symbols(formula)
    known = known_names(formula, names)
    used, solution = _determining(tables, needed, sorted(names))
    missing = sorted(str(symbol) for symbol in needed - solution.keys())
    if missing:
        raise ValueError(
            f"the sizes {', '.join(missing)} have no value yet; give enough of {', '.join(known)} as keywords"
        )
    implied: dict[tuple[str, Expr], None] = {}
    for name in sorted(set(names) - set(used)):
        for table in tables:
            expression = table.get(name, Symbol(name)).subs(solution, simultaneous=True)
            if expression.free_symbols <= {_stand_in(n) for n in used}:
                implied[name, expression] = None
    solved = tuple(without_poles(expression).subs(solution, simultaneous=True) for expression in expressions)
    ends = {table["T"].subs(solution, simultaneous=True) for table in tables if "T" in table}
    known_ends = sorted((end for end in ends if end.free_symbols <= {_stand_in(n) for n in used}), key=str)
    counted = any(is_resummed(value) and not value.continuous for value in formula.values)
    return Program(solved, used, tuple(implied), tuple(known_ends), needed, counted)


def refuse_no_numbers(sizes: Mapping[str, Any]) -> None:
    """Raise for sizes that are symbols, strings or nothing."""
    for name, size in sizes.items():
        if isinstance(size, (str, bool, Expr)) or (size is None):
            raise TypeError(f"{name}={size!r} is not a number; f.subs() takes SymPy expressions")


def _determining(
    tables: Sequence[Mapping[str, Expr]], needed: frozenset[Any], names: Sequence[str]
) -> tuple[tuple[str, ...], dict[Any, Expr]]:
    """The smallest subset of the names that determines as many free symbols as any, and the solution."""
    best: tuple[tuple[str, ...], dict[Any, Expr]] = ((), {})
    everything = needed | {symbol for table in tables for side in table.values() for symbol in side.free_symbols}
    for count in range(1, len(names) + 1):
        for subset in combinations(names, count):
            try:
                solution = solve_sizes(tables, needed, {name: _stand_in(name) for name in subset})
            except ValueError:  # these contradict each other as free symbols, or do not suffice
                continue
            if len(solution) > len(best[1]):
                best = (subset, dict(solution))
        if len(best[1]) == len(everything):
            break
    return best


def _stand_in(name: str) -> Symbol:
    """The given value of a size, a symbol apart from the size's own, which may mean something else."""
    return Symbol(name, real=True)


def free_symbols(formula: Combination) -> frozenset[Any]:
    """The symbols that need a value before a formula is a number."""
    return frozenset(symbol for term in formula.terms for symbol in term.free_symbols)


def _check_sizes(formula: Combination, program: Program, sizes: Mapping[str, Any]) -> None:
    """Raise if concrete sizes are impossible or contradict each other."""
    try:
        given = tuple(sorted((name, _whole(size)) for name, size in sizes.items()))
    except TypeError:  # fractions or arrays
        continuous = any(is_resummed(value) and value.continuous for value in formula.values)
        flowing = continuous or all(spacetime.is_flow for spacetime in formula.spacetimes)
        found = {name: real_numbers(size, name, finite=False) for name, size in sizes.items()}
        refuse_other_shapes(found)
        for name, size in found.items():
            _check_numbers(name, size, flowing)
        ends = {_stand_in(name): found[name] for name in program.used}
        for end in () if flowing else program.updates:
            _check_numbers("T", np.asarray(evaluate_expression(end, ends), dtype=float), flowing)
        for name, expression in program.implied:
            implied = np.asarray(evaluate_expression(expression, ends), dtype=float)
            if not np.allclose(found[name], implied, rtol=1e-5, atol=0):
                raise ValueError(
                    f"{name}={sizes[name]} contradicts the other sizes, which make {name} = {implied}"
                ) from None
    else:
        _check_integers(formula.spacetimes, program.free, given)
    if program.counted:
        _check_updates(formula, program, sizes)


def _whole(size: Any) -> int:
    """A size as an integer; raises a TypeError for what is none."""
    if isinstance(size, (float, np.floating)) and float(size).is_integer():
        return int(size)
    return index(size)  # type: ignore[arg-type]


def _check_numbers(name: str, size: Num[np.ndarray, "*sizes"], flowing: bool) -> None:
    """Raise for numbers that are no sizes: not finite, too small, or of updates, rows and epochs not whole."""
    least = 1 if name in ("N", "B") else 0
    whole = name in ("N", "B", "E", "T") and not flowing
    if not np.isfinite(size).all() or (size < least).any():
        raise ValueError(f"{name}={size.tolist()} is impossible; it must be finite and at least {least}")
    if whole and (np.abs(size - np.round(size)) > 1e-6 * np.maximum(np.abs(size), 1)).any():
        raise ValueError(f"{name}={size.tolist()} is impossible; it must be whole")


def _check_updates(formula: Combination, program: Program, sizes: Mapping[str, Any]) -> None:
    """Raise for more updates than discrete sums over times can count."""
    values = {_stand_in(name): np.asarray(sizes[name], dtype=float) for name in program.used}
    for expression in program.updates:
        most = np.max(np.asarray(evaluate_expression(expression, values), dtype=float), initial=0.0)
        if most > MOST_UPDATES:
            raise ValueError(
                f"T={most:g} updates are more than the {MOST_UPDATES} that a discrete sum counts; use "
                "resum='continuous', or the limit()"
            )


@lru_cache(maxsize=4096)
def _check_integers(
    spacetimes: tuple[Spacetime, ...], free: frozenset[Any], given: tuple[tuple[str, int], ...]
) -> None:
    solution = solve_sizes([spacetime.sizes for spacetime in spacetimes], free, dict(given))
    for spacetime in spacetimes:
        spacetime.substitute(solution)
