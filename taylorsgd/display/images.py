"""Pictures as `<img>` elements, which notebooks show where they take `<svg>` elements out.

JupyterLab shows the HTML of a notebook that it doesn't trust, without its `<svg>` elements and scripts; an image
whose source is the picture itself stays. An image knows nothing of the colours of the page around it: the picture
brings its own white panel.
"""

from base64 import b64encode
from html import escape

__all__ = ["svg_image"]


def svg_image(svg: str, alt: str) -> str:
    """Write a picture as an `<img>` element that holds it.

    Args:
        svg: the text of a self-contained `<svg>` element. Its width and height are kept, however narrow the page:
            pictures of one scale stay so beside each other.
        alt: what the picture shows, for readers who do not see it; also its tooltip.

    Returns:
        The text of an `<img>` element.

    Raises:
        ValueError: if `svg` is no `<svg>` element, or `alt` is empty.

    Example:
        >>> text = svg_image('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>', "nothing")
        >>> print(text[:49] + "…" + text[-78:])
        <img src="data:image/svg+xml;base64,PHN2ZyB4bWxuc…alt="nothing" title="nothing"
         style="vertical-align: middle; max-width: none">
    """
    if not svg.lstrip().startswith("<svg"):
        raise ValueError(f"svg = {svg[:40]!r}…: the text of an <svg> element is needed")
    if not alt:
        raise ValueError("alt = '': say in words what the picture shows")
    words = escape(alt)
    data = b64encode(svg.encode()).decode()
    style = "vertical-align: middle; max-width: none"
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{words}" title="{words}" style="{style}">'
