"""docs/range.md: written from the cases that its command keeps, and what it counts is what they say."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("range_page", DOCS / "range.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["range_page"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_page_is_written_from_its_cases(page: ModuleType) -> None:
    known = page.read_lines()
    places = {case.split(" | ")[0] for case in known}
    assert {place.name for place in page.TOYS + page.IMAGES} >= places and len(places) >= 12
    assert page.PAGE.read_text("utf-8") == page.written(known)


def test_what_is_counted(page: ModuleType) -> None:
    def found(misses: list[float], noise: float = 0.001) -> Any:
        return page.Found(0.1, 0.01, np.array(misses), np.full(len(misses), noise))

    inside = found([0.005, 0.011, 0.02, 0.03, 0.04, 0.05])
    assert inside.inside and inside.resolved and inside.reach == page.MULTIPLES[1]
    assert found([0.005] * 6).reach == page.MULTIPLES[-1]
    outside = found([0.02] * 6)
    assert not outside.inside and outside.reach == 0
    assert not found([0.005] * 6, noise=0.02).resolved


def test_a_case(page: ModuleType, x64: None) -> None:
    place = replace(page.TOYS[0], trials=2000)
    name, spacetime, update = page.SPACETIMES[0]
    found = page.looked_at(place, spacetime, update, 3)
    assert name == "one epoch" and found.inside
    assert found.edge == pytest.approx(0.00976, rel=0.01)
    assert found.misses[-1] > found.promised, "far beyond the range the terms left out show"
