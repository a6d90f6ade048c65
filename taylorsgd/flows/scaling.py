r"""Scaling rules: how rate and length of a run follow the batch size so that the law of θ stays.

Replace B by κB, η by ρη and T by τT. The law stays through η^k where the generators of the whole runs agree,
τ 𝓖(ρη, κB) = 𝓖(η, B) through η^k. The drift −cη G·∂ and the noise n (η²/2B) C:∂∂ ask for

    τ ρ c' = c,        τ ρ² n'/κ = n,

so ρ = κ n c'/(n' c): for plain descent the linear rule ρ = κ, τ = 1/κ, and with momentum η/((1−β) B) is kept. All
other terms are then given, and the first that differs says where the rule fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, overload

from sympy import Add, Expr, ImmutableMatrix, Integer, Symbol, factor, latex, simplify, sqrt, sstr

from taylorsgd import symbols
from taylorsgd.arguments import checked_order
from taylorsgd.diagrams import Value
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.flows.elementwise_scaling import ElementwiseScaling
from taylorsgd.flows.generators import Generator, generator
from taylorsgd.flows.operators import PHI
from taylorsgd.formulas import Formula, Term
from taylorsgd.spacetime import SGD
from taylorsgd.updates import Adam, RMSProp, Update

__all__ = ["Failure", "ScalingRule", "scaling_rule"]

KAPPA = Symbol("kappa", positive=True)
DRIFT = Value((-1, 0), None, (PHI, ""))
NOISE = Value((-1, 0, 0), (0, 1, 1), (PHI, "", ""))


class Failure(NamedTuple):
    """By how much a rule misses at a point, in the first terms that are not 0 there.

    Attributes:
        order: their power of η.
        drift: what the drift gains by the replacement, per update of the run before, a column matrix.
        diffusion: what the diffusion gains, a matrix.
        ratio: the larger of |drift|/|−cηG| and |diffusion|/|nη²C/B| (Frobenius), as far as G and C are not 0.
    """

    order: int
    drift: ImmutableMatrix
    diffusion: ImmutableMatrix
    ratio: Expr


@dataclass(frozen=True)
class ScalingRule:
    """B → κB with η → rate·η and T → time·T, and what this does not keep.

    Attributes:
        kappa: κ, by what the batch size is multiplied.
        rate: by what the learning rate is multiplied.
        time: by what the number of updates is multiplied.
        before: the generator per update before.
        mismatch: the generator after minus that before, per update of the run before, a `Generator`.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.scaling_rule(8))
        B → 8*B, η → 8*η, T → T/8 keeps drift and noise; first to fail, at η^2: -7*eta**2/2 (∇_μ φ) H^μ_ν G^ν
    """

    kappa: Expr
    rate: Expr
    time: Expr
    before: Generator
    mismatch: Generator

    @property
    def order(self) -> int:
        """The power of η through which it was asked."""
        return self.before.order

    @property
    def first(self) -> Formula:
        """The first terms that fail, as they act on an observable φ; none if all terms agree."""
        terms = self.mismatch.action.terms
        return self.mismatch.action[min((term.order for term in terms), default=0)]

    def failure(self, landscape: Any, at: Any, eta: Any, B: Any, kappa: Any = None) -> Failure | None:
        """The size of what fails first on a landscape with exact cumulants.

        Args:
            landscape: as for `Formula.evaluate`.
            at: the point.
            eta: the learning rate before.
            B: the batch size before.
            kappa: κ, where the rule has a symbol for it.

        Returns:
            A `Failure`; None if nothing fails there through `order`.

        Raises:
            TypeError: if a number is no number.
            ValueError: if κ has no value, or not the rule's.

        Example:
            >>> import sympy, taylorsgd as ts
            >>> x = sympy.Symbol("x")
            >>> coin = ts.FiniteLandscape([x**2 + x, x**2 - x], [sympy.Rational(1, 2)] * 2, [x])
            >>> ts.scaling_rule(8).failure(coin, at=[1], eta=sympy.Rational(1, 100), B=4).ratio    # (κ−1) ηH/2
            7/100
        """
        factor_of = self.kappa if kappa is None else _checked_factor(kappa)
        if self.kappa != KAPPA and factor_of != self.kappa:
            raise ValueError(f"kappa={kappa!r} is not the rule's own {self.kappa}")
        if factor_of == KAPPA:
            raise ValueError("kappa=None: this rule is for any κ; say which, as in failure(..., kappa=8)")
        rate = exact_argument(eta, "eta")

        def evaluated(formula: Formula) -> ImmutableMatrix:
            return formula.replaced(
                Term(term.coefficient.subs(KAPPA, factor_of), term.value, ()) for term in formula.terms
            ).evaluate(landscape, at, eta=None, B=B).subs(symbols.eta, rate)  # fmt: skip

        for order in range(1, self.order + 1):
            part = self.mismatch[order]
            drift, diffusion = evaluated(part.drift), evaluated(part.diffusion)
            if not (drift.is_zero_matrix and diffusion.is_zero_matrix):
                kept = evaluated(self.before[1].drift), evaluated(self.before[2].diffusion)
                ratios = [
                    _norm(found) / _norm(of)
                    for found, of in zip((drift, diffusion), kept, strict=True)
                    if not of.is_zero_matrix
                ]
                return Failure(order, drift, diffusion, max(ratios, default=Integer(0)))
        return None

    def latex(self) -> str:
        """The rule in LaTeX."""
        pairs = [(r"\eta", self.rate), ("T", self.time)]
        rule = rf"B \to {latex(self.kappa * symbols.B)}"
        rule += "".join(rf",\; {name} \to {latex(number * Symbol(name))}" for name, number in pairs)
        return rule + (rf",\quad \Delta \mathcal{{G}}\varphi = {self.first.latex(eta=True)}" if self.first else "")

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        """The rule in plain text, with what fails first."""
        pairs = [("B", self.kappa), ("η", self.rate), ("T", self.time)]
        rule = ", ".join(f"{name} → {sstr(number * Symbol(name))}" for name, number in pairs)
        if not self.first:
            return f"{rule} keeps the generator through η^{self.order}"
        order, text = self.first.terms[0].order, self.first.text(eta=True)
        return f"{rule} keeps drift and noise; first to fail, at η^{order}: {text}"

    def __repr__(self) -> str:
        """The rule in plain text, so that it reads well at a prompt."""
        return f"<ScalingRule {self}>"


@overload
def scaling_rule(kappa: Any = None, order: int = 2, *, update: RMSProp | Adam) -> ElementwiseScaling: ...
@overload
def scaling_rule(
    kappa: Any = None, order: int = 2, *, update: Update | None = None, becomes: Update | None = None
) -> ScalingRule: ...
def scaling_rule(
    kappa: Any = None, order: int = 2, *, update: Update | RMSProp | Adam | None = None, becomes: Update | None = None
) -> ScalingRule | ElementwiseScaling:
    """Derive how η and T follow the batch size so that drift and noise stay, and what then differs first.

    By generators of one-epoch SGD, τ 𝓖(ρη, κB) against 𝓖(η, B): equal generators through η^k are equal laws through
    that order, at all times.

    Args:
        kappa: by what B is multiplied, a positive number or expression; None for the symbol κ.
        order: the power of η through which generators are compared, at least 2.
        update: the update rule; None for plain descent. `RMSProp` and `Adam` have one rule only, the square root, for
            where noise is most of a batch's gradient; their own numbers change with it (`elementwise_scaling`).
        becomes: the rule after the replacement; None for the same. A momentum that grows along with B, for example.

    Returns:
        A `ScalingRule`; of `RMSProp` and `Adam` an `ElementwiseScaling`.

    Raises:
        TypeError: if κ is no number or expression, or a rule no update rule.
        ValueError: if κ is not positive, or the order less than 2; of `RMSProp` and `Adam` if the order is more than
            2, what they become is given, or a memory would become negative.
        NotImplementedError: for rates that change, or decay.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Rational
        >>> rule = ts.scaling_rule(4, update=ts.HeavyBall(0), becomes=ts.HeavyBall(Rational(3, 4)))
        >>> rule.rate, rule.time        # four times the batch: the same rate with momentum 3/4, a quarter of the speed
        (1, 1/4)

    Source: Goyal et al. 2017, Smith and Le 2018; derived here from `generator`.
    """
    order = checked_order(order, 2)
    by = KAPPA if kappa is None else _checked_factor(kappa)
    if isinstance(update, (RMSProp, Adam)):
        if becomes is not None or order != 2:
            raise ValueError(
                f"update={update!r} is matched by drift and noise at order 2, which say what it becomes; leave "
                "becomes= and order= out"
            )
        plain = scaling_rule(by)
        return ElementwiseScaling.of(update, by, plain.rate, plain.time)
    place = SGD(E=1)
    old = generator(order, place, update)
    new = old if becomes is None else generator(order, place, becomes)
    before, after = ({term.value: term.coefficient for term in one.action.terms} for one in (old, new))
    rate = simplify(by * before[NOISE] * after[DRIFT] / (after[NOISE] * before[DRIFT]))
    time = simplify(before[DRIFT] / (rate * after[DRIFT]))
    terms = []
    for value in {**before, **after}:
        gained = time * rate**value.order * after.get(value, Integer(0)).subs(symbols.B, by * symbols.B)
        terms.append(Term(factor(gained - before.get(value, Integer(0))), value, ()))
    action = old.action.part(terms)
    mismatch = Generator(action, place, new.update, order, old.start.part(()))
    return ScalingRule(by, rate, time, old, mismatch)


def _checked_factor(kappa: Any) -> Expr:
    """κ as a positive expression."""
    factor_of = exact_argument(kappa, "kappa")
    if factor_of.is_positive is False or factor_of.is_number and not factor_of.is_positive:
        raise ValueError(f"kappa={kappa!r} must be positive: the batch size is multiplied by it")
    return factor_of


def _norm(matrix: ImmutableMatrix) -> Expr:
    return sqrt(Add(*(entry**2 for row in matrix.tolist() for entry in row)))
