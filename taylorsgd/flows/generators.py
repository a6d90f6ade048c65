r"""The generator of SGD: the operator whose exponential moves the law of θ.

Where updates are independent the means of functions form a semigroup, one update being exp(𝓖):

    E φ(θ_T) = exp(T 𝓖) φ (θ_0),        𝓖 = drift^μ ∂_μ + ½ diffusion^{μν} ∂_μ ∂_ν + rest.

So 𝓖φ is the part linear in T of E φ(θ_T), of which there is a formula. A diffusion has no rest, so the lowest order
of the rest is where no Itô diffusion follows SGD; two dynamics with equal generators through an order have equal laws
to that weak order. With momentum the velocity remembers; once it has forgotten its start, after terms β^T,

    E φ(θ_T) = W exp(T 𝓖) φ (θ_0),

with one operator W = 1 + O(η) for all T, which takes θ_0 at rest to where it would have had to start at full speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from attrs import evolve
from sympy import Expr, Integer, Poly, PolynomialError, Pow, expand, factor

from taylorsgd import symbols
from taylorsgd.arguments import as_whole, checked_order
from taylorsgd.diagrams import Diagram, Value
from taylorsgd.flows.operators import PHI, Operator, degree_of, operator_product, with_open_ends
from taylorsgd.flows.quadratics import QuadraticGenerator
from taylorsgd.formulas import Formula, Observable, Term, derive
from taylorsgd.spacetime import GD, ODE, SDE, SGD, Replacement, Spacetime
from taylorsgd.updates import Descent, Update
from taylorsgd.updates.rule import refuse_lasting_momentum

__all__ = ["Generator", "Obstruction", "generator"]


def _any_observable(theta: Any) -> Any:
    raise ValueError("φ stands for any observable; put one in, as in generator(order, spacetime)(Observable(s))")


ANY = Observable(_any_observable, name=PHI)
"""What 𝓖 acts on before an observable is put in."""


@dataclass(frozen=True)
class Obstruction:
    """Why no Itô diffusion has this generator.

    Attributes:
        order: the lowest power of η with three or more derivatives of φ.
        terms: a `Formula`, these terms as they act on φ.
    """

    order: int
    terms: Formula

    def __str__(self) -> str:
        """In words."""
        text = self.terms.text(eta=True)
        return f"no Itô diffusion from η^{self.order} on: it would lack {text}"

    def __repr__(self) -> str:
        """In words, so that it reads well at a prompt."""
        return f"<Obstruction {self}>"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.terms.latex(eta=True)} \neq 0$"


class Generator:
    """𝓖 with E φ(θ_T) = exp(T 𝓖) φ, through a power of η; T counts updates.

    A value of d edges comes with its own η^d, as in every formula.

    Attributes:
        action: 𝓖φ, a `Formula` in derivatives of an arbitrary φ.
        order: the power of η through which it is derived.
        spacetime: the spacetime that it was asked of.
        update: the update rule.
        start: Wφ − φ, a `Formula`: with memory E φ(θ_T) = W exp(T 𝓖) φ up to terms β^T; without, it has no terms.

    Example:
        >>> import taylorsgd as ts
        >>> g = ts.generator(3, ts.SGD(B=1, E=1))
        >>> print(g[2])
        𝓖φ = -1/2 (∇_μ φ) H^μ_ν G^ν + 1/2 C_μν ∇^μ∇^ν φ
        >>> print(g.drift[3])
        -1/12 J^μ_νλ G^ν G^λ - 1/3 H^μ_ν H^ν_λ G^λ + 1/4 J^μ_νλ C^νλ
        >>> print(g.diffusion[2], '|', g.rest)
        C^μν | -1/6 S_μνλ ∇^μ∇^ν∇^λ φ
        >>> print(g.obstruction)
        no Itô diffusion from η^3 on: it would lack -eta**3/6 S_μνλ ∇^μ∇^ν∇^λ φ
    """

    def __init__(self, action: Formula, spacetime: Spacetime, update: Update, order: int, start: Formula) -> None:
        """Keep what was derived; users call `generator`."""
        self.action = action
        self.spacetime = spacetime
        self.update = update
        self.order = order
        self.start = start

    # -- its parts ---------------------------------------------------------------------------------------

    @cached_property
    def drift(self) -> Formula:
        """drift^μ, a `Formula` with one open index: terms with one derivative of φ."""
        return self._opened(
            [
                Term(term.coefficient, with_open_ends(_plain(term), (0,)), ())
                for term in self.action.terms
                if degree_of(_plain(term)) == 1
            ],
            1,
        )

    @cached_property
    def diffusion(self) -> Formula:
        """diffusion^{μν}, a symmetric `Formula` with two open indices: twice the terms with two derivatives of φ."""
        return self._opened(
            [
                Term(term.coefficient, value, ())
                for term in self.action.terms
                if degree_of(_plain(term)) == 2
                for value in (with_open_ends(_plain(term), (0, 1)), with_open_ends(_plain(term), (1, 0)))
            ],
            2,
        )

    @cached_property
    def rest(self) -> Formula:
        """What no diffusion has: the terms with three or more derivatives of φ, as they act on φ."""
        return self._acting(term for term in self.action.terms if degree_of(_plain(term)) > 2)

    @property
    def obstruction(self) -> Obstruction | None:
        """At which order no Itô diffusion exists, and because of which cumulants; None if one does through `order`."""
        if not self.rest:
            return None
        lowest = min(term.order for term in self.rest.terms)
        return Obstruction(lowest, self.rest[lowest])

    def __getitem__(self, order: int) -> Generator:
        """The part of one order in η."""
        wanted = as_whole(order)
        if wanted is None or wanted < 0:
            raise TypeError(f"generator[{order!r}]: an order is an integer of at least 0")
        return Generator(self.action[wanted], self.spacetime, self.update, self.order, self.start[wanted])

    def __bool__(self) -> bool:
        """Whether there is any term."""
        return bool(self.action)

    # -- at work -----------------------------------------------------------------------------------------

    def __call__(self, observable: Observable) -> Formula:
        """𝓖φ for an observable φ: a scalar `Formula`, which evaluates where its derivatives do.

        Raises:
            TypeError: if it is no `Observable`.

        Example:
            >>> import sympy, taylorsgd as ts
            >>> x = sympy.Symbol("x")
            >>> coin = ts.FiniteLandscape([x**2 / 2 + x, x**2 / 2 - x], [sympy.Rational(1, 2)] * 2, [x])
            >>> growth = ts.generator(2, ts.SGD(B=1, E=1))(ts.Observable(x**2))
            >>> growth.evaluate(coin, at=[x])
            -eta**2*x**2 + eta**2 - 2*eta*x**2
        """
        if not isinstance(observable, Observable):
            raise TypeError(f"observable={observable!r} is not an Observable; write for example Observable(x**2)")
        terms = [
            Term(term.coefficient, _observing(_plain(term), observable.name), term.diagrams)
            for term in self.action.terms
        ]
        return Formula(terms, self.action.spacetimes, {observable.name: observable}, metric=self.action.metric)

    def resummed(self) -> QuadraticGenerator:
        """𝓖 to all orders in η on quadratics with additive noise, whatever `order` is.

        Raises:
            NotImplementedError: unless updates are independent batches under plain descent.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.generator(2, ts.SGD(B=1, E=1)).resummed())
            M_m = (-η)^m/B^(m-1) κ_m S/(e^S - 1), S = Σ log(1 - ηλ) over the m indices
        """
        epochs = isinstance(self.spacetime, SGD) and self.spacetime.data == "fixed"
        if epochs or self.spacetime.is_flow or not self.update.is_plain:
            raise NotImplementedError(
                f"the generator of {self.spacetime!r}, update={self.update!r}, is not summed to all orders; supported "
                "are SGD(E=1), Replacement(data='fixed') and GD() under plain descent"
            )
        return QuadraticGenerator(self.spacetime)

    def subs(self, sizes: Mapping[Any, Any] | None = None, /, **named: Any) -> Generator:
        """Replace sizes by numbers or expressions, as `Formula.subs`.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.generator(2, ts.SGD(E=1)).subs(B=4).diffusion)
            1/4 C^μν
        """
        action, start = (formula.subs(sizes, **named) for formula in (self.action, self.start))
        (spacetime,) = action.spacetimes
        return Generator(action, spacetime, self.update, self.order, start)

    def __eq__(self, other: object) -> bool:
        """Equal when they act alike, whatever they were derived for."""
        return self.action == other.action if isinstance(other, Generator) else NotImplemented

    def __hash__(self) -> int:
        """Hash the action."""
        return hash(self.action)

    # -- faces -------------------------------------------------------------------------------------------

    def latex(self) -> str:
        """𝓖φ in LaTeX."""
        return self.action.latex()

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \mathcal{{G}}\varphi = {self.latex()}$"

    def __str__(self) -> str:
        """𝓖φ in plain text."""
        return f"𝓖φ = {self.action}"

    def __repr__(self) -> str:
        """𝓖φ in plain text, so that it reads well at a prompt."""
        return f"<Generator {self}>"

    # -- inside ------------------------------------------------------------------------------------------

    def _acting(self, terms: Iterable[Term]) -> Formula:
        return Formula(terms, self.action.spacetimes, {PHI: ANY}, metric=self.action.metric)

    def _opened(self, terms: Iterable[Term], indices: int) -> Formula:
        return Formula(terms, self.action.spacetimes, {}, indices, self.action.metric)


def generator(order: int, spacetime: Spacetime, update: Update | None = None) -> Generator:
    """Derive the generator of descent per update, E φ(θ_T) = exp(T 𝓖) φ, through η^order, exactly.

    𝓖 = drift^μ ∂_μ + ½ diffusion^{μν} ∂_μ ∂_ν + rest, the part linear in T of derive(Observable(φ), spacetime).
    It asks that updates be independent of each other, or epochs:

        SGD(E=1)                            batches of fresh points, of any size B
        Replacement(data="fixed")           batches drawn from the landscape's N points
        SGD(shuffle=True, data="fixed")     epochs of N/B batches; then T is a whole number of these
        GD()                                a given training set, whose mean loss l then is: nothing is random
        ODE(), SDE()                        flows, whose generators end with −ηG·∂ and the noise (η²/2B) C:∂∂

    Args:
        order: the highest power of η.
        spacetime: one of these; its T, and the N of fresh data, play no role.
        update: the update rule; None for plain descent. With `HeavyBall` or `Nesterov` 𝓖 is that of θ after
            the velocity has forgotten its start; see `Generator.start`.
            What moves the pair of θ and a velocity that lasts is that of the field `landscapes.with_velocity`.

    Returns:
        A `Generator` with `drift`, `diffusion` and `rest`.

    Raises:
        TypeError: if the spacetime or the update rule is of another kind.
        ValueError: if the order is no integer of at least 0, or updates are not independent.
        NotImplementedError: for rates that change, or decay towards θ_0, where no one 𝓖 serves every update.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.generator(2, ts.SGD(E=1)))
        𝓖φ = -G_μ ∇^μ φ - 1/2 (∇_μ φ) H^μ_ν G^ν + 1/(2*B) C_μν ∇^μ∇^ν φ
        >>> from sympy import Rational
        >>> print(ts.generator(2, ts.SGD(E=1), update=ts.HeavyBall(Rational(1, 2))).diffusion)
        4/B C^μν

    Source: Li, Tai and E 2017, for order 2; the part linear in T of Tenka's Theorem 3.
    """
    order = checked_order(order)
    rule = Descent() if update is None else update
    place, time, share = _repeated(spacetime)
    _check_rule(rule, spacetime)
    formula = derive(ANY, place, order, update=update)
    if isinstance(spacetime, GD):
        formula = formula.assume("noiseless")
    still: dict[Value, Expr] = {}
    linear: dict[Value, Expr] = {}
    diagrams: dict[Value, tuple[Diagram, ...]] = {}
    for term in formula.terms:
        value = _plain(term)
        diagrams[value] = term.diagrams
        still[value], linear[value] = _first_powers(term.coefficient, time, value)
    waiting = {value: factor(c) for value, c in still.items() if value.order and c != 0}
    found = _without_start(linear, waiting, order)

    def acting(operator: Operator) -> Formula:
        terms = (Term(c, value, diagrams.get(value, ())) for value, c in operator.items())
        return Formula(terms, (spacetime,), {PHI: ANY}, metric=formula.metric)

    return Generator(acting({v: factor(share * c) for v, c in found.items()}), spacetime, rule, order, acting(waiting))


def _repeated(spacetime: Spacetime) -> tuple[Spacetime, dict[Any, Expr], Expr]:
    """The spacetime for any number of updates.

    Returns:
        It, what replaces its sizes so that T counts independent runs, and how many of these make one update.

    Raises:
        TypeError: if it is no spacetime.
        ValueError: if its updates are not independent.
    """
    T = symbols.T
    if not isinstance(spacetime, Spacetime):
        raise TypeError(
            f"spacetime={spacetime!r} is not a spacetime; give SGD(E=1), Replacement(data='fixed'), "
            "SGD(shuffle=True, data='fixed'), GD(), ODE() or SDE()"
        )
    if isinstance(spacetime, SGD) and spacetime.data == "fixed":
        return evolve(spacetime, E=symbols.E), {symbols.E: T}, 1 / spacetime.batches
    if isinstance(spacetime, SGD) and spacetime.E == 1:
        return SGD(B=spacetime.B, E=1), {symbols.N: T * spacetime.B}, Integer(1)
    if isinstance(spacetime, Replacement) and spacetime.data == "fixed":
        return evolve(spacetime, T=T), {}, Integer(1)
    if isinstance(spacetime, GD):
        return GD(T=T), {}, Integer(1)
    if isinstance(spacetime, (ODE, SDE)):
        return evolve(spacetime, T=T), {}, Integer(1)
    raise ValueError(
        f"spacetime={spacetime!r}: its updates meet the same fresh training points again, so they are not independent "
        "and no generator moves the law; take SGD(E=1), or fixed data: Replacement(data='fixed'), "
        "SGD(shuffle=True, data='fixed'), or GD()"
    )


def _check_rule(rule: Any, spacetime: Spacetime) -> None:
    """Refuse what is no update rule, and rules whose updates are not alike."""
    if not isinstance(rule, Update):
        raise TypeError(
            f"update={rule!r} is not an update rule; give HeavyBall(beta), Nesterov(beta), SecondOrder(lam)"
        )
    refuse_lasting_momentum(rule, "generator")
    if rule.rates is not None or getattr(rule, "decay", 0) != 0:
        raise NotImplementedError(
            f"update={rule!r}: its updates are not alike, so no one generator serves them all; supported are rules at "
            "constant rates without decay"
        )
    remembers = not rule.is_plain and not rule.has_instant_edges
    if remembers and isinstance(spacetime, SGD) and spacetime.data == "fixed":
        raise NotImplementedError(
            f"update={rule!r} on {spacetime!r}: the velocity joins one epoch to the next; supported is SGD(E=1)"
        )


def _first_powers(coefficient: Expr, time: Mapping[Any, Expr], value: Value) -> tuple[Expr, Expr]:
    """The coefficients of T⁰ and T¹, without what decays like β^T."""
    T = symbols.T
    written = coefficient.subs(time, simultaneous=True)
    written = expand(written).replace(lambda e: isinstance(e, Pow) and e.exp.has(T), lambda _: Integer(0))
    try:
        polynomial = Poly(written, T)
    except PolynomialError as error:
        raise NotImplementedError(f"the coefficient {coefficient} of {value} is no polynomial in T") from error
    return polynomial.coeff_monomial(1), polynomial.coeff_monomial(T)


def _without_start(linear: Operator, waiting: Operator, order: int) -> dict[Value, Expr]:
    """𝓖 from W𝓖, which is what is linear in T: 𝓖_d = (W𝓖)_d − Σ_{a<d} W_{d−a} 𝓖_a."""
    found: dict[Value, Expr] = {}
    for d in range(1, order + 1):
        part = {value: c for value, c in linear.items() if value.order == d}
        for value, c in operator_product(waiting, found, d).items():
            if value.order == d:
                part[value] = part.get(value, Integer(0)) - c
        found |= {value: simple for value, c in part.items() if (simple := factor(c)) != 0}
    return found


def _plain(term: Term) -> Value:
    """The value of a term that is not resummed."""
    assert isinstance(term.value, Value)
    return term.value


def _observing(value: Value, name: str) -> Value:
    """The value with an observable of some name in place of φ."""
    return Value(value.parents, value.parts, [name if mark == PHI else mark for mark in value.marks])
