r"""Modified losses: the scalar whose gradient flow gradient descent follows, as far as there is one.

With f = −∇E the elementary differentials become derivatives of E along each other, and the modified field

    θ̇ = −∇Ẽ + R,            Ẽ = Σ_t (−h)^{|t|−1} p(t) t,        t = E, |∇E|², ∇E·∇∇E ∇E, …

over trees t without a root, on |t| nodes. R = 0 through h: f'f is a gradient if f is. At h² Euler's
f₂ = ⅓ f'f'f + 1/12 f''(f, f) has its two trees in the proportion 4 : 1, where ∇(∇E·∇∇E ∇E) has 2 : 1: no loss
has this field. What is left over, R, is then a part of the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

from sympy import Expr, Integer, Symbol, diff, expand, latex, sstr

from taylorsgd import symbols
from taylorsgd.arguments import MOST_ORDER, whole_number
from taylorsgd.diagrams import Diagram, Value
from taylorsgd.diagrams.values import LOSS, open_index
from taylorsgd.exact_numbers import distinct_symbols, exact_argument
from taylorsgd.flows.decaying import DecayingFlow
from taylorsgd.flows.decaying_loss import DecayingLoss
from taylorsgd.flows.elementwise_flow import ElementwiseFlow
from taylorsgd.flows.elementwise_loss import ElementwiseLoss
from taylorsgd.flows.grafting import diagram_of
from taylorsgd.flows.modified import AnyUpdate, ModifiedFlow, modified_flow
from taylorsgd.flows.player_flow import PlayersFlow
from taylorsgd.flows.rooted import GRADIENTS, ElementaryDifferentials, Shape, branch
from taylorsgd.flows.splitting import split
from taylorsgd.writing.page import joined, signed

__all__ = ["ModifiedLoss", "modified_loss"]


class ModifiedLoss(Mapping[Value, Expr]):
    """Ẽ with θ̇ = −∇Ẽ + R for the modified flow of f = −∇E: R is 0 where the modified loss exists.

    A mapping from values (trees without a root: E, |∇E|², …) to their exact coefficients, without powers of h:
    a value of d edges comes with h^d. Indexed by an integer d it is the part with h^d. Where the field is no
    gradient, −∇Ẽ is its orthogonal projection on gradients (see `splitting`), and `remainder` is the rest.

    Attributes:
        flow: the whole field, a `ModifiedFlow`.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.modified_loss(1))
        E + h/4 |∇E|²
        >>> loss = ts.modified_loss(2)
        >>> loss.exists, loss.truncate(1).exists
        (False, True)
        >>> print(loss)
        E + h/4 |∇E|² + 5*h**2/36 ∇E·∇∇E ∇E, and no gradient: -h**2/18 ∇∇E ∇∇E ∇E + h**2/18 ∇∇∇E(∇E, ∇E)
    """

    def __init__(self, flow: ModifiedFlow) -> None:
        """Split a field; users call `modified_loss`.

        Raises:
            TypeError: if it is no `ModifiedFlow`.
        """
        if not isinstance(flow, ModifiedFlow):
            raise TypeError(f"flow={flow!r} is not a ModifiedFlow; modified_flow() makes one")
        self.flow = flow
        field = {_vector(tree): -_signed_by_nodes(tree) * c for tree, c in flow.items() if c != 0}
        scalar, rest = split(field)
        self._coefficients = dict(sorted(scalar.items(), key=lambda pair: pair[0].sort_key))
        trees = {vector: _tree(vector) for vector in rest}
        self.remainder = ModifiedFlow(
            {tree: -_signed_by_nodes(tree) * rest[vector] for vector, tree in trees.items()}, flow.order
        )
        """R, the part of the field that is no gradient: a `ModifiedFlow` in f = −∇E."""

    @property
    def order(self) -> int:
        """The power of h through which Ẽ is known."""
        return self.flow.order - 1

    @property
    def exists(self) -> bool:
        """Whether the whole field is −∇Ẽ."""
        return not self.remainder

    @cached_property
    def gradient_part(self) -> ModifiedFlow:
        """−∇Ẽ, the part of the field that is a gradient: a `ModifiedFlow` in f = −∇E."""
        return self.flow - self.remainder

    # -- a mapping ---------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """The coefficient of a value, or the part with a power of h."""
        if isinstance(key, Value):
            return self._coefficients.get(key, Integer(0))
        return ModifiedLoss(self.flow[key])

    def __iter__(self) -> Iterator[Value]:
        """The values, by powers of h."""
        return iter(self._coefficients)

    def __len__(self) -> int:
        """The number of values."""
        return len(self._coefficients)

    def __contains__(self, value: object) -> bool:
        """Whether a value has a coefficient."""
        return value in self._coefficients

    def truncate(self, order: int) -> ModifiedLoss:
        """The modified loss through h^order."""
        return ModifiedLoss(self.flow.truncate(_checked_power(order) + 1))

    # -- algebra, which is that of the fields --------------------------------------------------------------

    def __add__(self, other: ModifiedLoss) -> ModifiedLoss:
        """The sum, through the lower of the two orders."""
        return ModifiedLoss(self.flow + other.flow) if isinstance(other, ModifiedLoss) else NotImplemented

    def __sub__(self, other: ModifiedLoss) -> ModifiedLoss:
        """The difference, through the lower of the two orders."""
        return ModifiedLoss(self.flow - other.flow) if isinstance(other, ModifiedLoss) else NotImplemented

    def __mul__(self, scale: int | Fraction | Expr) -> ModifiedLoss:
        """All coefficients times an exact number or expression."""
        product = self.flow.__mul__(scale)
        return NotImplemented if product is NotImplemented else ModifiedLoss(product)

    __rmul__ = __mul__

    def __truediv__(self, scale: int | Fraction | Expr) -> ModifiedLoss:
        """All coefficients divided by an exact number or expression."""
        quotient = self.flow.__truediv__(scale)
        return NotImplemented if quotient is NotImplemented else ModifiedLoss(quotient)

    def __eq__(self, other: object) -> bool:
        """Equal when the fields are."""
        return self.flow == other.flow if isinstance(other, ModifiedLoss) else NotImplemented

    def __hash__(self) -> int:
        """Hash the field."""
        return hash(self.flow)

    # -- faces -------------------------------------------------------------------------------------------

    def expression(self, E: Any, variables: Sequence[Symbol]) -> Expr:
        """Ẽ of a concrete loss, a polynomial in `taylorsgd.symbols.h`; the remainder is not part of it.

        Args:
            E: the loss, a SymPy expression in the variables.
            variables: the P symbols θ.

        Raises:
            TypeError: if the loss is no expression, or a variable no symbol.
            ValueError: if the loss is not finite, or a variable is repeated.

        Example:
            >>> import taylorsgd as ts
            >>> from sympy.abc import x
            >>> ts.modified_loss(1).expression(x**2 / 2, [x])
            h*x**2/4 + x**2/2
        """
        loss, variables = exact_argument(E, "E"), distinct_symbols(variables)
        gradient = [diff(loss, variable) for variable in variables]
        differentials = ElementaryDifferentials(gradient, variables)
        total: Expr = Integer(0)
        for value, coefficient in self.items():
            halves = _halves(value)
            scalar = loss
            if halves is not None:
                pairs = zip(*(differentials(shape) for shape in halves), strict=True)
                scalar = sum((left * right for left, right in pairs), Integer(0))
            total = total + coefficient * symbols.h**value.order * scalar
        return expand(total)

    def latex(self) -> str:
        r"""Ẽ in LaTeX, without the remainder, which `remainder.latex(gradient=True)` writes.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.modified_loss(1).latex())
            E + \frac{h}{4} \left|\nabla E\right|^{2}
        """
        return self._written(GRADIENTS.latex, latex, r"\left|{}\right|^{{2}}", r" \cdot ")

    def _repr_latex_(self) -> str:
        text = rf"\tilde{{E}} = {self.latex()}"
        if not self.exists:
            rest = self.remainder.latex(gradient=True)
            text += rf", \qquad \dot{{\theta}} = -\nabla \tilde{{E}} + \left({rest}\right)"
        return rf"$\displaystyle {text}$"

    def __str__(self) -> str:
        """Ẽ in plain text, and what of the field is no gradient, if anything."""
        text = self._written(GRADIENTS.text, sstr, "|{}|²", "·")
        return text if self.exists else f"{text}, and no gradient: {self.remainder.gradient_text()}"

    def __repr__(self) -> str:
        """The modified loss in plain text, so that it reads well at a prompt."""
        return f"<ModifiedLoss {self}>"

    def _written(self, differential: Any, write: Any, square: str, dot: str) -> str:
        pieces = []
        for value, coefficient in self.items():
            halves, text = _halves(value), GRADIENTS.name
            if halves is not None:
                left, right = map(differential, halves)
                text = square.format(left) if left == right else left + dot + right
            pieces.append(signed(coefficient * symbols.h**value.order, text, write))
        return joined(pieces)


def modified_loss(order: int, update: AnyUpdate = None) -> Any:
    """Derive the modified loss E + (h/4)|∇E|² + … of a method, with what of its field is no gradient.

    Args:
        order: the last power of h, at least 0.
        update: as for `modified_flow`: None for gradient descent, `HeavyBall(beta)`, `RungeKutta(A, b)`, `Adam(…)` ….

    Returns:
        A `ModifiedLoss`; its `remainder` is what the field has besides −∇Ẽ, from h² on in general. For heavy
        ball E itself comes with 1/(1 − β), the speed at which it moves. Of elementwise optimizers an
        `ElementwiseLoss`, through h²: θ̇ = φ(∇Ẽ) as far as there is one, else the statement that there is none.

    Raises:
        ValueError: if `order` is not a non-negative integer.
        TypeError, NotImplementedError: for other updates, as `modified_flow`.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Rational
        >>> print(ts.modified_loss(1, update=ts.HeavyBall(Rational(1, 2))))
        2 E + 3*h |∇E|²

    Source: Barrett and Dherin, Theorem 3.1; that it ends there: Example A.5 of the same, corrected.
    """
    flow = modified_flow(_checked_power(order) + 1, update)
    if isinstance(flow, ElementwiseFlow):
        return ElementwiseLoss(flow)
    if isinstance(flow, PlayersFlow):
        raise NotImplementedError(
            f"update={update!r}: a game has no loss that all its players go down; give modified_flow"
        )
    if isinstance(flow, DecayingFlow):
        return DecayingLoss(flow)
    return ModifiedLoss(flow)


def _vector(tree: Diagram) -> Value:
    """A rooted tree as a value whose open index is at the root."""
    marks = [LOSS] * len(tree.parents)
    return Value((*tree.parents, tree.roots[0]), None, (*marks, open_index(0)))


def _tree(vector: Value) -> Diagram:
    """The rooted tree that `_vector` came from."""
    parents = diagram_of(vector).parents  # node 0 is the open index, node 1 the root
    return Diagram(tuple(parent - 1 for parent in parents[1:]))


def _signed_by_nodes(tree: Diagram) -> int:
    """The sign of F(τ)(−∇E) in derivatives of E."""
    return (-1) ** len(tree.parents)


def _halves(value: Value) -> tuple[Shape, Shape] | None:
    """The shapes at the two ends of an edge: equal ones if there are any, else one is a leaf; None for E."""
    near = value.neighbours
    cuts = [
        sorted((branch(near, child, parent), branch(near, parent, child)), key=len) for child, parent in value.edges
    ]
    if not cuts:
        return None
    left, right = min(cuts, key=lambda pair: (pair[0] != pair[1], pair[0] != (), pair))
    return left, right


def _checked_power(order: Any) -> int:
    why, says = "has more trees than can be listed", "is no power of h; it must be"
    return whole_number(order, "order", 0, MOST_ORDER - 1, why=why, says=says)
