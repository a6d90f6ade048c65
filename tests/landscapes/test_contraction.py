"""Plans of contractions: where trees are rooted, what is shared, what is exact."""

from __future__ import annotations

from collections import Counter

import pytest

import taylorsgd as ts
from taylorsgd.landscapes.contraction import Message, Plan
from taylorsgd.landscapes.planning import make_plan

HESSIAN_TRACE = ts.Value((-1, 0, 0), (0, 1, 1))  # C_μν H^μν
SKEWED = ts.Value((-1, 0, 0), (0, 0, 0))  # κ(∇_μ∇_ν l, ∇^μ l, ∇^ν l)


def kinds(plan: Plan) -> list[str]:
    return [message.source.kind for message in plan.steps]


def test_noiseless_values_are_exact_and_share_their_vectors() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(), order=3).assume("noiseless")
    plan = make_plan(f.values, batch=4, population=100)
    assert plan.sampled == () and set(kinds(plan)) == {"population"}
    # l; G; HG for G·H·G and G·H·H·G; ∇D_G D_G l for G·J·G·G
    assert len(plan.steps) == 4


def test_messages_come_after_what_they_need() -> None:
    f = ts.derive(ts.Variance(ts.GeneralizationGap()), ts.SGD(), order=3)
    plan = make_plan(f.values, batch=4, population=100)
    seen: set[Message] = set()
    for message in plan.steps:
        assert set(message.needs) <= seen
        seen.add(message)
    assert len(seen) == len(plan.steps) < 70  # for 67 values


def test_the_hessian_is_the_root_of_its_trace() -> None:
    plan = make_plan((HESSIAN_TRACE,), batch=4, population=100)
    assert kinds(plan) == ["population", "centred", "batch"]
    assert plan.steps[-1].scalar
    assert plan.groups == {("b", 0): 4, ("x", 0): 1}


def test_a_sampler_has_nothing_exact() -> None:
    plan = make_plan((HESSIAN_TRACE, ts.Value((-1,))), batch=4, population=None)
    assert plan.sampled == (0, 1)
    assert set(kinds(plan)) == {"difference", "batch"}


def test_a_small_population_is_used_as_a_whole() -> None:
    plan = make_plan((HESSIAN_TRACE, SKEWED), batch=5, population=5)
    assert set(kinds(plan)) == {"population", "centred"}
    assert plan.groups == {("x", 0): 1}


@pytest.mark.parametrize(
    ("size", "coefficients"),
    [(3, {1: 1}), (4, {1: 1, -1: 3}), (5, {1: 1, -1: 10}), (6, {1: 1, -1: 25, 2: 15})],
)
def test_parts_are_expanded_into_zero_mean_cumulants(size: int, coefficients: dict[int, int]) -> None:
    star = ts.Value((-1,) + (0,) * (size - 1), (0,) * size)
    plan = make_plan((star,), batch=5, population=5)
    assert Counter(item.coefficient for item in plan.products[0]) == coefficients


@pytest.mark.parametrize(("size", "factor"), [(2, 1 + 1 / 3), (3, 1 - 1 / 9), (4, 1 + 1 / 27)])
def test_difference_losses_of_a_sampler_are_rescaled(size: int, factor: float) -> None:
    star = ts.Value((-1,) + (0,) * size, (0,) + (1,) * size)
    plan = make_plan((star,), batch=4, population=None)
    assert plan.centring == 3
    largest = max(plan.products[0], key=lambda item: item.coefficient)
    assert largest.coefficient == pytest.approx(1 / factor)


def test_two_open_indices_are_refused() -> None:
    f = ts.derive(ts.SecondMoment(ts.Displacement(), ts.Displacement()), ts.SGD(), order=2)
    with pytest.raises(NotImplementedError, match="two open indices"):
        make_plan(f.values, batch=4, population=10)
