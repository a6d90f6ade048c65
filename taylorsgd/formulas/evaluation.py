"""Exact evaluation of values and formulas on a landscape that knows its cumulants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache, partial
from typing import Any, Protocol

from sympy import Expr, ImmutableMatrix, Rational, diff, expand

from taylorsgd import symbols
from taylorsgd.diagrams import Value
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.formulas.observables import Observable
from taylorsgd.formulas.resummed_evaluation import Resummation, contract
from taylorsgd.formulas.resummed_value import ResummedValue, penalty_of
from taylorsgd.formulas.term import Combination
from taylorsgd.updates.metrics import exact_metric

__all__ = ["ExactLandscape", "evaluate", "evaluate_value", "refuse_losses"]


class ExactLandscape(Protocol):
    """What exact evaluation asks of a landscape."""

    def cumulant(self, degrees: tuple[int, ...], at: Any) -> Any:
        """The joint cumulant of ∇^{k_1} l_x, ∇^{k_2} l_x, …, an array with Σ k_i axes of exact numbers."""
        ...


def evaluate(formula: Combination, landscape: ExactLandscape, at: Any, eta: Any = None, metric: Any = None) -> Any:
    """Evaluate a formula whose sizes are all numbers; see `Formula.evaluate`."""
    if not callable(getattr(landscape, "cumulant", None)):
        raise TypeError(
            f"landscape={landscape!r} has no cumulant(degrees, at); give a FiniteLandscape, or a FiniteField"
        )
    for spacetime in formula.spacetimes:
        if spacetime.data == "fixed":
            _check_training_set(landscape, spacetime.sizes["N"])
    rate = symbols.eta if eta is None else exact_argument(eta, "eta")
    import numpy as np

    directed = getattr(landscape, "VECTOR", False)
    if directed:
        refuse_losses(formula)
    tensors = partial(_slopes, landscape, at=at) if directed else partial(landscape.cumulant, at=at)
    observables = {name: _derivatives(o, landscape, at) for name, o in formula.observables.items()}
    if penalty := penalty_of(formula.values):
        tensors = partial(_penalized, tensors, observables[penalty])
    size = len(tensors((1,)))
    raising = None if metric is None else np.array(exact_metric(metric, size).tolist(), dtype=object)
    shape = (size, size ** (formula.indices - 1)) if formula.indices else (1, 1)
    rational: dict[int, Any] = {}  # by powers of the rate: fractions add up faster than expressions
    other: Any = np.zeros(shape, dtype=object)
    resummed = Resummation(tensors, observables, rate, raising, directed)
    for term in formula.terms:
        if isinstance(term.value, ResummedValue):
            try:
                value, power = resummed.evaluate(term.value), 0
            except ValueError as error:
                raise ValueError(f"the term {term}: {error}") from error
        else:
            value, power = evaluate_value(term.value, tensors, observables, raising, directed), term.order
        entries = np.reshape(np.asarray(value, dtype=object), shape)
        if isinstance(term.coefficient, Rational) and all(isinstance(x, (int, Fraction)) for x in entries.flat):
            number = Fraction(int(term.coefficient.p), int(term.coefficient.q))
            rational[power] = rational.get(power, 0) + number * entries
        else:
            other = other + term.coefficient * rate**power * _in_sympy(entries)
    for power, entries in rational.items():
        other = other + rate**power * _in_sympy(entries)
    total = ImmutableMatrix(other.tolist()).applyfunc(expand)
    return total if formula.indices else total[0]


def _penalized(tensors: Any, penalty: Any, degrees: tuple[int, ...]) -> Any:
    """The cumulants of l + p, of which that of a single node alone has p."""
    return tensors(degrees) + penalty(degrees[0]) if len(degrees) == 1 else tensors(degrees)


def _check_training_set(landscape: Any, size: Expr) -> None:
    """Raise unless a landscape can be the training set of `size` points that fixed data are."""
    weights = getattr(landscape, "weights", ())
    if len(weights) != size or len(set(weights)) > 1:
        raise ValueError(
            f"landscape={landscape!r}: with data='fixed' the landscape is the training set; it must be a "
            f"FiniteLandscape of N={size} losses with equal weights"
        )


def refuse_losses(formula: Combination) -> None:
    """Raise if a formula is of a loss, and so not for a vector field.

    Raises:
        ValueError: naming a value that is.
    """
    for value in formula.values:
        _ = value.arrows


def _slopes(landscape: Any, degrees: tuple[int, ...], at: Any) -> Any:
    """Of a vector field, what stands for the cumulant of ∇^{k_1} l_x, …: that of −∂^{k_1 − 1} u_x, ….

    The index of u comes first at each node, then those of its derivatives.
    """
    return landscape.cumulant(tuple(degree - 1 for degree in degrees), at=at) * (-1) ** len(degrees)


def evaluate_value(
    value: Value, tensors: Any, observables: Mapping[str, Any], metric: Any = None, directed: bool = False
) -> Any:
    """Contract the network of a value.

    Args:
        value: a value in cumulants.
        tensors: a function from the degrees of a part to its cumulant, an array.
        observables: for every marked observable a function from a degree to its derivative, an array.
        metric: Λ, which the edges carry beside η; None for the identity.
        directed: whether the first axis of every node is that of its edge towards the root, as of a vector field.

    Returns:
        A number, or an array with one axis for every open index.
    """
    arrows = value.arrows if directed else (-1,) * len(value.parents)
    edge_of: list[list[int]] = [[] for _ in value.parents]
    operands: list[Any] = []
    for label, (child, parent) in enumerate(value.edges):
        ends = (label, label) if metric is None else (label, len(value.edges) + label)
        edge_of[child].append(ends[0])
        edge_of[parent].append(ends[1])
        if metric is not None:
            operands += [metric, list(ends)]
    for node, arrow in enumerate(arrows):
        edge_of[node].sort(key=lambda label, arrow=arrow: arrow < 0 or label % len(value.edges) != arrow)
    for block in value.blocks:
        mark = value.marks[block[0]]
        if mark.startswith("@"):
            continue
        degrees = tuple(value.degrees[node] for node in block)
        operands += [
            observables[mark](degrees[0]) if mark else tensors(degrees),
            [label for node in block for label in edge_of[node]],
        ]
    free = [edge_of[node][0] for node in value.open_indices]
    return contract(operands, free)


def _in_sympy(entries: Any) -> Any:
    """An array of expressions."""
    import numpy as np

    return np.vectorize(_sympy, otypes=[object])(entries)


def _sympy(number: Any) -> Expr:
    if isinstance(number, Expr):
        return number
    return Rational(int(number.numerator), int(number.denominator))


def refuse_other_symbols(expression: Expr, variables: Sequence[Any], observable: Observable) -> None:
    """Raise for a symbol that is called like a variable and is another one: it would be taken for a constant.

    Raises:
        ValueError: naming the symbol.
    """
    names = {str(variable) for variable in variables}
    for symbol in sorted(expression.free_symbols - set(variables), key=str):
        if str(symbol) in names:
            raise ValueError(
                f"{observable!r} holds a symbol {symbol} that is not the landscape's {symbol}: their assumptions "
                "differ; write it in the landscape's own .variables"
            )


def _derivatives(observable: Observable, landscape: Any, at: Any) -> Any:
    """The derivative tensors of an observable s at a point, as a function of their degree."""
    import numpy as np

    variables: Sequence[Any] | None = getattr(landscape, "variables", None)
    if variables is None:
        raise TypeError(
            f"landscape={landscape!r} has no .variables, which an exact {observable!r} is differentiated in"
        )
    point = dict(zip(variables, landscape.point(at), strict=True))
    result = observable.s(tuple(variables)) if callable(observable.s) else observable.s
    expression = exact_argument(result, f"the observable {observable.name}", binary=True)
    refuse_other_symbols(expression, variables, observable)

    @cache
    def derivative(degree: int) -> Any:
        tensor = np.empty((len(variables),) * degree, dtype=object)
        for index in np.ndindex(tensor.shape):
            along = [variables[i] for i in index]
            tensor[index] = (diff(expression, *along) if along else expression).subs(point, simultaneous=True)
        return tensor

    return derivative
