"""Writing shapes as SVG."""

import re
from collections.abc import Sequence
from html import escape

from taylorsgd.display.canvas import INKS, Box, Dot, Label, Shape, Stroke, barbs, extent, positive

__all__ = ["MARGIN", "write_svg"]

MARGIN = 0.2
"""How far a picture's white panel reaches beyond its shapes, in units; also the radius of its corners."""

_FORBIDDEN = re.compile("[^\\t\\n\\r -\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def write_svg(shapes: Sequence[Shape], scale: float, title: str) -> str:
    """Write shapes as one self-contained SVG element, on a white panel so that it reads on any background.

    Args:
        shapes: back to front, y growing downwards.
        scale: pixels per unit, positive.
        title: what the picture shows, for readers who do not see it (and as a tooltip).

    Returns:
        The text of an `<svg>` element, sized in pixels.

    Raises:
        ValueError: if `scale` is not a positive number.

    Example:
        >>> print(write_svg([Dot((0.0, 0.0), 0.5)], 10, "a dot"))
        <svg xmlns="http://www.w3.org/2000/svg" role="img" width="14" height="14" viewBox="-7 -7 14 14"
         style="vertical-align: middle">
        <title>a dot</title>
        <rect x="-7" y="-7" width="14" height="14" rx="2" fill="#ffffff"/>
        <circle cx="0" cy="0" r="5" fill="#000000"/>
        </svg>
    """
    scale = positive(scale)
    left, top, right, bottom = (round(v * scale, 2) for v in extent(shapes, MARGIN))
    x, y, width, height = map(_number, (left, top, right - left, bottom - top))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="{x} {y} {width} {height}" style="vertical-align: middle">',
        f"<title>{_escaped(title)}</title>",
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{_number(MARGIN * scale)}" fill="#ffffff"/>',
        *(_element(shape, scale) for shape in shapes),
        "</svg>",
    ]
    return "\n".join(lines)


def _element(shape: Shape, scale: float) -> str:
    def n(length: float) -> str:
        return _number(length * scale)

    kind = f' data-kind="{_escaped(shape.kind)}"' if shape.kind else ""
    match shape:
        case Stroke():
            first, *others = (f"{n(x)} {n(y)}" for x, y in shape.points)
            path = f"M{first} {'C' if len(others) == 3 else 'L'}{', '.join(others)}"
            if shape.arrow:
                path += "".join(f" M{n(x)} {n(y)} L{others[-1]}" for x, y in barbs(shape))
            dash = f' stroke-dasharray="{" ".join(map(n, shape.dash))}"' if shape.dash else ""
            return (
                f'<path d="{path}" fill="none" stroke="{INKS[shape.ink][0]}" '
                f'stroke-width="{n(shape.width)}" stroke-linecap="round"{dash}{kind}/>'
            )
        case Dot():
            ring = f' stroke="#000000" stroke-width="{n(shape.outline)}"' if shape.outline else ""
            return (
                f'<circle cx="{n(shape.centre[0])}" cy="{n(shape.centre[1])}" r="{n(shape.radius)}" '
                f'fill="{INKS[shape.ink][0]}"{ring}{kind}/>'
            )
        case Box():
            return (
                f'<rect x="{n(shape.corner[0])}" y="{n(shape.corner[1])}" width="{n(shape.size[0])}" '
                f'height="{n(shape.size[1])}" fill="{INKS[shape.ink][0]}"{kind}/>'
            )
        case Label():
            slant = ' font-style="italic"' if shape.italic else ""
            baseline = shape.at[1] + 0.34 * shape.size
            return (
                f'<text x="{n(shape.at[0])}" y="{n(baseline)}" font-family="STIX Two Text, Times, serif" '
                f'font-size="{n(shape.size)}"{slant} text-anchor="{shape.anchor}" fill="#000000"{kind}>'
                f"{_escaped(shape.text)}</text>"
            )


def _number(value: float) -> str:
    """Write a number with at most 2 decimals and no trailing zeros."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _escaped(text: str) -> str:
    """Escape text and drop the characters that XML cannot carry."""
    return escape(_FORBIDDEN.sub("", text)).replace("&#x27;", "'")
