"""Exact evaluation of values and formulas on a landscape that knows its cumulants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache, lru_cache, partial
from typing import Any, Protocol

from sympy import QQ, Add, Expr, ImmutableMatrix, Integer, Rational, diff, expand

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
    found = partial(_slopes, landscape, at=at) if directed else partial(landscape.cumulant, at=at)
    tensors: Any = cache(lambda degrees: _quick(found(degrees)))
    observables = {name: _derivatives(o, landscape, at) for name, o in formula.observables.items()}
    if penalty := penalty_of(formula.values):
        tensors = partial(_penalized, tensors, observables[penalty])
    size = len(tensors((1,)))
    raising = None if metric is None else np.array(exact_metric(metric, size).tolist(), dtype=object)
    shape = (size, size ** (formula.indices - 1)) if formula.indices else (1, 1)
    rational: dict[int, Any] = {}  # by powers of the rate
    summed: dict[Any, Any] = {}  # by arithmetic
    other: Any = np.full(shape, Integer(0), dtype=object)
    resummed = Resummation(tensors, observables, rate, raising, directed)
    for term in formula.terms:
        if isinstance(term.value, ResummedValue):
            try:
                value, arithmetic = resummed.evaluate(term.value)
            except ValueError as error:
                raise ValueError(f"the term {term}: {error}") from error
            entries, power = np.reshape(np.asarray(value, dtype=object), shape), 0
            if arithmetic is not None and isinstance(term.coefficient, Rational):
                scaled = entries * arithmetic.convert(term.coefficient)
                summed[arithmetic] = summed[arithmetic] + scaled if arithmetic in summed else scaled
                continue
            if arithmetic is not None:
                entries = np.vectorize(arithmetic.expression, otypes=[object])(entries)
        else:
            value, power = evaluate_value(term.value, tensors, observables, raising, directed), term.order
            entries = np.reshape(np.asarray(value, dtype=object), shape)
            if isinstance(term.coefficient, Rational) and all(map(QQ.of_type, entries.flat)):
                rational[power] = rational.get(power, 0) + entries * QQ.from_sympy(term.coefficient)
                continue
        other = other + _in_sympy(entries) * (term.coefficient * rate**power)
    for arithmetic, entries in summed.items():
        other = other + np.vectorize(arithmetic.expression, otypes=[object])(entries)
    parts = [entries.ravel() for entries in rational.values()]
    total = [
        _written(rate, dict(zip(rational, numbers, strict=True)), rest)
        for *numbers, rest in zip(*parts, other.ravel(), strict=True)
    ]
    return ImmutableMatrix(*shape, total) if formula.indices else total[0]


def _written(rate: Expr, numbers: Mapping[int, Any], rest: Expr) -> Expr:
    """Rational numbers times powers of the rate, and what else there is, multiplied out."""
    known = Add(*(QQ.to_sympy(number) * rate**power for power, number in numbers.items()))
    return (known if rate.is_Symbol or rate.is_Rational else expand(known)) + expand(rest)


def _quick(tensor: Any) -> Any:
    """A tensor whose rational entries are elements of QQ, which are added and multiplied faster than others."""
    import numpy as np

    if not all(isinstance(entry, (int, Fraction, Rational)) for entry in np.ravel(tensor)):
        return tensor
    return np.vectorize(_element, otypes=[object])(tensor) if np.size(tensor) else tensor


def _element(entry: Any) -> Any:
    return QQ(int(entry.numerator), int(entry.denominator))


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
    point = tuple(zip(variables, landscape.point(at), strict=True))
    result = observable.s(tuple(variables)) if callable(observable.s) else observable.s
    expression = exact_argument(result, f"the observable {observable.name}", binary=True)
    refuse_other_symbols(expression, variables, observable)

    @cache
    def derivative(degree: int) -> Any:
        tensor = np.empty((len(variables),) * degree, dtype=object)
        for index in np.ndindex(tensor.shape):
            along = tuple(variables[i] for i in sorted(index))
            tensor[index] = _slope(expression, along, point)
        return _quick(tensor)

    return derivative


@lru_cache(maxsize=1024)  # of one observable at one point many formulas ask
def _slope(expression: Expr, along: tuple[Any, ...], point: tuple[tuple[Any, Expr], ...]) -> Expr:
    """A derivative at a point."""
    return _derivative(expression, along).subs(point, simultaneous=True)


@lru_cache(maxsize=1024)
def _derivative(expression: Expr, along: tuple[Any, ...]) -> Expr:
    return diff(_derivative(expression, along[:-1]), along[-1]) if along else expression
