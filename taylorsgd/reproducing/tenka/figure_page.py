"""A page on which several drawings of the display room stand together, as one Matplotlib figure.

The shapes are painted by Matplotlib, so that a page of them is saved as PNG and SVG like any other picture of an
experiment.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from taylorsgd.display.canvas import Box, Dot, Label, Point, Shape, Stroke, extent
from taylorsgd.writing.painting import painted

__all__ = ["Page"]


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
        return painted(self._shapes, self._inches, margin)


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
