r"""Which part of a field is a gradient.

∇ of a scalar value t is the sum over its nodes of t with an open index there: t, rooted in all ways. A field
Σ c(v) v is a gradient if and only if the rootings v of each t come in these proportions, their multiplicities
m_t(v). The coefficient of t is then that of all rootings together over the number of nodes,

    p(t) = Σ_v c(v) / |t|,

and what remains is Σ_v (c(v) − p(t) m_t(v)) v. For any field p averages over the rootings: it is the orthogonal
projection on gradients where ⟨v, v⟩ is the number of symmetries of v, and the remainder vanishes exactly
for gradients. (Values are linearly independent as functions of the landscape, so this is a decision.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sympy import Expr, Integer, expand, factor

from taylorsgd.diagrams import Value
from taylorsgd.flows.grafting import closed, gradient_of

__all__ = ["split", "total"]


def split(field: Mapping[Value, Expr]) -> tuple[dict[Value, Expr], dict[Value, Expr]]:
    """Split a field into the gradient of a scalar, and the rest.

    Args:
        field: a coefficient for every vector value.

    Returns:
        The scalar's coefficients, and those of the rest; zeros left out. The rest is empty exactly where the
        field is a gradient.

    Example:
        >>> from taylorsgd.flows.grafting import opened
        >>> hhg, jgg = (opened(Value((-1, 0, 1)), node) for node in (2, 0))
        >>> scalar, rest = split({hhg: Integer(4), jgg: Integer(1)})     # a gradient needs 2 : 1
        >>> {str(value): number for value, number in scalar.items()}
        {'G_μ H^μ_ν G^ν': 5/3}
        >>> {str(value): number for value, number in rest.items()}
        {'J^μ_νλ G^ν G^λ': -2/3, 'H^μ_ν H^ν_λ G^λ': 2/3}
    """
    rootings: defaultdict[Value, list[Expr]] = defaultdict(list)
    for vector, coefficient in field.items():
        rootings[closed(vector)].append(coefficient)
    scalar = {value: total(coefficients) / len(value.parents) for value, coefficients in rootings.items()}
    rest: dict[Value, Expr] = {}
    for value, coefficient in scalar.items():
        for vector, copies in gradient_of(value).items():
            rest[vector] = total([field.get(vector, Integer(0)), -copies * coefficient])
    return _nonzero(scalar), _nonzero(rest)


def total(coefficients: Sequence[Expr]) -> Expr:
    """A sum in factored form; one term alone is left as it is."""
    found = sum(coefficients, Integer(0))
    if found.is_number:
        return expand(found)
    return found if len(coefficients) == 1 else factor(found)


def _nonzero(coefficients: Mapping[Value, Expr]) -> dict[Value, Expr]:
    return {value: coefficient for value, coefficient in coefficients.items() if coefficient != 0}
