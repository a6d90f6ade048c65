"""The mistakes of *Implicit Gradient Regularization*, each shown by a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any

from sympy import Add, Expr, Integer, Matrix, Poly, Rational, diff, expand, symbols

from taylorsgd.diagrams import Diagram
from taylorsgd.flows import modified_flow, modified_loss
from taylorsgd.reproducing.errata import Erratum, errata_outcome
from taylorsgd.reproducing.experiment import Experiment, Outcome, Work
from taylorsgd.symbols import h

__all__ = ["EXPERIMENT", "IgrErrataSize", "corrections", "euler_defect"]

x, y = VARIABLES = symbols("x y")
LOSS = x**2 * y + y
"""E, without symmetries that would hide a difference."""
AT = {x: Rational(1), y: Rational(2)}
CHAIN, CHERRY = Diagram((-1, 0, 1)), Diagram((-1, 0, 0))
"""The two trees of f₂: f′f′f and f″(f, f)."""


@dataclass(frozen=True)
class IgrErrataSize:
    """The settings.

    Attributes:
        order: corrections f_1, … up to this one are compared.
    """

    order: int = 3


def gradient(scalar: Expr) -> list[Expr]:
    """∇ of a function of the variables."""
    return [diff(scalar, v) for v in VARIABLES]


def along(field: Sequence[Expr], direction: Sequence[Expr]) -> list[Expr]:
    """The derivative of a field along another one: g′f."""
    return [Add(*(diff(g, v) * f for v, f in zip(VARIABLES, direction, strict=True))) for g in field]


def corrections(second: Callable[[list[Expr]], list[Expr]], field: Sequence[Expr], order: int) -> list[list[Expr]]:
    """f_0, …, f_order by the paper's recursion (A.14), with θ″ as `second` gives it for f̃.

    θ + hf = Σ h^n/n! θ^(n)(0), where θ^(n) are derivatives along f̃ = f + h f_1 + …, known up to the one in question.
    """
    parts = [list(field)]
    for level in range(1, order + 1):
        known = [_cut(Add(*(h**k * part[i] for k, part in enumerate(parts))), order) for i in range(len(field))]
        derivative = [_cut(entry, order) for entry in second(known)]
        total = [Integer(0)] * len(field)
        for n in range(2, level + 2):
            found = (_coefficient(entry, level + 1 - n) / factorial(n) for entry in derivative)
            total = [a + b for a, b in zip(total, found, strict=True)]
            derivative = [_cut(entry, order) for entry in along(derivative, known)]
        parts.append([expand(-entry) for entry in total])
    return parts


def euler_defect(parts: Sequence[Sequence[Expr]], order: int) -> list[Expr]:
    """How far the flow of Σ h^k f_k is from an Euler step after a time h: the coefficients of h^(order + 1)."""
    field = [_cut(Add(*(h**k * part[i] for k, part in enumerate(parts))), order) for i in range(len(VARIABLES))]
    end, derivative = [Integer(0)] * len(field), field
    for n in range(1, order + 2):
        end = [e + _coefficient(d, order + 1 - n) / factorial(n) for e, d in zip(end, derivative, strict=True)]
        derivative = [_cut(entry, order) for entry in along(derivative, field)]
    return [expand(entry) for entry in end]


def _cut(expression: Expr, order: int) -> Expr:
    """Without powers of h beyond `order`."""
    return Add(*(c * h**k for (k,), c in Poly(expression, h).terms() if k <= order))


def _coefficient(expression: Expr, power: int) -> Expr:
    return expand(expression).coeff(h, power)


def _run(size: IgrErrataSize, work: Work) -> Outcome:
    return errata_outcome(list(_errata(size.order)), NOTES)


NOTES = (
    "numbers are at (x, y) = (1, 2), of the first component where they are vectors; E = x² y + y where there is a loss",
    "the judge of f_3 is the Euler step: with it the flow of f + h f_1 + h² f_2 + h³ f_3 makes that step through h⁴",
)


def _errata(order: int) -> Iterator[Erratum]:
    field = [-slope for slope in gradient(LOSS)]
    most = max(order, 2)
    flow = modified_flow(most + 1)
    derived = [list(flow[k].field(field, VARIABLES) / h**k) for k in range(most + 1)]
    paper = corrections(lambda f: gradient(Add(*(entry**2 for entry in f)) / 2), field, order)
    for k in range(1, order + 1):
        # f_k enters the coefficient of h^(k+1) as itself: without it the defect is −f_k
        missing = euler_defect([*derived[:k], [Integer(0)] * 2], k)
        yield Erratum(
            f"Lemmas A.1 to A.4, f_{k}",
            "θ″ = ∇|f̃|²/2, and the recursion (A.14) from it",
            "θ″ = f̃′f̃, another vector from f_3 on" if k > 2 else "the recursion is right through f₂",
            _at(paper[k][0]),
            _at(derived[k][0]),
            -_at(missing[0]),
            "one Euler step",
        )

    wild = [x * y, x + y**2]
    first = list(modified_flow(2)[1].field(wild, VARIABLES) / h)
    by_rule = [-entry / 2 for entry in along(wild, wild)]
    yield Erratum(
        "Example A.5",
        "for any vector field f the first correction is the gradient of a function",
        "only for gradient fields: the curl of f_1 for f = (xy, x + y²)",
        Integer(0),
        _at(_curl(first)),
        _at(_curl(by_rule)),
        "the chain rule",
    )

    second = modified_loss(2)
    chain = along(field, along(field, field))  # f′f′f
    f_2 = [a / 3 + b / 12 for a, b in zip(chain, _hessian_term(field), strict=True)]
    ratio = second.flow[CHAIN] / second.flow[CHERRY]
    yield Erratum(
        "Theorem 3.1, at h²",
        "f₂ is a gradient like f₁ (what a reader might expect; the paper stops at h)",
        f"it is none: its two trees stand {ratio}:1, those of a gradient 2:1; its curl",
        Integer(0),
        _at(_curl(derived[2])),
        _at(_curl(f_2)),
        "f′f′f/3 + f″(f, f)/12",
    )

    residuals = Matrix([x * y - 1, x + y**2])
    slopes = residuals.jacobian(Matrix(VARIABLES))
    kernel = slopes * slopes.T
    loss = residuals.dot(residuals)
    step = Rational(1, 10)
    as_printed = (residuals.T * (Matrix.eye(2) + kernel) * residuals)[0]
    with_step = (residuals.T * (Matrix.eye(2) + step * kernel) * residuals)[0]
    yield Erratum(
        "A.23",
        "the modified loss is εᵀ(1 + K)ε",
        "εᵀ(1 + hK)ε; at h = 1/10",
        _at(as_printed),
        _at(with_step),
        _at(modified_loss(1).expression(loss, VARIABLES).subs(h, step)),
        "E + (h/4)|∇E|²",
    )


def _hessian_term(field: Sequence[Expr]) -> list[Expr]:
    """f″(f, f)."""
    pairs = [(u, v, f, g) for u, f in zip(VARIABLES, field, strict=True) for v, g in zip(VARIABLES, field, strict=True)]
    return [Add(*(diff(entry, u, v) * f * g for u, v, f, g in pairs)) for entry in field]


def _curl(field: Sequence[Expr]) -> Expr:
    return expand(diff(field[1], x) - diff(field[0], y))


def _at(expression: Any) -> Any:
    return expression.subs(AT)


EXPERIMENT = Experiment(
    title="mistakes in the paper",
    shows="Barrett and Dherin, Lemmas A.1 to A.4, Example A.5 and equation A.23",
    claim="what is printed there",
    judged="exact symbols: the Euler step that the modified flow is to make, the chain rule, the modified loss",
    sizes={"quick": IgrErrataSize(), "full": IgrErrataSize(order=4)},
    lasts={"quick": "a few seconds", "full": "a few seconds"},
    run=_run,
)
"""The experiment."""
