"""Rooted trees whose nodes are joined by ties: thin black edges, thick gray ties, hollow roots.

A `TreeDrawing` says where everything stands; `tree_svg` and `tree_tikz` draw it. Ties lie underneath and
bend away from edges and from nodes that they do not join; a node in a tie wears a halo in the tie's shade.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taylorsgd.display.arcs import Curve, route_ties
from taylorsgd.display.canvas import Dot, Label, Point, Shape, Stroke
from taylorsgd.display.checks import checked_edges, checked_node, checked_ties
from taylorsgd.display.svg import write_svg
from taylorsgd.display.tikz import write_tikz

__all__ = ["TreeDrawing", "drawing_shapes", "tree_shapes", "tree_svg", "tree_tikz"]

_EDGE = 0.055
_DOT = 0.13
_TIE = 0.17
_HALO = 0.225
_TIE_STYLES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ("gray25", ()),
    ("gray45", (0.13, 0.26)),
    ("gray35", (0.001, 0.24)),
    ("gray45", ()),
    ("gray25", (0.13, 0.26)),
)
"""Shade and dashes of the first tie, the second, …; then they repeat."""


@dataclass(frozen=True)
class TreeDrawing:
    """Plain positions of a forest's nodes, and what joins them; x grows to the right, y downwards.

    Args:
        positions: one (x, y) per node, no two equal; one unit is the length of a level edge.
        edges: pairs of node indices.
        ties: groups of at least two node indices; no node is in two of them.
        roots: indices of the nodes drawn as rings.
        marks: node index → "open" for a loose end: no dot is drawn, the edge just ends.
        labels: one string per node, empty for none.
        arrows: whether edges are arrows, from their first node to their second.

    Raises:
        ValueError: if a position is not finite or taken, an index names no node, an edge joins a node to
            itself, a tie is too small or meets another, a mark is unknown, or labels are not one per node.

    Example:
        >>> TreeDrawing(((0, 0), (-1, -0.5), (-1, 0.5)), edges=((1, 0), (2, 0)), ties=((1, 2),), roots=(0,))
        TreeDrawing(positions=((0.0, 0.0), (-1.0, -0.5), (-1.0, 0.5)), edges=((1, 0), (2, 0)), ties=((1, 2),),
                    roots=(0,), marks={}, labels=None, arrows=False)
    """

    positions: tuple[Point, ...]
    edges: tuple[tuple[int, int], ...] = ()
    ties: tuple[tuple[int, ...], ...] = ()
    roots: tuple[int, ...] = ()
    marks: Mapping[int, str] = field(default_factory=dict, hash=False)
    labels: tuple[str, ...] | None = None
    arrows: bool = False

    def __post_init__(self) -> None:
        """Check the fields and make them tuples."""

        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        keep("positions", _checked_positions(self.positions))
        count = len(self.positions)
        keep("edges", checked_edges(self.edges, count))
        keep("ties", checked_ties(self.ties, count))
        keep("roots", tuple(checked_node("roots", v, count) for v in self.roots))
        keep("marks", dict(self.marks))
        for v, mark in self.marks.items():
            checked_node("marks", v, count)
            if mark != "open":
                raise ValueError(f'marks[{v}] = {mark!r}: the only mark is "open"')
        if self.labels is not None:
            keep("labels", tuple(map(str, self.labels)))
            if len(self.labels) != count:
                raise ValueError(f"labels: {len(self.labels)} of them for {count} nodes; one per node is needed")


def tree_svg(drawing: TreeDrawing, scale: float = 24, title: str | None = None) -> str:
    """Draw a tree as an SVG element that sits inline in a notebook.

    Args:
        drawing: what stands where.
        scale: pixels per unit, positive.
        title: the accessible text; by default it counts the nodes and lists the ties.

    Returns:
        The text of a self-contained `<svg>` element on a white panel.

    Raises:
        ValueError: if `scale` is not a positive number.

    Example:
        >>> text = tree_svg(TreeDrawing(((0, 0), (-1, 0)), edges=((1, 0),), roots=(0,)))
        >>> text.count("<path"), text.count("<circle"), "<title>tree with 2 nodes</title>" in text
        (1, 2, True)
    """
    return write_svg(drawing_shapes(drawing), scale, _title(drawing) if title is None else title)


def tree_tikz(drawing: TreeDrawing, scale: float = 0.6) -> str:
    r"""Draw a tree as a `tikzpicture` that needs `\usepackage{tikz}` and no library.

    Args:
        drawing: what stands where. Labels are plain text: what is special to TeX is escaped.
        scale: centimetres per unit, positive.

    Returns:
        The picture, centred on the line of text that it stands in.

    Raises:
        ValueError: if `scale` is not a positive number.

    Example:
        >>> print(tree_tikz(TreeDrawing(((0, 0), (-1, 0)), edges=((1, 0),), roots=(0,)), scale=1))
        \begin{tikzpicture}[x=1cm, y=1cm, baseline={([yshift=-0.6ex]current bounding box.center)}]
          \draw[black, line width=1.56pt, line cap=round] (-1,0) -- (0,0);
          \draw[black, fill=white, line width=1.56pt] (0,0) circle[radius=0.13];
          \fill[black] (-1,0) circle[radius=0.13];
        \end{tikzpicture}
    """
    return write_tikz(drawing_shapes(drawing), scale)


def drawing_shapes(drawing: TreeDrawing) -> list[Shape]:
    """Return the shapes of a tree, its ties routed, for a page that holds more than one picture.

    Args:
        drawing: what stands where.

    Returns:
        Ties, edges, nodes and labels, back to front.

    Example:
        >>> drawing = TreeDrawing(((0, 0), (-1, 0)), edges=((1, 0),), roots=(0,))
        >>> [shape.kind for shape in drawing_shapes(drawing)]
        ['edge', 'root', 'node']
    """
    positions = drawing.positions
    edges = [(positions[a], positions[b]) for a, b in drawing.edges]
    routed = route_ties(positions, edges, drawing.ties)
    shapes = tree_shapes(positions, edges, routed, drawing.roots, tuple(drawing.marks), arrows=drawing.arrows)
    for v, text in enumerate(drawing.labels or ()):
        if text:
            shapes.append(_label(drawing, v, text))
    return shapes


def tree_shapes(
    positions: Sequence[Point],
    edges: Sequence[Curve],
    ties: Sequence[Sequence[tuple[int, int, Curve]]],
    roots: Sequence[int],
    hidden: Sequence[int] = (),
    style: int = 0,
    arrows: bool = False,
) -> list[Shape]:
    """Return the shapes of a tree whose strokes are already routed, back to front.

    Args:
        positions: one per node.
        edges: one curve per edge.
        ties: per tie its strokes, as `route_ties` returns them.
        roots: nodes drawn as rings.
        hidden: nodes drawn without a dot.
        style: how many tie styles are taken already.
        arrows: whether straight edges are arrows, which end before a node's dot.

    Returns:
        Halos and ties, then edges, then nodes.

    Example:
        >>> positions, edges = [(0.0, 0.0), (-1.0, 0.0)], [((-1.0, 0.0), (0.0, 0.0))]
        >>> [shape.kind for shape in tree_shapes(positions, edges, [], [0])]
        ['edge', 'root', 'node']
    """
    shapes: list[Shape] = []
    for i, strokes in enumerate(ties, start=style):
        ink, dash = _TIE_STYLES[i % len(_TIE_STYLES)]
        shapes += [Stroke(curve, _TIE, ink, dash, kind=f"tie {i} {a} {b}") for a, b, curve in strokes]
        members = sorted({v for a, b, _ in strokes for v in (a, b)})
        shapes += [Dot(positions[v], _HALO, ink, kind=f"halo {i} {v}") for v in members]
    shapes += [Stroke(_shortened(curve) if arrows else curve, _EDGE, kind="edge", arrow=arrows) for curve in edges]
    for v, position in enumerate(positions):
        if v in hidden:
            continue
        if v in roots:
            shapes.append(Dot(position, _DOT, "white", outline=_EDGE, kind="root"))
        else:
            shapes.append(Dot(position, _DOT, kind="node"))
    return shapes


def _shortened(line: Curve) -> Curve:
    """A line that ends at the rim of the dot at its end."""
    *before, (x0, y0), (x1, y1) = line
    share = (_DOT + _EDGE / 2) / math.hypot(x1 - x0, y1 - y0)
    return (*before, (x0, y0), (x1 + share * (x0 - x1), y1 + share * (y0 - y1)))


def _checked_positions(positions: Sequence[Sequence[float]]) -> tuple[Point, ...]:
    if not positions:
        raise ValueError("positions = (): a drawing has at least one node")
    taken: dict[Point, int] = {}
    for v, position in enumerate(positions):
        if len(position) != 2 or not all(math.isfinite(c) for c in position):
            raise ValueError(f"positions[{v}] = {position!r}: a pair of finite numbers (x, y) is needed")
        point = (float(position[0]), float(position[1]))
        if point in taken:
            raise ValueError(f"positions: nodes {taken[point]} and {v} both stand at {point}; they must differ")
        taken[point] = v
    return tuple(taken)


def _title(drawing: TreeDrawing) -> str:
    count = len(drawing.positions)
    name = "forest" if len(drawing.roots) > 1 else "tree"
    title = f"{name} with {count} node{'s' if count > 1 else ''}"
    tied = " and ".join(f"{{{', '.join(map(str, group))}}}" for group in drawing.ties)
    return f"{title}, tied: {tied}" if tied else title


def _label(drawing: TreeDrawing, node: int, text: str) -> Label:
    """Put a label to the side that no edge leaves from, or else above the node."""
    x, y = drawing.positions[node]
    others = [b if a == node else a for a, b in drawing.edges if node in (a, b)]
    if not any(drawing.positions[v][0] > x for v in others):
        return Label((x + 0.3, y), text, 0.5, "start")
    if not any(drawing.positions[v][0] < x for v in others):
        return Label((x - 0.3, y), text, 0.5, "end")
    return Label((x, y - 0.45), text, 0.5)
