"""The modified equation of a numerical method: the flow that its steps lie on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, overload

from sympy import Expr, ImmutableMatrix, Integer, Symbol, expand, factor, latex, sstr

from taylorsgd import symbols
from taylorsgd.arguments import MOST_ORDER, as_whole, listed, pairs_of, switched, whole_number
from taylorsgd.diagrams import Diagram
from taylorsgd.exact_numbers import distinct_symbols, exact_argument
from taylorsgd.flows.iterates import Growth, HeavyBallGrowth, RungeKuttaGrowth, velocities
from taylorsgd.flows.rooted import DIFFERENTIALS, GRADIENTS, ElementaryDifferentials, shape_of, trees_with_nodes
from taylorsgd.flows.splitting import total
from taylorsgd.flows.tableau import EULER, RungeKutta
from taylorsgd.formulas.sizes import exact_number
from taylorsgd.updates import Descent, HeavyBall, ImplicitStep, Update
from taylorsgd.writing.page import joined, signed

__all__ = ["ModifiedFlow", "modified_flow"]


class ModifiedFlow(Mapping[Diagram, Expr]):
    """A field as a series of elementary differentials: θ̇ = Σ_τ h^{|τ|−1} c(τ) F(τ)(f).

    A mapping from rooted trees (diagrams without ties) to their exact coefficients c(τ), zeros included;
    division by the tree's symmetry is part of c, and `weight` gives b(τ) = σ(τ) c(τ). Indexed by an integer d
    it gives the part with h^d. Series add, subtract and scale, through the lower of their orders.

    Args:
        coefficients: c(τ) by tree. A tree that is missing has the coefficient 0.
        order: the number of nodes through which the series is known, so that h^(order−1) is its last power.

    Example:
        >>> import taylorsgd as ts
        >>> flow = ts.modified_flow(3)
        >>> print(flow)
        f - h/2 f'f + h**2/3 f'f'f + h**2/12 f''(f, f)
        >>> flow[ts.Diagram((-1, 0, 0))], flow.weight(ts.Diagram((-1, 0, 0)))
        (1/12, 1/6)
        >>> print(flow[1], "|", flow[1].gradient_text())
        -h/2 f'f | -h/2 ∇∇E ∇E
    """

    def __init__(self, coefficients: Mapping[Diagram, Expr], order: int) -> None:
        """Sort the trees, chains before bushes; users call `modified_flow` instead.

        Raises:
            TypeError: if the coefficients are no mapping from diagrams to exact numbers or expressions.
            ValueError: if a tree has ties or several roots, or the order is no positive integer.
        """
        known: dict[Diagram, Expr] = {}
        for tree, coefficient in pairs_of(coefficients, "coefficients"):
            _refuse_no_tree(tree)
            known[tree] = exact_argument(coefficient, f"coefficients[{tree}]", floats=False)
        order = _checked_order(order)

        def place(tree: Diagram) -> tuple[int, tuple[int, ...]]:
            return len(tree.parents), tuple(-parent for parent in tree.parents)

        trees = sorted((tree for tree in known if len(tree.parents) <= order), key=place)
        self._coefficients = {tree: known[tree] for tree in trees}
        self.order = order

    # -- a mapping ---------------------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: Diagram) -> Expr: ...
    @overload
    def __getitem__(self, key: int) -> ModifiedFlow: ...
    def __getitem__(self, key: Diagram | int) -> Expr | ModifiedFlow:
        """The coefficient of a tree, or the part with a power of h."""
        if isinstance(key, Diagram):
            if not _is_tree(key):
                raise KeyError(f"{key} is no rooted tree: elementary differentials have no ties and one root")
            if len(key.parents) > self.order:
                raise KeyError(f"{key} has {len(key.parents)} nodes; this series is known through {self.order}")
            return self._coefficients.get(key, Integer(0))
        if as_whole(key) is None:
            raise TypeError(f"flow[{key!r}]: give a rooted tree as a Diagram, or a power of h")
        if not 0 <= key < self.order:
            raise KeyError(f"h^{key} is not known; this series goes from h^0 through h^{self.order - 1}")
        return self._keep(tree for tree in self if len(tree.parents) == key + 1)

    def __iter__(self) -> Iterator[Diagram]:
        """The trees, from few nodes to many and from chains to bushes."""
        return iter(self._coefficients)

    def __len__(self) -> int:
        """The number of trees."""
        return len(self._coefficients)

    def __contains__(self, tree: object) -> bool:
        """Whether a tree is listed."""
        return tree in self._coefficients

    def __bool__(self) -> bool:
        """Whether any coefficient is different from 0."""
        return any(coefficient != 0 for coefficient in self.values())

    def weight(self, tree: Diagram) -> Expr:
        """b(τ) = σ(τ) c(τ), with σ the number of automorphisms of the tree: what B-series divide by σ.

        Raises:
            TypeError: if it is no diagram.
            KeyError: if it is no rooted tree, or has more nodes than the series.
        """
        if not isinstance(tree, Diagram):
            raise TypeError(f"tree={tree!r} must be a rooted tree as a Diagram")
        return self[tree] * tree.automorphisms

    def truncate(self, order: int) -> ModifiedFlow:
        """The part with trees of at most `order` nodes."""
        return ModifiedFlow(self._coefficients, min(_checked_order(order), self.order))

    # -- algebra -----------------------------------------------------------------------------------------

    def __add__(self, other: ModifiedFlow) -> ModifiedFlow:
        """The sum, through the lower of the two orders."""
        if not isinstance(other, ModifiedFlow):
            return NotImplemented
        order = min(self.order, other.order)
        found = dict(self._coefficients)
        for tree, coefficient in other.items():
            found[tree] = total([found[tree], coefficient]) if tree in found else coefficient
        return ModifiedFlow(found, order)

    def __neg__(self) -> ModifiedFlow:
        """All coefficients negated."""
        return self * -1

    def __sub__(self, other: ModifiedFlow) -> ModifiedFlow:
        """The difference, through the lower of the two orders."""
        return self + -other if isinstance(other, ModifiedFlow) else NotImplemented

    def __mul__(self, scale: int | Fraction | Expr) -> ModifiedFlow:
        """All coefficients times an exact number or expression."""
        number = exact_number(scale)
        if number is None:
            return NotImplemented
        products = {tree: number * c for tree, c in self.items()}
        if not number.is_Rational:
            products = {tree: factor(product) for tree, product in products.items()}
        return ModifiedFlow(products, self.order)

    __rmul__ = __mul__

    def __truediv__(self, scale: int | Fraction | Expr) -> ModifiedFlow:
        """All coefficients divided by an exact number or expression."""
        number = exact_number(scale)
        if number is None:
            return NotImplemented
        if number == 0:
            raise ZeroDivisionError("a series can't be divided by 0")
        return self * (1 / number)

    def __eq__(self, other: object) -> bool:
        """Equal when known through the same order, with equal coefficients there."""
        if not isinstance(other, ModifiedFlow):
            return NotImplemented
        return self.order == other.order and not self - other

    def __hash__(self) -> int:
        """Hash the order and the trees that have a coefficient."""
        return hash((self.order, frozenset(tree for tree, c in self.items() if c != 0)))

    # -- faces -------------------------------------------------------------------------------------------

    def field(self, f: Sequence[Any] | Expr, variables: Sequence[Symbol] | Symbol) -> ImmutableMatrix:
        """The field on a concrete f, a polynomial in `taylorsgd.symbols.h`.

        Args:
            f: P SymPy expressions in the variables (for gradient descent −∇E); one of them for P = 1.
            variables: the P symbols θ.

        Returns:
            A column of P expanded expressions.

        Raises:
            TypeError: if an entry of f is no expression, or a variable no symbol.
            ValueError: if there are not as many expressions as variables.

        Example:
            >>> import taylorsgd as ts
            >>> from sympy.abc import x
            >>> ts.modified_flow(3).field([-x], [x])            # −log(1 − h)/h · (−x), truncated
            Matrix([[-h**2*x/3 - h*x/2 - x]])
        """
        names = distinct_symbols([variables] if isinstance(variables, Symbol) else variables)
        entries = _listed(f)
        if len(entries) != len(names):
            raise ValueError(f"f={f} has {len(entries)} components for {len(names)} variables {names}")
        differentials = ElementaryDifferentials(entries, names)
        column = ImmutableMatrix.zeros(len(names), 1)
        for tree, coefficient in self.items():
            if coefficient != 0:
                scale = coefficient * symbols.h ** (len(tree.parents) - 1)
                column = column + scale * ImmutableMatrix(differentials(shape_of(tree)))
        return column.applyfunc(expand)

    def latex(self, gradient: bool = False) -> str:
        r"""The field in LaTeX.

        Args:
            gradient: write it for f = −∇E, in E, ∇E, ∇∇E, with the signs of that.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.modified_flow(2).latex())
            f - \frac{h}{2} f'f
            >>> print(ts.modified_flow(2).latex(gradient=True))
            - \nabla E - \frac{h}{2} \nabla\nabla E\, \nabla E
        """
        gradient = switched(gradient, "gradient")
        text = joined(self._pieces(GRADIENTS.latex if gradient else DIFFERENTIALS.latex, gradient, latex))
        return text.replace("-", "- ", 1) if text.startswith("-") else text

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \dot{{\theta}} = {self.latex()}$"

    def gradient_text(self) -> str:
        """The field for f = −∇E in plain text."""
        return joined(self._pieces(GRADIENTS.text, True, sstr))

    def __str__(self) -> str:
        """The field in plain text, in f, f'f, f''(f, f)."""
        return joined(self._pieces(DIFFERENTIALS.text, False, sstr))

    def __repr__(self) -> str:
        """The field in plain text, so that it reads well at a prompt."""
        return f"<ModifiedFlow θ̇ = {self} + O(h**{self.order})>"

    def _pieces(self, differential: Any, gradient: bool, write: Any) -> list[str]:
        pieces = []
        for tree, coefficient in self.items():
            if coefficient != 0:
                nodes = len(tree.parents)
                sign = (-1) ** nodes if gradient else 1
                scale = sign * coefficient * symbols.h ** (nodes - 1)
                pieces.append(signed(scale, differential(shape_of(tree)), write))
        return pieces

    def _keep(self, trees: Iterable[Diagram]) -> ModifiedFlow:
        return ModifiedFlow({tree: self._coefficients[tree] for tree in trees}, self.order)


def modified_flow(order: int, update: Update | RungeKutta | None = None) -> ModifiedFlow:
    """Derive the modified equation θ̇ = f + h f_1 + h² f_2 + … of a method, exactly.

    The steps θ_0, θ_1, θ_2, … of the method with step size h lie on the solution of the modified equation at
    times 0, h, 2h, …, to every order in h. For gradient descent f = −∇E and h = η.

    Args:
        order: the most nodes of a tree, at least 1; the last power is h^(order−1).
        update: None (or a plain `Descent()`) for explicit Euler, which gradient descent is; a
            `RungeKutta(A, b)`; an `ImplicitStep(lam)`; or `HeavyBall(beta)`, v ← βv + h f(θ), θ ← θ + v, for
            which this is the flow on the slow manifold, where it stays or ends as v forgets how it began.

    Returns:
        A `ModifiedFlow`. Its first coefficient is 1; for heavy ball 1/(1 − β).

    Raises:
        ValueError: if `order` is not a positive integer, or β a number outside of −1 < β < 1.
        TypeError: if the update is of another kind.
        NotImplementedError: for update rules whose rates or decay change the field from step to step.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.modified_flow(4)[3])
        -h**3/4 f'f'f'f - h**3/12 f'f''(f, f) - h**3/12 f''(f, f'f)
        >>> from sympy import Symbol
        >>> print(ts.modified_flow(2, update=ts.HeavyBall(Symbol("beta"))))
        1/(1 - beta) f - h*(beta + 1)/(2*(1 - beta)**3) f'f

    Source: Barrett and Dherin, Theorem 3.1 (through h); Hairer, Lubich and Wanner, section IX.9; for heavy ball
    through h, Ghosh et al. 2023.
    """
    order = _checked_order(order)
    nodes = range(1, order + 1)
    trees = [tree for n in nodes for tree in trees_with_nodes(n)]
    weights = velocities([shape_of(tree) for tree in trees], _growth(update, order), order)
    return ModifiedFlow({tree: weight / tree.automorphisms for tree, weight in zip(trees, weights, strict=True)}, order)


def _growth(update: Update | RungeKutta | None, steps: int) -> Growth:
    match update:
        case None:
            return RungeKuttaGrowth(EULER, steps)
        case RungeKutta():
            return RungeKuttaGrowth(update, steps)
        case ImplicitStep():
            return RungeKuttaGrowth(RungeKutta([[update.instant]], [1]), steps)
        case Descent() if update.is_plain and update.metric is None:
            return RungeKuttaGrowth(EULER, steps)
        case HeavyBall() if update.rates is None and update.decay == 0:
            if update.beta.is_number and not (update.beta.is_extended_real and -1 < update.beta < 1):
                raise ValueError(
                    f"beta={update.beta}: momentum that is never forgotten has no slow manifold; "
                    "it must be between -1 and 1, or symbolic"
                )
            return HeavyBallGrowth(update.beta, steps)
    supported = "None, RungeKutta(A, b), HeavyBall(beta), ImplicitStep(lam), each without rates or decay"
    if isinstance(update, Descent) and update.metric is not None:
        raise NotImplementedError(
            f"update: its metric Λ = {update.metric.tolist()} is a part of the field, f = -Λ∇E; leave it out here, and "
            "give `field` that f"
        )
    if isinstance(update, Update):
        raise NotImplementedError(f"update={update!r} has no modified flow here; supported are {supported}")
    raise TypeError(f"update={update!r} is not an update rule; give one of {supported}")


def _checked_order(order: Any) -> int:
    why, says = "has more trees than can be listed", "is no number of nodes; it must be"
    return whole_number(order, "order", 1, MOST_ORDER, why=why, says=says)


def _is_tree(diagram: Diagram) -> bool:
    return len(set(diagram.parts)) == len(diagram.parts) and len(diagram.roots) == 1


def _refuse_no_tree(tree: Any) -> None:
    if not isinstance(tree, Diagram):
        raise TypeError(f"coefficients: {tree!r} must be a rooted tree as a Diagram")
    if not _is_tree(tree):
        raise ValueError(f"coefficients: {tree} is no rooted tree: elementary differentials have no ties and one root")


def _listed(entries: Any) -> list[Any]:
    several = isinstance(entries, (Sequence, ImmutableMatrix)) and not isinstance(entries, (str, bytes))
    return [exact_argument(entry, f"f[{i}]") for i, entry in enumerate(listed(entries, "f") if several else [entries])]
