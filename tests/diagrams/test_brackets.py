"""Diagrams in nested brackets: what is written is read again, and what is none says where it fails."""

from __future__ import annotations

import pytest

import taylorsgd as ts
from taylorsgd.diagrams import Diagram, forests_of_order
from taylorsgd.diagrams.brackets import bracketed, read_brackets
from taylorsgd.diagrams.partitions import set_partitions


@pytest.mark.parametrize("order", range(6))
def test_every_diagram_is_read_as_it_is_written(order: int) -> None:
    found = [Diagram.parse(str(diagram)) for diagram in ts.diagrams_of_order(order)]
    assert found == list(ts.diagrams_of_order(order))


@pytest.mark.parametrize("order", range(4))
def test_so_are_forests_and_tied_roots(order: int) -> None:
    for forest in forests_of_order(order):
        assert Diagram.parse(str(forest)) == forest
    for tree in {Diagram(diagram.parents) for diagram in ts.diagrams_of_order(order)}:
        for partition in set_partitions(range(order + 1)):
            part = {node: block for block in partition for node in block}
            diagram = Diagram(tree.parents, [part[node] for node in range(order + 1)])
            assert Diagram.parse(str(diagram)) == diagram


def test_what_it_means() -> None:
    assert Diagram.parse(".") == Diagram((-1,))
    assert Diagram.parse("(a a)") == Diagram((-1, 0, 0), (0, 1, 1))
    assert Diagram.parse("a(a(.))") == Diagram((-1, 0, 1), (0, 0, 1))
    assert Diagram.parse("(a) | (a b(.) b)") == Diagram((-1, 0, -1, 2, 2, 4, 2), (0, 1, 2, 1, 3, 4, 3))
    assert Diagram.parse("  ( z9 z9( . ) )") == Diagram.parse("(a(.) a)"), "blanks and the choice of letters are free"


def test_more_parts_than_letters() -> None:
    """Written and read without a canonical form, which takes long where so many parts are alike."""
    leaves = range(1, 61)
    pairs = [(leaf, leaf + 1) for leaf in leaves[::2]]
    text = bracketed([leaves, *[()] * 60], [0], [(0,), *pairs])
    assert text.startswith("(a a b b ") and text.endswith(" z z a1 a1 b1 b1 c1 c1 d1 d1)")
    parents, labels = read_brackets(text)
    assert parents == [-1, *[0] * 60]
    assert all((labels[a] == labels[b]) == ((a + 1) // 2 == (b + 1) // 2) for a in leaves for b in leaves)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("()", "the brackets at character 1 are empty"),
        ("(. ())", "the brackets at character 4 are empty"),
        ("(a a", r"at its end a '\)' is missing for the '\(' at character 1"),
        ("(a a))", r"the '\)' at character 6 closes nothing"),
        (")", r"the '\)' at character 1 closes nothing"),
        ("(a b b)", "the letter 'a' at character 2 stands there alone"),
        ("(.) (.)", "at character 5 a second tree begins"),
        (". .", "at character 3 a second tree begins"),
        ("(. | .)", r"at character 4 a '\)' is missing for the '\(' at character 1"),
        ("| .", r"the '\|' at character 1 needs a tree on either side"),
        (". |", r"the '\|' at character 3 needs a tree on either side"),
        (". | | .", r"the '\|' at character 5 needs a tree on either side"),
        ("(.; .)", "';' at character 3 means nothing"),
        ("(. 1)", "'1' at character 4 means nothing"),
        ("(α α)", "'α' at character 2 means nothing"),
    ],
)
def test_what_is_no_diagram_says_where(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Diagram.parse(text)
    assert f"text = {text!r}: " in str(error.value)


def test_only_text_is_read() -> None:
    with pytest.raises(TypeError, match=r"text = \(-1, 0\): a diagram is read from a text"):
        Diagram.parse((-1, 0))  # pyright: ignore[reportArgumentType]


def test_lists_read_well() -> None:
    diagrams = list(ts.diagrams_of_order(2))
    assert repr(diagrams[:2]) == f"[Diagram.parse({str(diagrams[0])!r}), Diagram.parse({str(diagrams[1])!r})]"
    assert eval(repr(diagrams), {"Diagram": Diagram}) == diagrams


def test_terms_and_values_read_well() -> None:
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2)
    assert repr(formula.terms[1]) == "<Term -N G_μ G^μ>"
    assert repr(formula.values[-1:]) == "(<Value C_μν H^μν>,)"
    (gap,) = ts.derive(ts.GeneralizationGap(), ts.GD(), 1, resum="continuous").terms
    assert repr(gap) == f"<Term {gap}>"
    assert repr(gap.value) == f"<ResummedValue {gap.value}>"
    assert "C_μμ" in repr(gap.value)
