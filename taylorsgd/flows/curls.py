r"""The curl of a field: whether there is a function that it goes down.

A field φ^μ is −∇ of a function near θ only if ∂^μ φ^ν − ∂^ν φ^μ = 0 there. On values the derivative is a new edge at
every node, in turn open at the first end and at the second; what is a gradient cancels, tree by tree.
"""

from __future__ import annotations

from collections.abc import Iterator

from taylorsgd.diagrams import Value
from taylorsgd.diagrams.tensor_network import LOSS, open_index
from taylorsgd.flows.grafting import is_vector
from taylorsgd.formulas.term import Combination, Term

__all__ = ["curl"]


def curl(field: Combination) -> Combination:
    """The curl ∂^μ φ^ν − ∂^ν φ^μ of a field, an antisymmetric `Formula` with two open indices.

    An edge carries η, so that a term of the curl has one η more than that of the field which it comes from.

    Args:
        field: a formula with one open index, of plain values: the `drift` of a generator, or the `field` of an
            effective flow.

    Raises:
        TypeError: if it is no `Formula`.
        ValueError: if it has another number of open indices, or a term is resummed or of another observable.

    Example:
        >>> import taylorsgd as ts
        >>> from taylorsgd.flows import curl
        >>> drift = ts.generator(3, ts.SGD(E=1)).drift
        >>> print(curl(drift[2]))       # H G is half the gradient of |G|²
        0
        >>> print(curl(drift[3]).assume("minimum"))
        -1/(2*B) J^μ_λρ κ(∇^ν∇^λ l, ∇^ρ l) + 1/(2*B) J^ν_λρ κ(∇^μ∇^λ l, ∇^ρ l)
    """
    if not isinstance(field, Combination):
        raise TypeError(f"field={field!r} is not a Formula, such as generator(3, SGD(E=1)).drift")
    if field.indices != 1:
        raise ValueError(f"field={field!r} has {field.indices} open indices; only a vector has a curl")
    terms = []
    for term in field.to_cumulants().terms:
        value = term.value
        if not isinstance(value, Value) or not is_vector(value):
            raise ValueError(
                f"the term {term} is resummed or of an observable, and its derivatives are no values; derive the field "
                "without resum"
            )
        for first, second in ((0, 1), (1, 0)):
            sign = 1 if first == 0 else -1
            terms += [Term(sign * term.coefficient, grown, ()) for grown in _derivatives(value, first, second)]
    return type(field)(terms, field.spacetimes, {}, 2, field.metric, field.rate)


def _derivatives(vector: Value, first: int, second: int) -> Iterator[Value]:
    """The terms of the derivative of a vector, which is open in the first index, its own index in the second."""
    marks = [open_index(second) if mark != LOSS else mark for mark in vector.marks]
    for node, mark in enumerate(vector.marks):
        if mark == LOSS:
            yield Value((*vector.parents, node), (*vector.parts, "open"), (*marks, open_index(first)))
