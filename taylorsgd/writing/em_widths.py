r"""How wide LaTeX will be, in em: enough of TeX's rules to break a formula before it runs off the page.

The widths are those of Computer Modern at 10 pt, which MathJax and KaTeX share; what is unknown is taken as wide.
Fractions, roots, scripts and delimiters are read as TeX sets them in display style. The measure errs to the wide side.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["latex_width"]

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[^\s]")
_SCRIPT = 0.72
_WIDTHS = {
    **dict.fromkeys("abcdefghijklmnopqrstuvwxyz", 0.53),
    "l": 0.32, "i": 0.36, "j": 0.42, "t": 0.37, "m": 0.88, "w": 0.72,
    **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 0.79), "I": 0.51, "M": 1.08, "N": 0.92, "T": 0.73, "W": 1.09,
    **dict.fromkeys("0123456789", 0.5),
    **dict.fromkeys("()", 0.39), **dict.fromkeys("[]|!'", 0.28),
    ",": 0.45, ".": 0.28, ":": 0.84, "/": 0.5, "*": 0.95, "+": 1.23, "-": 1.23, "=": 1.34, "<": 1.34, ">": 1.34,
    r"\nabla": 0.84, r"\sum": 1.62, r"\int": 1.17, r"\infty": 1.0, r"\partial": 0.59, r"\cdot": 0.73, r"\times": 1.23,
    r"\cdots": 1.34, r"\ldots": 1.34, r"\to": 1.56, r"\le": 1.34, r"\ge": 1.34, r"\approx": 1.34,
    r"\quad": 1.0, r"\qquad": 2.0, r"\,": 0.17, r"\;": 0.28, r"\:": 0.23, r"\ ": 0.34, r"\!": -0.17, "~": 0.34,
    r"\log": 1.45, r"\exp": 1.7, r"\sin": 1.4, r"\cos": 1.5, r"\tan": 1.55, r"\lim": 1.6, r"\min": 1.8, r"\max": 2.0,
    r"\{": 0.5, r"\}": 0.5, r"\lambda": 0.59, r"\mu": 0.61,
}  # fmt: skip
_GREEK = 0.66
_FONTS = (r"\mathrm", r"\mathbb", r"\mathcal", r"\mathbf", r"\text", r"\operatorname", r"\hat", r"\bar", r"\tilde")
_IGNORED = (
    "\N{INVISIBLE TIMES}", "&", r"\displaystyle", r"\allowbreak", r"\limits", r"\nolimits",
    r"\big", r"\Big", r"\bigl", r"\bigr",
)  # fmt: skip


@lru_cache(maxsize=16384)
def latex_width(text: str) -> float:
    r"""The width of a formula in display style.

    Args:
        text: LaTeX in math mode, without line breaks.

    Returns:
        Its width in em, rather too large than too small.

    Example:
        >>> round(latex_width(r"\frac{T \left(T - 1\right)}{2} G_{\mu} G^{\mu}"), 1)
        7.7
    """
    spaced = re.sub(r"\\text\{[^{}]*\}", lambda found: found[0].replace(" ", "~"), text)
    return _Reader(_TOKEN.findall(spaced)).row(None, 1.0)


class _Reader:
    """One pass over the tokens."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    def next(self) -> str:
        token = self.tokens[self.at] if self.at < len(self.tokens) else ""
        self.at += 1
        return token

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def row(self, end: str | None, size: float) -> float:
        """The width up to a closing token."""
        total = 0.0
        while self.at < len(self.tokens):
            if self.peek() == end:
                self.at += 1
                break
            total += self.scripted(size)
        return total

    def scripted(self, size: float) -> float:
        """One nucleus with what hangs on it; under a sum scripts stand below."""
        below = self.peek() == r"\sum"
        width = self.nucleus(size)
        scripts = [0.0]
        while self.peek() in ("_", "^"):
            self.next()
            scripts.append(self.nucleus(size * _SCRIPT) + 0.16 * size)
        return max(width, *scripts) + 0.17 * size if below else width + max(scripts)

    def nucleus(self, size: float) -> float:
        token = self.next()
        if token == "{":
            return self.row("}", size)
        if token in (r"\frac", r"\dfrac", r"\tfrac"):
            return max(self.nucleus(size), self.nucleus(size)) + 0.26 * size
        if token == r"\sqrt":
            return self.nucleus(size) + 0.9 * size
        if token in (r"\left", r"\right"):
            self.next()
            return 0.76 * size  # tall delimiters, and thin spaces around them
        if token in _FONTS:
            return self.nucleus(size)
        if token in _IGNORED or not token:
            return 0.0
        known = _WIDTHS.get(token)
        return size * (known if known is not None else _GREEK if token.startswith("\\") else 0.8)
