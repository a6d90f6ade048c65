r"""Sizes: what a spacetime accepts, derives and refuses.

References: Tenka, section 1.2: T = E N / B updates, M = T / N = E / B updates per training point.

Checked here:
    (1) None is the shared symbol; integers, NumPy integers and SymPy expressions are sizes
    (2) T and M are derived
    (3) B must divide N; sizes are whole and not too small; grids are rectangles with equally full columns
    (4) spacetimes are frozen, hashable and equal by value
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
import sympy

import taylorsgd as ts
from taylorsgd.spacetime import Spacetime
from taylorsgd.symbols import B, E, M, N, T, eta


def test_the_symbols_are_plain() -> None:
    for symbol, name in [(N, "N"), (B, "B"), (E, "E"), (T, "T"), (M, "M"), (eta, "eta")]:
        assert symbol == sympy.Symbol(name)


def test_none_means_the_symbol() -> None:
    assert ts.SGD().sizes == {"N": N, "B": B, "E": E, "T": E * N / B, "M": E / B}
    assert ts.GD().sizes == {"N": N, "B": N, "E": T, "T": T, "M": T / N}
    assert ts.SDE().sizes == {"T": T, "B": B}
    assert ts.ODE().sizes == {"T": T}


def test_derived_sizes() -> None:
    sgd = ts.SGD(N=10, B=2, E=3)
    assert (sgd.T, sgd.M) == (15, sympy.Rational(3, 2))
    assert ts.GD(N=4, T=6).sizes == {"N": 4, "B": 4, "E": 6, "T": 6, "M": sympy.Rational(3, 2)}
    assert ts.Grid([[1, 1, 0], [0, 0, 1]]).sizes == {"N": 2, "B": 1, "T": 3, "M": sympy.Rational(3, 2)}


def test_what_counts_as_an_integer() -> None:
    assert ts.SGD(N=np.int64(6), B=sympy.Integer(2), E=3) == ts.SGD(N=6, B=2, E=3)
    assert ts.SGD(N=6 * B, E=M * B).T == 6 * M * B
    assert ts.SGD(E=0).embeddings(ts.Diagram((-1, 0))) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ts.SGD(N=5, B=2), "B=2 does not divide N=5; batches must fill an epoch exactly"),
        (lambda: ts.SGD(N=2, B=4, E=1), "B=4 does not divide N=2"),
        (lambda: ts.SGD(N=0), "N=0 is impossible; it must be an integer of at least 1"),
        (lambda: ts.SGD(N=-3), "N=-3 is impossible"),
        (lambda: ts.SGD(B=0), "B=0 is impossible; it must be an integer of at least 1"),
        (lambda: ts.SGD(B=-1), "B=-1 is impossible"),
        (lambda: ts.SGD(E=-1), "E=-1 is impossible; it must be an integer of at least 0"),
        (lambda: ts.SGD(N=sympy.Rational(5, 2)), "N=5/2 is impossible; it must be an integer"),
        (lambda: ts.SGD(N=sympy.pi), "N=pi is impossible"),
        (lambda: ts.SGD(N=sympy.Float(4.5)), "is impossible; it must be an integer"),
        (lambda: ts.SGD(N=sympy.oo), "N=oo is impossible"),
        (lambda: ts.GD(N=0), "N=0 is impossible"),
        (lambda: ts.GD(T=-1), "T=-1 is impossible; it must be an integer of at least 0"),
        (lambda: ts.ODE(T=-2), "T=-2 is impossible"),
        (lambda: ts.SDE(T=-2), "T=-2 is impossible"),
        (lambda: ts.SDE(B=0), "B=0 is impossible; it must be an integer of at least 1"),
    ],
)
def test_impossible_sizes(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (ts.SGD, {"N": 2.0}),
        (ts.SGD, {"N": "N"}),
        (ts.SGD, {"B": True}),
        (ts.SGD, {"E": [1]}),
        (ts.GD, {"T": 1.5}),
        (ts.ODE, {"T": "10"}),
        (ts.SDE, {"B": False}),
    ],
)
def test_what_is_no_size(kind: Any, sizes: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="is not a size; it must be an integer of at least"):
        kind(**sizes)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], "is empty; a grid needs at least one row and one column"),
        ([[]], "is empty"),
        ([[1, 1], [1]], r"cells is ragged: its rows have lengths \[1, 2\]; all rows need one length"),
        ([[1, 0], [1, 0]], "column 1 is empty; every update needs a batch of at least one point"),
        ([[0, 1], [0, 1]], "column 0 is empty"),
        ([[1, 1], [1, 0]], "column 1 holds 1 cells but column 0 holds 2; every batch must have the same size B"),
        ([[1, 2]], r"cells\[0\]\[1\]=2 is neither true nor false"),
        ([[0.5]], r"cells\[0\]\[0\]=0.5 is neither true nor false"),
        ([["x"]], r"cells\[0\]\[0\]='x' is neither true nor false"),
        ([[None]], r"cells\[0\]\[0\]=None is neither true nor false"),
    ],
)
def test_what_is_no_grid(cells, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ts.Grid(cells)


@pytest.mark.parametrize("cells", [7, None, [1, 0], np.ones(3, dtype=bool), "■□"])
def test_what_has_no_rows_and_columns(cells) -> None:
    with pytest.raises((TypeError, ValueError), match="cells"):
        ts.Grid(cells)


@pytest.mark.parametrize("cells", [np.ones((2, 3, 4), dtype=bool), [[[1]], [[0]]]])
def test_a_grid_has_two_axes(cells) -> None:
    with pytest.raises((TypeError, ValueError), match="cells"):
        ts.Grid(cells)


def test_grids_from_arrays() -> None:
    array = np.array([[1, 0, 1], [0, 1, 0]], dtype=bool)
    grid = ts.Grid(array)
    assert grid == ts.Grid([[1, 0, 1], [0, 1, 0]]) == ts.Grid(array.astype(int))
    assert hash(grid) == hash(ts.Grid(array.tolist()))
    assert (grid.N, grid.T, grid.B) == (2, 3, 1)
    assert str(grid) == "■□■\n□■□"
    assert grid._repr_svg_().startswith("<svg")


@pytest.mark.parametrize("spacetime", [ts.ODE(), ts.SDE()])
@pytest.mark.parametrize("observable", [ts.TrainLoss(), ts.GeneralizationGap()])
def test_flows_have_no_training_set(spacetime: Spacetime, observable) -> None:
    with pytest.raises(ValueError, match=r"needs a training set, and (ODE|SDE) has none; observe the test loss"):
        ts.derive(observable, spacetime, order=1)
    with pytest.raises(ValueError, match="needs a training set"):
        ts.derive(ts.Covariance(ts.TestLoss(), observable), spacetime, order=1)


SPACETIMES = [ts.SGD(B=1), ts.GD(N=3), ts.ODE(), ts.SDE(B=2), ts.Grid([[1, 0], [0, 1]])]


@pytest.mark.parametrize("spacetime", SPACETIMES)
def test_frozen_and_equal_by_value(spacetime: Any) -> None:
    name = attrs.fields(type(spacetime))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(spacetime, name, 5)
    again = attrs.evolve(spacetime)
    assert again == spacetime
    assert {again: 1}[spacetime] == 1


def test_substitution() -> None:
    assert ts.SGD().substitute({N: sympy.Integer(6), B: sympy.Integer(2)}) == ts.SGD(N=6, B=2)
    assert ts.SGD(N=2 * B).substitute({B: sympy.Integer(3)}) == ts.SGD(N=6, B=3)
    with pytest.raises(ValueError, match="does not divide"):
        ts.SGD(B=2).substitute({N: sympy.Integer(3)})
    assert ts.SGD().free_symbols == (N, B, E)
    assert ts.SGD(N=6, B=3, E=1).free_symbols == ()
