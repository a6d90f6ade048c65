"""The effective flow: the autonomous field that moves θ as far as descent does on average."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sympy import QQ, Expr, construct_domain, factor, latex, sstr

from taylorsgd import symbols
from taylorsgd.diagrams import Value
from taylorsgd.flows.curls import curl
from taylorsgd.flows.grafting import diagram_of, grafted, is_vector
from taylorsgd.flows.splitting import split
from taylorsgd.formulas.term import Combination, Term

__all__ = ["EffectiveFlow", "EffectiveLoss", "effective_flow"]

Field = dict[Value, Any]
"""A combination of vectors: coefficients of one exact domain."""


@dataclass(frozen=True)
class EffectiveLoss:
    """A loss with φ = −η∇(loss) + remainder, and that remainder.

    Attributes:
        loss: a scalar `Formula`; a value of d edges comes with η^d. Where the remainder is not 0, its −η∇ is
            the orthogonal projection of φ on gradients (see `splitting`).
        remainder: a `Formula` with one open index: the part of φ that is no gradient.
    """

    loss: Combination
    remainder: Combination

    @property
    def exists(self) -> bool:
        """Whether the whole field is −η∇(loss)."""
        return not self.remainder

    def latex(self) -> str:
        """The loss in LaTeX; `remainder.latex()` writes the remainder."""
        return self.loss.latex()

    def _repr_latex_(self) -> str:
        text = rf"\tilde{{l}} = {self.latex()}"
        if not self.exists:
            rest = self.remainder.latex()
            text += rf", \qquad \dot{{\theta}} = -\eta \nabla \tilde{{l}} + \left({rest}\right)"
        return rf"$\displaystyle {text}$"

    def __str__(self) -> str:
        """The loss in plain text, and what of the field is no gradient, if anything."""
        return str(self.loss) if self.exists else f"{self.loss}, and no gradient: {self.remainder}"

    def __repr__(self) -> str:
        """The loss in plain text, so that it reads well at a prompt."""
        return f"<EffectiveLoss {self}>"


@dataclass(frozen=True)
class EffectiveFlow:
    """An autonomous field φ whose flow dθ/dt = φ(θ) over 0 ≤ t ≤ T moves θ_0 by a given displacement.

    Time counts updates. φ = Σ_d φ_d, and a value of order d holds its η^d. Its coefficients may hold T: then the
    field for a longer run is another one, and no one flow passes through the means of all θ_t.

    Attributes:
        field: φ, a `Formula` with one open index.
        T: how long the flow runs, in the sizes' own symbols.

    Example:
        >>> import taylorsgd as ts
        >>> flow = ts.derive(ts.Displacement(), ts.GD(), order=2).effective_flow()
        >>> print(flow)
        dθ/dt = -G^μ - 1/2 H^μ_ν G^ν + (T - 1)/(4*N) ∇^μ C^ν_ν, 0 ≤ t ≤ T, a field that depends on T
        >>> print(flow.modified_loss())
        l + 1/4 G_μ G^μ - (T - 1)/(4*N) C^μ_μ
    """

    field: Combination
    T: Expr

    @property
    def order(self) -> int:
        """The highest power of η with a term."""
        return self.field.order

    def __getitem__(self, order: int) -> Combination:
        """φ_d, the part of one order in η."""
        return self.field[order]

    @property
    def depends_on_T(self) -> bool:
        """Whether the field changes with the number of updates.

        Read off the symbols, so the flow of a formula with numbers for its sizes is for that T, and says no.
        """
        names = self.T.free_symbols
        fresh = all(spacetime.data == "fresh" for spacetime in self.field.spacetimes)
        if symbols.T in names or symbols.E in names:
            names = names & {symbols.T} or {symbols.E}
        elif symbols.N in names:  # one epoch: N new points, or, of fixed data, a property of the landscape
            names = {symbols.N} if fresh else set()
        return any(names & term.coefficient.free_symbols for term in self.field.terms)

    def modified_loss(self) -> EffectiveLoss:
        """The loss whose gradient this field is, as far as it is one.

        Returns:
            An `EffectiveLoss`: φ = −η∇(loss) + remainder, with a remainder of 0 where the modified loss exists.

        Example:
            >>> import taylorsgd as ts
            >>> flow = ts.derive(ts.Displacement(), ts.GD(), order=3).assume("noiseless").effective_flow()
            >>> flow.modified_loss().exists
            False
            >>> print(flow.modified_loss().remainder)
            1/18 J^μ_νλ G^ν G^λ - 1/18 H^μ_ν H^ν_λ G^λ
        """
        for term in self.field.terms:
            _checked_vector(term)
        scalar, rest = split({term.value: -term.coefficient for term in self.field.terms})  # type: ignore[misc]
        loss = type(self.field)(
            (Term(coefficient, value, ()) for value, coefficient in scalar.items()), self.field.spacetimes, {}
        )
        return EffectiveLoss(loss, self.field.part(_terms((v, -c) for v, c in rest.items())))

    def curl(self) -> Combination:
        """The curl ∂^μ φ^ν − ∂^ν φ^μ, which is 0 only where the field is a gradient; an edge more, with its η.

        Raises:
            ValueError: for the flow along a valley, whose field is resummed.

        Example:
            >>> import taylorsgd as ts
            >>> flow = ts.derive(ts.Displacement(), ts.SGD(E=1), order=3).effective_flow()
            >>> print(flow.curl().assume("minimum"))
            (T - 1)/(2*B) J^μ_λρ κ(∇^ν∇^λ l, ∇^ρ l) - (T - 1)/(2*B) J^ν_λρ κ(∇^μ∇^λ l, ∇^ρ l)    with T = N/B
        """
        return curl(self.field)

    def latex(self) -> str:
        r"""The field in LaTeX.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.derive(ts.Displacement(), ts.ODE(), order=3).effective_flow().latex())
            \frac{d\theta^{\mu}}{dt} = -G^{\mu}
        """
        return rf"\frac{{d\theta^{{\mu}}}}{{dt}} = {self.field.latex()}"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}, \qquad 0 \leq t \leq {latex(self.T)}$"

    def __str__(self) -> str:
        """The field in plain text."""
        depends = ", a field that depends on T" if self.depends_on_T else ""
        return f"dθ/dt = {self.field}, 0 ≤ t ≤ {sstr(self.T)}{depends}"

    def __repr__(self) -> str:
        """The field in plain text, so that it reads well at a prompt."""
        return f"<EffectiveFlow {self}>"


def effective_flow(formula: Combination) -> EffectiveFlow:
    """Solve for the field whose time-T flow makes a displacement; see `Formula.effective_flow`.

    With χ = Tφ the flow runs for a unit of time: D = Σ_n X_n with X_1 = χ and X_{n+1} = (χ ▷ X_n)/(n+1). At order d
    the terms with n ≥ 2 hold only χ_1, …, χ_{d−1}, so χ_d = D_d − Σ_{n≥2} X_{n,d}.
    """
    if formula.rate != symbols.eta:
        raise ValueError(
            "effective_flow: the learning rate of this formula was tied by subs(eta=...); take it before that"
        )
    time = _checked_time(formula)
    if formula.terms and all(getattr(term.value, "drift", False) for term in formula.terms):
        return EffectiveFlow(formula, time)  # the steady growth per update along a valley is a field as it stands
    formula = formula.to_cumulants()
    values = [_checked_vector(term) for term in formula.terms]
    domain, numbers = construct_domain([t.coefficient for t in formula.terms], field=True)
    displacement: list[Field] = [{} for _ in range(formula.order + 1)]
    for value, number in zip(values, numbers, strict=True):
        displacement[value.order][value] = number
    unit: list[Field] = [{}]  # χ_0, χ_1, …
    powers: list[list[Field]] = [[{}], unit]  # powers[n][d] = X_{n,d}; X_1 is χ
    for d in range(1, formula.order + 1):
        for n in range(2, d + 1):
            if n == len(powers):
                powers.append([{} for _ in range(d)])
            share = domain.from_sympy(QQ.to_sympy(QQ(1, n)))
            powers[n].append(
                _sum(_along(unit[a], powers[n - 1][d - a], share) for a in range(1, d) if d - a < len(powers[n - 1]))
            )
        minus = domain.from_sympy(QQ.to_sympy(QQ(-1)))
        unit.append(_sum([displacement[d], *(_scaled(powers[n][d], minus) for n in range(2, d + 1))]))
    field = {value: factor(domain.to_sympy(c) / time) for part in unit for value, c in part.items() if c}
    return EffectiveFlow(formula.part(_terms(field.items())), time)


def _along(chi: Field, moved: Field, share: Any) -> Field:
    """The derivative of a field along χ, χ ▷ moved, times a share."""
    found: Field = {}
    for vector, c in moved.items():
        for direction, d in chi.items():
            product = share * c * d
            for value, copies in grafted(vector, direction):
                found[value] = found[value] + product * copies if value in found else product * copies
    return found


def _sum(fields: Iterable[Field]) -> Field:
    found: Field = {}
    for field in fields:
        for value, c in field.items():
            found[value] = found[value] + c if value in found else c
    return {value: c for value, c in found.items() if c}


def _scaled(field: Field, scale: Any) -> Field:
    return {value: scale * c for value, c in field.items()}


def _terms(field: Iterable[tuple[Value, Expr]]) -> list[Term]:
    return [Term(coefficient, value, (diagram_of(value),)) for value, coefficient in field]


def _checked_vector(term: Term) -> Value:
    value: Any = term.value
    if value.is_resummed:
        raise ValueError(
            f"the term {term} is resummed, and its K depends on θ in a way that trees don't have; "
            "derive the displacement without resum"
        )
    if not is_vector(value):
        raise ValueError(
            f"the term {term} is no displacement; only derive(Displacement(), spacetime, order) has an effective flow"
        )
    return value


def _checked_time(formula: Combination) -> Expr:
    if formula.indices != 1:
        raise ValueError(
            f"a formula with {formula.indices} open indices moves nothing; "
            "only derive(Displacement(), spacetime, order) has an effective flow"
        )
    times = {spacetime.sizes["T"] for spacetime in formula.spacetimes}
    if len(times) != 1:
        shown = ", ".join(map(str, sorted(times, key=str))) or "none"
        raise ValueError(f"the formula has no one number of updates T, but {shown}; derive it from one spacetime")
    (time,) = times
    if time == 0:
        raise ValueError("T=0: a flow that runs for no time moves nothing; give T updates, T ≥ 1")
    return time
