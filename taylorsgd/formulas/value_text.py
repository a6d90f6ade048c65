r"""Reading a value as it is written: "G_μ H^μ_ν G^ν", `C_{\mu\nu} H^{\mu\nu}`, "C_mu_nu H^mu_nu", or in short "C H".

    named tensors     G H J C S with indices, in any letters; each index stands twice, an open one once
    derivatives       ∇_μ∇_ν l, ∇⁴l_{μνλρ}, ∇_μ s for an observable s;  ∇_μ C^ν_ν, the derivative of a trace
    other parts       κ(∇_μ l, ∇_ν∇_λ l), in moments E[∇_μ l ∇_ν l]
    in short          the same without any index: "G G", "G H G", "∇C G", "κ(∇l, ∇∇l) H", "∇⁴l G G G G"

Indices are Greek letters, as themselves, in LaTeX or by their names, or any small Latin ones. A name wins over
single letters: `nu` is ν. A number in front multiplies.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sympy import Expr, Integer, Rational

from taylorsgd.diagrams import Value
from taylorsgd.diagrams.tensor_network import LOSS, TensorNetwork, is_open, open_index
from taylorsgd.writing.notation import GREEK, NAMED

__all__ = ["Factor", "Reading", "read_value", "short_factors"]

DEGREES = {name: degrees for degrees, name in NAMED.items()}
LETTERS = {latex.lstrip("\\"): text for latex, text in GREEK}
ORDER = {text: number for number, (_, text) in enumerate(GREEK)}
"""Where a Greek letter stands among the indices, as a formula gives them out."""
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_NAME = re.compile("|".join(sorted(LETTERS, key=len, reverse=True)))
_NUMBER = re.compile(r"\s*(?:½|(\d+)\s*/\s*(\d+)|(\d+)(?![\d.]))\s*[*·]?\s*")

Kind = tuple[str, tuple[int, ...], bool]
"""What a part is, whatever its indices are: its mark, its degrees in order, whether it is the derivative of a trace."""


@dataclass(frozen=True)
class Factor:
    """One tensor of a text.

    Attributes:
        mark: "" for derivatives of the loss, else an observable's name.
        degrees: how often each of its nodes is differentiated.
        nodes: the letters at each node; None where no indices are written.
        trace: whether it is written as the derivative of a trace, ∇C, which is twice its value.
        moment: whether it is written as a moment E[…].
    """

    mark: str
    degrees: tuple[int, ...]
    nodes: tuple[tuple[str, ...], ...] | None
    trace: bool = False
    moment: bool = False

    @property
    def kind(self) -> Kind:
        """What it is without its indices."""
        return self.mark, tuple(sorted(self.degrees)), self.trace


@dataclass(frozen=True)
class Reading:
    """What a text says.

    Attributes:
        number: what the text is times the value that it names: the number in front, and 2 for each ∇C.
        factors: its tensors.
        text: the text.
    """

    number: Expr
    factors: tuple[Factor, ...]
    text: str

    @property
    def is_short(self) -> bool:
        """Whether no indices are written, though there could be."""
        return any(factor.nodes is None for factor in self.factors)

    def names(self, value: TensorNetwork) -> bool:
        """Whether a short text fits a value: whether it has the same tensors."""
        if any(factor.moment for factor in self.factors) and not value.moments:
            return False
        ours = Counter(factor.kind for factor in self.factors)
        return ours == Counter(short_factors(value)) or (
            not any(factor.trace for factor in self.factors)
            and ours == Counter((mark, degrees, False) for mark, degrees, _ in short_factors(value))
        )

    def networks(self) -> list[Value]:
        """The values that a text with indices may mean: one, or two where one open index may be a or b's of a pair.

        Raises:
            ValueError: if an index stands more than twice, or the indices close a loop.
        """
        nodes: list[tuple[str, tuple[str, ...], int]] = []
        for part, factor in enumerate(self.factors):
            nodes += [(factor.mark, letters, part) for letters in factor.nodes or ()]
        ends: dict[str, list[int]] = {}
        for node, (_, letters, _) in enumerate(nodes):
            for letter in letters:
                ends.setdefault(letter, []).append(node)
        crowded = [letter for letter, at in ends.items() if len(at) > 2]
        if crowded:
            raise ValueError(
                f"{self.text!r}: the index {crowded[0]} stands {len(ends[crowded[0]])} times; twice at most"
            )
        free = sorted((letter for letter, at in ends.items() if len(at) == 1), key=_place)
        for number, letter in enumerate(free):
            ends[letter].append(len(nodes))
            nodes.append((open_index(number), (letter,), len(self.factors) + number))
        parents = _hung(len(nodes), list(ends.values()))
        if parents is None:
            raise ValueError(f"{self.text!r}: its indices close a loop, and no value of a formula has one")
        parts, moments = [part for *_, part in nodes], any(factor.moment for factor in self.factors)
        choices = [{0: 0, 1: 1}] if len(free) != 1 else [{0: 0}, {0: 1}]
        found = []
        for choice in choices:
            marks = [open_index(choice[int(mark[1:])]) if is_open(mark) else mark for mark, *_ in nodes]
            found.append(Value(parents, parts, marks, moments=moments))
        return found


def short_factors(value: TensorNetwork) -> list[Kind]:
    """The tensors of a value without their indices.

    Example:
        >>> short_factors(Value((-1, 0, 0), (0, 1, 1)))      # C·H
        [('', (2,), False), ('', (1, 1), False)]
    """
    found = []
    for block in value.blocks:
        if is_open(value.marks[block[0]]):
            continue
        degrees = tuple(sorted(value.degrees[node] for node in block))
        trace = (
            degrees == (1, 2) and not value.moments and not value.is_resummed and block[1] in value.neighbours[block[0]]
        )
        found.append((value.marks[block[0]], degrees, trace))
    return found


def read_value(text: str, observables: Iterable[str] = ()) -> Reading:
    r"""Read a text; see above.

    Args:
        text: what names a value.
        observables: the names of observables that may occur.

    Raises:
        ValueError: if it can't be read: it says where.

    Example:
        >>> read_value(r"C_{\mu\nu} H^{\mu\nu}").networks() == read_value("C_ij H_ij").networks()
        True
        >>> [factor.kind for factor in read_value("G H G").factors]
        [('', (1,), False), ('', (2,), False), ('', (1,), False)]
    """
    number, start = Integer(1), 0
    plain = _plain(text)
    found = _NUMBER.match(plain)
    if found:
        above, below, whole = found.groups()
        number = Rational(1, 2) if found[0].strip().startswith("½") else Rational(int(above or whole), int(below or 1))
        start = found.end()
    factors = _Reader(text, plain, start, tuple(observables)).factors()
    bare = [factor for factor in factors if factor.nodes is None]
    if bare and any(factor.nodes and any(factor.nodes) for factor in factors):
        raise ValueError(f"{text!r}: give indices to all tensors or to none")
    return Reading(number * 2 ** sum(factor.trace for factor in factors), tuple(factors), text)


def _plain(text: str) -> str:
    """A text with Unicode letters in place of LaTeX commands and words."""
    plain = text.replace("$", " ").replace(r"\mathbb{E}", "E").replace(r"\frac{1}{2}", "½")
    plain = re.sub(r"\\mathrm\{((?:[^{}\\]|\\.)*)\}", lambda found: found[1].replace("\\", ""), plain)
    plain = re.sub(r"\\(?:displaystyle|left|right|big|Big|cdot|[,;:! ])(?![a-zA-Z])", " ", plain)
    plain = re.sub(r"\\([a-zA-Z]+)\s*", lambda found: {"nabla": "∇", **LETTERS}.get(found[1], found[0]), plain)
    plain = re.sub(r"(?:nabla|grad)(?![a-z])", "∇", plain)
    return re.sub(r"kappa(?=\s*\()", "κ", plain).translate(SUPERSCRIPTS)


class _Reader:
    """Reads one factor after another."""

    def __init__(self, text: str, plain: str, start: int, observables: tuple[str, ...]) -> None:
        self.text, self.plain, self.at = text, plain, start
        self.names = sorted({*observables, "l"}, key=len, reverse=True)

    def factors(self) -> list[Factor]:
        found = []
        while self._more():
            found.append(self._factor())
        if not found:
            raise ValueError(f"{self.text!r} names no tensors; write for example 'G_μ G^μ' or 'C H'")
        return found

    def _more(self) -> bool:
        while self.at < len(self.plain) and self.plain[self.at] in " \t\n*·":
            self.at += 1
        return self.at < len(self.plain)

    def _takes(self, pattern: str) -> re.Match[str] | None:
        found = re.compile(r"\s*" + pattern).match(self.plain, self.at)
        if found:
            self.at = found.end()
        return found

    def _fail(self, why: str) -> ValueError:
        rest = self.plain[self.at :].strip()
        return ValueError(f"{self.text!r}: {why} at {rest!r}" if rest else f"{self.text!r}: {why} at its end")

    def _factor(self) -> Factor:
        if self._takes(r"κ\s*\("):
            return self._joint(r"\)", ",", moment=False)
        if self._takes(r"E\s*\["):
            return self._joint(r"\]", "", moment=True)
        if self._takes(r"\("):
            inside = self._factor()
            if not self._takes(r"\)"):
                raise self._fail("a bracket is not closed")
            outside = self._script()
            if not outside:
                return inside
            if inside.nodes is not None or inside.degrees != (len(outside),):
                raise self._fail(f"the bracket does not take {len(outside)} indices")
            return Factor(inside.mark, inside.degrees, (tuple(outside),))
        if self.plain.startswith("∇", self.at):
            return self._derivative()
        found = self._takes(r"([GHJCS])(?![A-Za-z0-9])")
        if found and found[1] not in self.names:
            return self._named(found[1])
        return self._derivative()

    def _named(self, name: str) -> Factor:
        degrees, letters = DEGREES[name], self._script()
        if not letters:
            return Factor(LOSS, degrees, None)
        if len(letters) != sum(degrees):
            raise self._fail(f"{name} takes {sum(degrees)} indices, not {len(letters)},")
        rest = iter(letters)
        return Factor(LOSS, degrees, tuple(tuple(next(rest) for _ in range(degree)) for degree in degrees))

    def _derivative(self) -> Factor:
        """∇'s with or without indices in front of l, an observable or C."""
        degree, letters = 0, []
        while self._takes("∇"):
            power = self._takes(r"\^?\{?(\d+)\}?")
            here = self._script()
            degree += int(power[1]) if power else max(len(here), 1)
            letters += here
        for name in self.names:
            if self._takes(re.escape(name) + r"(?![A-Za-z0-9])"):
                letters += self._script()
                if letters and len(letters) != degree:
                    raise self._fail(f"{degree} derivatives take {degree} indices, not {len(letters)},")
                mark = LOSS if name == "l" else name
                return Factor(mark, (degree,), None if degree and not letters else (tuple(letters),))
        if degree == 1 and self._takes("C(?![A-Za-z0-9])"):
            inner = self._script()
            if not letters and not inner:
                return Factor(LOSS, (1, 2), None, trace=True)
            if len(letters) != 1 or len(inner) != 2 or inner[0] != inner[1]:
                raise self._fail("of C only the trace is differentiated, ∇_μ C^ν_ν; write κ(…) for others,")
            return Factor(LOSS, (1, 2), ((inner[0],), (letters[0], inner[0])), trace=True)
        known = ", ".join(["G, H, J, C, S", *sorted(self.names)])
        raise self._fail(f"expected one of {known}, ∇…, κ(…) or E[…]")

    def _joint(self, closing: str, separator: str, *, moment: bool) -> Factor:
        nodes: list[Factor] = []
        while not self._takes(closing):
            if nodes and separator and not self._takes(separator):
                raise self._fail(f"expected {separator!r} or the closing bracket")
            if not self._more():
                raise self._fail("a bracket is not closed")
            nodes.append(self._factor())
        if not nodes or any(node.mark or len(node.degrees) > 1 for node in nodes):
            raise self._fail("a cumulant or moment is of derivatives of l")
        if len({node.nodes is None for node in nodes if node.degrees != (0,)}) > 1:
            raise self._fail("give indices to all tensors or to none")
        letters = (
            None if any(node.nodes is None for node in nodes) else tuple(own for n in nodes for own in n.nodes or ())
        )
        return Factor(LOSS, tuple(node.degrees[0] for node in nodes), letters, moment=moment and len(nodes) > 1)

    def _script(self) -> list[str]:
        """The letters of all that is raised or lowered here."""
        letters: list[str] = []
        while found := re.compile(r"[\^_]\s*(\{[^{}]*\}|[^\W\dA-Za-z_]\d*|[a-z]+\d*)").match(self.plain, self.at):
            self.at = found.end()
            letters += _letters(found[1])
            # more letters of one script, as in _μν: Greek ones, which no tensor's name begins with
            while found[1][0] != "{" and found[1][0] in ORDER and self.plain[self.at : self.at + 1] in [*ORDER]:
                letters.append(self.plain[self.at])
                self.at += 1
        return letters


def _letters(script: str) -> list[str]:
    """The single letters of a script: names of Greek ones, and others one by one."""
    pattern = re.compile(rf"(?:({_NAME.pattern})|([^\W\d_]))(\d*)")
    return [LETTERS.get(name, other) + digits for name, other, digits in pattern.findall(script)]


def _place(letter: str) -> tuple[int, str]:
    return ORDER.get(letter, len(ORDER)), letter


def _hung(count: int, edges: list[list[int]]) -> list[int] | None:
    """The parents of a forest with these edges; None if they close a loop."""
    near: list[list[int]] = [[] for _ in range(count)]
    for one, other in edges:
        near[one].append(other)
        near[other].append(one)
    parents: list[int | None] = [None] * count
    for root in range(count):
        if parents[root] is not None:
            continue
        parents[root], stack = -1, [root]
        while stack:
            node = stack.pop()
            for other in near[node]:
                if parents[other] is None:
                    parents[other] = node
                    stack.append(other)
    if sum(parent == -1 for parent in parents) != count - len(edges):
        return None
    return [parent for parent in parents if parent is not None]
