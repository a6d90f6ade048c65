"""Tables, for a page of HTML and for a terminal.

A column whose cells are all numbers is set to the right, any other to the left. In HTML a cell's text is
escaped; a cell that is HTML already, such as a picture, is wrapped in `Raw`. A cell of mathematics, from dollar to
dollar, is never broken into lines.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Raw", "html_table", "text_table"]

_NUMBER = re.compile(r"[-+−±]?(\d[\d,]*(\.\d*)?|\.\d+)(\(\d+\))?([eE][-+]?\d+)?(/\d+)?%?")

_FORMULA = re.compile(r"\$[^$]+\$")


@dataclass(frozen=True)
class Raw:
    """A cell of HTML that is not to be escaped.

    Args:
        html: what stands in an HTML table.
        text: what stands in a plain one.

    Example:
        >>> html_table(["a"], [[Raw("<b>1</b>")]]).count("<b>1</b>")
        1
    """

    html: str
    text: str = ""

    def __str__(self) -> str:
        """Return the plain text."""
        return self.text


def html_table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Write a table as HTML.

    Args:
        header: the columns' names.
        rows: per row one cell for each column, written with `str`; `Raw` cells stand as they are.

    Returns:
        The text of a `<table>` element.

    Raises:
        ValueError: if a row has more or fewer cells than the header.

    Example:
        >>> print(html_table(["order", "value"], [[1, "a < b"]]))
        <table>
        <thead>
        <tr><th style="text-align: right">order</th><th style="text-align: left">value</th></tr>
        </thead>
        <tbody>
        <tr><td style="text-align: right">1</td><td style="text-align: left">a &lt; b</td></tr>
        </tbody>
        </table>
    """
    names, body = _checked(header, rows)
    sides = _sides(len(names), body)

    def line(tag: str, cells: Sequence[object]) -> str:
        made = (
            f'<{tag} style="text-align: {side}{_unbroken(cell)}">{_html(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    head = ["<thead>", line("th", names), "</thead>"]
    rest = ["<tbody>", *(line("td", row) for row in body), "</tbody>"]
    return "\n".join(["<table>", *head, *rest, "</table>"])


def text_table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Write a table as plain text in columns of equal width.

    Wide characters count as two columns, combining and invisible ones as none. A cell may have several
    lines.

    Args:
        header: the columns' names.
        rows: per row one cell for each column, written with `str`.

    Returns:
        The header, a rule and the rows, without spaces at the ends of lines.

    Raises:
        ValueError: if a row has more or fewer cells than the header.

    Example:
        >>> print(text_table(["order", "value"], [[1, "G·G"], [10, "∇C·G"]]))
        order  value
        ─────  ─────
            1  G·G
           10  ∇C·G
    """
    names, body = _checked(header, rows)
    sides = _sides(len(names), body)
    lines = [[str(cell).expandtabs(4).splitlines() or [""] for cell in row] for row in (names, *body)]
    widths = [max(_width(text) for row in lines for text in row[i]) for i in range(len(names))]
    out = []
    for row in lines:
        for i in range(max(map(len, row), default=0)):
            texts = [cell[i] if i < len(cell) else "" for cell in row]
            padded = (_pad(*item) for item in zip(texts, widths, sides, strict=True))
            out.append("  ".join(padded).rstrip())
        if row is lines[0]:
            out.append("  ".join("─" * width for width in widths))
    return "\n".join(out)


def _checked(header: Iterable[object], rows: Iterable[Iterable[object]]) -> tuple[list[object], list[list[object]]]:
    names, body = list(header), [list(row) for row in rows]
    for i, row in enumerate(body):
        if len(row) != len(names):
            raise ValueError(f"rows[{i}] has {len(row)} cells, the header {len(names)}; they need the same number")
    return names, body


def _sides(count: int, body: Sequence[Sequence[object]]) -> list[str]:
    """Return "right" for the columns of numbers, "left" for the others."""
    columns = [[str(row[i]).strip() for row in body if not isinstance(row[i], Raw)] for i in range(count)]
    return ["right" if c and all(map(_NUMBER.fullmatch, c)) else "left" for c in columns]


def _unbroken(cell: object) -> str:
    """What keeps a formula on one line, as a style that JupyterLab leaves in notebooks it doesn't trust."""
    return "; white-space: nowrap" if _FORMULA.fullmatch(str(cell)) else ""


def _html(cell: object) -> str:
    return cell.html if isinstance(cell, Raw) else escape(str(cell)).replace("\n", "<br>")


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    width = 0
    for c in text:
        if unicodedata.combining(c) or unicodedata.category(c) in ("Cc", "Cf", "Me", "Mn"):
            continue
        width += 2 if unicodedata.east_asian_width(c) in "WF" else 1
    return width


def _pad(text: str, width: int, side: str) -> str:
    space = " " * (width - _width(text))
    return space + text if side == "right" else text + space
