"""What the landscapes with exact cumulants share: from the derivatives of a random loss to its cumulants.

A random loss is written in functions φ_a of the data alone whose products are such functions again,

    l_x(θ) = Σ_a φ_a(x) c_a(θ),        φ_a φ_b = φ_{ab} or 0,        E_x[φ_a] known and rational:

the indicators of the atoms of a finite population, or the monomials of normal variables. Then every moment is
a finite sum of products of derivatives of the c_a, and every cumulant a Möbius inversion of moments. The
derivatives are taken symbolically and evaluated at the point; the sums run in the smallest exact domain that
holds the evaluated numbers (the rationals, an algebraic number field, polynomials in parameters), so that
what cancels does become zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, reduce
from itertools import combinations_with_replacement, product
from numbers import Number
from typing import TYPE_CHECKING, Any, ClassVar

from sympy import QQ, ZZ, Add, Expr, Pow, Rational, Symbol, construct_domain, nan, oo, zoo
from sympy.polys.rings import PolyElement, PolyRing

from taylorsgd.arguments import as_whole, listed
from taylorsgd.diagrams.partitions import moebius, set_partitions
from taylorsgd.exact_numbers import as_exact, refuse_infinite
from taylorsgd.landscapes.bending import BENDING, smooth_near

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Degrees", "ExactPopulation", "ExactTensors", "Point", "exact_expression"]

MOST_AXES = 40
"""The most axes of a tensor: of two diagrams' worth of edges, and fewer than NumPy can hold."""

MOST_EXPANDED = 32
"""The highest power in a loss that is multiplied out."""

Point = tuple[Expr, ...]
"""A point θ: one exact expression for each of the P variables."""
Degrees = tuple[int, ...]
"""How often the loss is differentiated at each node of a part."""


class ExactTensors(ABC):
    """A random function Σ_a φ_a(x) c_a(θ) whose derivatives have exact moments and cumulants.

    A subclass names its variables and the c_a, and knows how the φ_a multiply and what their means are. The φ's have
    labels, the numbers 0, 1, … of the c_a unless it says otherwise. The c_a are scalars, or (`VECTOR`) have P
    components each, which give every node one axis more, in front of those of its derivatives.

    Attributes:
        variables: tuple of P SymPy symbols.
    """

    variables: tuple[Symbol, ...]
    VECTOR: ClassVar[bool] = False

    @property
    @abstractmethod
    def components(self) -> tuple[Expr, ...]:
        """The coefficients c_a(θ), SymPy expressions in the variables; of vectors all components in turn."""

    @abstractmethod
    def _describe(self, component: int) -> str:
        """What to call the coefficient c_a in an error message."""

    @property
    def _labels(self) -> Sequence[Hashable]:
        """The labels a of the φ_a that stand with the coefficients c_a, in their order."""
        return range(len(self.components))

    @abstractmethod
    def _product(self, left: Any, right: Any) -> Hashable | None:
        """The label of φ_left · φ_right, or None where this product vanishes."""

    @abstractmethod
    def _means(self, nodes: int) -> Mapping[Any, Expr]:
        """The expectations E_x[φ_a] of all that a product of at most `nodes` of the φ's can be, by label."""

    @property
    def dimension(self) -> int:
        """The number P of variables."""
        return len(self.variables)

    def point(self, at: Any) -> Point:
        """Return `at` as a tuple of P exact SymPy expressions.

        Args:
            at: a sequence of P entries, a mapping with the variables as its keys, or one bare number or
                expression when P = 1. Entries are numbers or SymPy expressions (symbols too); a float is
                converted exactly, so 0.1 becomes 3602879701896397/36028797018963968.

        Returns:
            A tuple of length P, hashable, free of floats.

        Raises:
            TypeError: an entry is neither a number nor a SymPy expression.
            ValueError: the length or the keys of `at` do not match the variables, or an entry is not finite.

        Example:
            >>> from sympy import symbols
            >>> from taylorsgd import FiniteLandscape
            >>> x, y = symbols("x y")
            >>> FiniteLandscape([x * y], [1], [x, y]).point({y: 2, x: 0.5})
            (1/2, 2)
        """
        if isinstance(at, Mapping):
            if set(at) != set(self.variables):
                raise ValueError(f"at={at} must have exactly the variables {self.variables} as its keys")
            entries = [at[variable] for variable in self.variables]
        elif isinstance(at, (Number, Expr)) or getattr(at, "shape", None) == ():
            entries = [at]
        else:
            entries = listed(at, "at", "[0, 1/2]", empty=True)
        if len(entries) != self.dimension:
            raise ValueError(
                f"at={at} has {len(entries)} entries; give {self.dimension}, one for each of {self.variables}"
            )
        point = tuple(exact_expression(entry, f"at[{i}]") for i, entry in enumerate(entries))
        for i, entry in enumerate(point):
            if not _is_finite(entry):
                raise ValueError(f"at[{i}]={entry} must be finite")
        return point

    def moment(self, degrees: Sequence[int], at: Any) -> np.ndarray:
        """The moment E_x[∇^{k_1} l_x ⊗ … ⊗ ∇^{k_m} l_x] at one point.

        Args:
            degrees: (k_1, …, k_m), the degree of each node; 0 stands for the loss itself.
            at: the point, in any form that `point` takes.

        Returns:
            A read-only object array of shape (P,) * (k_1 + … + k_m), the axes of the first node first. Its
            entries are `fractions.Fraction` when every one of them is rational and SymPy expressions
            otherwise; both mix exactly with SymPy under + and *.

        Raises:
            TypeError: `degrees` is no sequence of ints, or `at` holds something that is not a number.
            ValueError: `degrees` is empty or negative, `at` does not match the variables, or a derivative
                is not finite there.

        Example:
            >>> from sympy import symbols
            >>> from taylorsgd import FiniteLandscape
            >>> x, y = symbols("x y")
            >>> FiniteLandscape([x * y**2], [1], [x, y]).moment((2,), at=(3, 5))
            array([[Fraction(0, 1), Fraction(10, 1)],
                   [Fraction(10, 1), Fraction(6, 1)]], dtype=object)
        """
        return self._tensor(False, _checked_degrees(degrees), self.point(at))

    def cumulant(self, degrees: Sequence[int], at: Any) -> np.ndarray:
        """The joint cumulant of the nodes ∇^{k_1} l_x, …, ∇^{k_m} l_x at one point.

            Σ_π (−1)^{|π|−1} (|π|−1)! Π_{block ∈ π} E_x[⊗_{i ∈ block} ∇^{k_i} l_x]

        with π over the set partitions of the m nodes. One node: the mean derivative. Two: their covariance.

        Args:
            degrees: (k_1, …, k_m), the degree of each node; 0 stands for the loss itself.
            at: the point, in any form that `point` takes.

        Returns:
            An array like that of `moment`: shape (P,) * (k_1 + … + k_m), the axes of the first node first,
            read-only, of Fractions when every entry is rational and of SymPy expressions otherwise.

        Raises:
            TypeError: `degrees` is no sequence of ints, or `at` holds something that is not a number.
            ValueError: `degrees` is empty or negative, `at` does not match the variables, or a derivative
                is not finite there.

        Example:
            The third cumulant of a coin that shows 1 with probability 1/3 is pq(q − p):

            >>> from sympy import Rational, symbols
            >>> from taylorsgd import FiniteLandscape
            >>> x = symbols("x")
            >>> bernoulli = FiniteLandscape([0, x], [Rational(2, 3), Rational(1, 3)], [x])
            >>> bernoulli.cumulant((1, 1, 1), at=0).item()
            Fraction(2, 27)
        """
        return self._tensor(True, _checked_degrees(degrees), self.point(at))

    # -- inside: caches, filled on demand ---------------------------------------------------------------

    @cached_property
    def _polynomials(self) -> dict[tuple[int, tuple[int, ...]], PolyElement | None]:
        """The derivatives of those c_a that are polynomials with rational coefficients, else None."""
        return {}

    @cached_property
    def _derivatives(self) -> dict[tuple[int, tuple[int, ...]], Expr]:
        return {}

    @cached_property
    def _values(self) -> dict[tuple[int, Point], list[list[Expr]]]:
        return {}

    @cached_property
    def _tensors(self) -> dict[tuple[bool, Degrees, Point], np.ndarray]:
        return {}

    def _tensor(self, connected: bool, degrees: Degrees, point: Point) -> np.ndarray:
        """Return the cumulant if `connected`, else the moment; computed once per degrees and point."""
        key = (connected, degrees, point)
        if key not in self._tensors:
            self._tensors[key] = self._compute_tensor(connected, degrees, point)
        return self._tensors[key]

    def _compute_tensor(self, connected: bool, degrees: Degrees, point: Point) -> np.ndarray:
        import numpy as np

        # A derivative of degree k is symmetric, so a node carries one axis over the multisets of k variables
        # instead of k axes; these are unfolded at the very end.
        values = {degree: self._derivative_values(degree, point) for degree in set(degrees)}
        numbers = [number for rows in values.values() for row in rows for number in row]
        means = self._means(len(degrees))
        given = [*means.values(), *numbers]
        if all(isinstance(number, Rational) for number in given):
            domain, elements = QQ, list(map(QQ.from_sympy, given))
        else:
            domain, elements = construct_domain(given, extension=True)
        if domain.is_EX:
            # SymPy knows no domain for these, and its stand-in simplifies after every operation: use the bare
            # expressions and simplify once, at the end
            elements = given
        stream = iter(elements)
        basis = _Basis({label: _object_vector([next(stream)]) for label in means}, self._product)
        vectors = {
            degree: _without_zeros(self._labels, [_object_vector([next(stream) for _ in row]) for row in rows])
            for degree, rows in values.items()
        }
        nodes = [vectors[degree] for degree in degrees]
        compact = basis.joint_cumulant(nodes) if connected else basis.joint_moment(nodes)
        entries = _fractions_if_rational(domain, compact.flat)
        unfolding = np.ix_(*(_unfolding(self.dimension, degree, self._width) for degree in degrees))
        tensor = _object_vector(entries).reshape(compact.shape)[unfolding]
        tensor = tensor.reshape((self.dimension,) * (sum(degrees) + self.VECTOR * len(degrees)))
        tensor.flags.writeable = False  # it is cached, and so shared by all who ask
        return tensor

    def _derivative_values(self, degree: int, point: Point) -> list[list[Expr]]:
        """The distinct entries of ∇^degree c_a at the point, one list for each a, component after component."""
        key = (degree, point)
        if key not in self._values:
            multisets, width = list(_multisets(self.dimension, degree)), self._width
            self._values[key] = [
                [self._evaluate(a * width + i, multiset, point) for i in range(width) for multiset in multisets]
                for a in range(len(self.components) // width)
            ]
        return self._values[key]

    @property
    def _width(self) -> int:
        """How many components a coefficient c_a has."""
        return self.dimension if self.VECTOR else 1

    def _evaluate(self, component: int, multiset: tuple[int, ...], point: Point) -> Expr:
        polynomial = self._polynomial(component, multiset)
        if polynomial is not None and all(isinstance(entry, Rational) for entry in point):
            values = [(x, QQ.from_sympy(entry)) for x, entry in zip(polynomial.ring.gens, point, strict=True)]
            return QQ.to_sympy(polynomial.evaluate(values))
        substitution = list(zip(self.variables, point, strict=True))
        # simultaneous, because the point may be written in the variables themselves
        derivative = self._derivative(component, multiset)
        if multiset and self.components[component].has(*BENDING):
            try:
                derivative = smooth_near(self.components[component], substitution)
            except ValueError as kink:
                raise ValueError(
                    f"at={point}: {self._describe(component)}={self.components[component]} has a kink there, for "
                    f"{kink}; expand around a point where it is smooth"
                ) from kink
            for variable in multiset:
                derivative = derivative.diff(self.variables[variable])
        value = derivative.subs(substitution, simultaneous=True)
        if not _is_finite(value):
            raise ValueError(
                f"at={point}: {self._describe(component)}={self.components[component]} or one of its "
                f"derivatives of degree {len(multiset)} is not finite there; expand around a point where it is "
                "smooth"
            )
        return value

    def _polynomial(self, component: int, multiset: tuple[int, ...]) -> PolyElement | None:
        key = (component, multiset)
        if key not in self._polynomials:
            if multiset:
                lower = self._polynomial(component, multiset[:-1])
                found = None if lower is None else lower.diff(multiset[-1])
            else:
                found = _rational_polynomial(self.components[component], self.variables)
            self._polynomials[key] = found
        return self._polynomials[key]

    def _derivative(self, component: int, multiset: tuple[int, ...]) -> Expr:
        if not multiset:
            return self.components[component]
        key = (component, multiset)
        if key not in self._derivatives:
            lower = self._derivative(component, multiset[:-1])
            self._derivatives[key] = lower.diff(self.variables[multiset[-1]])
        return self._derivatives[key]


class ExactPopulation(ExactTensors):
    """A random loss l_x(θ) = Σ_a φ_a(x) c_a(θ)."""

    @property
    def loss(self) -> Expr:
        """The test loss l = E_x[l_x] as an expression in the variables."""
        means = self._means(1)
        return Add(*(means[label] * part for label, part in zip(self._labels, self.components, strict=True)))


# -- moments and cumulants of nodes that are written in the φ's, each a vector for every label a ----------

Node = Mapping[Hashable, "np.ndarray"]


@dataclass(frozen=True)
class _Basis:
    """The means of the φ's, as vectors of length 1 over an exact domain, and how the φ's multiply.

    Vectors, because a bare domain element on the left of an array would try to multiply the array as if it
    were a number.
    """

    means: Mapping[Hashable, np.ndarray]
    product: Callable[[Hashable, Hashable], Hashable | None]

    def joint_moment(self, nodes: Sequence[Node]) -> np.ndarray:
        """E_x[⊗_i Σ_a φ_a(x) (vector a of node i)], one axis for each node."""
        import numpy as np

        terms = dict(nodes[0])
        for node in nodes[1:]:
            products: dict[Hashable, np.ndarray] = {}
            for (left, tensor), (right, vector) in product(terms.items(), node.items()):
                label = self.product(left, right)
                if label is not None:
                    outer = np.multiply.outer(tensor, vector)
                    products[label] = products[label] + outer if label in products else outer
            terms = products
        likely = ((self.means[label], tensor) for label, tensor in terms.items() if any(self.means[label]))
        weighted = [np.multiply.outer(mean, tensor)[0] for mean, tensor in likely]
        return reduce(np.add, weighted, self._nothing(nodes))

    def _nothing(self, nodes: Sequence[Node]) -> np.ndarray:
        """Zero of the domain, in the shape of a moment: products of some nodes may all vanish."""
        import numpy as np

        zero = next(iter(self.means.values())) * 0
        return reduce(np.multiply.outer, [next(iter(node.values())) * 0 for node in nodes], zero)[0]

    def joint_cumulant(self, nodes: Sequence[Node]) -> np.ndarray:
        """Möbius inversion of the joint moments over the set partitions of the nodes, one axis for each."""
        import numpy as np

        moments: dict[tuple[int, ...], np.ndarray] = {}
        terms = []
        for partition in set_partitions(range(len(nodes))):
            factors = []
            for block in partition:
                if block not in moments:
                    # an axis of length 1 for each absent node, so that blocks multiply by broadcasting
                    shape = [len(next(iter(node.values()))) if i in block else 1 for i, node in enumerate(nodes)]
                    moments[block] = self.joint_moment([nodes[i] for i in block]).reshape(shape)
                factors.append(moments[block])
            terms.append(reduce(np.multiply, factors) * moebius([len(partition)]))
        return reduce(np.add, terms)


def _without_zeros(labels: Sequence[Hashable], vectors: Sequence[np.ndarray]) -> Node:
    """The vectors by their labels, without those that are zero: most are, where the φ's are many; but one at least."""
    present = {label: vector for label, vector in zip(labels, vectors, strict=True) if any(vector)}
    return present or {labels[0]: vectors[0]}


def _multisets(dimension: int, degree: int) -> Iterator[tuple[int, ...]]:
    """The sorted tuples of `degree` variable indices, the distinct entries of a symmetric tensor."""
    return combinations_with_replacement(range(dimension), degree)


def _unfolding(dimension: int, degree: int, width: int) -> list[int]:
    """For each entry of a full tensor of `degree` axes, component after component, the number of its multiset."""
    number_of = {multiset: number for number, multiset in enumerate(_multisets(dimension, degree))}
    once = [number_of[tuple(sorted(axes))] for axes in product(range(dimension), repeat=degree)]
    return [len(number_of) * i + number for i in range(width) for number in once]


def _rational_polynomial(expression: Expr, variables: tuple[Symbol, ...]) -> PolyElement | None:
    """An expression as a polynomial with rational coefficients, if it is one that can be written out."""
    if any(not power.exp.is_Integer or power.exp > MOST_EXPANDED for power in expression.atoms(Pow)):
        return None
    found = expression.as_poly(*variables)
    if found is None or found.domain not in (ZZ, QQ):
        return None
    return PolyRing(variables, QQ).from_dict(found.set_domain(QQ).as_dict(native=True))


def _object_vector(entries: Sequence[Any]) -> np.ndarray:
    """A one-dimensional object array; np.array() would unpack entries that look like sequences."""
    import numpy as np

    vector = np.empty(len(entries), dtype=object)
    for i, entry in enumerate(entries):
        vector[i] = entry
    return vector


def _fractions_if_rational(domain: Any, elements: Iterable[Any]) -> list[Any]:
    if domain == QQ:
        return [Fraction(int(element.numerator), int(element.denominator)) for element in elements]
    entries = [element.cancel().expand() if domain.is_EX else domain.to_sympy(element) for element in elements]
    rationals = [entry for entry in entries if isinstance(entry, Rational)]
    if len(rationals) < len(entries):
        return entries
    return [Fraction(int(rational.p), int(rational.q)) for rational in rationals]


def _is_finite(expression: Expr) -> bool:
    return not expression.has(nan, zoo, oo, -oo)


# -- checks of what users pass -----------------------------------------------------------------------------


def exact_expression(entry: Any, name: str) -> Expr:
    """Return a number or expression as a SymPy expression whose floats are replaced by exact rationals."""
    expression = as_exact(entry, binary=True)
    if expression is None:
        kind = "a scalar SymPy" if hasattr(entry, "free_symbols") else "a SymPy"  # such as u > 0, or a matrix
        raise TypeError(f"{name}={entry!r} must be a number or {kind} expression")
    refuse_infinite(expression, entry, name)
    return expression


def _checked_degrees(degrees: Sequence[int]) -> Degrees:
    checked = []
    what = "a sequence of ints, one for each node, such as (1, 1)"
    for degree in listed(degrees, "degrees", empty=True, what=what):
        number = as_whole(degree)
        if number is None:
            raise TypeError(f"degrees={degrees!r} must be {what}")
        if number < 0:
            raise ValueError(f"degrees={degrees!r} must name at least one node, each of degree 0 or more")
        checked.append(number)
    if not checked:
        raise ValueError(f"degrees={degrees!r} must name at least one node, each of degree 0 or more")
    if sum(checked) > MOST_AXES:
        raise ValueError(f"degrees={degrees!r} have a tensor of {sum(checked)} axes; it must have at most {MOST_AXES}")
    return tuple(checked)
