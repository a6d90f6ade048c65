"""Drawn spacetime grids: one box per shaded cell, nodes inside their cells, roots right of the grid."""

import itertools
import shutil
import subprocess
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from taylorsgd.display import Placement, grid_svg, grid_tikz

SVG = "{http://www.w3.org/2000/svg}"
TWO_EPOCHS = [[n == t % 3 for t in range(6)] for n in range(3)]
CHAIN = Placement(spots=(None, (1, 4), (1, 1)), edges=((1, 0), (2, 1)), ties=((1, 2),))


def parts(text, kind):
    return [e for e in ET.fromstring(text) if e.get("data-kind", "").split()[:1] == [kind]]


def test_cells():
    text = grid_svg(TWO_EPOCHS, scale=10)
    corners = {(float(e.attrib["y"]) / 10, float(e.attrib["x"]) / 10) for e in parts(text, "cell")}
    assert corners == {(n, t) for n in range(3) for t in range(6) if TWO_EPOCHS[n][t]}
    assert len(parts(text, "rule")) == 4 + 7
    assert [e.text for e in ET.fromstring(text).iter(f"{SVG}text")] == ["n", "t"]
    title = ET.fromstring(text).findtext(f"{SVG}title")
    assert title == "grid of 3 rows and 6 columns, 6 cells shaded"


def test_arrays_are_cells():
    assert grid_svg(np.array(TWO_EPOCHS)) == grid_svg(TWO_EPOCHS)


def test_a_placed_tree():
    text = grid_svg(TWO_EPOCHS, [CHAIN], scale=10)
    [root] = parts(text, "root")
    assert float(root.attrib["cx"]) > 60 and float(root.attrib["cy"]) == 15
    nodes = {(float(e.attrib["cx"]), float(e.attrib["cy"])) for e in parts(text, "node")}
    assert nodes == {(45, 15), (15, 15)}
    assert (len(parts(text, "edge")), len(parts(text, "tie")), len(parts(text, "halo"))) == (2, 1, 2)


@pytest.mark.parametrize("count", range(1, 10))
def test_many_nodes_in_one_cell_stay_apart_and_inside(count):
    placement = Placement(spots=(None, *[(0, 1)] * count), edges=tuple((v, 0) for v in range(1, count + 1)))
    text = grid_svg([[1, 1]], [placement], scale=100)
    places = [(float(e.attrib["cx"]) / 100, float(e.attrib["cy"]) / 100) for e in parts(text, "node")]
    assert len(places) == count
    assert all(1.13 <= x <= 1.87 and 0.13 <= y <= 0.87 for x, y in places)
    for (a, b), (c, d) in itertools.combinations(places, 2):
        assert (a - c) ** 2 + (b - d) ** 2 > 0.26**2


def test_several_trees_have_different_roots_and_ties():
    text = grid_svg(TWO_EPOCHS, [CHAIN, CHAIN, Placement((None,))])
    assert len({e.attrib["cy"] for e in parts(text, "root")}) == 3
    assert {e.attrib["data-kind"].split()[1] for e in parts(text, "tie")} == {"0", "1"}


def test_a_node_at_time_T_stands_outside_in_its_row():
    text = grid_svg(TWO_EPOCHS, [Placement(((2, 6), (2, 2)), ((1, 0),), ((0, 1),))], scale=10)
    [root] = parts(text, "root")
    assert float(root.attrib["cx"]) > 60 and float(root.attrib["cy"]) == 25


def test_an_edge_bends_around_a_node_of_its_row():
    # from (0, 0) to the root, past a node at (0, 1), over a distance much longer than one cell
    placement = Placement((None, (0, 17), (0, 0)), ((1, 0), (2, 0)))
    text = grid_svg([[1] * 30], [placement])
    assert sorted(e.attrib["d"].count("C") for e in parts(text, "edge")) == [0, 1]


@pytest.mark.parametrize("placements", [(), (CHAIN,), (CHAIN, CHAIN)])
def test_tikz(placements, tmp_path):
    text = grid_tikz(TWO_EPOCHS, placements)
    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")
    assert text.count("rectangle") == 6
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    source = r"\documentclass{article}\usepackage{tikz}\begin{document}" + text + r"\end{document}"
    (tmp_path / "grid.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "grid.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


@pytest.mark.parametrize(
    ("cells", "message"),
    [([], "at least one row"), ([[]], "at least one row"), ([[1, 0], [1]], "row 1 has 1 cells, row 0 has 2")],
)
def test_bad_cells(cells, message):
    for draw in (grid_svg, grid_tikz):
        with pytest.raises(ValueError, match=message):
            draw(cells)


@pytest.mark.parametrize("spot", [(3, 0), (0, 7), (-1, 0), (0, -1)])
def test_off_the_grid(spot):
    with pytest.raises(ValueError, match="off the grid; n is 0 to 2, t is 0 to 5, or 6 for outside"):
        grid_svg(TWO_EPOCHS, [Placement((None, spot), ((1, 0),))])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spots": ((0, 0.5),)}, r"spots\[0\] = \(0, 0.5\): a cell"),
        ({"spots": ((0,),)}, r"spots\[0\]"),
        ({"spots": (None,), "edges": ((1, 0),)}, "edges: there is no node 1, only 0 to 0"),
        ({"spots": (None, (0, 0)), "ties": ((1,),)}, "at least two"),
    ],
)
def test_bad_placements(fields, message):
    with pytest.raises(ValueError, match=message):
        Placement(**fields)
