"""A page on which several drawings of the display room stand together, as one Matplotlib figure.

The display room writes shapes as SVG and TikZ; here the same shapes become Matplotlib's, so that a page of
them is saved as PNG and SVG like any other picture of an experiment.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Circle, PathPatch, Rectangle
from matplotlib.path import Path

from taylorsgd.display.canvas import INKS, Box, Dot, Label, Point, Shape, Stroke, barbs, extent

__all__ = ["Page"]

POINTS_PER_INCH = 72
FONT = "STIXGeneral"


class Page:
    """Drawings and lines of text, each put somewhere; x grows to the right, y downwards.

    Args:
        inches: per unit of the drawings.

    Example:
        >>> page = Page(inches=0.25)
        >>> page.draw([Dot((0.0, 0.0), 0.5)], at=(4.0, 2.0))
        (3.5, 1.5, 4.5, 2.5)
        >>> page.write("a dot", at=(4.0, 3.0))
        >>> page.figure().get_size_inches().round(3).tolist()
        [0.84, 0.715]
    """

    def __init__(self, inches: float) -> None:
        """Begin with an empty page."""
        self._inches = inches
        self._shapes: list[Shape] = []

    def draw(self, shapes: Sequence[Shape], at: Point) -> tuple[float, float, float, float]:
        """Put a drawing down, its origin at a point; return the rectangle that it fills."""
        moved = [_moved(shape, at) for shape in shapes]
        self._shapes += moved
        return extent(moved, 0.0)

    def write(self, text: str, at: Point, size: float = 0.6, anchor: str = "start") -> None:
        """Write a line of text, in which Matplotlib sets what stands between dollars as mathematics."""
        self._shapes.append(Label(at, text, size, anchor))

    def figure(self, margin: float = 0.5) -> Figure:
        """The page, as large as what stands on it."""
        left, top, right, bottom = extent(self._shapes, margin)
        figure = Figure(figsize=((right - left) * self._inches, (bottom - top) * self._inches))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(left, right), ylim=(bottom, top))
        axes.set_axis_off()
        points = self._inches * POINTS_PER_INCH
        for number, shape in enumerate(self._shapes):
            if isinstance(shape, Label):
                axes.text(
                    *shape.at,
                    shape.text,
                    family=FONT,
                    math_fontfamily="stix",
                    size=shape.size * points,
                    style="italic" if shape.italic else "normal",
                    ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
                    va="center_baseline",
                    zorder=number,
                )
            else:
                axes.add_patch(_patch(shape, points)).set_zorder(number)
        return figure


def _moved(shape: Shape, by: Point) -> Shape:
    def there(point: Point) -> Point:
        return (point[0] + by[0], point[1] + by[1])

    match shape:
        case Stroke():
            points = tuple(map(there, shape.points))
            return Stroke(points, shape.width, shape.ink, shape.dash, shape.kind, shape.arrow)
        case Dot():
            return Dot(there(shape.centre), shape.radius, shape.ink, shape.outline, shape.kind)
        case Box():
            return Box(there(shape.corner), shape.size, shape.ink, shape.kind)
        case Label():
            return Label(there(shape.at), shape.text, shape.size, shape.anchor, shape.italic, shape.kind)


def _patch(shape: Stroke | Dot | Box, points: float) -> PathPatch | Circle | Rectangle:
    """The shape for Matplotlib, whose line widths are in points and whose dashes are in line widths."""
    ink = INKS[shape.ink][0]
    match shape:
        case Stroke():
            step = Path.CURVE4 if len(shape.points) == 4 else Path.LINETO
            vertices, codes = list(shape.points), [Path.MOVETO, *[step] * (len(shape.points) - 1)]
            for end in barbs(shape) if shape.arrow else ():
                vertices += [end, shape.points[-1]]
                codes += [Path.MOVETO, Path.LINETO]
            dash = (0, tuple(length / shape.width for length in shape.dash)) if shape.dash else "-"
            width = shape.width * points
            style = {"edgecolor": ink, "linewidth": width, "linestyle": dash, "capstyle": "round"}
            return PathPatch(Path(vertices, codes), facecolor="none", **style)
        case Dot():
            edge = "black" if shape.outline else "none"
            return Circle(shape.centre, shape.radius, facecolor=ink, edgecolor=edge, linewidth=shape.outline * points)
        case Box():
            return Rectangle(shape.corner, *shape.size, facecolor=ink, edgecolor="none")
