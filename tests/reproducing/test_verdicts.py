"""The rules by which a claim gets one of the four verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from taylorsgd.reproducing.experiment import Finding
from taylorsgd.reproducing.significance import trend
from taylorsgd.reproducing.verdicts import RULES, Verdict, judge


@pytest.mark.parametrize(
    ("agrees", "evidence", "verdict", "reason"),
    [
        (True, {}, Verdict.AGREES, ""),
        (True, {"proof": "2 + 2 = 5", "case": "N = 1", "contrary": 0.0}, Verdict.AGREES, ""),
        (True, {"unmet": "order 2 agrees as well"}, Verdict.UNRESOLVED, "order 2 agrees as well"),
        (False, {"proof": "a counterexample", "case": "N = 1"}, Verdict.WRONG, "a counterexample"),
        (False, {"proof": "a counterexample", "unmet": "a control"}, Verdict.WRONG, "a counterexample"),
        (False, {"case": "N = 1", "contrary": 1e-9}, Verdict.LOOSE, "N = 1"),
        (False, {"contrary": 1e-9}, Verdict.LOOSE, "the contrary is found, p = 1e-09"),
        (False, {"contrary": 0.0011}, Verdict.UNRESOLVED, "neither it nor its contrary is found at the level 0.01"),
        (False, {"case": "N = 1", "unmet": "a control"}, Verdict.UNRESOLVED, "a control"),
        (None, {"contrary": 1e-9, "proof": "x", "case": "y"}, Verdict.UNRESOLVED, "there is nothing to judge by"),
    ],
)
def test_every_rule(agrees: bool | None, evidence: dict[str, Any], verdict: Verdict, reason: str) -> None:
    assert judge(agrees, **evidence) == (verdict, reason)
    finding = Finding("it is so", "it was", agrees, {}, **evidence)
    assert (finding.verdict, finding.reason) == (verdict, reason)
    assert finding.content()["verdict"] == verdict and str(finding).startswith(f"{verdict}: it is so\n    it was")
    assert set(RULES) == set(Verdict)


def test_a_trend_the_other_way_is_the_contrary() -> None:
    x = list(range(8))
    assert Finding.of_trend("it falls", trend(x, x, -1)).verdict is Verdict.LOOSE
    assert Finding.of_trend("it falls", trend(x[:3], x[:3], -1)).verdict is Verdict.UNRESOLVED
    assert Finding.of_trend("it rises", trend(x, x, 1)).verdict is Verdict.AGREES
