"""Series of elementary differentials, indexed by rooted trees: what flows and maps of steps have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Self, overload

from sympy import Expr, ImmutableMatrix, Integer, Symbol, factor, latex, sstr

from taylorsgd import symbols
from taylorsgd.arguments import MOST_ORDER, as_whole, listed, pairs_of, switched, whole_number
from taylorsgd.diagrams import Diagram
from taylorsgd.exact_numbers import distinct_symbols, exact_argument
from taylorsgd.flows.calculus import Calculus, VectorField
from taylorsgd.flows.rooted import DIFFERENTIALS, GRADIENTS, ElementaryDifferentials, Shape, shape_of
from taylorsgd.flows.splitting import total
from taylorsgd.formulas.sizes import exact_number
from taylorsgd.writing.page import joined, signed

__all__ = ["TreeSeries", "checked_nodes"]


class TreeSeries(VectorField, Mapping[Diagram, Expr]):
    """A vector field as a series of elementary differentials: Σ_τ h^{|τ|−1} c(τ) F(τ)(f).

    A mapping from rooted trees (diagrams without ties) to their exact coefficients c(τ), zeros included;
    division by the tree's symmetry is part of c, and `weight` gives b(τ) = σ(τ) c(τ). Indexed by an integer d
    it gives the part with h^d. Series of one kind add, subtract and scale, through the lower of their orders.
    """

    def __init__(self, coefficients: Mapping[Diagram, Expr], order: int) -> None:
        """Sort the trees, chains before bushes; users call `modified_flow` or `modified_map` instead.

        Raises:
            TypeError: if the coefficients are no mapping from diagrams to exact numbers or expressions.
            ValueError: if a tree has ties or several roots, or the order is no positive integer.
        """
        known: dict[Diagram, Expr] = {}
        for tree, coefficient in pairs_of(coefficients, "coefficients"):
            _refuse_no_tree(tree)
            known[tree] = exact_argument(coefficient, f"coefficients[{tree}]", floats=False)
        order = checked_nodes(order)

        def place(tree: Diagram) -> tuple[int, tuple[int, ...]]:
            return len(tree.parents), tuple(-parent for parent in tree.parents)

        trees = sorted((tree for tree in known if len(tree.parents) <= order), key=place)
        self._coefficients = {tree: known[tree] for tree in trees}
        self.order = order

    # -- a mapping ---------------------------------------------------------------------------------------

    @overload
    def __getitem__(self, key: Diagram) -> Expr: ...
    @overload
    def __getitem__(self, key: int) -> Self: ...
    def __getitem__(self, key: Diagram | int) -> Expr | Self:
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

    def truncate(self, order: int) -> Self:
        """The part with trees of at most `order` nodes."""
        return type(self)(self._coefficients, min(checked_nodes(order), self.order))

    # -- algebra -----------------------------------------------------------------------------------------

    def __add__(self, other: Self) -> Self:
        """The sum, through the lower of the two orders."""
        if not isinstance(other, type(self)):
            return NotImplemented
        order = min(self.order, other.order)
        found = dict(self._coefficients)
        for tree, coefficient in other.items():
            found[tree] = total([found[tree], coefficient]) if tree in found else coefficient
        return type(self)(found, order)

    def __neg__(self) -> Self:
        """All coefficients negated."""
        return self * -1

    def __sub__(self, other: Self) -> Self:
        """The difference, through the lower of the two orders."""
        if not isinstance(other, type(self)):
            return NotImplemented
        return self + -other

    def __mul__(self, scale: int | Fraction | Expr) -> Self:
        """All coefficients times an exact number or expression."""
        number = exact_number(scale)
        if number is None:
            return NotImplemented
        products = {tree: number * c for tree, c in self.items()}
        if not number.is_Rational:
            products = {tree: factor(product) for tree, product in products.items()}
        return type(self)(products, self.order)

    __rmul__ = __mul__

    def __truediv__(self, scale: int | Fraction | Expr) -> Self:
        """All coefficients divided by an exact number or expression."""
        number = exact_number(scale)
        if number is None:
            return NotImplemented
        if number == 0:
            raise ZeroDivisionError("a series can't be divided by 0")
        return self * (1 / number)

    def __eq__(self, other: object) -> bool:
        """Equal when known through the same order, with equal coefficients there."""
        if not isinstance(other, type(self)):
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
        terms = ((c, len(tree.parents) - 1, shape_of(tree)) for tree, c in self.items() if c != 0)
        return ImmutableMatrix(differentials.summed(terms))

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

    def gradient_text(self) -> str:
        """The field for f = −∇E in plain text."""
        return joined(self._pieces(GRADIENTS.text, True, sstr))

    def __str__(self) -> str:
        """The field in plain text, in f, f'f, f''(f, f)."""
        return joined(self._pieces(DIFFERENTIALS.text, False, sstr))

    @property
    def free_symbols(self) -> set[Symbol]:
        """The parameters of the method that the coefficients hold."""
        found = set().union(*(c.free_symbols for c in self.values()))
        return {symbol for symbol in found if isinstance(symbol, Symbol)} - {symbols.h}

    def _assembled(self, calculus: Calculus) -> Any:
        known: dict[Shape, Any] = {}

        def differential(shape: Shape) -> Any:
            if shape not in known:
                known[shape] = calculus.derivative(0, [differential(child) for child in shape])
            return known[shape]

        parts = [
            calculus.number(coefficient * symbols.h ** (len(tree.parents) - 1)) * differential(shape_of(tree))
            for tree, coefficient in self.items()
            if coefficient != 0
        ]
        return sum(parts[1:], start=parts[0]) if parts else 0 * differential(())

    def _pieces(self, differential: Any, gradient: bool, write: Any) -> list[str]:
        pieces = []
        for tree, coefficient in self.items():
            if coefficient != 0:
                nodes = len(tree.parents)
                sign = (-1) ** nodes if gradient else 1
                scale = sign * coefficient * symbols.h ** (nodes - 1)
                pieces.append(signed(scale, differential(shape_of(tree)), write))
        return pieces

    def _keep(self, trees: Iterable[Diagram]) -> Self:
        return type(self)({tree: self._coefficients[tree] for tree in trees}, self.order)


def checked_nodes(order: Any) -> int:
    """The most nodes of a tree, at least 1."""
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
