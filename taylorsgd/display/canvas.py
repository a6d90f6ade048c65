"""Shapes on a page: what a picture is made of before it is written in SVG or TikZ.

A picture is a list of shapes, back to front: `Stroke` (a line or a cubic Bezier curve), `Dot`, `Box` and
`Label`. All lengths, line widths and font sizes included, are in units of the drawing, so that a scale
zooms the whole picture.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from taylorsgd.arguments import as_float

__all__ = ["Box", "Dot", "INKS", "Label", "Point", "Shape", "Stroke", "along", "barbs", "extent", "positive"]

Point = tuple[float, float]
"""A place (x, y) on the page."""

INKS = {
    "black": ("#000000", "black"),
    "white": ("#ffffff", "white"),
    "gray15": ("#d9d9d9", "black!15"),
    "gray25": ("#bfbfbf", "black!25"),
    "gray35": ("#a6a6a6", "black!35"),
    "gray45": ("#8c8c8c", "black!45"),
    "blue": ("#d9e8ff", "blue!60!cyan!15"),
}
"""Every ink, in the words of SVG and of TikZ."""


@dataclass(frozen=True)
class Stroke:
    """A line (2 points) or a cubic Bezier curve (end, control, control, end)."""

    points: tuple[Point, ...]
    width: float
    ink: str = "black"
    dash: tuple[float, ...] = ()
    kind: str = ""
    arrow: bool = False


@dataclass(frozen=True)
class Dot:
    """A disk, with a black outline of width `outline` if that is positive."""

    centre: Point
    radius: float
    ink: str = "black"
    outline: float = 0.0
    kind: str = ""


@dataclass(frozen=True)
class Box:
    """A filled rectangle with its upper left corner at `corner`."""

    corner: Point
    size: Point
    ink: str
    kind: str = ""


@dataclass(frozen=True)
class Label:
    """One line of plain text at mid-height `at`, which is its "start", "middle" or "end"."""

    at: Point
    text: str
    size: float
    anchor: str = "middle"
    italic: bool = False
    kind: str = "label"


Shape = Stroke | Dot | Box | Label
"""Whatever can be drawn."""


def along(points: Sequence[Point], steps: int) -> list[Point]:
    """Return `steps + 1` points of a line or cubic curve, its two ends included.

    Args:
        points: 2 points of a line, or 4 of a cubic Bezier curve.
        steps: the number of pieces, at least 1.

    Returns:
        The points at equal steps of the curve's parameter.

    Example:
        >>> along(((0.0, 0.0), (1.0, 2.0)), 2)
        [(0.0, 0.0), (0.5, 1.0), (1.0, 2.0)]
    """
    degree = len(points) - 1
    out = []
    for i in range(steps + 1):
        s = i / steps
        basis = [math.comb(degree, k) * s**k * (1 - s) ** (degree - k) for k in range(degree + 1)]
        out.append((_sum_product(basis, (p[0] for p in points)), _sum_product(basis, (p[1] for p in points))))
    return out


def barbs(stroke: Stroke) -> list[Point]:
    """Return the outer ends of the two short lines that make the head of an arrow.

    Args:
        stroke: the shaft; its last point is the tip.

    Returns:
        Two points.

    Example:
        >>> [round(y, 3) for _, y in barbs(Stroke(((0.0, 0.0), (1.0, 0.0)), 0.1))]
        [-0.096, 0.096]
    """
    (x0, y0), (x1, y1) = stroke.points[-2:]
    turn = math.atan2(y1 - y0, x1 - x0)
    return [(x1 - 0.2 * math.cos(turn + s), y1 - 0.2 * math.sin(turn + s)) for s in (0.5, -0.5)]


def extent(shapes: Sequence[Shape], margin: float) -> tuple[float, float, float, float]:
    """Return the rectangle that holds what is drawn.

    Args:
        shapes: the picture.
        margin: how much room to leave on every side.

    Returns:
        Left, top, right and bottom.

    Example:
        >>> extent([Dot((0.0, 1.0), 0.5)], margin=0.5)
        (-1.0, 0.0, 1.0, 2.0)
    """
    xs, ys = [], []
    for shape in shapes:
        match shape:
            case Stroke():
                points, pad = along(shape.points, 12), (shape.width / 2, shape.width / 2)
                points += barbs(shape) if shape.arrow else []
            case Dot():
                points, pad = [shape.centre], (shape.radius + shape.outline / 2,) * 2
            case Box():
                far = (shape.corner[0] + shape.size[0], shape.corner[1] + shape.size[1])
                points, pad = [shape.corner, far], (0.0, 0.0)
            case Label():
                width = 0.62 * shape.size * len(shape.text)  # of an average font
                left = shape.at[0] - {"start": 0.0, "middle": 0.5, "end": 1.0}[shape.anchor] * width
                points, pad = [(left, shape.at[1]), (left + width, shape.at[1])], (0.0, 0.6 * shape.size)
        xs += [p[0] + d for p in points for d in (-pad[0], pad[0])]
        ys += [p[1] + d for p in points for d in (-pad[1], pad[1])]
    if not xs:
        return (-margin, -margin, margin, margin)
    return (min(xs) - margin, min(ys) - margin, max(xs) + margin, max(ys) + margin)


def positive(scale: Any) -> float:
    """Return a scale as a float.

    Args:
        scale: pixels or centimetres per unit.

    Returns:
        The scale.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is not positive and finite.

    Example:
        >>> positive(0)
        Traceback (most recent call last):
        ValueError: scale = 0: a positive number is needed
    """
    number = as_float(scale)
    if number is None:
        raise TypeError(f"scale = {scale!r}: a positive number is needed")
    if not 0 < number < math.inf:
        raise ValueError(f"scale = {scale!r}: a positive number is needed")
    return number


def _sum_product(a: Iterable[float], b: Iterable[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
