"""The authors' published table of coefficients for one epoch of SGD, held against descent on a small landscape.

On a landscape where everything is exact a coefficient is a rational number: as the table has it (`printed`), as the
software derives it, and as direct perturbation over all training sets finds it (`found_twice`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import comb
from typing import Any

import numpy as np
from sympy import Rational, symbols

import taylorsgd as ts
from taylorsgd.formulas.evaluation import evaluate_value
from taylorsgd.reproducing.errata import Erratum
from taylorsgd.symbols import eta

__all__ = [
    "GD", "ONE_EPOCH", "PLACE", "POINTS", "PRINTED", "START", "Dynamics", "entry", "errata_of_the_table",
    "found_twice", "printed", "value", "x", "y",
]  # fmt: skip

x, y = symbols("x y")
"""The variables of landscapes."""
PLACE = ts.FiniteLandscape(
    [x**2 + x * y + y**2 - x**3 / 3 + x * y**2 / 2, x**2 / 2 + y**2 - x + 2 * y + x**2 * y / 2],
    [Rational(1, 3), Rational(2, 3)],
    [x, y],
)
"""A landscape without symmetries."""
START = (Rational(1), Rational(1, 2))
"""Where descent on it starts."""
POINTS = 3
"""N, small enough that every training set can be visited; T = N for one epoch."""


@dataclass(frozen=True)
class Dynamics:
    """A spacetime with symbols for sizes, and with numbers.

    Attributes:
        kind: makes it, from sizes or, for symbols, from nothing.
        sizes: the numbers.
    """

    kind: Callable[..., Any]
    sizes: Mapping[str, int]

    def derived(self, observable: Any, order: int) -> Any:
        """A coefficient of a power of η by the derived formula; the first component of a vector."""
        formula = ts.derive(observable, self.kind(), order)
        return entry(formula.evaluate(PLACE, START, **self.sizes)).coeff(eta, order)

    def direct(self, observable: Any, order: int) -> Any:
        """The same coefficient by direct perturbation."""
        return entry(ts.perturb(observable, self.kind(**self.sizes), PLACE, START, order)).coeff(eta, order)


ONE_EPOCH = Dynamics(partial(ts.SGD, B=1, E=1), {"N": POINTS})
"""SGD on fresh points."""
GD = Dynamics(ts.GD, {"N": POINTS, "T": POINTS})
"""Descent on full batches, as often."""


def found_twice(observable: Any, order: int, *shares: tuple[Any, Dynamics]) -> tuple[Any, Any]:
    """Σ share · coefficient over some dynamics, as derived and by direct perturbation.

    Example:
        >>> found_twice(ts.TestLoss(), 1, (1, ONE_EPOCH), (-1, GD))
        (0, 0)
    """
    return tuple(  # type: ignore[return-value]
        sum(share * method(dynamics, observable, order) for share, dynamics in shares)
        for method in (Dynamics.derived, Dynamics.direct)
    )


def entry(found: Any) -> Any:
    """A number, or a vector's first component."""
    return found[0] if hasattr(found, "shape") else found


def value(of: ts.Value, place: ts.FiniteLandscape = PLACE, at: Any = START) -> Any:
    """A value on the landscape, in moments if it stands for them; the first component of a vector."""
    joint = place.moment if of.moments else place.cumulant
    found = evaluate_value(of, lambda degrees: joint(degrees, at), {})
    return np.asarray(found).reshape(-1)[0]


TREES = {"I": (-1, 0), "V": (-1, 0, 0), "Y": (-1, 0, 0, 0), "Z": (-1, 0, 0, 1)}
PRINTED: Mapping[str, tuple[tuple[Any, int, str, str], ...]] = {
    "test loss, order 2": ((1, 2, "V", "012"), (Rational(1, 2), 1, "V", "011")),
    "test loss, order 3": (
        (-4, 3, "Z", "0123"),
        (-2, 3, "Y", "0123"),
        (-Rational(3, 2), 2, "Y", "0122"),
        (-1, 2, "Z", "0122"),
        (-1, 2, "Z", "0112"),
        (-Rational(1, 6), 1, "Y", "0111"),
    ),
    "gap, order 2": (
        (-3, 2, "V", "001"),
        (-1, 2, "V", "011"),
        (4, 2, "V", "012"),
        (-Rational(1, 2), 1, "V", "000"),
        (Rational(1, 2), 1, "V", "011"),
    ),
    "gap, order 3": (
        (4, 3, "Z", "0121"),
        (5, 3, "Z", "0112"),
        (2, 3, "Z", "0012"),
        (1, 3, "Z", "0122"),
        (-12, 3, "Z", "0123"),
        (4, 3, "Y", "0012"),
        (2, 3, "Y", "0122"),
        (-6, 3, "Y", "0123"),
        (3, 2, "Y", "0001"),
        (Rational(7, 2), 2, "Y", "0011"),
        (-Rational(9, 2), 2, "Y", "0122"),
        (-2, 2, "Y", "0012"),
        (Rational(1, 6), 1, "Y", "0000"),
        (-Rational(1, 6), 1, "Y", "0111"),
    ),
    "GD - SGD, order 2": ((-1, 2, "V", "001"), (1, 2, "V", "012")),
}
"""The authors' table in moments: a number, the k of C(T, k), a tree and its parts; but for test losses over N."""


def printed(name: str) -> Any:
    """A coefficient of the authors' table on the landscape, for T = N."""
    total = sum(
        number * comb(POINTS, k) * value(ts.Value(TREES[tree], tuple(map(int, parts)), moments=True))
        for number, k, tree, parts in PRINTED[name]
    )
    return total if name.startswith("test loss") else total / POINTS


def errata_of_the_table() -> Iterator[Erratum]:
    """What the table has for the test loss, the gap, and GD less SGD."""
    gap, loss = ts.GeneralizationGap(), ts.TestLoss()
    order_2 = "2 C(T,2) G·H·G, that is T(T−½) G·H·G + (T/2) C·H"
    order_3 = "twelve of the values have other coefficients"
    for name, observable, order, says, right in (
        ("test loss, order 2", loss, 2, "C(T,2) G·H·G in moments", order_2),
        ("test loss, order 3", loss, 3, "the test loss of one epoch at order 3", "it is right"),
        ("gap, order 2", gap, 2, "the generalization gap of one epoch at order 2", "it is right"),
        ("gap, order 3", gap, 3, "the generalization gap of one epoch at order 3", order_3),
    ):
        found = found_twice(observable, order, (1, ONE_EPOCH))
        yield Erratum(f"authors' table, {name}", says, right, printed(name), *found)
    yield Erratum(
        "authors' table, GD − SGD",
        "−C(T,2)/N · ½∇C·G",
        "+C(T,2)/N · ½∇C·G",
        printed("GD - SGD, order 2"),
        *found_twice(loss, 2, (1, GD), (-1, ONE_EPOCH)),
    )
