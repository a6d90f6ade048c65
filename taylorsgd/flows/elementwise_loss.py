r"""Modified losses of elementwise optimizers: the loss on which the ideal optimizer, without steps, moves likewise.

The flow of RMSProp or Adam is no gradient even at h = 0: θ̇ = φ(∇E), with φ(g) = −U(P(g)) at every coordinate. What
a modified loss can be is Ẽ with

    θ̇ = φ(∇Ẽ) + R,        Ẽ = E + h M_1 + h² M_2,

so that steps are as if there were none, and the loss were another one. Through h² it is decided whether R is 0:

    h     Φ_1 = ψ ⊙ ∇∇E φ, which is φ′ ⊙ ∇M_1 with M_1 = −k N, ∇N = −∇∇E φ, if and only if ψ = k φ′ with a number k
    h²    Φ_2 − ½k² φ″ ⊙ (∇∇E φ)² is φ′ ⊙ ∇M_2 with M_2 = m φ·∇∇E φ, ∇M_2 = m (2∇∇E(φ′ ⊙ ∇∇E φ) + ∇∇∇E(φ, φ)), if
          and only if all functions are in these proportions: ∇∇∇E(φ, φ) comes from no other scalar.

Where φ is linear (heavy ball) this is the loss of `losses`. Adam has one through h where β₁ = β₂, or with E's slopes
far below ε.

With decoupled decay, θ̇ = φ(∇E) − λθ at h = 0, there is none: Φ_1 = ψ ⊙ ∇∇E (φ − λθ) + ½λ φ − ½λ² θ, and where φ is no
power of g neither ½λ φ nor ½λ² θ is φ′ ⊙ ∇M for all E. These are another rate and another decay,

    θ̇ = (1 + ½λh) φ(∇Ẽ) − (λ + ½λ²h) θ + O(h²),        Ẽ = E − hk (N + λ (θ·∇E − E)),

again if and only if ψ = k φ′.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Expr, Integer, Symbol, diff, expand

from taylorsgd import symbols
from taylorsgd.exact_numbers import distinct_symbols, exact_argument
from taylorsgd.flows.elementwise_flow import ElementwiseFlow
from taylorsgd.flows.elementwise_text import LATEX, TEXT, Face, Writer
from taylorsgd.flows.slow_manifold import Branch, Factors, Solved, Vector
from taylorsgd.writing.page import joined, signed

__all__ = ["ElementwiseLoss"]

_LEAF = Branch(0, ())
_BENT: Factors = ((_LEAF,),)
"""∇∇E φ, up to its sign."""
_TWICE: Factors = ((_LEAF,), (_LEAF,))
_CHERRY: Factors = ((_LEAF, _LEAF),)


class ElementwiseLoss:
    """Ẽ with θ̇ = φ(∇Ẽ) + R for the flow of an elementwise optimizer: R is 0 where the modified loss exists.

    Attributes:
        flow: the whole field, an `ElementwiseFlow`.
        through: the last power of h through which Ẽ exists; Ẽ is known that far.
        remainder: R, an `ElementwiseFlow`, from the next power on.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import symbols
        >>> b, r, e = symbols("beta rho epsilon")
        >>> print(ts.modified_loss(1, update=ts.Adam(b, b, e, epsilon_inside=True)))
        E - h*(beta + 1)/(2*(beta - 1)) |∇E|_*, with |∇E|_* = Σ_i w, w = sqrt(epsilon + g**2), g = ∇E
        >>> loss = ts.modified_loss(1, update=ts.Adam(b, r, e, epsilon_inside=True))
        >>> loss.exists, loss.through
        (False, 0)
    """

    def __init__(self, flow: ElementwiseFlow) -> None:
        """Decide how far there is one; users call `modified_loss`.

        Raises:
            NotImplementedError: for more than h², or with a parameter in the step, as decay has.
        """
        if flow.order > 3:
            raise NotImplementedError(
                f"order={flow.order - 1}: whether an elementwise optimizer has a modified loss is decided through h^2"
            )
        if any(part.has(symbols.theta) for part in (flow.update.step, *(one.force for one in flow.update.filters))):
            raise NotImplementedError(
                f"update={flow.update!r}: its step depends on θ itself, as decay does. Then there is no modified loss: "
                "a decay λ brings (λ/2) φ and (λ²/2) θ at h, another rate and another decay, which are no gradients; "
                "take a rule without"
            )
        self.flow = flow
        known: Solved = flow._solved
        self._functions, self._leaf = known.functions, known.in_slots[0]
        self._slope = self._functions.derivative(self._leaf)
        self._numbers: list[Expr] = []  # k, m
        rests: list[Vector] = [{}]
        for power in range(1, flow.order):
            rest = self._first(known) if power == 1 else self._second(known)
            rests.append(rest)
            if rest:
                rests += known.parts[power + 1 :]
                break
        self.through = len(self._numbers)
        self.remainder = ElementwiseFlow(flow.update, flow.order, known._replace(parts=rests))

    @property
    def order(self) -> int:
        """The power of h through which the flow is known."""
        return self.flow.order - 1

    @property
    def exists(self) -> bool:
        """Whether the whole flow is φ(∇Ẽ)."""
        return not self.remainder

    def expression(self, E: Any, variables: Sequence[Symbol]) -> Expr:
        """Ẽ of a concrete loss, a polynomial in `taylorsgd.symbols.h`.

        Args:
            E: the loss, a SymPy expression in the variables.
            variables: the P symbols θ.

        Raises:
            TypeError: if the loss is no expression, or a variable no symbol.
            ValueError: if the loss is not finite, or a variable is repeated.
            NotImplementedError: if the norm of the gradient has no closed form here.
        """
        loss, names = exact_argument(E, "E"), distinct_symbols(variables)
        gradient = [diff(loss, x) for x in names]
        leaf = self._functions.write(self._leaf)
        total = loss
        if self.through >= 1 and self._numbers[0] != 0:
            norm = self._norm()
            total = total + symbols.h * self._numbers[0] * sum(norm.subs(symbols.g, g) for g in gradient)
        if self.through >= 2 and self._numbers[1] != 0:
            along = [leaf.subs(symbols.g, g) for g in gradient]
            bent = sum(
                a * diff(g, x) * b
                for a, g in zip(along, gradient, strict=True)
                for b, x in zip(along, names, strict=True)
            )
            total = total + symbols.h**2 * self._numbers[1] * bent
        return expand(total)

    # -- faces -------------------------------------------------------------------------------------------

    def latex(self) -> str:
        """Ẽ in LaTeX, without the remainder, which `remainder.latex()` writes."""
        return self._written(LATEX)

    def _repr_latex_(self) -> str:
        text = rf"\tilde{{E}} = {self.latex()}"
        if not self.exists:
            text += rf",\qquad \dot{{\theta}} = \varphi(\nabla\tilde{{E}}) + \left({self.remainder.latex()}\right)"
        return rf"$\displaystyle {text}$"

    def __str__(self) -> str:
        """Ẽ in plain text, and what of the flow is left over, if anything."""
        text = self._written(TEXT)
        if self.exists:
            return text
        return f"{text}; there is none at h^{self.through + 1}: θ̇ - φ(∇Ẽ) = {self.remainder}"

    def __repr__(self) -> str:
        """The modified loss in plain text, so that it reads well at a prompt."""
        return f"<ElementwiseLoss Ẽ = {self}>"

    # -- inside ------------------------------------------------------------------------------------------

    def _first(self, known: Solved) -> Vector:
        """Find k, or give back Φ_1."""
        rest = dict(known.parts[1])
        number = self._ratio(rest.pop(_BENT, Integer(0)), self._slope)
        if number is None or rest:
            return known.parts[1]
        self._numbers.append(number)
        return {}

    def _second(self, known: Solved) -> Vector:
        """Find m, or give back Φ_2 without what φ(E + hM_1) makes of h²."""
        functions, k = self._functions, self._numbers[0]
        bend = functions.derivative(self._slope)
        rest = dict(known.parts[2])
        square = functions.normal(rest.pop(_TWICE, Integer(0)) - k**2 * bend / 2)
        left = {**rest, **({_TWICE: square} if square != 0 else {})}
        m = self._ratio(rest.pop(_CHERRY, Integer(0)), self._slope)
        if square != 0 or m is None:
            return left
        chains: Expr = Integer(0)  # what stands in the slot of φ′ ⊙ ∇∇E(… ⊙ ∇∇E φ)
        for factors, function in rest.items():
            ((child,),) = factors
            ratio = self._ratio(function, self._slope)
            if ratio is None or child.factors != _BENT:
                return left
            chains = chains + ratio * known.in_slots[child.function]
        if functions.normal(chains - 2 * m * self._slope) != 0:
            return left
        self._numbers.append(m)
        return {}

    def _ratio(self, function: Expr, other: Expr) -> Expr | None:
        """The number that one function is of another, None if it is none."""
        if function == 0:
            return Integer(0)
        if other == 0:
            return None
        found = self._functions.normal(function / other)
        return found if self._functions.is_constant(found) else None

    def _norm(self) -> Expr:
        """Ψ with ∇∇E φ = ∇ Σ_i Ψ(g_i), in `symbols.g`."""
        writer = Writer(TEXT, self.flow._solved)
        if writer.direction == symbols.g:
            return -writer.number * symbols.g**2 / 2
        if writer.norm is None:
            raise NotImplementedError(
                f"the flow's φ = {self._functions.write(self._leaf)} has no antiderivative here, which the loss holds"
            )
        return -writer.number * writer.norm.of_one

    def _written(self, face: Face) -> str:
        writer = Writer(face, self.flow._solved)
        pieces = ["+ E"]
        if self.through >= 1 and self._numbers[0] != 0:
            pieces.append(writer.norm_piece(self._numbers[0] * symbols.h))
        if self.through >= 2 and self._numbers[1] != 0:
            pieces.append(signed(*writer.bent(self._numbers[1] * symbols.h**2), face.write))
        return joined(pieces) + writer.where()
