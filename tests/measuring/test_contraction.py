"""Plans of contractions: where trees are rooted, what is shared, what is exact, what it costs.

The work of a draw is pinned where it is known, so that a slower plan fails without any clock. That XLA does no
more than a plan counts is checked on the multiplications of a compiled dense network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import taylorsgd as ts
from taylorsgd.landscapes import Landscape
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.measuring.contraction import Message, Plan, Source, products
from taylorsgd.measuring.estimators import Centred
from taylorsgd.measuring.kernels import stage_derivatives
from taylorsgd.measuring.planning import _roots, make_plan

HESSIAN_TRACE = ts.Value((-1, 0, 0), (0, 1, 1))  # C_μν H^μν
SKEWED = ts.Value((-1, 0, 0), (0, 0, 0))  # κ(∇_μ∇_ν l, ∇^μ l, ∇^ν l)


def kinds(plan: Plan) -> list[str]:
    return ["centred" if message.centre else message.source.kind for message in plan.steps]


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
    assert plan.swept == (0, 1) and plan.sampled == () and plan.groups == {}


def test_what_reads_one_point_is_swept() -> None:
    divergence = ts.Value((-1, 0, 0), (0, 0, 1))  # κ(∇_μ∇_ν l, ∇^ν l) G^μ
    plan = make_plan((divergence, HESSIAN_TRACE), batch=4, population=100)
    assert [plan.values[i] for i in plan.swept] == [divergence]
    assert [plan.values[i] for i in plan.sampled] == [HESSIAN_TRACE]
    # Both need ∇l_x; at each of the 100 points ∇D_G l_x takes two gradients more.
    alone = make_plan((HESSIAN_TRACE,), batch=4, population=100)
    assert plan.gradients_per_draw == alone.gradients_per_draw
    assert plan.gradients_once == pytest.approx(100 * (1 + 3 + 1 + 2))  # G, HG; and at each point both
    rows = [row for row in plan.table()[1] if row[2] == "each point (100)"]
    assert sum(float(row[4]) for row in rows) == pytest.approx(300) and {row[5] for row in rows} == {"once"}
    assert "of these 1 sampled and 1 swept" in plan.summary
    assert make_plan((divergence,), batch=4, population=None).swept == ()
    assert make_plan((divergence,), batch=4, population=100, estimator="correlators").swept == ()


def test_a_sweep_is_preferred_to_a_cheaper_draw() -> None:
    # Its vectors could be shared with those of C_μν H^μλ H^ν_λ, but then it would be noisy.
    values = ts.derive(ts.TestLoss(), ts.GD(), order=3).values
    plan = make_plan(values, batch=1, population=10**9)
    assert {str(values[i]) for i in plan.swept} == {
        "½ (∇_μ C^ν_ν) G^μ",
        "κ(∇_μ∇_ν∇_λ l, ∇^μ l) G^ν G^λ",
        "G_μ κ(∇_ν∇_λ l, ∇^μ∇^ν l) G^λ",
        "½ (∇_μ C^ν_ν) H^μ_λ G^λ",
    }


@pytest.mark.parametrize(
    ("size", "coefficients"), [(3, {1: 1}), (4, {1: 1, -1: 3}), (5, {1: 1, -1: 10}), (6, {1: 1, -1: 25, 2: 15})]
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


def test_one_epoch_at_order_three_costs_eight_gradients_of_a_batch() -> None:
    f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)
    plan = make_plan(f.values, batch=4, population=1000)
    # At x: ∇l and ∇D_G l, 9 products. At b0: ∇D_g l and ∇D_g D_g l, 15; S·J, C·J·G and κ·H·G are inner products
    # with these. At b1: the number D_v D_g l with v = ∇D_g l, 8 = 1 + 2 + 2 + 3. A gradient is 3 products.
    assert plan.gradients_per_draw == pytest.approx((9 + 4 * 3 * 5 + 4 * 8) / 3)
    assert plan.gradients_per_draw / plan.batch < 8.5
    assert len([stage for stage in plan.stages if stage.sampled]) == 3


def test_the_24_statistics_share_their_work() -> None:
    values = ts.derive(ts.GeneralizationGap(), ts.SGD(), order=3).to_moments().values
    assert make_plan(values, batch=4, population=1000).gradients_per_draw == pytest.approx(140 / 3)
    one_by_one = sum(make_plan((v,), batch=4, population=1000).gradients_per_draw for v in values)
    assert one_by_one == pytest.approx(114)
    correlators = make_plan(values, batch=4, population=None, estimator="correlators")
    assert correlators.gradients_per_draw == pytest.approx(272)


def test_no_choice_of_roots_is_cheaper() -> None:
    f = ts.derive(ts.TrainLoss(), ts.SGD(), order=2)
    values = [*f.values, ts.Value((-1, 0, 0, 0), (0, 1, 1, 1)), ts.Value((-1, 0, 0, 0), (0, 1, 1, 2))]
    rule = Centred(4, None)  # with a population some would be swept

    def cost(messages: Sequence[Message]) -> float:
        known: set[Message] = set()
        waiting = list(messages)
        while waiting:
            message = waiting.pop()
            known.add(message)
            waiting += message.needs
        sizes = {"x": 1, "b": 4, "y": 3}
        sampled = frozenset().union(*(m.work for m in known if m.sampled))
        return sum(products(share) * sum(sizes[letter] for letter, _ in share[0].source.groups) for share in sampled)

    options = [
        [
            [message for item in rule.products(value, roots) for message in item.messages]
            for roots in product(*_roots(value))
        ]
        for value in values
    ]
    options = [[list(o) for o in {tuple(o) for o in each}] for each in options]
    lowest = min(cost([m for messages in choice for m in messages]) for choice in product(*options))
    assert make_plan(tuple(values), batch=4, population=None).gradients_per_draw == pytest.approx(lowest / 3)


@pytest.mark.parametrize(
    ("requests", "count"),
    [
        ((((), False),), 3),
        ((((0,), False),), 9),
        ((((0,), False), ((0, 0), False)), 15),
        ((((0, 0, 0), True),), 7),
        ((((0, 1), True),), 8),
        ((((0, 0, 1), True),), 13),
    ],
)
def test_xla_multiplies_no_more_than_is_counted(requests: Any, count: int) -> None:
    # Twelve dense layers of width 32: the first, whose input has no derivative, hardly matters.
    def loss(theta: Any, x: Any) -> Any:
        for layer in theta:
            x = jnp.tanh(layer @ x)
        return jnp.sum(x)

    theta = [jnp.eye(32)] * 12
    messages = {i: Message(Source("batch", i), ()) for i in range(2)}
    work = frozenset().union(
        *(
            Message(Source("batch", 5), tuple(messages[i] for i in along), "number" if s else "vector").work
            for along, s in requests
        )
    )
    assert sum(products(share) for share in work) == count
    vectors = tuple([jnp.full((7, 32, 32), 0.1 * (i + 1))] * 12 for i in range(2))
    compiled = stage_derivatives.lower(
        PointFunction(loss, "loss"), theta, [jnp.ones((7, 4, 32))], jnp.full(4, 0.25), vectors,
        kind="points", sampled=(True, True), requests=requests, chunk=4,
    ).compile()  # fmt: skip
    done = (compiled.cost_analysis() or {})["flops"] / (2 * 12 * 32 * 32 * 4 * 7)
    assert 0.8 * count < done < 1.1 * count


def test_a_plan_shows_what_it_will_do() -> None:
    landscape = Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.arange(100.0))
    plan = ts.plan(ts.derive(ts.Displacement(), ts.SGD(), order=2), landscape, method=ts.MatrixFree(batch=8))
    text = str(plan)
    assert "population (100)" in text and "point x0" in text and "∇ l_x − v1" in text
    assert f"{len(plan.values)} values by centred" in text and "of a batch of 8." in text
    assert "Once:" in text and f"{plan.gradients_per_draw:.4g} gradients of one point" in text
    assert repr(plan).startswith("<Plan: ") and "<table>" in plan._repr_html_()
    header, rows = plan.table()
    assert [row[header.index("when")] for row in rows].count("each draw") == sum(m.sampled for m in plan.steps)
    total = sum(float(row[header.index("gradients")]) for row in rows if row[-1] == "each draw")
    assert total == pytest.approx(plan.gradients_per_draw, rel=1e-3)


def test_an_exact_plan_tells_how_many_choices_it_lists() -> None:
    landscape = Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.arange(10.0))
    plan = ts.plan(ts.derive(ts.TrainLoss(), ts.SGD(), order=3), landscape, method=ts.MatrixFree("exact"))
    assert plan.combinations == 100
    assert "Draws: 100, every choice of 2 points." in str(plan)


def test_all_formulas_share_one_plan() -> None:
    landscape = Landscape(lambda theta, x: jnp.cosh(theta + x), jax.numpy.arange(100.0))
    formulas = [ts.derive(o, ts.SGD(), order=3) for o in (ts.TestLoss(), ts.TrainLoss())]
    together = ts.plan(formulas, landscape)
    assert together.gradients_per_draw == ts.plan(formulas[1], landscape).gradients_per_draw
    assert set(together.values) == set(formulas[1].values)


def test_two_open_indices_are_refused() -> None:
    f = ts.derive(ts.SecondMoment(ts.Displacement(), ts.Displacement()), ts.SGD(), order=2)
    with pytest.raises(NotImplementedError, match="two open indices"):
        make_plan(f.values, batch=4, population=10)
