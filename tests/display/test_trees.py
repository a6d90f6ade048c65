"""Drawn trees: valid XML, one stroke per edge, k − 1 strokes and k halos per tie, one dot per node.

Ties keep clear of the dots that they do not join (dot 0.13, half a tie 0.085: 0.215 between centres) and
never run along an edge, checked on every tree up to 6 nodes with every tied pair.
"""

import itertools
import math
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from typing import Any

import pytest

from taylorsgd.display import TreeDrawing, layout_tree, tree_svg, tree_tikz
from taylorsgd.display.arcs import route_ties
from taylorsgd.display.canvas import along

SVG = "{http://www.w3.org/2000/svg}"

# parents, ties, loose ends
PICTURES = [
    ((-1,), (), ()),
    ((-1, 0), (), ()),
    ((-1, 0, 1, 2), ((1, 3),), ()),
    ((-1, 0, 1, 2), ((1, 2, 3),), ()),
    ((-1, 0, 1, 2, 3), ((1, 4), (2, 3)), ()),
    ((-1, 0, 1, 2, 3), ((1, 3), (2, 4)), ()),
    ((-1, 0, 0, 0), ((1, 2, 3),), ()),
    ((-1, 0, 0, 0, 0), ((1, 3), (2, 4)), ()),
    ((-1, 0, 0, 1), ((0, 3),), ()),
    ((-1, -1, 0, 0, 1, 1), ((2, 4), (3, 5)), ()),
    ((-1, -1, 0, 1, 2, 3), ((2, 5), (3, 4)), ()),
    ((-1, 0, 1), ((1, 2),), (0,)),
    ((-1, -1, 0, 1, 2), ((3, 4),), (0, 1)),
    ((-1, 0, 0, 0, 0, 0, 0, 0), ((1, 2), (3, 4), (5, 6, 7)), ()),
]


def draw(parents, ties=(), loose=(), labels=None):
    return TreeDrawing(
        positions=layout_tree(parents, ties),
        edges=tuple((v, p) for v, p in enumerate(parents) if p >= 0),
        ties=ties,
        roots=tuple(v for v, p in enumerate(parents) if p < 0),
        marks=dict.fromkeys(loose, "open"),
        labels=labels,
    )


def kinds(text):
    return [element.get("data-kind", "") for element in ET.fromstring(text)]


@pytest.mark.parametrize("picture", PICTURES)
def test_counts(picture):
    parents, ties, loose = picture
    text = tree_svg(draw(*picture))
    count = Counter(kind.split()[0] for kind in kinds(text) if kind)
    assert count["edge"] == sum(p >= 0 for p in parents)
    assert count["root"] == sum(p < 0 and v not in loose for v, p in enumerate(parents))
    assert count["node"] + count["root"] == len(parents) - len(loose)
    assert count["tie"] == sum(len(group) - 1 for group in ties)
    assert count["halo"] == sum(map(len, ties))


@pytest.mark.parametrize("picture", PICTURES)
def test_ties_join_their_nodes(picture):
    _, ties, _ = picture
    drawing = draw(*picture)
    root = ET.fromstring(tree_svg(drawing, scale=100))
    joined = {i: {group[0]} for i, group in enumerate(ties)}
    strokes = [e for e in root if e.get("data-kind", "").startswith("tie")]
    for _ in strokes:  # a connected set grows by at least one stroke a round
        for element in strokes:
            i, a, b = map(int, element.attrib["data-kind"].split()[1:])
            if {a, b} & joined[i]:
                joined[i] |= {a, b}
            numbers = [float(x) for x in element.attrib["d"].translate(str.maketrans("MLC,", "    ")).split()]
            ends = (numbers[:2], numbers[-2:])
            for v, end in zip((a, b), ends, strict=True):
                assert end == pytest.approx([100 * c for c in drawing.positions[v]], abs=0.01)
    assert joined == {i: set(group) for i, group in enumerate(ties)}
    for element in root:
        if element.get("data-kind", "").startswith("halo"):
            i, v = map(int, element.attrib["data-kind"].split()[1:])
            assert v in ties[i]


def test_ties_lie_under_edges_and_edges_under_nodes():
    order = {"tie": 0, "halo": 0, "edge": 1, "root": 2, "node": 2, "label": 3}
    for picture in PICTURES:
        ranks = [order[kind.split()[0]] for kind in kinds(tree_svg(draw(*picture))) if kind]
        assert ranks == sorted(ranks)


def test_distinct_ties_look_different():
    root = ET.fromstring(tree_svg(draw((-1, 0, 0, 0, 0, 0, 0), ((1, 2), (3, 4), (5, 6)))))
    looks = {(e.get("stroke"), e.get("stroke-dasharray")) for e in root if e.get("data-kind", "").startswith("tie")}
    assert len(looks) == 3


def gap(p, pieces):
    """Return the distance from a point to a polyline."""
    best = math.inf
    for (x0, y0), (x1, y1) in pieces:
        dx, dy = x1 - x0, y1 - y0
        s = max(0.0, min(1.0, ((p[0] - x0) * dx + (p[1] - y0) * dy) / (dx * dx + dy * dy)))
        best = min(best, math.hypot(p[0] - x0 - s * dx, p[1] - y0 - s * dy))
    return best


@pytest.mark.parametrize("nodes", range(2, 7))
def test_ties_keep_clear(nodes):
    for rest in itertools.combinations_with_replacement(range(nodes), nodes - 1):
        parents = (-1, *rest)
        if any(p >= v for v, p in enumerate(parents)):
            continue
        for a, b in itertools.combinations(range(nodes), 2):
            positions = layout_tree(parents, ((a, b),))
            edges = [(positions[v], positions[p]) for v, p in enumerate(parents) if p >= 0]
            [[(_, _, curve)]] = route_ties(positions, edges, ((a, b),))
            points = along(curve, 24)
            pieces = list(itertools.pairwise(points))
            assert all(gap(positions[v], pieces) > 0.215 for v in range(nodes) if v not in (a, b))
            beside = 0.0  # length covered by an edge, away from the ends; a crossing covers about 0.3
            for p, q in pieces:
                middle = ((p[0] + q[0]) / 2, (p[1] + q[1]) / 2)
                if min(math.dist(middle, points[0]), math.dist(middle, points[-1])) > 0.35:
                    beside += math.dist(p, q) * (gap(middle, edges) < 0.11)
            assert beside < 0.45


def test_chain_with_its_ends_tied_bends_upwards():
    [[(_, _, curve)]] = route_ties([(0, 0), (-1, 0), (-2, 0)], [((-2, 0), (-1, 0)), ((-1, 0), (0, 0))], [(0, 2)])
    assert len(curve) == 4
    assert min(y for _, y in along(curve, 10)) < -0.3


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("scale", [7, 24.5])
def test_everything_is_inside_the_frame(picture, scale):
    root = ET.fromstring(tree_svg(draw(*picture), scale=scale))
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert (root.get("width"), root.get("height")) == tuple(root.attrib["viewBox"].split()[2:])
    for circle in root.iter(f"{SVG}circle"):
        x, y, r = (float(circle.attrib[key]) for key in ("cx", "cy", "r"))
        assert left <= x - r and x + r <= left + width
        assert top <= y - r and y + r <= top + height


def test_title_and_labels_are_escaped():
    drawing = draw((-1, 0, 1), labels=('a"<b>&', "", "c\x00\x1b"))
    text = tree_svg(drawing, title="1 < 2 & </title>")
    root = ET.fromstring(text)
    assert root.findtext(f"{SVG}title") == "1 < 2 & </title>"
    assert [e.text for e in root.iter(f"{SVG}text")] == ['a"<b>&', "c"]


def test_default_title_says_what_is_tied():
    root = ET.fromstring(tree_svg(draw((-1, -1, 0, 1), ((2, 3),))))
    assert root.findtext(f"{SVG}title") == "forest with 4 nodes, tied: {2, 3}"


@pytest.mark.parametrize("picture", PICTURES)
def test_tikz_is_balanced_and_complete(picture):
    text = tree_tikz(draw(*picture))
    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")
    assert text.count("(") == text.count(")")
    assert text.startswith(r"\begin{tikzpicture}") and text.endswith(r"\end{tikzpicture}")
    assert all(line.endswith(";") for line in text.splitlines()[1:-1])
    shapes = sum(bool(kind) for kind in kinds(tree_svg(draw(*picture))))
    assert len(text.splitlines()) == shapes + 2


def test_tikz_labels_are_escaped():
    text = tree_tikz(draw((-1,), labels=(r"50% of_x \ {y} ∇θ²",)))
    assert r"{50\% of\_x \textbackslash{} \{y\} $\nabla$$\theta$$^2$}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_tikz_compiles(tmp_path):
    pictures = "\n\n".join(tree_tikz(draw(*picture, labels=("θ<_",) * len(picture[0]))) for picture in PICTURES)
    source = r"\documentclass{article}\usepackage{tikz}\begin{document}" + pictures + r"\end{document}"
    (tmp_path / "trees.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "trees.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_drawings_are_frozen_hashable_and_plain():
    lists: dict[str, Any] = {"positions": [[0, 0], [-1, 0]], "edges": [[1, 0]], "roots": [0]}
    drawing = TreeDrawing(**lists, marks={1: "open"})
    assert drawing == TreeDrawing(((0, 0), (-1, 0)), ((1, 0),), (), (0,), {1: "open"})
    assert hash(drawing) == hash(TreeDrawing(((0, 0), (-1, 0)), ((1, 0),), (), (0,), {1: "open"}))
    with pytest.raises(AttributeError):
        setattr(drawing, "edges", ())  # noqa: B010


def test_drawing_twice_gives_the_same_text():
    for picture in PICTURES:
        assert tree_svg(draw(*picture)) == tree_svg(draw(*picture))


TWO = ((0, 0), (-1, 0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positions": ()}, "at least one node"),
        ({"positions": ((0, 0), (0, 0))}, r"nodes 0 and 1 both stand at \(0.0, 0.0\)"),
        ({"positions": ((0, math.nan),)}, r"positions\[0\]"),
        ({"positions": ((0, 0, 0),)}, r"positions\[0\]"),
        ({"positions": TWO, "edges": ((2, 0),)}, "edges: there is no node 2, only 0 to 1"),
        ({"positions": TWO, "edges": ((1, -1),)}, "edges: there is no node -1"),
        ({"positions": TWO, "edges": ((1, 1),)}, r"edges: \(1, 1\) is not a pair of two different nodes"),
        ({"positions": TWO, "edges": ((1, 0, 1),)}, "is not a pair"),
        ({"positions": TWO, "ties": ((1,),)}, r"ties: \(1,\) is not a group of at least two"),
        ({"positions": TWO, "ties": ((1, 1),)}, "two different nodes"),
        ({"positions": TWO, "ties": ((0, 9),)}, "ties: there is no node 9"),
        ({"positions": TWO, "ties": ((0, 1), (1, 0))}, "a node is in one tie at most"),
        ({"positions": TWO, "roots": (3,)}, "roots: there is no node 3"),
        ({"positions": TWO, "roots": (0.5,)}, "roots: there is no node 0.5"),
        ({"positions": TWO, "marks": {4: "open"}}, "marks: there is no node 4"),
        ({"positions": TWO, "marks": {1: "closed"}}, 'the only mark is "open"'),
        ({"positions": TWO, "labels": ("a",)}, "1 of them for 2 nodes"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        TreeDrawing(**fields)


@pytest.mark.parametrize("scale", [0, -1, math.inf, math.nan])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match="scale = .*: a positive number is needed"):
        tree_svg(draw((-1, 0)), scale=scale)
    with pytest.raises(ValueError, match="scale = .*: a positive number is needed"):
        tree_tikz(draw((-1, 0)), scale=scale)
