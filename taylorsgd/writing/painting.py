"""Shapes of the display room painted by Matplotlib, which writes them as PDF and PNG."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path

from taylorsgd.display.canvas import INKS, Box, Dot, Label, Shape, Stroke, barbs, extent

__all__ = ["paint", "painted"]

POINTS_PER_INCH = 72
FONT = "STIXGeneral"


def painted(shapes: Sequence[Shape], inches: float, margin: float, panel: bool = False) -> Figure:
    """Paint shapes on a figure just as large as they are.

    Args:
        shapes: back to front, y growing downwards.
        inches: per unit of the shapes.
        margin: how much room to leave on every side, in units.
        panel: whether they stand on a white panel with round corners, and nothing around it.

    Returns:
        The figure; without a panel it is as white or transparent as it is saved.

    Example:
        >>> painted([Dot((0.0, 0.0), 0.5)], inches=1, margin=0.5).get_size_inches().tolist()
        [2.0, 2.0]
    """
    left, top, right, bottom = extent(shapes, margin)
    figure = Figure(figsize=((right - left) * inches, (bottom - top) * inches))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.set_axis_off()
    if panel:
        figure.set_facecolor("none")
        style = f"round,pad=0,rounding_size={margin}"
        plate = FancyBboxPatch((left, top), right - left, bottom - top, style, facecolor="white", edgecolor="none")
        axes.add_patch(plate).set_zorder(-1)
    paint(axes, shapes, inches)
    return figure


def paint(axes: Axes, shapes: Sequence[Shape], inches: float) -> None:
    """Add shapes to axes, each in front of those before it.

    Args:
        axes: where one unit is as wide as it is high, with y growing downwards.
        shapes: what to paint. Matplotlib sets what stands between dollars in a label as mathematics.
        inches: the length of a unit, which widths of lines and sizes of letters follow.
    """
    points = inches * POINTS_PER_INCH
    for number, shape in enumerate(shapes):
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
