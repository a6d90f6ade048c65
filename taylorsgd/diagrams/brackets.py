"""Diagrams in nested brackets, written and read: root outermost, tied nodes share a letter.

diagram   a tree for every root, " | " between them
tree      "." (alone, no children), a letter (tied, no children), "(" trees ")" or a letter and "(" trees ")"
letter    a, b, …, z, a1, …: one for every part of two nodes or more
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

__all__ = ["bracketed", "read_brackets"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"\s*([A-Za-z][0-9]*\(?|[().|])")


def bracketed(children: Sequence[Sequence[int]], roots: Sequence[int], blocks: Sequence[Sequence[int]]) -> str:
    """Write a forest with a partition of its nodes.

    Args:
        children: the children of every node.
        roots: the roots, in order.
        blocks: the parts.

    Returns:
        The text, which `read_brackets` reads.
    """
    part = {node: number for number, block in enumerate(blocks) if len(block) > 1 for node in block}
    letters: dict[int, str] = {}

    def write(node: int) -> str:
        label = letters.setdefault(part[node], _letter(len(letters))) if node in part else ""
        below = " ".join(map(write, children[node]))
        return f"{label}({below})" if below else (label or ".")

    return " | ".join(map(write, roots))


def read_brackets(text: str) -> tuple[list[int], list[object]]:
    """Read what `bracketed` wrote.

    Args:
        text: the brackets; blanks may stand between words.

    Returns:
        The parent of every node (−1 for a root), and a label for its part.

    Raises:
        TypeError: if it is no text.
        ValueError: if it is no diagram; says where, counting characters from 1.
    """
    if not isinstance(text, str):
        raise TypeError(f"text = {text!r}: a diagram is read from a text such as '(a a)'")

    def wrong(what: str) -> ValueError:
        return ValueError(f"text = {text!r}: {what}")

    parents: list[int] = []
    labels: list[object] = []
    first: dict[str, int] = {}  # where a letter stands first, and how often it does
    count: dict[str, int] = {}
    above: list[tuple[int, int]] = []  # the nodes whose brackets are open, and where
    begun = False  # whether this root's tree has begun

    def grow(label: object) -> int:
        nonlocal begun
        if not above and begun:
            raise wrong(f"at character {place} a second tree begins; one bracket holds all of it, or a '|' parts roots")
        begun = True
        parents.append(above[-1][0] if above else -1)
        labels.append(label)
        return len(parents) - 1

    words = list(_words(text, wrong))
    if not words:
        raise wrong("it is empty; the diagram of order 0 is '.'")
    for (word, place), (following, _) in zip(words, [*words[1:], ("", 0)], strict=True):
        if word == "|":
            if above:
                raise wrong(f"at character {place} a ')' is missing for the '(' at character {above[-1][1]}")
            if not begun or not following:
                raise wrong(f"the '|' at character {place} needs a tree on either side")
            begun = False
        elif word == ")":
            if not above:
                raise wrong(f"the ')' at character {place} closes nothing")
            above.pop()
        elif word in "(.":
            node = grow(None)
            if word == "(":
                above.append((node, place))
        elif word.endswith("("):
            above.append((grow(word[:-1]), place + len(word) - 1))
        else:
            grow(word)
        if word.endswith("(") and following == ")":
            raise wrong(
                f"the brackets at character {above[-1][1]} are empty; a node without children is '.' or a letter"
            )
        letter = word.removesuffix("(")
        if letter[:1].isalpha():
            first.setdefault(letter, place)
            count[letter] = count.get(letter, 0) + 1
    if above:
        raise wrong(f"at its end a ')' is missing for the '(' at character {above[-1][1]}")
    for letter, times in count.items():
        if times == 1:
            raise wrong(
                f"the letter {letter!r} at character {first[letter]} stands there alone; tied nodes share a letter, "
                "a node that is tied to none has no letter"
            )
    return parents, [node if label is None else label for node, label in enumerate(labels)]


def _words(text: str, wrong: Callable[[str], ValueError]) -> Iterator[tuple[str, int]]:
    """The words of a text, each with its place counted from 1; a letter keeps the bracket that it opens."""
    place = 0
    while text[place:].strip():
        match = _WORD.match(text, place)
        if match is None:
            start = place + len(text[place:]) - len(text[place:].lstrip())
            raise wrong(
                f"{text[start]!r} at character {start + 1} means nothing; there are letters, '.', '(', ')' and '|'"
            )
        yield match[1], match.start(1) + 1
        place = match.end()


def _letter(number: int) -> str:
    """The name of a part."""
    round_, position = divmod(number, len(_LETTERS))
    return _LETTERS[position] + (str(round_) if round_ else "")
