"""Tables: escaped HTML, plain text in columns that line up whatever the characters' widths."""

import unicodedata
import xml.etree.ElementTree as ET

import pytest

from taylorsgd.display import Raw, TreeDrawing, html_table, text_table, tree_svg


def test_html_is_escaped_unless_raw():
    text = html_table(["<h>"], [["<b>&'\""], [Raw("<b>bold</b>")]])
    table = ET.fromstring(text)
    assert [e.text for e in table.iter("th")] == ["<h>"]
    cells = list(table.iter("td"))
    assert cells[0].text == "<b>&'\"" and len(cells[0]) == 0
    assert cells[1].findtext("b") == "bold"


def test_formulas_stay_on_one_line():
    """Not broken inside a factor, however narrow the page."""
    table = ET.fromstring(html_table(["a", "b"], [["$x + y$", "x + y"], ["$", "$x$ and $y$"]]))
    styles = [cell.attrib["style"] for cell in table.iter("td")]
    assert ["nowrap" in style for style in styles] == [True, False, False, False]


def test_pictures_stand_in_cells():
    picture = Raw(tree_svg(TreeDrawing(((0, 0),), roots=(0,))), "•")
    table = ET.fromstring(html_table(["diagram", "order"], [[picture, 0]]))
    assert table.find(".//{http://www.w3.org/2000/svg}circle") is not None
    assert text_table(["diagram", "order"], [[picture, 0]]).splitlines()[-1] == "•            0"


def test_shape():
    table = ET.fromstring(html_table("abc", [[1, 2, 3], [4, 5, 6]]))
    assert [len(row) for row in table.iter("tr")] == [3, 3, 3]
    assert len(list(table.iter("td"))) == 6


def test_lines_of_a_cell():
    table = ET.fromstring(html_table(["a"], [["x\ny"]]).replace("<br>", "<br/>"))
    assert table.find(".//br") is not None
    assert text_table(["a", "b"], [["x\ny", 1]]).splitlines()[2:] == ["x  1", "y"]


def test_numbers_stand_right():
    rows = [["1", -2, "0.1665(7)"], [100, 3.5, "12.0(1)e-3"]]
    assert text_table(["n", "x", "y"], rows).splitlines() == [
        "  n    x           y",
        "───  ───  ──────────",
        "  1   -2   0.1665(7)",
        "100  3.5  12.0(1)e-3",
    ]
    assert html_table(["n"], [[1], [2]]).count("right") == 3
    assert html_table(["n"], [[1], ["b"]]).count("right") == 0


def columns(text):
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    none = sum(unicodedata.combining(c) > 0 or unicodedata.category(c) == "Cf" for c in text)
    return len(text) + wide - none


@pytest.mark.parametrize("word", ["plain", "∇C·GH", "漢字", "θ̂", "e\u0301te\u0301", "a\u200db", "𝔼", "ﾊﾝｶｸ"])
def test_unicode_columns_line_up(word):
    lines = text_table(["first", "second"], [[word, "|"], ["other", "|"]]).splitlines()
    assert columns(lines[2].split("|")[0]) == columns(lines[3].split("|")[0])


def test_no_rows_no_columns():
    assert text_table(["a", "bc"], []) == "a  bc\n─  ──"
    assert text_table([], []) == ""
    assert ET.fromstring(html_table([], [])).tag == "table"


def test_no_spaces_at_the_ends_of_lines():
    text = text_table(["a", "b"], [["x", ""], ["longer", "y"]])
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("write", [html_table, text_table])
def test_ragged_rows(write):
    with pytest.raises(ValueError, match=r"rows\[1\] has 1 cells, the header 2; they need the same number"):
        write(["a", "b"], [[1, 2], [3]])
