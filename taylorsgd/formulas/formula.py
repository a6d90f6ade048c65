"""The formula: a sum of exact coefficients times tensor networks, with the algebra of a vector space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from attrs import evolve
from sympy import Add, Expr, Integer, simplify

from taylorsgd import symbols
from taylorsgd.arguments import as_whole, pairs_of, whole_number
from taylorsgd.formulas.assumptions import survives
from taylorsgd.formulas.expectations import Expectations
from taylorsgd.formulas.faces import Faces
from taylorsgd.formulas.ingredients import all_of, merged, refuse_other_ingredients
from taylorsgd.formulas.observables import AnyObservable, Observable
from taylorsgd.formulas.questions import Questions
from taylorsgd.formulas.serializing import read_text, written_text
from taylorsgd.formulas.sizes import exact_number, is_too_large, solve_sizes, substituted, tidied
from taylorsgd.formulas.term import AnyValue, Term
from taylorsgd.formulas.tied_rate import read_rate, tie_rate
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates.metrics import one_metric

__all__ = ["Formula"]


class Formula(Faces, Questions):
    """An exact formula in η: Σ coefficient · value, in canonical form.

    Formulas add, subtract and scale; equal values are merged, and two formulas are equal when all their
    coefficients are. `f[d]` is the part of order d; iteration goes through the terms, and `len(f)` is their number.
    `derive` makes formulas; so does their algebra.

    A formula knows what it equals, and says so: E[l(θ_T)] = …. Sums and multiples know it too. A part `f[d]` does not,
    and a formula to which a part was added is taken as altered: it stands for what it was, and no longer equals it.

    Attributes:
        terms: the terms, by order and then from few ties to many.
        spacetimes: the spacetimes whose sizes the coefficients are written in.
        observables: by name, the `Observable`s that marked nodes carry.
        indices: the number of open indices: 0 for a scalar, 1 for a displacement, 2 for its covariance.
        metric: Λ of a matrix learning rate ηΛ, which raises indices: a matrix, a function, or None for the identity.
        rate: what a value of order d holds to the power of d: η, or 1 after `subs(eta=...)`.
        expectations: what the formula equals, up to terms of higher order; None if that is not known.
        through: the order in η through which it was derived; None if that is not known, as for a part `f[d]`.

    Example:
        >>> import taylorsgd as ts
        >>> test, train = (ts.derive(s, ts.SGD(), order=2) for s in (ts.TestLoss(), ts.TrainLoss()))
        >>> test - train == ts.derive(ts.GeneralizationGap(), ts.SGD(), order=2)
        True
        >>> print(test[1].subs(N=10, B=2, E=3))
        -15 G_μ G^μ
        >>> print(test - train)
        E[l(θ_T)] - E[l_train(θ_T)] = E/B C^μ_μ - T*(3*T - 1)/(4*N) (∇_μ C^ν_ν) G^μ - T*(T - 1)/(2*N) C_μν H^μν
            - E*(2*E - 1)/(2*B**2) κ(∇_μ∇_ν l, ∇^μ l, ∇^ν l) + O(η^3)    with T = E*N/B
    """

    def __init__(
        self,
        terms: Iterable[Term],
        spacetimes: Iterable[Spacetime],
        observables: Mapping[str, Observable],
        indices: int = 0,
        metric: Any = None,
        rate: Expr = symbols.eta,
        expectations: Expectations | None = None,
        through: int | None = None,
    ) -> None:
        """Merge equal values, drop zeros and sort; users call `derive` instead.

        Raises:
            TypeError: if an argument is of another kind.
            ValueError: if the number of indices, the rate or the order is impossible.
        """
        alike: dict[AnyValue, list[Term]] = {}
        for term in all_of(Term, terms, "terms"):
            alike.setdefault(term.value, []).append(term)
        distinct = (merged(alike[value]) for value in sorted(alike, key=lambda value: value.sort_key))
        refuse_other_ingredients(observables, indices, metric, rate, expectations, through)
        self.terms: tuple[Term, ...] = tuple(term for term in distinct if term.coefficient != 0)
        self.spacetimes: tuple[Spacetime, ...] = tuple(dict.fromkeys(all_of(Spacetime, spacetimes, "spacetimes")))
        self.observables: dict[str, Observable] = dict(observables)
        self.indices = indices
        self.metric = metric
        self.rate = rate
        self.expectations = expectations
        self.through = through

    # -- what it is of -------------------------------------------------------------------------------

    @property
    def observable(self) -> AnyObservable | None:
        """What the formula is the expectation of; None for a sum of several, or a part."""
        only = None if self.expectations is None else self.expectations.only
        return None if only is None else only.observable

    @property
    def sizes(self) -> dict[str, Expr]:
        """The sizes by name, T and M with them, as numbers or in the free symbols; of all spacetimes together.

        Example:
            >>> import taylorsgd as ts
            >>> ts.derive(ts.TestLoss(), ts.SGD(B=2, E=1), order=1).sizes
            {'N': N, 'B': 2, 'E': 1, 'T': N/2, 'M': 1/2}
        """
        return {name: size for place in self.spacetimes[::-1] for name, size in place.sizes.items()}

    # -- parts ---------------------------------------------------------------------------------------

    @property
    def order(self) -> int:
        """The power of η through which the formula was derived; of a part, the highest that it has."""
        return max((term.order for term in self.terms), default=0) if self.through is None else self.through

    @property
    def values(self) -> tuple[AnyValue, ...]:
        """The values of the terms, in their order."""
        return tuple(term.value for term in self.terms)

    def __getitem__(self, order: int) -> Formula:
        """The part of one order in η."""
        wanted = as_whole(order)
        if wanted is None or wanted < 0:
            raise TypeError(f"f[{order!r}]: an order is an integer of at least 0; f.terms lists the terms")
        return self.part(term for term in self.terms if term.order == order)

    def truncate(self, order: int) -> Formula:
        """The formula through η^order only.

        Raises:
            ValueError: if the order is no integer of at least 0.
        """
        order = whole_number(order, "order")
        through = None if self.through is None else min(order, self.through)
        return self._with((term for term in self.terms if term.order <= order), through=through)

    # -- algebra -------------------------------------------------------------------------------------

    def __add__(self, other: Formula) -> Formula:
        """The sum, with equal values merged."""
        if isinstance(other, (int, Integer)) and other == 0:
            return self  # so that sum() works
        if not isinstance(other, Formula):
            return NotImplemented
        for name in self.observables.keys() & other.observables.keys():
            if self.observables[name] != other.observables[name]:
                raise ValueError(f"both formulas observe something called {name!r}; give one another name")
        if self.indices != other.indices:
            raise ValueError(
                f"these formulas have {self.indices} and {other.indices} open indices; a scalar and a vector don't add"
            )
        if self.metric != other.metric:
            raise ValueError(f"these formulas have the matrix learning rates {self.metric} and {other.metric}")
        derived = self.through is not None and other.through is not None
        if self.rate != other.rate:
            raise ValueError("the learning rate of one of these formulas is tied by subs(eta=...); tie both or none")
        return Formula(
            (*self.terms, *other.terms),
            (*self.spacetimes, *other.spacetimes),
            self.observables | other.observables,
            self.indices,
            self.metric,
            self.rate,
            _sum_of(self, other),
            min(self.through, other.through) if derived else None,  # type: ignore[type-var]
        )

    __radd__ = __add__

    def __neg__(self) -> Formula:
        """All coefficients negated."""
        return self * -1

    def __sub__(self, other: Formula) -> Formula:
        """The difference, with equal values merged."""
        return self + -other if isinstance(other, Formula) else NotImplemented

    def __mul__(self, scale: int | Fraction | Expr) -> Formula:
        """All coefficients times an exact number or expression."""
        number = exact_number(scale)
        if number is None:
            return NotImplemented
        of = None if self.expectations is None else self.expectations * number
        terms = (Term(tidied(number * t.coefficient), t.value, t.diagrams) for t in self.terms)
        return self._with(terms, expectations=of)

    __rmul__ = __mul__

    def __truediv__(self, scale: int | Fraction | Expr) -> Formula:
        """All coefficients divided by an exact number or expression."""
        number = exact_number(scale)
        if number is None:
            return NotImplemented
        if number == 0:
            raise ZeroDivisionError("a formula can't be divided by 0")
        return self * (1 / number)

    def __eq__(self, other: object) -> bool:
        """Equal when every value has the same coefficient, wherever the formulas come from."""
        if not isinstance(other, Formula):
            return NotImplemented
        parts = ("values", "observables", "indices", "metric", "rate")
        if any(getattr(self, part) != getattr(other, part) for part in parts):
            return False
        return all(
            mine.coefficient == yours.coefficient or simplify(mine.coefficient - yours.coefficient) == 0
            for mine, yours in zip(self.terms, other.terms, strict=True)
        )

    def __hash__(self) -> int:
        """Hash the values."""
        return hash(self.values)

    def __bool__(self) -> bool:
        """Whether there is any term."""
        return bool(self.terms)

    # -- rewriting -----------------------------------------------------------------------------------

    def subs(self, sizes: Mapping[Any, Any] | None = None, /, **named: Any) -> Formula:
        """Replace sizes by numbers or expressions, or tie the learning rate to them.

        With `eta=` an expression without η, such as c·B, the coefficients take its powers, and the values hold no η
        any more: `evaluate`, `lower` and `to_sympy` take none. With `eta=` η times an expression, η is rescaled.

        Args:
            sizes: a mapping from symbols or names to values.
            **named: values by name. A derived size (T or M of SGD) may be given where it determines a
                free one. `eta` is put in before the sizes.

        Raises:
            TypeError: if a size is neither an integer nor a SymPy expression, or `sizes` is no mapping.
            ValueError: if a size is unknown, impossible, contradicts another or determines nothing; if η is tied
                already, or does not enter linearly.
            NotImplementedError: for η in a resummed formula.

        Example:
            >>> import sympy, taylorsgd as ts
            >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1), order=1)
            >>> print(f.subs(T=12, N=4))
            E[l(θ_12)] = l - 12 G_μ G^μ + O(η^2)
            >>> c, B = sympy.Symbol("c"), ts.symbols.B
            >>> f = ts.derive(ts.TestLoss(), ts.SGD(), order=1)
            >>> f.subs(eta=c * B).coefficient("G G")        # the linear scaling rule: B drops out
            -E*N*c
        """
        given = {str(key): value for key, value in pairs_of({} if sizes is None else sizes, "sizes")} | named
        if symbols.eta.name in given:
            terms, rate = tie_rate(self, given.pop(symbols.eta.name))
            tied = self._with(terms, rate=rate)
            return tied.subs(given) if given else tied
        solution = self.solve_sizes(given)
        spacetimes = [spacetime.substitute(solution) for spacetime in self.spacetimes]
        there = (t for t in self.terms if not is_too_large(t.value, spacetimes))
        terms = (Term(substituted(t.coefficient, solution), t.value.substitute(solution), t.diagrams) for t in there)
        of = None if self.expectations is None else self.expectations.substitute(solution)
        return self._with(terms, spacetimes=spacetimes, expectations=of)

    def simplify(self) -> Formula:
        """Simplify every coefficient with `sympy.simplify`; useful after substituting expressions."""
        return self.replaced(Term(simplify(t.coefficient), t.value, t.diagrams) for t in self.terms)

    def assume(self, *assumptions: str) -> Formula:
        """Drop the terms that vanish under assumptions about the landscape.

        Args:
            *assumptions: "minimum" (G = 0 at θ_0), "gaussian" (no cumulants of three or more), "noiseless"
                (all parts single) or "quadratic" (every l_x is; its Hessian may still fluctuate).

        Raises:
            ValueError: if an assumption is unknown, or the formula is in moments.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2).assume("minimum"))
            E[l(θ_T)] = l + T/2 C_μν H^μν + O(η^3)    with T = N, G = 0
        """
        for name in assumptions:
            if not isinstance(name, str):
                raise TypeError(f"assume({name!r}): assumptions are names, each an argument of its own")
        if any(term.value.moments for term in self.terms):
            raise ValueError("assume() reads cumulants, and this formula is in moments; use to_cumulants() first")
        left = (term for term in self.terms if all(survives(term.value, assumption) for assumption in assumptions))
        of = None if self.expectations is None else self.expectations.assuming(assumptions)
        return self._with(left, expectations=of)

    def to_moments(self) -> Formula:
        """Write the formula in joint moments E[∇^a l_x ∇^b l_x …] instead of cumulants (Proposition 2).

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)[2].to_moments())
            T*(T - 1) G_μ H^μ_ν G^ν + T/2 E[∇_μ l ∇_ν l] H^μν    with T = N
        """
        return self._rewritten((term, term.value.in_moments()) for term in self.terms)

    def to_cumulants(self) -> Formula:
        """Write a formula in moments in cumulants again: the inverse of `to_moments`."""
        return self._rewritten((term, term.value.in_cumulants()) for term in self.terms)

    def limit(self) -> Formula:
        """The limit T → ∞ of a resummed formula at a minimum (Theorem 2).

        Requires H > 0 where it is evaluated; a flat direction that carries noise is an error there. In one
        epoch N grows with T; in several it is E that does, and N and B stay. Of two times the lag between them stays.

        Returns:
            The formula with every sum over times replaced by its limit.

        Raises:
            ValueError: if a term has no limit: it says which and why (a polynomial in T, or G ≠ 0).
            NotImplementedError: for a grid of concrete cells, or a number for E.

        Example:
            >>> import taylorsgd as ts
            >>> gap = ts.derive(ts.GeneralizationGap(), ts.GD(), order=1, resum="discrete")
            >>> print(gap.limit())        # Takeuchi's criterion
            E[l(θ_∞) - l_train(θ_∞)] = 1/N Σ_μ C_μμ 1/λ_μ + …
        """
        from taylorsgd.formulas.limits import formula_limit

        of = None if self.expectations is None else self.expectations.ending("limit")
        return self._with(formula_limit(self).terms, expectations=of)

    def drift(self) -> Formula:
        """The steady growth per update of a displacement along the flat directions of a valley.

        The open indices are taken along flat directions (λ = 0), all others along damped ones. The result
        evaluates to 0 along directions that are not flat.

        Raises:
            ValueError: if there is no open index, a term holds G, or the growth is not steady.

        Example:
            >>> import taylorsgd as ts
            >>> valley = ts.derive(ts.Displacement(), ts.SDE(B=1), order=3, resum="continuous")
            >>> print(valley.assume("minimum").drift())
            E[θ_(T + 1) - θ_T]^μ = -eta**2/2 Σ_νρ C_νρ J_μνρ 1/(λ_ν + λ_ρ) + …    with G = 0

        Source: Tenka, Corollary 4, along a flat direction.
        """
        from taylorsgd.formulas.limits import formula_drift

        of = None if self.expectations is None else self.expectations.ending("drift")
        return self._with(formula_drift(self).terms, expectations=of)

    def effective_flow(self) -> Any:
        """The autonomous field whose time-T flow makes this displacement, `taylorsgd.flows.EffectiveFlow`.

        Raises:
            ValueError: if the formula is no displacement, is resummed, or has no one T > 0.

        Example:
            >>> import taylorsgd as ts
            >>> moved = ts.derive(ts.Displacement(), ts.GD(), order=2).assume("noiseless")
            >>> print(moved.effective_flow())
            dθ/dt = -G^μ - 1/2 H^μ_ν G^ν, 0 ≤ t ≤ T
        """
        from taylorsgd.flows.effective import effective_flow

        return effective_flow(self)

    # -- faces ---------------------------------------------------------------------------------------

    def evaluate(self, landscape: Any, at: Any, eta: Any = None, metric: Any = None, **sizes: Any) -> Any:
        """Evaluate exactly on a landscape with known cumulants, such as a `FiniteLandscape`.

        Args:
            landscape: anything with `cumulant(degrees, at)`.
            at: the initial θ_0, as the landscape takes it.
            eta: the learning rate, a SymPy number or expression; None keeps the symbol η.
            metric: a symmetric P × P matrix Λ of exact numbers, for the learning rate ηΛ: what
                raises indices. By default that of the update rule, `Descent(metric=Λ)`, or else the identity.
            **sizes: any sizes that determine the free ones; all are checked against each other.

        Returns:
            A polynomial in η as a SymPy expression; a column matrix for a displacement, a matrix for a
            second moment of displacements.

        Raises:
            ValueError: if sizes are missing, unknown or inconsistent, or the update rule has another metric.

        Example:
            >>> import sympy, taylorsgd as ts
            >>> x = sympy.Symbol("x")
            >>> coin = ts.FiniteLandscape([x**2 / 2 + x, x**2 / 2 - x], [sympy.Rational(1, 2)] * 2, [x])
            >>> ts.derive(ts.TestLoss(), ts.SGD(), order=2).evaluate(coin, at=[1], N=2, B=1, E=1)
            4*eta**2 - 2*eta + 1/2
        """
        from taylorsgd.formulas.evaluation import evaluate

        formula = self.subs(sizes) if sizes else self
        missing = sorted({str(symbol) for term in formula.terms for symbol in term.free_symbols})
        if missing:
            names = sorted({name for spacetime in formula.spacetimes for name in spacetime.sizes})
            raise ValueError(
                f"the sizes {', '.join(missing)} have no value yet; give enough of {', '.join(names)} as keywords"
            )
        return evaluate(formula.to_cumulants(), landscape, at, read_rate(self, eta), one_metric(metric, self.metric))

    def lower(self) -> Any:
        """Compile the formula to a jitted JAX function g(tensors, eta=…, **sizes) of measured values.

        Σ coefficient(sizes) · η^d · value, with the values as `measure` returns them (or by hand). Tensors,
        η and sizes are traced: new numbers do not compile again, and the function can be differentiated in
        all of them, batched with `jax.vmap`, and exported.

        Returns:
            A `taylorsgd.lowering.Lowered`, or for a resummed formula a `LoweredResummed`, which takes dense
            tensors; their `contributions` are the parts of each order.

        Example:
            >>> import taylorsgd as ts
            >>> g = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=1).lower()      # l - T G·G
            >>> print(g([2.0, 0.5], eta=0.25, T=12))
            0.5
        """
        from taylorsgd.lowering import lower

        return lower(self)

    def to_json(self) -> str:
        """The formula as JSON text; `Formula.from_json` reads it back without evaluating any string.

        Raises:
            TypeError: if an observable is a Python function, which JSON can't hold.
        """
        return written_text(self)

    @classmethod
    def from_json(cls, text: str) -> Formula:
        """Read a formula written by `to_json`.

        Raises:
            TypeError: if it is no text.
            ValueError: if the text is not such a formula.

        Example:
            >>> import taylorsgd as ts
            >>> f = ts.derive(ts.TestLoss(), ts.SGD(), order=2)
            >>> ts.Formula.from_json(f.to_json()) == f
            True
        """
        return read_text(text, cls)

    # -- inside --------------------------------------------------------------------------------------

    def under(self, metric: Any) -> Formula:
        """The same formula for a matrix learning rate ηΛ."""
        return self._with(self.terms, metric=metric)

    def replaced(self, terms: Iterable[Term]) -> Formula:
        """A formula of the same expectations with other terms."""
        return self._with(terms)

    def part(self, terms: Iterable[Term]) -> Formula:
        """A formula of the same kind with other terms, which is not known to equal anything."""
        return self._with(terms, expectations=None, through=None)

    def _with(self, terms: Iterable[Term], **changed: Any) -> Formula:
        """A formula with other terms, and what else is changed."""
        kept = {
            name: getattr(self, name)
            for name in ("spacetimes", "observables", "indices", "metric", "rate", "expectations", "through")
        }
        return Formula(terms, **(kept | changed))

    def _rewritten(self, pairs: Iterable[tuple[Term, Iterable[tuple[int, AnyValue]]]]) -> Formula:
        """Every term with multiples of other values in place of its own."""
        return self.replaced(
            Term(_multiplied(term.coefficient, number), value, term.diagrams)
            for term, multiples in pairs
            for number, value in multiples
        )

    def solve_sizes(self, given: Mapping[str, Any]) -> dict[Any, Expr]:
        """What sizes, given by name, make of the free symbols."""
        free = {symbol for term in self.terms for symbol in term.free_symbols}
        free |= {symbol for spacetime in self.spacetimes for symbol in spacetime.free_symbols}
        free |= set() if self.expectations is None else self.expectations.free_symbols
        return solve_sizes([spacetime.sizes for spacetime in self.spacetimes], free, given)  # type: ignore[arg-type]


def _multiplied(coefficient: Expr, number: int) -> Expr:
    """A multiple of a coefficient that is a product already; only a sum has to be factored anew."""
    return tidied(number * coefficient) if isinstance(coefficient, Add) else number * coefficient


def _sum_of(one: Formula, two: Formula) -> Expectations | None:
    """What the sum of two formulas equals."""
    if one.expectations is not None and two.expectations is not None:
        return one.expectations + two.expectations
    known = one.expectations or two.expectations
    return None if known is None else evolve(known, altered=True)
