r"""Embeddings one at a time: what each adds makes the whole.

Identities:
    (1) Σ_f 1/|Aut_f D| = Z(D)/|Aut D|, with Z from `Spacetime.embeddings`
    (2) the contributions of all embeddings of all diagrams add up to perturb's result, and those with powers of K to
        the resummed formula's
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy import Rational

import taylorsgd as ts
from taylorsgd.diagrams import forests_of_order
from taylorsgd.symbols import eta

x, y = sympy.symbols("x y")
RUNS = [ts.SGD(N=2, B=1, E=2), ts.SGD(N=4, B=2, E=1), ts.GD(N=2, T=2), ts.Grid([[1, 0, 1], [0, 1, 0]])]
LANDSCAPE = ts.FiniteLandscape(
    [x**3 / 3 - 2 * x + x**2 + x * y + y**2, 2 * x**2 + x + y**2 - x * y**2], [Rational(1, 3), Rational(2, 3)], [x, y]
)
AT = [Rational(1, 2), Rational(1, 3)]


def diagrams(order: int, may_tie: bool = False) -> list[ts.Diagram]:
    return [diagram for d in range(order + 1) for diagram in forests_of_order(d, [may_tie])]


@pytest.mark.parametrize("spacetime", RUNS, ids=repr)
def test_they_are_counted(spacetime: Any) -> None:
    for diagram in diagrams(3):
        found = ts.embeddings_of(diagram, spacetime)
        maps = spacetime.embeddings(diagram)
        assert sum(Rational(1, one.automorphisms) for one in found) == maps / diagram.automorphisms
        assert sum(one.maps for one in found) == maps
        for one in found:
            cell = dict(zip(diagram.inner_nodes, one.cells, strict=True))
            assert all(one.grid.cells[n][t] for n, t in cell.values())
            assert all(cell[v][1] < cell[p][1] for v, p in enumerate(diagram.parents) if p in cell)
            assert all(len({cell[v][0] for v in block}) == 1 for block in diagram.inner_blocks)


@pytest.mark.parametrize("spacetime", RUNS, ids=repr)
@pytest.mark.parametrize(
    "observable",
    [ts.TestLoss(), ts.TrainLoss(), ts.GeneralizationGap(), ts.Displacement(), ts.Observable(x * y**2)],
    ids=str,
)  # fmt: skip
def test_they_add_up(observable: Any, spacetime: Any) -> None:
    root = observable.root(0)
    for resum in (None, "discrete"):
        total = sympy.zeros(*((2, 1) if root.mark.startswith("@") else (1, 1)))
        for diagram in diagrams(2, root.may_tie):
            tied = len(diagram.blocks[diagram.parts[0]]) > 1
            fits = (tied or not root.must_tie) and (not root.mark.startswith("@") or diagram.degree(0) == 1)
            if fits and (resum is None or diagram.is_linkless):
                for one in ts.embeddings_of(diagram, spacetime):
                    total += sympy.Matrix([one.contribution(observable, resum=resum).evaluate(LANDSCAPE, AT)]).reshape(
                        *total.shape
                    )
        if resum is None:
            expected = ts.perturb(observable, spacetime, LANDSCAPE, AT, 2)
        else:
            expected = ts.derive(observable, spacetime, 2, resum=resum).evaluate(LANDSCAPE, AT)
        difference = total - sympy.Matrix([expected]).reshape(*total.shape)
        assert difference.applyfunc(sympy.expand).is_zero_matrix, resum


def test_one_in_numbers_and_in_json() -> None:
    fork = ts.Diagram.parse("(a a)")
    one = ts.embeddings_of(fork, RUNS[0])[1]
    assert one.cells == ((0, 0), (0, 2)) and one.automorphisms == 1 and one.maps == 2
    formula = one.contribution(resum="discrete")
    assert ts.Formula.from_json(formula.to_json()) == formula
    hessian, noise = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[3.0, 1.0], [1.0, 5.0]])
    with jax.enable_x64(True):
        found = formula.lower()({(2,): jnp.array(hessian), (1, 1): jnp.array(noise)}, eta=0.1)
    assert float(found) == pytest.approx(0.01 * (3 * 1 * 0.9**3 * 0.9 + 5 * 2 * 0.8**3 * 0.8))
    assert formula.latex() and one.contribution()[2].evaluate(LANDSCAPE, AT).has(eta)


def test_they_are_drawn() -> None:
    one = ts.embeddings_of(ts.Diagram.parse("(a(.) a)"), RUNS[0])[0]
    assert one.svg().count('data-kind="node"') == 3 and "in a grid of 2 rows and 4 columns" in one.description


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: ts.embeddings_of("(a a)", RUNS[0]), TypeError, "is not a Diagram"),  # type: ignore[arg-type]
        (lambda: ts.embeddings_of(ts.Diagram((-1, 0)), 3), TypeError, "is not a spacetime"),  # type: ignore[arg-type]
        (lambda: ts.embeddings_of(ts.Diagram((-1, 0)), ts.SGD()), ValueError, "all sizes are numbers"),
        (lambda: ts.embeddings_of(ts.Diagram((-1, 0)), ts.SGD(2, 1, 2, shuffle=True)), ValueError, "left to chance"),
        (lambda: ts.embeddings_of(ts.Diagram((-1, -1)), RUNS[0]), ValueError, "has 2 roots"),
        (lambda: ts.embeddings_of(ts.Diagram((-1, *[0] * 6)), ts.GD(9, 9)), ValueError, "100000 are listed at most"),
        (lambda: ts.embeddings_of(ts.Diagram((-1, 0)), ts.GD(2, 0)), ValueError, "has no updates"),
        (lambda: leaf().contribution(ts.Variance(ts.TestLoss())), TypeError, "no observable of one run"),
        (lambda: leaf().contribution(resum="continuous"), ValueError, "resum='continuous' is unknown"),
        (lambda: leaf().contribution(ts.GeneralizationGap()), ValueError, "is not tied"),
        (lambda: leaf("((.))").contribution(resum="discrete"), ValueError, "has links"),
        (lambda: leaf("(a a)").contribution(ts.Displacement()), ValueError, "one edge ends in its root"),
    ],
)  # fmt: skip
def test_errors(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def leaf(text: str = "(.)") -> Any:
    return ts.embeddings_of(ts.Diagram.parse(text), RUNS[0])[0]
