"""The modified flow of an elementwise optimizer, as it is shown, evaluated and lowered."""

from __future__ import annotations

from typing import Any

from sympy import Expr, Integer, Symbol, limit, oo

from taylorsgd import symbols
from taylorsgd.arguments import as_whole
from taylorsgd.exact_numbers import as_exact
from taylorsgd.flows.calculus import Calculus, VectorField
from taylorsgd.flows.elementwise_text import LATEX, TEXT, Writer
from taylorsgd.flows.slow_manifold import Branch, Factors, Solved, Vector, solved
from taylorsgd.updates import Elementwise, ElementwiseRule

__all__ = ["ElementwiseFlow"]


class ElementwiseFlow(VectorField):
    """The flow that the steps of RMSProp, Adam or another elementwise optimizer lie on, at late times.

    θ̇ = Φ_0 + hΦ_1 + h²Φ_2 + …, every term a function of g = ∇E at each coordinate times derivatives of g along such
    terms (see `slow_manifold`). Indexed by an integer d it is the part with h^d.

    Attributes:
        update: the optimizer.
        order: how many powers of h are known: h^(order−1) is the last.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import symbols
        >>> b, r, e = symbols("beta rho epsilon")
        >>> flow = ts.modified_flow(2, update=ts.Adam(b, r, e, epsilon_inside=True))
        >>> print(flow)
        -g/w + h*(epsilon*(rho + 1)/(2*w**3*(rho - 1)) - (beta - rho)/(w*(beta - 1)*(rho - 1))) ∇|∇E|_*,
        with |∇E|_* = Σ_i w, w = sqrt(epsilon + g**2), g = ∇E
    """

    def __init__(self, update: ElementwiseRule, order: int, known: Solved | None = None) -> None:
        """Solve for the flow; users call `modified_flow`."""
        self.update, self.order = update, order
        self._solved = solved(update, order) if known is None else known

    @property
    def parts(self) -> list[Vector]:
        """For every power of h the function ψ(g, θ) of every product of derivatives, in `symbols.g`."""
        return [{f: self._solved.functions.write(psi) for f, psi in part.items()} for part in self._solved.parts]

    @property
    def in_slots(self) -> list[Expr]:
        """The functions of g that stand in the slots of derivatives, by their numbers; φ is the first."""
        return [self._solved.functions.write(function) for function in self._solved.in_slots]

    def __getitem__(self, key: Any) -> ElementwiseFlow:
        """The part with a power of h."""
        if as_whole(key) is None:
            raise TypeError(f"flow[{key!r}]: give a power of h")
        if not 0 <= key < self.order:
            raise KeyError(f"h^{key} is not known; this flow goes from h^0 through h^{self.order - 1}")
        parts: list[Vector] = [part if k == key else {} for k, part in enumerate(self._solved.parts)]
        return ElementwiseFlow(self.update, self.order, self._solved._replace(parts=parts))

    def __bool__(self) -> bool:
        """Whether there is any term."""
        return any(self._solved.parts)

    def truncate(self, order: int) -> ElementwiseFlow:
        """The flow through h^(order−1)."""
        from taylorsgd.flows.series import checked_nodes

        kept = min(checked_nodes(order), self.order)
        return ElementwiseFlow(self.update, kept, self._solved._replace(parts=self._solved.parts[:kept]))

    def __eq__(self, other: object) -> bool:
        """Equal when they have the same terms through the same order."""
        if not isinstance(other, ElementwiseFlow):
            return NotImplemented
        return self.order == other.order and self._terms() == other._terms()

    def __hash__(self) -> int:
        """Hash the order and the text."""
        return hash((self.order, str(self)))

    def _terms(self) -> Any:
        slots = self.in_slots

        def named(factors: Factors) -> Any:
            return tuple(
                sorted(
                    (tuple(sorted(((slots[b.function], named(b.factors)) for b in f), key=str)) for f in factors),
                    key=str,
                )
            )

        return [{named(factors): psi for factors, psi in part.items()} for part in self.parts]

    def limit(self, parameter: Any, to: Any) -> ElementwiseFlow:
        """The flow where a parameter of the step, such as ε, goes to 0 or to infinity.

        Towards 0 the step turns into that with 0 for the parameter: of RMSProp and Adam into one that knows only the
        sign of the gradient where it does not change, which is not smooth where a slope is 0. Towards infinity the step
        is replaced by its leading term: of Adam by m/ε, heavy ball with h/ε for the step size (m/√ε inside the root).

        Args:
            parameter: a symbol in the step.
            to: 0 or `sympy.oo`.

        Returns:
            The flow of the limiting rule, through the same power of h.

        Raises:
            TypeError: if the parameter is no symbol.
            ValueError: if the step does not hold it, or `to` is neither 0 nor oo; if the step has no such limit.

        Example:
            >>> import taylorsgd as ts
            >>> from sympy import oo, symbols
            >>> b, r, e = symbols("beta rho epsilon")
            >>> flow = ts.modified_flow(2, update=ts.Adam(b, r, e))
            >>> print(flow.limit(e, 0))
            -sign(g) - h*(beta - rho)/((beta - 1)*(rho - 1)*|g|) ∇|∇E|_1, with g = ∇E
            >>> print(flow.limit(e, oo))
            -1/epsilon ∇E + h*(beta + 1)/(2*epsilon**2*(beta - 1)) ∇∇E ∇E
        """
        if not isinstance(parameter, Symbol):
            raise TypeError(f"parameter={parameter!r} must be a SymPy symbol that the step holds, such as epsilon")
        step = self.update.step
        if parameter not in step.free_symbols:
            raise ValueError(f"parameter={parameter} is not in the step {step}")
        end = as_exact(to)
        if end is None or end not in (0, oo):
            raise ValueError(f"to={to!r} must be 0 or sympy.oo")
        filters = self.update.filters
        limiting = _limit(step, parameter, end == oo, [one.state for one in filters])
        rule = Elementwise({one.state: (one.memory, one.force) for one in filters}, limiting)
        return ElementwiseFlow(rule, self.order)

    # -- what a field knows --------------------------------------------------------------------------------

    @property
    def free_symbols(self) -> set[Symbol]:
        """The parameters of the rule."""
        found = self.update.step.free_symbols.union(
            *(one.memory.free_symbols | one.force.free_symbols for one in self.update.filters)
        )
        states = {one.state for one in self.update.filters}
        return {s for s in found if isinstance(s, Symbol)} - states - {symbols.g, symbols.theta}

    def _assembled(self, calculus: Calculus) -> Any:
        slots = self.in_slots
        known: dict[Branch, Any] = {}

        def product(function: Any, factors: Factors) -> Any:
            found = function
            for children in factors:
                found = found * -calculus.derivative(0, [branch(child) for child in children])
            return found

        def branch(tree: Branch) -> Any:
            if tree not in known:
                known[tree] = product(calculus.function(slots[tree.function]), tree.factors)
            return known[tree]

        total = 0 * calculus.derivative(0, [])
        for power, part in enumerate(self.parts):
            for factors, function in part.items():
                total = total + calculus.number(symbols.h**power) * product(calculus.function(function), factors)
        return total

    # -- faces -------------------------------------------------------------------------------------------

    def latex(self) -> str:
        r"""The field in LaTeX, g for ∇E."""
        return Writer(LATEX, self._solved).whole()

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \dot{{\theta}} = {self.latex()}$"

    def __str__(self) -> str:
        """The field in plain text, g for ∇E."""
        return Writer(TEXT, self._solved).whole()

    def __repr__(self) -> str:
        """The field in plain text, so that it reads well at a prompt."""
        return f"<ElementwiseFlow θ̇ = {self} + O(h**{self.order})>"


def _limit(step: Expr, parameter: Symbol, infinite: bool, states: list[Symbol]) -> Expr:
    """The leading term of a step where a parameter goes to 0 or infinity; states, g and θ are taken for positive."""
    from sympy import Dummy, Rational

    names: Any = {s: Dummy(s.name, positive=True) for s in (*states, symbols.g, symbols.theta, parameter)}
    back: Any = {dummy: symbol for symbol, dummy in names.items()}
    given, e = step.xreplace(names), names[parameter]
    if not infinite:
        found = limit(given, e, 0)
        if found.is_finite is False or found.has(oo, -oo):
            raise ValueError(f"the step {step} has no limit for {parameter} → 0")
        return found.xreplace(back)
    for power in (Integer(0), Rational(1, 2), Integer(1), Rational(3, 2), Integer(2)):
        found = limit(given * e**power, e, oo)
        if found != 0:
            if found.has(oo, -oo):
                break
            return (found / e**power).xreplace(back)
    raise ValueError(f"the step {step} has no leading power of {parameter} for {parameter} → oo")
