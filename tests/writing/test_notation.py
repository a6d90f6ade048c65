r"""Index notation: what stands on the page is the network that it came from.

References: Tenka, section 1.2 (G, H, J, C, S) and section A.1.3 (κ(∇l, ∇∇l) = ½ ∇C).

Identities:
    (1) reading the plain text back, tensor by tensor and index by index, gives the value again
    (2) the LaTeX says the same as the plain text, and matplotlib's mathtext parses it
    (3) different values have different text
    (4) every index occurs twice (once raised), an open index once and raised
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

import pytest
from matplotlib.mathtext import MathTextParser
from sympy import Indexed, Sum, Symbol

import taylorsgd as ts
from taylorsgd.diagrams import Value, forests_of_order, value_of
from taylorsgd.writing.notation import GREEK, LATEX, TEXT
from taylorsgd.writing.sympy_form import to_sympy

SIZES = {"G": (1,), "H": (2,), "J": (3,), "C": (1, 1), "S": (1, 1, 1)}


def values_up_to(order: int) -> list[Value]:
    return sorted({value_of(diagram) for d in range(order + 1) for diagram in ts.diagrams_of_order(d)})


def displacement_values(order: int) -> list[Value]:
    diagrams = [diagram for d in range(1, order + 1) for diagram in ts.diagrams_of_order(d)]
    return sorted({value_of(diagram, ["@0"]) for diagram in diagrams if diagram.degree(0) == 1})


def two_observables(order: int) -> list[Value]:
    found = set()
    for d in range(order + 1):
        for diagram in forests_of_order(d, (False, False)):
            first, second = diagram.roots
            found.add(value_of(diagram, ("s", "u")))
            if diagram.degree(first) == diagram.degree(second) == 1:
                found.add(value_of(diagram, ("@0", "@1")))
    return sorted(found)


def in_moments_up_to(order: int) -> list[Value]:
    return sorted({value for cumulant in values_up_to(order) for _, value in cumulant.in_moments()})


EVERYTHING = [*values_up_to(5), *displacement_values(4), *two_observables(3), *in_moments_up_to(4)]

TOKEN = re.compile(
    r"""
    (?P<bracket>κ\(|E\[) (?P<inside>[^\])]*) [\])]            # κ(∇_μ l, ∇_ν∇_λ l), E[∇_μ l ∇_ν l]
    | ∇(?P<outer>[_^].)\ C\^(?P<inner>.)_(?P=inner)           # ∇_μ C^ν_ν
    | (?P<nablas>(∇[_^].)+)\ (?P<name>[a-z])                  # ∇_μ∇_ν∇_λ∇_ρ l
    | (?P<tensor>[GHJCS]) (?P<scripts>[\^_]\S*)               # H^μ_ν
    | (?P<bare>[a-z])                                         # l
    """,
    re.VERBOSE,
)


def indices(scripts: str) -> list[tuple[str, bool]]:
    """The letters of '^μν_λ' with whether each is raised, letters in the order of the alphabet."""
    found = []
    raised = False
    for character in scripts:
        if character in "^_":
            raised = character == "^"
        elif character != "∇":
            found.append((character, raised))
    return found


def read(text: str) -> tuple[Fraction, Value, Counter[tuple[str, bool]]]:
    """Read plain text: its factor, its value, and how often each index occurs raised and lowered."""
    factor = Fraction(1)
    if found := re.match(r"(½|\d+/\d+) ", text):
        factor = Fraction(1, 2) if found[1] == "½" else Fraction(found[1])
        text = text[found.end() :]
    text = re.sub(r"(?<!κ)\((∇[^()]*)\)", r"\1", text)  # a derivative in front of other factors is bracketed
    ends: list[list[str]] = []  # the letters at every node
    parts: list[int] = []
    marks: list[str] = []
    seen: Counter[tuple[str, bool]] = Counter()
    moments = False

    def node(letters: list[tuple[str, bool]], part: int, name: str = "l") -> None:
        ends.append([letter for letter, _ in letters])
        parts.append(part)
        marks.append("" if name == "l" else name)
        seen.update(letters)

    position = 0
    for part, token in enumerate(TOKEN.finditer(text)):
        assert not text[position : token.start()].strip(), f"left over: {text[position : token.start()]!r}"
        position = token.end()
        if token["bracket"]:
            moments |= token["bracket"] == "E["
            for nablas in re.findall(r"((?:∇[_^].)*) ?l", token["inside"]):
                node(indices(nablas), part)
        elif token["outer"]:
            factor *= 2  # ½ ∇_μ C^ν_ν is κ(∇_μ∇_ν l, ∇^ν l)
            node([*indices(token["outer"]), (token["inner"], False)], part)
            node([(token["inner"], True)], part)
        elif token["nablas"]:
            node(indices(token["nablas"]), part, token["name"])
        elif token["tensor"]:
            letters = sorted(indices(token["scripts"]))
            for degree in SIZES[token["tensor"]]:
                node(letters[:degree], part)
                letters = letters[degree:]
            assert not letters
        else:
            node([], part, token["bare"])
    assert not text[position:].strip(), f"left over: {text[position:]!r}"
    free = [letter for letter, _ in sorted(seen) if sum(seen[letter, raised] for raised in (False, True)) == 1]
    for number, letter in enumerate(sorted(free, key=[pair[1] for pair in GREEK].index)):
        ends.append([letter])
        parts.append(-1 - number)
        marks.append(f"@{number}")
    edges: dict[str, list[int]] = {}
    for number, letters in enumerate(ends):
        for letter in letters:
            edges.setdefault(letter, []).append(number)
    assert all(len(pair) == 2 for pair in edges.values())
    return factor, Value(hung(len(ends), list(edges.values())), parts, marks, moments=moments), seen


def hung(size: int, edges: list[list[int]]) -> list[int]:
    """Parents for an undirected forest."""
    parents = [-2] * size
    for start in range(size):
        if parents[start] == -2:
            parents[start] = -1
            stack = [start]
            while stack:
                node = stack.pop()
                for pair in edges:
                    if node in pair:
                        (other,) = set(pair) - {node}
                        if other != parents[node]:
                            parents[other] = node
                            stack.append(other)
    return parents


def test_text_reads_back_as_the_value() -> None:
    for value in EVERYTHING:
        factor, again, _ = read(str(value))
        assert factor == 1, f"{value}: the ½ belong to the ∇C"
        assert again == value, str(value)


def test_every_index_is_raised_once() -> None:
    """An index occurs once raised and once lowered, an open one only raised: η occurs once an edge."""
    for value in EVERYTHING:
        _, _, seen = read(str(value))
        letters = {letter for letter, _ in seen}
        assert all(seen[letter, True] == 1 for letter in letters), str(value)
        assert all(seen[letter, False] <= 1 for letter in letters), str(value)
        assert len(letters) == value.order


def test_different_values_read_differently() -> None:
    for family in (values_up_to(5), displacement_values(4), two_observables(3), in_moments_up_to(4)):
        assert len({str(value) for value in family}) == len(family)
        assert len({value.latex() for value in family}) == len(family)


def plain(latex: str) -> str:
    """Turn the LaTeX into the plain notation, without spaces."""
    latex = latex.replace(r"\frac{1}{2}", "½").replace(r"\nabla", "∇")
    latex = re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", latex)
    for written, read_as in [
        (r"\kappa\left(", "κ("),
        (r"\left(", "("),
        (r"\right)", ")"),
        (r"\mathbb{E}\left[", "E["),
        (r"\right]", "]"),
    ]:
        latex = latex.replace(written, read_as)
    for written, letter in sorted(GREEK, key=lambda pair: -len(pair[0])):
        latex = latex.replace(written, letter)
    return re.sub(r"[{}\s]", "", latex)


def test_latex_says_what_the_text_says() -> None:
    for value in EVERYTHING:
        assert plain(value.latex()) == re.sub(r"\s", "", str(value))
        assert LATEX.pieces(value.contraction())[0] == TEXT.pieces(value.contraction())[0]


@pytest.mark.parametrize("order", range(5))
def test_mathtext_parses_the_latex(order: int) -> None:
    parser = MathTextParser("path")
    for value in EVERYTHING:
        if value.order == order:
            parser.parse(f"${value.latex()}$")
            assert value._repr_latex_() == f"$\\displaystyle {value.latex()}$"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value((-1,)), "l"),
        (Value((-1, 0)), "G_μ G^μ"),
        (Value((-1, 0), (0, 0)), "C^μ_μ"),
        (Value((-1, 0, 0)), "G_μ H^μ_ν G^ν"),
        (Value((-1, 0, 0), (0, 1, 1)), "C_μν H^μν"),
        (Value((-1, 0, 0), (0, 0, 1)), "½ (∇_μ C^ν_ν) G^μ"),
        (Value((-1, 0, 0, 0), (0, 1, 1, 1)), "S_μνλ J^μνλ"),
        (Value((-1, 0), marks=("@0", "")), "G^μ"),
        (Value((-1, 0, 1), (0, 1, 1), ("@0", "", "")), "½ ∇^μ C^ν_ν"),
        (Value((-1, 0, 1), (0, 1, 1), ("s", "", "")), "½ (∇_μ C^ν_ν) ∇^μ s"),
        (Value((-1, 0, 0), (0, 1, 1), moments=True), "E[∇_μ l ∇_ν l] H^μν"),
        (Value((-1, 0, 0, 0, 0)), "G_μ (∇^μ∇_ν∇_λ∇_ρ l) G^ν G^λ G^ρ"),
    ],
)
def test_named_tensors(value: Value, text: str) -> None:
    assert str(value) == text


def test_two_traces_are_a_quarter() -> None:
    """(∇_μ C^ν_ν) H^μ_λ ∇^λ C^ρ_ρ holds two ½."""
    value = Value((-1, 0, 0, 1, 2), (0, 1, 2, 1, 2))
    factor, words, rest = TEXT.pieces(value.contraction())
    assert (factor, rest) == (Fraction(1, 4), 1)
    assert words == ["(∇_μ C^ν_ν)", "H^μ_λ", "∇^λ C^ρ_ρ"]
    assert str(value).startswith("1/4 ")
    assert value.latex().startswith(r"\frac{1}{4} ")


def test_a_trace_of_the_covariance_is_no_other_contraction() -> None:
    """κ(∇_μ l, ∇_ν∇_λ l) is ½ ∇C only if the tied pair shares an edge."""
    apart = Value((-1, 0, 1, 0), (0, 1, 2, 1))
    assert "κ(" in str(apart)
    assert "C" not in str(apart)
    moment = Value((-1, 0, 0), (0, 0, 1), moments=True)
    assert "C" not in str(moment)


def test_more_indices_than_letters() -> None:
    """A chain of 30 edges: letters never run out, and none is used for two edges."""
    value = Value((-1, *range(30)))
    letters = re.findall(r"[_^]\{([^{}]+(?:\{\d+\})?)\}", value.latex())
    assert len(set(letters)) == 30
    assert MathTextParser("path").parse(f"${value.latex()}$")
    text = str(value)
    assert "μ1" in text
    assert "μ11" in text


@pytest.mark.parametrize("resum", [{}, {"resum": "discrete"}, {"resum": "continuous"}])
def test_an_observable_may_have_a_tensors_name(resum: dict[str, str]) -> None:
    """Its derivatives are written as such, never as G, H, J, C or S."""
    observable = ts.Observable(Symbol("x") ** 2, name="C")
    formula = ts.derive(observable, ts.SGD(B=1, E=1), 1, **resum)  # type: ignore[arg-type]
    assert "∇" in str(formula[1])
    assert r"\nabla" in formula[1].latex()
    assert {str(tensor.base) for tensor in formula[1].to_sympy().atoms(Indexed)} >= {"C_1", "G"}


def test_all_faces_use_the_same_letters() -> None:
    """What SymPy's form sums over are the letters on the page; up to order 3 there are three."""
    for value in values_up_to(3):
        written = to_sympy(value.contraction())
        summed = {str(index) for total in written.atoms(Sum) for index in total.variables}
        assert summed == {latex[1:] for latex, plain in GREEK[:3] if plain in str(value)}
