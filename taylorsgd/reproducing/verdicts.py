"""The four verdicts on a claim, and the rules by which one of them is passed."""

from __future__ import annotations

from enum import StrEnum

from taylorsgd.reproducing.significance import LEAST_P, LEVEL

__all__ = ["NEITHER", "RULES", "Verdict", "judge"]


class Verdict(StrEnum):
    """What a run says of a claim."""

    AGREES = "agrees"
    WRONG = "paper wrong (proved here)"
    LOOSE = "worded too loosely"
    UNRESOLVED = "not resolved at this scale"


RULES = {
    Verdict.AGREES: "the criterion fixed beforehand is met, and so are the claim's preconditions; where agreement of "
    f"an order is claimed, the order below is excluded by the same runs (p < {LEAST_P:g})",
    Verdict.WRONG: "the criterion is not met, and an exact calculation or a counterexample shows that none of any size "
    "would meet it",
    Verdict.LOOSE: "the criterion is not met, no proof settles the claim in general, and its words cover a case where "
    f"it is not so: one that is named, or the contrary is found here (p < {LEAST_P:g})",
    Verdict.UNRESOLVED: "none of the above: a precondition or a control fails, or neither the claim nor its contrary "
    "is found at the level, or there is nothing to judge by",
}
"""What each verdict says, by the rule that passes it."""

NEITHER = f"neither it nor its contrary is found at the level {LEVEL:g}"
"""The reason for `UNRESOLVED` where there is no other."""


def judge(
    agrees: bool | None, proof: str = "", case: str = "", contrary: float = 1.0, unmet: str = ""
) -> tuple[Verdict, str]:
    """The verdict on a claim by the `RULES`, and the reason for it.

    Args:
        agrees: whether the claim's criterion is met; None if there is nothing to judge by.
        proof: what shows exactly that the claim is wrong, if it is.
        case: the case within the claim's words in which it is not so, if one is known.
        contrary: the p-value of the claim's contrary.
        unmet: the precondition or the control that fails, if one does.

    Returns:
        The verdict; and why, empty where the claim agrees.

    Example:
        >>> judge(False, contrary=1e-5)
        (<Verdict.LOOSE: 'worded too loosely'>, 'the contrary is found, p = 1e-05')
    """
    if agrees is False and proof:
        return Verdict.WRONG, proof
    if unmet:
        return Verdict.UNRESOLVED, unmet
    if agrees is None:
        return Verdict.UNRESOLVED, "there is nothing to judge by"
    if agrees:
        return Verdict.AGREES, ""
    if case:
        return Verdict.LOOSE, case
    if contrary < LEAST_P:
        return Verdict.LOOSE, f"the contrary is found, p = {contrary:.2g}"
    return Verdict.UNRESOLVED, NEITHER
