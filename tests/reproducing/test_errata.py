"""What shows a mistake: the number by descent, and a control that fails where the software is wrong."""

from __future__ import annotations

from dataclasses import replace

from sympy import Rational

from taylorsgd.reproducing.errata import Erratum, errata_outcome


def test_a_wrong_derivation_would_be_told() -> None:
    """The control is what fails if the software is wrong; a tolerance is relative."""
    good = Erratum("here", "two", "three", 2, 3, 3)
    bad = replace(good, derived=4)
    near = replace(good, printed=Rational(31, 10), derived=Rational(29, 10), tolerance=0.05)
    assert not good.is_right(good.printed) and near.is_right(near.printed) and not near.is_right(2.8)
    outcome = errata_outcome([good, bad, near], [])
    assert [finding.agrees for finding in outcome.findings] == [False, False, True, False]
    assert "2 of 3; not here" in outcome.findings[-1].found
    assert errata_outcome([good], []).findings[-1].agrees
