"""What can be drawn shows itself in notebooks, and is saved as a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from taylorsgd.arguments import checked_path
from taylorsgd.display.canvas import Shape, positive
from taylorsgd.display.images import svg_image
from taylorsgd.display.svg import MARGIN, write_svg
from taylorsgd.display.tikz import write_tikz
from taylorsgd.whole_files import whole_file

__all__ = ["FORMATS", "Drawn"]

FORMATS = ("svg", "pdf", "png", "tikz")
"""The formats of pictures, as the suffixes of their files."""

_PIXELS = 24.0
_PIXELS_PER_INCH = 96  # of a page, by CSS
_SHARPER = 4  # a PNG has so many pixels for each of a page, so that it can be printed


class Drawn(ABC):
    """Whatever consists of shapes; a class that derives from it gives `shapes` and `description`.

    A notebook shows it as an image that stays where the notebook is not trusted, on a white panel that reads on
    light and dark pages.
    """

    @abstractmethod
    def shapes(self) -> Sequence[Shape]:
        """The picture, back to front, in the units of the display room."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What the picture shows, in words: the alternative text."""

    def svg(self, scale: float = _PIXELS) -> str:
        """Draw it as the text of an `<svg>` element.

        Args:
            scale: pixels per unit (the length of a level edge, or the side of a cell), positive.
        """
        return write_svg(self.shapes(), scale, self.description)

    def tikz(self, scale: float = 0.6) -> str:
        r"""Draw it as a `tikzpicture` for a paper, which needs `\usepackage{tikz}` and no library.

        Args:
            scale: centimetres per unit, positive.
        """
        return write_tikz(self.shapes(), scale)

    def html(self, scale: float = _PIXELS) -> str:
        """Draw it as an `<img>` element with an alternative text.

        Args:
            scale: pixels per unit, positive.
        """
        return svg_image(self.svg(scale), self.description)

    def save(self, path: str | Path, scale: float | None = None) -> None:
        """Save the picture in the format that the suffix of the path names.

        Args:
            path: a file that ends in .svg, .pdf, .png or .tikz; one that is there is replaced.
            scale: the length of a unit: in pixels of a page, 96 to the inch (24 by default); of .tikz in centimetres
                (0.6 by default). A .png has four times as many pixels, so that it stays sharp in print.

        Raises:
            TypeError: if the path or `scale` is of another kind.
            ValueError: if the suffix is another, or `scale` is not a positive number.
            OSError: if the file can't be written.

        Example:
            >>> import tempfile, taylorsgd as ts
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     ts.Diagram.parse("(a a)").save(f"{folder}/fork.pdf")
            ...     ts.Grid([[1, 0], [0, 1]]).save(f"{folder}/grid.png")
            ...     sorted(path.name for path in Path(folder).iterdir())
            ['fork.pdf', 'grid.png']
        """
        path = checked_path(path)
        kind = path.suffix.lower().removeprefix(".")
        if kind not in FORMATS:
            raise ValueError(f"path = {str(path)!r}: its suffix names the format; give .{', .'.join(FORMATS)}")
        if kind == "tikz":
            with whole_file(path) as file:
                file.write(f"{self.tikz(*() if scale is None else (scale,))}\n".encode())
            return
        pixels = _PIXELS if scale is None else positive(scale)
        if kind == "svg":
            with whole_file(path) as file:
                file.write(f"{self.svg(pixels)}\n".encode())
            return
        import matplotlib

        from taylorsgd.writing.painting import painted

        figure = painted(self.shapes(), pixels / _PIXELS_PER_INCH, MARGIN, panel=True)
        # Without a date the same picture is the same file.
        dated = {"CreationDate": None} if kind == "pdf" else {}
        metadata = {"Title": self.description, **dated}
        # Just as large as it is, whatever is set for plots.
        with matplotlib.rc_context({"savefig.bbox": None}), whole_file(path) as file:
            figure.savefig(file, format=kind, dpi=_SHARPER * _PIXELS_PER_INCH, metadata=metadata)

    def _repr_html_(self) -> str:
        return self.html()

    def _repr_svg_(self) -> str:
        return self.svg()
