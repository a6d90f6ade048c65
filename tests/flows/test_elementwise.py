r"""Flows of elementwise optimizers, against optax, against plain series, and against what is published.

References: Cattaneo, Klusowski and Shigida 2023 (Adam and RMSProp through h); Ghosh et al. 2023.

Identities:
    (1) with s = P and U = s/(1 − β) heavy ball, with U = g + βs/(1 − β) Nesterov, with + λθ their decay
    (2) a plain series, without trees: `test_elementwise_series`
    (3) optax's own steps, run until they have forgotten how they began: θ_{t+1} − Φ_h(θ_t) = O(h^{k+2}) for the flow
        through h^k, in float64, with both places of ε
    (4) Adam, ε inside: −g/w − (h/2)[((1 + β₁)/(1 − β₁) − (1 + β₂)/(1 − β₂))/w + (1 + β₂)/(1 − β₂) ε/w³] ∇|∇E|_w
    (5) shapes with k slots: those of a flow without special functions are as many as Pólya's enumeration counts
    (6) θ̇ = φ(∇Ẽ) through h if and only if β₁ = β₂; θ̇ = φ(∇E)'s correction is then the gradient of a norm of ∇E
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sympy
from jax import lax
from matplotlib.mathtext import MathTextParser
from sympy import Rational, oo, sqrt

import taylorsgd as ts
from taylorsgd.flows.elementwise_loss import ElementwiseLoss
from taylorsgd.symbols import g, h, theta

beta, rho, epsilon, lam = sympy.symbols("beta rho epsilon lambda")
x, y = VARIABLES = sympy.symbols("x y")
m, v = sympy.symbols("m v")
HALF, THIRD = Rational(1, 2), Rational(1, 3)
LOSS = x**3 * y / 5 - x * y**2 + 2 * x**2 + x * y + y**3 / 3 + x
PLACE = ts.FiniteLandscape([LOSS + x * y, LOSS - x * y], [HALF, HALF], VARIABLES)
POINT = (HALF, -THIRD)


# -- special cases -------------------------------------------------------------------------------------------


def averaged(step: Any) -> ts.Elementwise:
    return ts.Elementwise({m: (beta, g)}, step)


@pytest.mark.parametrize(
    ("rule", "known"),
    [
        (averaged(m / (1 - beta)), ts.HeavyBall(beta)),
        (averaged(g + beta * m / (1 - beta)), ts.Nesterov(beta)),
        (averaged(g), None),
        (averaged(g + lam * theta), ts.Descent(decay=lam * h)),
        (averaged(m / (1 - beta) + lam * theta), ts.HeavyBall(beta, decay=lam * h)),
    ],
    ids=["heavy ball", "Nesterov", "Euler", "decay", "heavy ball with decay"],
)
def test_linear_rules_are_special_cases(rule: ts.Elementwise, known: Any) -> None:
    ours = ts.modified_flow(3, update=rule).evaluate(PLACE, POINT)
    theirs = ts.modified_flow(3, update=known).evaluate(PLACE, POINT)
    assert (ours - theirs).applyfunc(sympy.cancel).is_zero_matrix


# -- optax ---------------------------------------------------------------------------------------------------

FLOATS = {"b1": 0.5, "b2": 0.6}
OPTAX = {
    "Adam": (ts.Adam(HALF, Rational(3, 5), Rational(1, 5)), lambda h: optax.adam(h, **FLOATS, eps=0.2)),
    "Adam, inside": (
        ts.Adam(HALF, Rational(3, 5), Rational(1, 5), epsilon_inside=True),
        lambda h: optax.adam(h, **FLOATS, eps=0.0, eps_root=0.2),
    ),
    "AdamW": (
        ts.Adam(HALF, Rational(3, 5), Rational(1, 5), decay=Rational(1, 10)),
        lambda h: optax.adamw(h, **FLOATS, eps=0.2, weight_decay=0.1),
    ),
    "RMSProp": (
        ts.RMSProp(Rational(3, 5), Rational(1, 5)),
        lambda h: optax.rmsprop(h, decay=0.6, eps=0.2, eps_in_sqrt=False),
    ),
    "RMSProp, inside": (
        ts.RMSProp(Rational(3, 5), Rational(1, 5), epsilon_inside=True),
        lambda h: optax.rmsprop(h, decay=0.6, eps=0.2, eps_in_sqrt=True),
    ),
    "Nesterov": (ts.Nesterov(HALF), lambda h: optax.sgd(h / 4, 0.5, nesterov=True)),
}
STEPS, TARGET = 80, (1.1, 1.3)


def smooth_loss(t: Any) -> Any:
    return jnp.cosh(t[0] - 0.3 * t[1]) + 0.5 * t[1] ** 2 + 0.3 * jnp.sin(t[0] * t[1]) + 0.2 * t[0] ** 3


def residuals(update: Any, make: Any, order: int, steps: Any) -> Any:
    """|θ_{t+1} − Φ_h(θ_t)| near one point for every h; the run begins where the flow was STEPS updates before."""
    flow = ts.modified_flow(order + 1, update=update)
    field, first = flow.lower(smooth_loss), flow.truncate(1).lower(smooth_loss)
    quarter = 4 if isinstance(update, ts.Nesterov) else 1
    stages = jnp.array([[0, 1], [0.5, 2], [0.5, 2], [1, 1]])

    def flowed(field: Any, at: Any, size: Any, time: Any, pieces: int) -> Any:
        """Runge and Kutta's method, with its four stages in a loop: the field is compiled once."""
        d = time / pieces

        def stage(carry: Any, numbers: Any) -> Any:
            at, slope, total = carry
            slope = field(at + d * numbers[0] * slope, h=size)
            return (at, slope, total + numbers[1] * slope / 6), None

        def piece(at: Any, _: Any) -> Any:
            (_, _, total), _ = lax.scan(stage, (at, 0 * at, 0 * at), stages)
            return at + d * total, None

        return lax.scan(piece, at, None, length=pieces)[0]

    def residual(size: Any) -> Any:
        optimizer, size = make(size), size / quarter
        at = flowed(first, jnp.array(TARGET), size, -STEPS * size, STEPS)

        def update(carry: Any, _: Any) -> Any:
            at, state = carry
            moves, state = optimizer.update(jax.grad(smooth_loss)(at), state, at)
            return (optax.apply_updates(at, moves), state), at

        _, path = lax.scan(update, (at, optimizer.init(at)), None, length=STEPS + 2)
        return jnp.linalg.norm(path[-1] - flowed(field, path[-2], size, size, 4))

    return jax.jit(jax.vmap(residual))(steps)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "order"), [*((name, 2) for name in OPTAX), ("Adam", 0), ("Adam", 1), ("RMSProp, inside", 1)]
)
def test_optaxs_steps_lie_on_the_flow(name: str, order: int) -> None:
    steps = jnp.array([1 / 1024, 1 / 512, 1 / 256, 1 / 128]) / 2
    found = residuals(*OPTAX[name], order, steps)
    slope = np.polyfit(np.log(steps), np.log(found), 1)[0]
    assert abs(slope - (order + 2)) < 0.05, (slope, found)


# -- published, and counted ----------------------------------------------------------------------------------


def test_adam_as_published() -> None:
    update = ts.Adam(beta, rho, epsilon, epsilon_inside=True)
    flow = ts.modified_flow(2, update=update)
    w = sqrt(g**2 + epsilon)
    bracket = ((1 + beta) / (1 - beta) - (1 + rho) / (1 - rho)) / w + (1 + rho) / (1 - rho) * epsilon / w**3
    ((_, first),), ((factors, second),) = (part.items() for part in flow.parts)
    assert first == -g / w
    assert [len(slots) for slots in factors] == [1]
    assert sympy.simplify(second - bracket / 2) == 0  # ∇∇E φ is −∇|∇E|_w
    assert str(flow).startswith("-g/w + h*(")
    assert "∇|∇E|_*, with |∇E|_* = Σ_i w, w = sqrt(epsilon + g**2), g = ∇E" in str(flow)


@cache
def polya(order: int) -> list[int]:
    """Shapes by slots: T = MSET(D), D = MSET(xT) − 1, by Euler's transform."""
    trees, derivatives = [1], [0]
    for n in range(1, order + 1):
        derivatives.append(multisets([0, *trees], n))  # x T has shifted counts
        trees.append(multisets(derivatives, n))
    return trees


def multisets(counts: list[int], size: int) -> int:
    """Multisets of total size `size` of things counted by size."""
    total = [1] + [0] * size
    for n in range(1, size + 1):
        divided = sum(
            d * counts[d] * total[n - k * d]
            for d in range(1, min(n, len(counts) - 1) + 1)
            for k in range(1, n // d + 1)
        )
        total[n] = divided // n
    return total[size]


def test_shapes_are_counted_two_ways() -> None:
    flow = ts.modified_flow(5, update=ts.Elementwise({m: (HALF, g)}, m**5))

    def shape(factors: Any) -> Any:
        return tuple(sorted(tuple(sorted(shape(child.factors) for child in slots)) for slots in factors))

    found = [len({shape(factors) for factors in part}) for part in flow.parts]
    assert found == polya(4)
    assert found[:4] == [1, 1, 3, 8]


# -- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True])
def test_limits(inside: bool) -> None:
    flow = ts.modified_flow(3, update=ts.Adam(HALF, THIRD, epsilon, epsilon_inside=inside))
    root = sqrt(epsilon) if inside else epsilon
    far = flow.limit(epsilon, oo).evaluate(PLACE, POINT)
    heavy = ts.modified_flow(3, update=ts.HeavyBall(HALF)).evaluate(PLACE, POINT)
    scaled = heavy.subs(h, h / (2 * root)) / (2 * root)
    assert (far - scaled).applyfunc(sympy.expand).is_zero_matrix
    near = flow.limit(epsilon, 0)
    assert near == ts.modified_flow(3, update=ts.Adam(HALF, THIRD, 0))
    for limit, number in ((near, Rational(1, 10**12)), (flow.limit(epsilon, oo), Rational(10**12))):
        close = ts.modified_flow(3, update=ts.Adam(HALF, THIRD, number, epsilon_inside=inside)).evaluate(PLACE, POINT)
        expected = limit.evaluate(PLACE, POINT).subs(epsilon, number)
        for ours, theirs in zip(close, expected, strict=True):
            for k in range(3):
                assert abs(sympy.N(ours.coeff(h, k), 40) / sympy.N(theirs.coeff(h, k), 40) - 1) < 1e-5
    symbolic = ts.modified_flow(2, update=ts.Adam(beta, rho, epsilon, epsilon_inside=inside)).limit(epsilon, 0)
    assert str(symbolic) == "-sign(g) - h*(beta - rho)/((beta - 1)*(rho - 1)*|g|) ∇|∇E|_1, with g = ∇E"


# -- modified losses -----------------------------------------------------------------------------------------


def jax_function(expression: Any, *symbols: Any) -> Any:
    compiled = sympy.lambdify(symbols, expression, "jax")
    return lambda *values: compiled(*values) + 0.0


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("inside", [False, True])
def test_adam_has_a_modified_loss_where_its_memories_agree(inside: bool) -> None:
    update = ts.Adam(HALF, HALF, THIRD, epsilon_inside=inside)
    loss = ts.modified_loss(1, update=update)
    assert loss.exists
    better = jax_function(loss.expression(LOSS, VARIABLES), x, y, h)
    leaf = jax_function(ts.modified_flow(1, update=update).parts[0][()], g)

    def ideal(size: Any) -> Any:
        """φ(∇Ẽ) at POINT."""
        return leaf(jnp.array(jax.grad(better, (0, 1))(*map(float, POINT), size)))

    value, change = jax.jvp(ideal, (0.0,), (1.0,))
    exact = ts.modified_flow(2, update=update).evaluate(PLACE, POINT)
    for k, found in enumerate((value, change)):
        assert np.allclose(found, [float(entry.coeff(h, k)) for entry in exact], rtol=1e-12)
    beyond = ts.modified_loss(2, update=update)
    assert (beyond.exists, beyond.through) == (False, 1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("second", [HALF, THIRD])
def test_elsewhere_it_is_no_gradient(second: Any) -> None:
    """The Jacobian of Φ_1/φ′ is symmetric only where β₁ = β₂."""
    update = ts.Adam(HALF, second, THIRD, epsilon_inside=True)
    loss = sympy.lambdify([VARIABLES], LOSS, "jax")
    part = ts.modified_flow(2, update=update)[1].lower(loss)

    def bent(at: Any) -> Any:
        return part(at, h=1.0) * (jax.grad(loss)(at) ** 2 + 1 / 3) ** 1.5  # φ′ = −ε/w³

    jacobian = jax.jacfwd(bent)(jnp.array([0.5, -1 / 3]))
    assert (abs(jacobian[0, 1] - jacobian[1, 0]) < 1e-10) == ts.modified_loss(1, update=update).exists
    statement = str(ts.modified_loss(1, update=ts.RMSProp(rho, epsilon)))
    assert statement.startswith("E; there is none at h^1: θ̇ - φ(∇Ẽ) = h*(")


def test_heavy_balls_loss_is_the_known_one() -> None:
    rule = averaged(m / (1 - beta))
    ours = ts.modified_loss(1, update=rule).expression(LOSS, VARIABLES)
    known = ts.modified_loss(1, update=ts.HeavyBall(beta)).expression(LOSS, VARIABLES)
    assert sympy.simplify(ours - (1 - beta) * known) == 0  # there E comes with the speed 1/(1 − β)
    assert not ts.modified_loss(2, update=rule).exists
    midpoint = ts.Elementwise({}, g)
    assert ts.modified_loss(1, update=midpoint).expression(LOSS, VARIABLES) == ts.modified_loss(1).expression(
        LOSS, VARIABLES
    )
    signs = ts.Adam(beta, beta, 0)
    assert str(ts.modified_loss(1, update=signs)) == "E"
    assert isinstance(ts.modified_loss(0, update=signs), ElementwiseLoss)


# -- JAX -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "update",
    [None, ts.HeavyBall(beta, decay=lam * h), ts.Adam(beta, rho, epsilon), ts.Adam(HALF, rho, epsilon, lam, True)],
    ids=["Euler", "heavy ball", "Adam", "AdamW"],
)
def test_lowered_fields_are_the_exact_ones(update: Any) -> None:
    flow = ts.modified_flow(2, update=update)
    values = {s: 0.2 + 0.1 * i for i, s in enumerate(sorted(flow.free_symbols, key=str))} | {h: 0.05}
    loss = sympy.lambdify(VARIABLES, LOSS, "jax")
    field = flow.lower(lambda at, scale: scale * loss(at["x"], at["y"][0]))
    at = {"x": jnp.array(0.5), "y": jnp.array([-1 / 3])}
    found = field(at, 1.0, **{s.name: number for s, number in values.items()})
    exact = flow.evaluate(PLACE, POINT).subs(values)
    assert np.allclose([found["x"], found["y"][0]], np.array(exact, float).ravel(), rtol=1e-12)
    with pytest.raises(TypeError, match="give h=.*; unknown are eta; the field takes"):
        field(at, 1.0, **{s.name: number for s, number in values.items() if s != h}, eta=1.0)


# -- faces and errors ----------------------------------------------------------------------------------------


def test_the_latex_is_parsed() -> None:
    parser = MathTextParser("path")
    for update in (ts.Adam(HALF, rho, epsilon), ts.Adam(beta, rho, 0), averaged(m)):
        flow = ts.modified_flow(2, update=update)
        parser.parse(f"${flow.latex()}$")
        parser.parse(f"${ts.modified_loss(1, update=update).latex()}$")
    assert str(ts.modified_flow(3, update=averaged(m / (1 - beta)))[1]) == "h*(beta + 1)/(2*(beta - 1)**3) ∇∇E ∇E"
    assert str(ts.modified_flow(1, update=ts.RMSProp(rho, epsilon))[0]).endswith("w = epsilon + |g|, g = ∇E")


def test_rules_compare_by_their_parameters() -> None:
    assert ts.Adam(0.9, 0.99, 0.1) == ts.Adam(Rational(9, 10), Rational(99, 100), Rational(1, 10))
    assert ts.Adam(beta, rho, epsilon) != ts.Adam(beta, rho, epsilon, epsilon_inside=True)
    flow = ts.modified_flow(2, update=ts.RMSProp(rho, epsilon))
    assert flow == ts.modified_flow(3, update=ts.RMSProp(rho, epsilon)).truncate(2)
    assert len({flow, flow.truncate(2), flow.truncate(1)}) == 2
    assert flow[0] and flow[1] != flow[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ts.Adam(1, HALF, 1), ValueError, "beta1=1: a state that never fades"),
        (lambda: ts.RMSProp(HALF, -1), ValueError, "epsilon=-1 must not be negative"),
        (lambda: ts.RMSProp("a", 1), TypeError, "rho='a' must be a number"),
        (lambda: ts.RMSProp(HALF, 1, "yes"), TypeError, "epsilon_inside='yes' must be True or False"),
        (lambda: ts.Elementwise([(m, HALF)], m), TypeError, "states=.* must be a mapping"),
        (lambda: ts.Elementwise({"m": (HALF, g)}, m), TypeError, "its key 'm' must be a SymPy symbol"),
        (lambda: ts.Elementwise({m: HALF}, m), TypeError, r"states\[m\]=1/2 must be a sequence"),
        (lambda: ts.Elementwise({m: (HALF, g, 1)}, m), ValueError, "must be a pair"),
        (lambda: ts.Elementwise({m: (HALF, v), v: (HALF, g)}, m), ValueError, r"states\[m\]=v must not hold v"),
        (lambda: ts.Elementwise({g: (HALF, g)}, g), ValueError, "g is the gradient"),
        (lambda: ts.Elementwise({m: (HALF, g)}, h * m), ValueError, r"step=h\*m must not hold h"),
        (lambda: ts.derive(ts.TestLoss(), ts.GD(), 1, update=ts.RMSProp(HALF, 1)), NotImplementedError, "not linear"),
        (lambda: ts.modified_map(2, ts.RMSProp(HALF, 1)), NotImplementedError, "the flow is derived"),
        (lambda: ts.modified_loss(3, ts.RMSProp(HALF, 1)), NotImplementedError, "decided through h.2"),
        (lambda: ts.modified_loss(1, ts.Adam(HALF, HALF, 1, 1)), NotImplementedError, "depends on θ itself"),
        (lambda: ts.modified_flow(2, ts.RMSProp(HALF, 1))[2], KeyError, "h.2 is not known"),
        (lambda: ts.modified_flow(2, ts.RMSProp(HALF, 1))["f"], TypeError, "give a power of h"),
        (lambda: ts.modified_flow(2, ts.RMSProp(HALF, 1)).limit(rho, 0), ValueError, "rho is not in the step"),
        (lambda: ts.modified_flow(2, ts.RMSProp(rho, epsilon)).limit(epsilon, 1), ValueError, "must be 0 or"),
        (lambda: ts.modified_flow(2, ts.RMSProp(rho, epsilon)).limit("e", 0), TypeError, "must be a SymPy symbol"),
        (lambda: ts.modified_flow(1, ts.RMSProp(rho, 0)).evaluate(PLACE.__class__([x**2], [1], [x]), [0]), ValueError,
         "jumps where the gradient is 0"),
        (lambda: ts.modified_flow(2).lower(3), TypeError, "loss=3 is neither a function"),
        (lambda: ts.simulate(ts.Landscape(lambda t, x: t * x, jnp.ones(2)), 0.5, ts.GD(N=2, T=1), [0.1], 2, 0,
                             update=ts.RMSProp(HALF, 1)), TypeError, "RMSProp"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
