"""Pictures in HTML: images that hold them, which an untrusted notebook shows."""

import xml.etree.ElementTree as ET
from base64 import b64decode
from html.parser import HTMLParser

import pytest

from taylorsgd.display import TreeDrawing, svg_image, tree_svg

PICTURE = tree_svg(TreeDrawing(((0, 0), (-1, 0)), edges=((1, 0),), roots=(0,)), title="θ & <co>")


def attributes(html):
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    Reader().feed(html)
    return found


def test_an_image_holds_the_picture():
    ((tag, image),) = attributes(svg_image(PICTURE, 'θ & "<co>"'))
    kind, data = image["src"].split(",")
    assert (tag, kind) == ("img", "data:image/svg+xml;base64")
    assert b64decode(data).decode() == PICTURE
    assert image["alt"] == image["title"] == 'θ & "<co>"'


def test_it_keeps_its_size_in_a_narrow_cell():
    ((_, image),) = attributes(svg_image(PICTURE, "x"))
    assert "max-width: none" in image["style"]
    assert not {"width", "height"} & image.keys(), "the picture has its own"
    assert float(ET.fromstring(PICTURE).attrib["width"]) > 0


def test_it_brings_its_own_background():
    """An image knows nothing of the colours of the page around it."""
    panel = next(iter(ET.fromstring(PICTURE).iter("{http://www.w3.org/2000/svg}rect")))
    assert panel.attrib["fill"] == "#ffffff"
    assert float(panel.attrib["rx"]) > 0
    assert "currentColor" not in PICTURE and "class=" not in PICTURE


@pytest.mark.parametrize(
    ("svg", "alt", "message"),
    [("<p>hello</p>", "x", "svg = '<p>hello</p>'"), ("", "x", "svg = ''"), (PICTURE, "", "alt = ''")],
)
def test_errors(svg, alt, message):
    with pytest.raises(ValueError, match=message):
        svg_image(svg, alt)
