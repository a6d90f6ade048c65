"""Every mistake of *Implicit Gradient Regularization* that the design lists is shown, and what is right is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from taylorsgd.reproducing.barrett_dherin import euler_errata

WRONG = {"Lemmas A.1 to A.4, f_3", "Example A.5", "Theorem 3.1, at h²", "A.23"}
RIGHT = {"Lemmas A.1 to A.4, f_1", "Lemmas A.1 to A.4, f_2"}


def test_every_mistake_is_shown(check_errata: Callable[..., None], tmp_path: Path) -> None:
    check_errata("igr-errata", tmp_path, WRONG, RIGHT)


def test_the_right_recursion_makes_an_euler_step() -> None:
    field = [-slope for slope in euler_errata.gradient(euler_errata.LOSS)]
    parts = euler_errata.corrections(lambda f: euler_errata.along(f, f), field, 3)
    assert all(euler_errata.euler_defect(parts[: k + 1], k) == [0, 0] for k in (1, 2, 3))
    assert euler_errata.euler_defect([*parts[:3], [0, 0]], 3) != [0, 0]
