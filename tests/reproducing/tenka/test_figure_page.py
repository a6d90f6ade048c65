"""A page of drawings: where shapes stand, how thick lines are, and which way is up."""

from __future__ import annotations

import pytest

from taylorsgd.display.canvas import Box, Dot, Label, Stroke
from taylorsgd.reproducing.tenka.figure_page import Page


def test_a_page_holds_what_is_put_on_it() -> None:
    page = Page(inches=0.5)
    curve = ((0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (3.0, 0.0))
    shapes = [
        Box((0.0, 0.0), (2.0, 1.0), "blue"),
        Stroke(curve, 0.1, dash=(0.2, 0.4), arrow=True),
        Dot((1.0, 1.0), 0.25, "white", outline=0.1),
        Label((0.0, 2.0), "n", 0.6, italic=True),
    ]
    left, top, right, bottom = page.draw(shapes, at=(10.0, 20.0))
    assert 9.5 < left < 10 and 19.9 < top < 20 and right > 13 and bottom > 22
    (axes,) = page.figure(margin=1.0).axes
    box, stroke, dot = axes.patches
    assert box.get_extents().width > 0 and dot.get_linewidth() == pytest.approx(0.1 * 0.5 * 72)
    assert stroke.get_linestyle() == (0, (2.0, 4.0)), "in line widths"
    (text,) = axes.texts
    assert text.get_text() == "n" and text.get_position() == (10.0, 22.0)
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "y grows downwards"
