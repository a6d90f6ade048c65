"""What is written to the left of a formula and behind it: what it equals, up to which order, and what was assumed."""

from __future__ import annotations

from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.formulas.term import Combination
from taylorsgd.writing.notation import in_latex
from taylorsgd.writing.page import Statement

__all__ = ["stated"]

CONDITIONS = {
    "minimum": (r"G = 0", "G = 0"),
    "gaussian": (r"\text{normal noise}", "normal noise"),
    "noiseless": (r"\text{no noise}", "no noise"),
    "quadratic": (r"\text{quadratic losses}", "quadratic losses"),
}
"""How each assumption is written, in LaTeX and in plain text."""


def stated(formula: Combination, lhs: bool | str = True) -> Statement:
    """What a formula says of itself.

    Args:
        formula: the formula.
        lhs: whether to say what it equals; or what to write on the left instead.

    Raises:
        TypeError: if lhs is neither.
    """
    if not isinstance(lhs, (bool, str)):
        raise TypeError(f"lhs={lhs!r} is neither True, False nor a left-hand side to write")
    of = formula.expectations
    conditions = () if of is None else tuple(CONDITIONS[name] for name in of.assumed)
    for name in sorted({value.penalty for value in formula.values if is_resummed(value) and value.penalty}):
        conditions += ((rf"l + {in_latex(name)} \text{{ for }} l", f"l + {name} for l"),)
    rest = None
    if lhs is not False and formula.through is not None and of is not None and not of.altered:
        summed = any(is_resummed(value) for value in formula.values)
        beyond = (rf"O(\eta^{{{formula.through + 1}}})", f"O(η^{formula.through + 1})")
        rest = (r"\cdots", "…") if summed or formula.rate == 1 else beyond
    if isinstance(lhs, str):
        return Statement((lhs, lhs), rest, conditions)
    if of is None or of.altered or not lhs:
        return Statement(conditions=conditions)
    return Statement(of.written(), rest, conditions, of.names_T)
