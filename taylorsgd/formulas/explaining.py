"""What a term says, read off its structure: who acts on whom, its noise, where it vanishes, how it grows, its sign.

All of it is a proof from the diagrams, the network and the coefficient, never a measurement: what it claims holds in
every landscape; where it claims nothing, its structure does not tell.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sympy import Expr, Symbol, expand, factor, factor_list, fraction, sstr

from taylorsgd import symbols
from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.tensor_network import LOSS, TensorNetwork, is_open
from taylorsgd.formulas.assumptions import ASSUMPTIONS, survives
from taylorsgd.formulas.definite_sign import nonnegative_under, sign_of_sizes
from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.formulas.size_powers import in_updates, leading_power
from taylorsgd.formulas.update_words import noise_words, told
from taylorsgd.spacetime import SGD, Spacetime

__all__ = ["Explanation", "explained"]

_WHERE = {
    "minimum": "at a minimum: it holds G",
    "gaussian": "where losses are jointly Gaussian: it holds a cumulant of three or more",
    "noiseless": "without noise: all points would have one loss",
    "quadratic": "where every l_x is quadratic: it holds a third or higher derivative",
}
_MOST = 6
"""How many diagrams are told."""
_WIDTH = 110


@dataclass(frozen=True)
class Explanation:
    """What a term says; it reads as lines of text.

    Attributes:
        term: the term in plain text.
        actions: for each diagram what acts on what.
        noise: what must fluctuate together, part by part; empty if nothing must.
        training: in how many of its diagrams the observed loss is that of a point that was trained on.
        vanishes: the assumptions (see `Formula.assume`) under which the value is 0 whatever else holds.
        zeros: sizes at which the coefficient is 0, such as "T = 1".
        powers: for each size the leading power of the coefficient as it grows and the others stay; None where
            there is no power law.
        coefficient: the coefficient that these are of, in T where T is derived.
        sign: 1 if the term is at least 0 under `conditions`, −1 if at most 0 (as a matrix, if it has two open
            indices), 0 if it vanishes; None if either may be.
        conditions: what the sign needs, such as "H ≥ 0".
        kind: "number", "vector" or "matrix", with ", resummed" if the value sums over times itself.
        named: the observables whose derivatives it holds.
    """

    term: str
    actions: tuple[str, ...]
    noise: tuple[str, ...]
    training: int
    vanishes: tuple[str, ...]
    zeros: tuple[str, ...]
    powers: dict[str, int | None]
    coefficient: Expr
    sign: int | None
    conditions: tuple[str, ...]
    kind: str
    named: tuple[str, ...]

    def __str__(self) -> str:
        """The lines."""
        many = len(self.actions)
        said = [("what happens", action) for action in self.actions[:_MOST]]
        if many > _MOST:
            said.append(("", f"… and {many - _MOST} more diagrams with this value"))
        if not many:
            said.append(("what happens", "a product of means, subtracted; no diagram of its own"))
        said += [
            ("or", f"if {s} is a penalty: one update is along -∇{s}, and the loss is observed") for s in self.named
        ]
        said.append(("noise", "; ".join(self.noise) or "none is needed: descent on the test loss has it too"))
        if self.training:
            which = "in all" if self.training == many else f"in {self.training} of {many}"
            said.append(("training set", f"{which} of its diagrams the point whose loss is observed was trained on"))
        where = [*(_WHERE[name] for name in self.vanishes), *self.zeros]
        said.append(("vanishes", "; ".join(where) or "nowhere by its structure"))
        said += [("size", self._growth()), ("sign", self._sign())]
        return "\n".join([self.term, *(_line(head, words) for head, words in said)])

    __repr__ = __str__

    def _growth(self) -> str:
        said = [_power_words(size, power, self.coefficient) for size, power in self.powers.items()]
        own = ", times a sum over times" if self.kind.endswith("resummed") else ""
        return (
            f"the coefficient {', '.join(said)}{own}" if said else f"the coefficient is {sstr(self.coefficient)}{own}"
        )

    def _sign(self) -> str:
        if self.kind.startswith("vector"):
            return "it is a vector"
        if self.sign is None:
            return "either sign, as far as its structure tells"
        if self.sign == 0:
            return "it is 0"
        what = "positive semidefinite" if self.kind.startswith("matrix") else "never negative"
        if self.sign < 0:
            what = "negative semidefinite" if self.kind.startswith("matrix") else "never positive"
        needed = " and ".join(self.conditions)
        return f"{what} where {needed}" if needed else f"{what}, in every landscape"


def _line(head: str, words: str) -> str:
    """A line below the term, wrapped."""
    return textwrap.fill(f"  {head:<15}{words}", _WIDTH, subsequent_indent=" " * 17, break_on_hyphens=False)


def _power_words(size: str, power: int | None, coefficient: Expr) -> str:
    if power is None:
        return f"follows no power of {size}"
    if power == 0:
        held = Symbol(size) in coefficient.free_symbols
        return f"tends to a constant as {size} grows" if held else f"is independent of {size}"
    written = size if abs(power) == 1 else f"{size}^{abs(power)}"
    return f"grows as {written}" if power > 0 else f"falls as 1/{written}"


def explained(
    text: str, coefficient: Expr, value: TensorNetwork, diagrams: Sequence[Diagram], spacetime: Spacetime | None = None
) -> Explanation:
    """Explain a term; see `Term.explain`.

    Args:
        text: the term in plain text.
        coefficient: its coefficient.
        value: its value.
        diagrams: its diagrams.
        spacetime: where it was derived.

    Raises:
        TypeError: if `spacetime` is none.
    """
    if spacetime is not None and not isinstance(spacetime, Spacetime):
        raise TypeError(
            f"spacetime={spacetime!r} is no spacetime; give the one that the formula was derived on, or None"
        )
    own, sizes = _in_updates(coefficient, spacetime)
    shape = {0: "number", 1: "vector", 2: "matrix"}[len(value.open_indices)]
    factor_sign = 0 if coefficient == 0 else sign_of_sizes(coefficient, _divisible(coefficient, spacetime))
    conditions = nonnegative_under(value)
    definite = factor_sign is not None and conditions is not None
    rooted = [diagram for diagram in diagrams if any(_is_tied(diagram, root) for root in diagram.roots)]
    return Explanation(
        term=text,
        actions=tuple(f"{diagram}: {told(diagram, _root_marks(value, diagram))}" for diagram in diagrams),
        noise=tuple(noise_words(value)),
        training=len(rooted),
        vanishes=tuple(name for name in ASSUMPTIONS if not _can_survive(value, name)),
        zeros=_zeros(coefficient, own),
        powers={str(size): _power(own, size) for size in sizes},
        coefficient=own,
        sign=factor_sign if definite else None,
        conditions=conditions or () if definite else (),
        kind=f"{shape}, resummed" if is_resummed(value) else shape,
        named=() if is_resummed(value) else tuple(sorted({m for m in value.marks if m != LOSS and not is_open(m)})),
    )


def _in_updates(coefficient: Expr, spacetime: Spacetime | None) -> tuple[Expr, list[Symbol]]:
    """A coefficient in T, N and B, and which of these there are."""
    table: dict[str, Expr] = {} if spacetime is None else spacetime.sizes
    updates: Any = table.get("T")
    if updates is None:
        # only SGD has coefficients with E, and there T = E·N/B
        updates = symbols.E * symbols.N / symbols.B if symbols.E in coefficient.free_symbols else symbols.T
    replaced = in_updates(updates)
    own = _factored(coefficient, updates) if replaced.keys() & coefficient.free_symbols else coefficient
    if updates.is_number:
        sizes = [size for size in (symbols.N, symbols.B) if size in own.free_symbols]
    elif spacetime is not None:
        free = {*spacetime.free_symbols} - {*replaced} | {symbols.T}
        sizes = [size for size in (symbols.T, symbols.N, symbols.B) if size in free]
    else:
        known = {*own.free_symbols} | ({symbols.T, symbols.N, symbols.B} if replaced else set())
        sizes = [size for size in (symbols.T, symbols.N, symbols.B) if size in known]
    return own, sizes


@lru_cache(maxsize=4096)
def _factored(coefficient: Expr, updates: Expr) -> Expr:
    return factor(coefficient.xreplace(in_updates(updates)))


def _power(coefficient: Expr, size: Symbol) -> int | None:
    found = leading_power(coefficient, size)
    return None if found is None else found[1]


def _divisible(coefficient: Expr, spacetime: Spacetime | None) -> bool:
    """Whether B is known to divide N."""
    return isinstance(spacetime, SGD) or (spacetime is None and symbols.E in coefficient.free_symbols)


def _zeros(*written: Expr) -> tuple[str, ...]:
    """The sizes at which a coefficient vanishes: where a factor is a size minus a number, or minus another."""
    found: dict[str, None] = {}
    for coefficient in written:
        for part in _factors(coefficient):
            for size in (symbols.B, symbols.E, symbols.N, symbols.T):
                slope: Any = part.coeff(size)
                rest: Any = expand(size - part / slope) if slope.is_number and slope != 0 else size
                if size not in rest.free_symbols and (rest.is_Symbol or (rest.is_Integer and rest > 0)):
                    found[f"at {size} = {rest}"] = None
                    break
    return tuple(found)


@lru_cache(maxsize=4096)
def _factors(coefficient: Expr) -> tuple[Expr, ...]:
    above, _ = fraction(coefficient)
    if not above.is_polynomial(*above.free_symbols):
        return ()
    return tuple(part.expand() for part, _ in factor_list(above)[1])


def _is_tied(diagram: Diagram, root: int) -> bool:
    return any(diagram.parents[node] >= 0 for node in diagram.blocks[diagram.parts[root]])


def _can_survive(value: Any, assumption: str) -> bool:
    """Moments are sums of cumulants, each of which may survive."""
    return any(survives(part, assumption) for _, part in value.in_cumulants())


def _root_marks(value: Any, diagram: Diagram) -> list[str]:
    """What the roots of a diagram carry; where a value forgot which node was the root, what fits."""
    if is_resummed(value):
        return list(value.root_marks)
    named = sorted({mark for mark in value.marks if mark != LOSS and not is_open(mark)})
    opened = sorted(mark for mark in value.marks if is_open(mark))
    marks: list[str] = []
    for position, root in enumerate(diagram.roots):
        if diagram.degree(root) == 1 and len(opened) > sum(map(is_open, marks)) and _may_open(opened, position):
            marks.append(opened[sum(map(is_open, marks))])
        else:
            free = not _is_tied(diagram, root) and [mark for mark in named if mark not in marks]
            marks.append(free[0] if free else LOSS)
    return marks


def _may_open(opened: Sequence[str], position: int) -> bool:
    return f"@{position}" in opened
