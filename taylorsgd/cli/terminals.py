"""Terminals that do not know all letters: Greek ones are spelled out there."""

from __future__ import annotations

import codecs
import sys
import unicodedata
from typing import TextIO

__all__ = ["spell_out"]

HANDLER = "taylorsgd-spelled"
MARKS = {
    "─": "-", "│": "|", "−": "-", "±": "+-", "×": "x", "…": "...", "→": "->", "∞": "oo", "≤": "<=", "≥": ">=", "·": "*",
    "∇": "D", "½": "1/2", "Σ": "sum", "—": "-", "“": '"', "”": '"', "’": "'", "⟨": "<", "⟩": ">",
}  # fmt: skip


def spell_out(*streams: TextIO) -> None:
    """Let streams spell out what their encoding has no letters for: "eta" for η, "^2" for ².

    Args:
        *streams: standard output and error by default.
    """
    codecs.register_error(HANDLER, _spelled)
    for stream in streams or (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)  # type: ignore[union-attr]


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_letter, error.object[error.start : error.end])), error.end


def _letter(letter: str) -> str:
    """A letter in ASCII.

    Example:
        >>> "".join(map(_letter, "η³ ± θ₀"))
        'eta^3 +- theta_0'
    """
    if letter.isascii():
        return letter
    if letter in MARKS:
        return MARKS[letter]
    name = unicodedata.name(letter, "")
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    if name.startswith("GREEK"):
        return name.rpartition(" ")[2].lower()
    if plain:
        return {"SUPER": "^", "SUBSC": "_", "GREEK": "_", "MODIF": "^"}.get(name[:5], "") + plain
    return "?"
