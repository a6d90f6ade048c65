"""What can be drawn shows itself in untrusted notebooks, and is saved as SVG, PDF, PNG and TikZ."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

import taylorsgd as ts
from taylorsgd.writing.drawn import FORMATS, Drawn

FORK = ts.Diagram.parse("(a a)")
GRID = ts.SGD(N=4, B=2, E=2).grid()
DRAWN: list[Drawn] = [FORK, ts.Diagram.parse("(a(b .) a b(.))"), GRID]


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: drawn.description)
def test_a_notebook_shows_an_image(drawn: Drawn) -> None:
    html = drawn._repr_html_()
    assert html.startswith('<img src="data:image/svg+xml;base64,'), "an <svg> is taken out of an untrusted notebook"
    assert f'alt="{drawn.description}"' in html
    assert drawn._repr_svg_() == drawn.svg()
    assert ElementTree.fromstring(drawn.svg()).findtext("{http://www.w3.org/2000/svg}title") == drawn.description


def test_descriptions() -> None:
    assert FORK.description == "diagram (a a)"
    assert GRID.description == "grid of 4 rows and 4 columns, 2 of the cells in each column shaded"


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: drawn.description)
def test_text_formats_are_what_the_methods_say(drawn: Drawn, tmp_path: Path) -> None:
    drawn.save(tmp_path / "a.svg", scale=30)
    drawn.save(str(tmp_path / "a.tikz"), scale=0.5)
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == drawn.svg(30) + "\n"
    assert (tmp_path / "a.tikz").read_text(encoding="utf-8") == drawn.tikz(0.5) + "\n"


@pytest.mark.parametrize("scale", [None, 12])
@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: drawn.description)
def test_a_png_is_the_svg_in_four_times_as_many_pixels(drawn: Drawn, scale: float | None, tmp_path: Path) -> None:
    drawn.save(tmp_path / "a.png", scale)
    svg = ElementTree.fromstring(drawn.svg() if scale is None else drawn.svg(scale))
    pixels = imread(tmp_path / "a.png")
    width, height = (float(svg.attrib[side]) for side in ("width", "height"))
    assert np.allclose(pixels.shape, (4 * height, 4 * width, 4), atol=2)
    assert pixels[0, 0, 3] == 0, "a round corner"
    assert pixels[2, pixels.shape[1] // 2].tolist() == [1, 1, 1, 1], "on a white panel"


def test_a_png_has_its_nodes_where_the_svg_has(tmp_path: Path) -> None:
    FORK.save(tmp_path / "fork.png")
    pixels = imread(tmp_path / "fork.png")
    svg = ElementTree.fromstring(FORK.svg())
    left, top, *_ = map(float, svg.attrib["viewBox"].split())
    for circle in svg.iter("{http://www.w3.org/2000/svg}circle"):
        if circle.attrib["data-kind"] in ("node", "root"):
            x, y = (float(circle.attrib[c]) for c in ("cx", "cy"))
            centre = pixels[round(4 * (y - top)), round(4 * (x - left)), :3]
            assert np.allclose(centre, 1.0 if circle.attrib["data-kind"] == "root" else 0.0, atol=0.02)


@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: drawn.description)
def test_a_pdf_is_as_large_as_the_svg_and_has_no_date(drawn: Drawn, tmp_path: Path) -> None:
    drawn.save(tmp_path / "a.pdf")
    with matplotlib.rc_context({"savefig.bbox": "tight"}):
        drawn.save(tmp_path / "b.PDF")
    data = (tmp_path / "a.pdf").read_bytes()
    assert data.startswith(b"%PDF") and b"CreationDate" not in data
    assert data == (tmp_path / "b.PDF").read_bytes(), "whatever is set for plots"
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", data)
    assert box
    svg = ElementTree.fromstring(drawn.svg())
    points = [0.75 * float(svg.attrib[side]) for side in ("width", "height")]
    assert [float(side) for side in box.groups()] == pytest.approx(points, abs=0.1)


def test_bad_arguments(tmp_path: Path) -> None:
    for name in ("fork", "fork.jpeg", "fork.svg.gz"):
        with pytest.raises(ValueError, match=r"its suffix names the format; give \.svg, \.pdf, \.png, \.tikz"):
            FORK.save(tmp_path / name)
    for suffix in FORMATS:
        with pytest.raises(ValueError, match="scale = -1"):
            FORK.save(tmp_path / f"fork.{suffix}", scale=-1)
        with pytest.raises(OSError):
            FORK.save(tmp_path / "nowhere" / f"fork.{suffix}")
    assert not list(tmp_path.iterdir())
