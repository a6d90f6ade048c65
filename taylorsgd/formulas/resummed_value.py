r"""Resummed values: diagrams whose edges carry what happens between two updates.

Between the updates t and t′ an influence passes t′ − t − 1 others, each of which damps it by K = I − ηH. So
an edge carries K^{t′−t−1} η instead of η, and the sum runs over linkless diagrams only: a chain of links
is a power of ηH, and the geometric series of chains is the power of K (Tenka, Theorem 1). In the continuous
approximation K^{t′−t−1} becomes e^{−(t′−t)ηH} and sums over times become integrals (Remark 1).

A rule with memory, z ← A z + b u, carries a state along: K^{Δ−1} becomes c (A − ηH b c)^{Δ−1} b. For the heavy ball
that is in an eigenbasis (r₊^Δ − r₋^Δ)/(r₊ − r₋) with r± the roots of r² − (1 + β − ηλ) r + β.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache, partial
from typing import Any, TypeGuard, cast

from attrs import NOTHING
from attrs import fields as attrs_fields
from sympy import Add, Dummy, Expr, Integer, Mul, Symbol, cancel, factor_terms, oo

from taylorsgd import spacetime, symbols, updates
from taylorsgd.diagrams import Diagram, Value
from taylorsgd.diagrams.tensor_network import LOSS, TensorNetwork
from taylorsgd.diagrams.values import marks_of
from taylorsgd.formulas.memory_modes import modes_of
from taylorsgd.timesums.cells import CellSum
from taylorsgd.timesums.closed_forms import chains_of, closed_time_sum
from taylorsgd.timesums.events import TimeSum
from taylorsgd.timesums.order_sums import OrderSum
from taylorsgd.timesums.set_times import SetTimes
from taylorsgd.timesums.two_clocks import EpochSum, TwoClocks
from taylorsgd.timesums.two_moments import TwoMoments
from taylorsgd.updates import Descent, HeavyBall, Update
from taylorsgd.writing.json_form import decoded, decoded_call, encoded, encoded_call
from taylorsgd.writing.notation import Contraction, Eigenbasis, Tensor, Unwritten

__all__ = ["AnySum", "ResummedValue", "is_resummed", "penalty_of"]

AnySum = TimeSum | TwoClocks | CellSum | TwoMoments | SetTimes
"""What a value may sum over."""
PLAIN = Descent()
SPACETIMES = {name: getattr(spacetime, name) for name in spacetime.__all__}
"""By name what JSON may hold for a run."""
RULES = {name: getattr(updates, name) for name in updates.__all__}


@dataclass(frozen=True, init=False, repr=False)
class ResummedValue(TensorNetwork):
    """The value of a linkless diagram, summed over the times of its nodes.

    value = Σ_times (tensors of the parts, contracted along edges that carry K^{t′−t−1} η).

    It holds the sum over times that a plain formula has in its coefficient, so it depends on T.

    Args:
        diagram: a linkless diagram. Its root matters here: the root sits at T.
        root_marks: what each root carries, as in `value_of`.
        times: the sum over times.
        T: the number of updates, or `sympy.oo` for the limit.
        continuous: whether sums are integrals and powers of K exponentials.
        drift: whether the value is the growth per update along a flat open index, instead of the sum.
        update: the rule, whose memory edges carry along.
        powers: for every edge the power of R = (1 + ηλH)⁻¹ on it, if the rule has instant edges.
        penalty: the name of the observable p if all tensors are those of l + p, which descent minimizes; else "".
    """

    diagram: Diagram
    root_marks: tuple[str, ...]
    times: AnySum
    T: Expr
    continuous: bool
    drift: bool
    update: Update
    powers: tuple[int, ...]
    penalty: str

    is_resummed = True

    def __init__(
        self,
        diagram: Diagram,
        root_marks: Sequence[str],
        times: AnySum,
        T: Expr,
        continuous: bool,
        drift: bool = False,
        update: Update = PLAIN,
        powers: Sequence[int] = (),
        penalty: str = "",
    ) -> None:
        """Keep what it sums; the diagram is canonical already."""
        marks = marks_of(diagram, root_marks)
        vars(self).update(diagram=diagram, parents=diagram.parents, parts=diagram.parts, marks=marks)
        vars(self).update(root_marks=tuple(root_marks), times=times, T=T, continuous=continuous, drift=drift)
        vars(self).update(update=update, powers=tuple(powers) or (0,) * diagram.order, penalty=penalty)

    @property
    def free_symbols(self) -> set[Symbol]:
        """The symbols in T and, in several epochs, in their number and length."""
        known = self.times.free_symbols if isinstance(self.times, (TwoClocks, TwoMoments)) else set()
        return known | (self.T.free_symbols if self.T is not oo else set())  # type: ignore[return-value]

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Powers of η first, then from few ties to many."""
        kind = (
            str(self.T),
            self.continuous,
            self.drift,
            "" if isinstance(self.times, TimeSum) else repr(self.times),
            "" if self.update == PLAIN else repr(self.update),
            self.powers,
            self.penalty,
        )
        return (self.order, 1, -len(self.blocks), self.parents, self.parts, self.marks, kind)

    def substitute(self, values: Mapping[Any, Any]) -> ResummedValue:
        """The same value with some symbols of T replaced."""
        if not self.free_symbols & values.keys():
            return self
        changed = self if self.T is oo else self.with_T(cast(Expr, self.T.xreplace(values)))
        sized = isinstance(self.times, (TwoClocks, TwoMoments))
        times = self.times.substitute(values) if sized else self.times  # type: ignore[union-attr]
        return replace(changed, times=times)

    def with_T(self, T: Expr, drift: bool = False) -> ResummedValue:
        """The same sum up to another T, or its drift."""
        times = self.times
        if T is oo and isinstance(times, TwoClocks):
            times = replace(times, epochs=oo)
        elif T is oo and isinstance(times, TwoMoments) and isinstance(times.times, TimeSum):
            late = times.late(self.T)
            times = times.times if late.lag == 0 else late
        elif (
            isinstance(times, TwoMoments)
            and not (lag := cancel(self.T - times.first)).free_symbols & self.T.free_symbols
        ):
            times = replace(times, first=T - lag)
        return replace(self, T=T, drift=drift, times=times)

    def closed_sum(self, rates: Sequence[Expr], flat: Sequence[int] = ()) -> Expr:
        """The sum over times in T and the rates ηλ of the edges; without its factor η^d.

        Args:
            rates: s_e = ηλ_e for every edge.
            flat: edges along which it grows, if its growth per update is wanted.

        Raises:
            ValueError: if a limit, or a growth per update, does not exist.
            NotImplementedError: on a grid, or with memory at finite T, where there is none.
        """
        if self.cells is not None:
            raise NotImplementedError(
                "a sum over the cells of a grid has no closed form in T and the eigenvalues; "
                "evaluate() and lower() compute it cell by cell"
            )
        if self.update.rates is not None:
            raise NotImplementedError(
                f"rates that change with time, as those of {self.update!r}, leave no closed form in the eigenvalues; "
                "evaluate() computes it exactly"
            )
        assert not isinstance(self.times, CellSum)
        memory = None if self.update.is_memoryless else self.update.memory(Integer(1))
        if memory is not None and len(memory.enter) == 1 and not flat:  # decay: K = (1 − w) − ηH
            rates, memory = [rate + 1 - memory.carry[0][0] for rate in rates], None
        # K = 1 − ηHR with R = 1/(1 + ηλH)
        shrinking = [1 + self.update.instant * rate for rate in rates]
        damping = [rate / shrunk for rate, shrunk in zip(rates, shrinking, strict=True)]
        closed = closed_time_sum(self.times, damping, self.T, continuous=self.continuous, flat=flat, memory=memory)
        return closed / Mul(*(shrunk**power for shrunk, power in zip(shrinking, self.powers, strict=True)))

    def in_moments(self) -> Iterator[tuple[int, Any]]:
        """Raise: there is no such form.

        Raises:
            ValueError: always.
        """
        raise ValueError("a resummed formula is in cumulants: its K would have to be rewritten as well")

    def to_data(self) -> dict[str, Any]:
        """What JSON keeps of the value; `from_data` reads it."""
        times, moments = self.times, None
        if isinstance(times, TwoMoments):
            lag = None if times.lag is None else encoded(times.lag)
            times, moments = times.times, [times.early, _encoded_end(times.first), lag]
        return {
            "moments": moments,
            "set": [times.targets, times.at] if isinstance(times, SetTimes) else None,
            "propagated": self.diagram.to_data(),
            "marks": self.root_marks,
            "T": _encoded_end(self.T),
            "continuous": self.continuous,
            "drift": self.drift,
            "update": encoded_call(self.update),
            "powers": self.powers,
            "penalty": self.penalty,
            "run": encoded_call(times.run) if isinstance(times, CellSum) else None,
            "instant": sorted(times.instant) if isinstance(times, CellSum) else None,
            "events": [times.events, times.edges] if isinstance(times, TimeSum) else None,
            "epochs": [times.targets, encoded(times.batches), _encoded_end(times.epochs), times.labels]
            if isinstance(times, TwoClocks)
            else None,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> ResummedValue:
        """Read what `to_data` gave."""
        if "momentum" in data:  # as version 0.1 wrote it
            momentum, run = (decoded(data["momentum"]), data["cells"] and {"kind": "Grid", "cells": data["cells"]})
            update = HeavyBall(momentum) if momentum else PLAIN
        else:
            update, run = decoded_call(data["update"], RULES), data["run"]
        times: AnySum
        if run is not None:
            times = CellSum(decoded_call(run, SPACETIMES), frozenset(data.get("instant") or ()))
        elif data.get("set") is not None:
            targets, at = data["set"]
            times = SetTimes(tuple(targets), tuple(at))
        elif data.get("epochs") is not None:
            targets, batches, epochs, labels = data["epochs"]
            shared = {name: tuple(numbers) for name, numbers in labels.items()}
            kind = EpochSum if "parts" in shared else OrderSum
            times = kind(tuple(targets), decoded(batches), _decoded_end(epochs), **shared)
        else:
            events, edges = data["events"]
            times = TimeSum(events, tuple((source, target) for source, target in edges))
        diagram = Diagram.from_data(data["propagated"])
        if data.get("moments") is not None and isinstance(times, (TimeSum, CellSum, TwoClocks)):
            moments: list[Any] = [*data["moments"], None]
            early, first, lag = moments[:3]
            if not all(type(e) is int and 0 <= e < diagram.order for e in early):
                raise ValueError(f"moments={early!r} are no edges of {diagram}")
            times = TwoMoments(times, tuple(early), _decoded_end(first), None if lag is None else decoded(lag))
        inside = times.times if isinstance(times, TwoMoments) else times
        edges = len(diagram.inner_nodes) if isinstance(inside, CellSum) else len(inside.edges)
        if edges != len(diagram.inner_nodes):
            raise ValueError(f"a sum over times has {edges} edges, and its diagram {diagram} has others")
        if not all(isinstance(mark, str) for mark in data["marks"]):
            raise TypeError(f"marks={data['marks']!r} are no texts")
        if not (isinstance(data["continuous"], bool) and isinstance(data["drift"], bool)):
            raise TypeError("continuous and drift are true or false")
        powers = tuple(data.get("powers") or (0,) * diagram.order)
        if len(powers) != diagram.order or not all(type(power) is int and power >= 0 for power in powers):
            raise ValueError(f"powers={powers!r} must be {diagram.order} integers of at least 0, one for each edge")
        if isinstance(inside, CellSum) and not inside.instant <= set(diagram.inner_nodes):
            raise ValueError(f"instant={sorted(inside.instant)} are no nodes that an edge leaves")
        end, penalty = _decoded_end(data["T"]), data.get("penalty", "")
        if not isinstance(penalty, str):
            raise TypeError(f"penalty={penalty!r} is no text")
        return cls(diagram, data["marks"], times, end, data["continuous"], data["drift"], update, powers, penalty)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle through the constructor."""
        return ResummedValue, tuple(getattr(self, field.name) for field in fields(self))

    @property
    def cells(self) -> CellSum | None:
        """The sum over the cells of a run that it is; None if it is one over times."""
        times = self.times.times if isinstance(self.times, TwoMoments) else self.times
        return times if isinstance(times, CellSum) else None

    @property
    def rates(self) -> tuple[Expr, ...]:
        """The rule's rates: those of the T updates, or one for all.

        Raises:
            ValueError: if there are not as many as updates.
        """
        known = self.update.rates
        if known is None:
            return (Integer(1),)
        if isinstance(self.times, TwoMoments) and isinstance(known, tuple) and len(known) > self.T:
            return known[: int(self.T)]  # the run goes on
        return self.update.rates_of(int(self.T))

    @cached_property
    def instant(self) -> frozenset[int]:
        """The nodes whose outgoing edges carry no time."""
        if self.cells is not None:
            return self.cells.instant
        times = self.times.times if isinstance(self.times, TwoMoments) else self.times
        assert not isinstance(times, CellSum)
        inner = zip(self.diagram.inner_nodes, times.edges, strict=True)
        return frozenset(node for node, (source, target) in inner if source == target)

    # -- in an eigenbasis ------------------------------------------------------------------------------

    def edges_into(self, node: int) -> list[int]:
        """The edges that end at a node, as they are labelled."""
        return [e for e, (_, parent) in enumerate(self.edges) if parent == node]

    @cached_property
    def _open_edges(self) -> list[int]:
        return [e for node in self.open_indices for e in self.edges_into(node)]

    @cached_property
    def _diagonal(self) -> tuple[list[int], list[int]]:
        """The roots whose H is used as λ δ, which gives its two edges one index, and a name for every edge's index."""
        names = list(range(len(self.edges)))
        roots = []
        for root in () if self._in_modes else self.diagram.roots:  # of one direction each edge has its own mode
            alone = len(self.blocks[self.parts[root]]) == 1 and self.marks[root] == LOSS
            if alone and self.degrees[root] == 2:
                first, second = self.edges_into(root)
                merged = [names[first] if name == names[second] else name for name in names]
                if self._is_generic(merged):
                    names = merged
                    roots.append(root)
        return roots, names

    def _is_generic(self, names: Sequence[int]) -> bool:
        """Whether the nodes of every chain stay distinct when edges share an index."""
        if not isinstance(self.times, TimeSum):
            return False  # in several epochs the nodes of a sum over batches may meet, too
        for _, labels, own in self.times.branches:
            for chain in chains_of(own, self.continuous):
                nodes = [tuple(sorted(names[labels[e]] for e in interval)) for interval in chain]
                if len(set(nodes)) < len(nodes):
                    return False
        return True

    @cached_property
    def _numbers(self) -> list[int]:
        """For every edge the number of its index: open indices first, then in the order of the edges."""
        _, names = self._diagonal
        number: dict[int, int] = {}
        for e in [*self._open_edges, *range(len(names))]:
            # λ is the eigenvalue here, so no index is called λ, which would be number 2.
            number.setdefault(names[e], len(number) + (len(number) > 1))
        return [number[name] for name in names]

    def contraction(self) -> Contraction:
        """The value as plain data for the page: its tensors in an eigenbasis, leaves and noise first."""
        modes = modes_of(self.update.memory(Integer(1))) if self._in_modes else None
        if modes is None and not self.has_closed_form:
            plain = Value(self.parents, self.parts, self.marks).contraction().with_sums()
            return replace(plain, unwritten=Unwritten(str(self.diagram), self._legend))
        hidden = {*self.open_indices, *self._diagonal[0]}
        ends = [[e for e, pair in enumerate(self.edges) if node in pair] for node in range(len(self.parents))]
        tensors = []
        for block in self.blocks:
            if block[0] not in hidden:
                nodes = sorted(block, key=lambda node: self.degrees[node])
                indices = tuple(tuple((self._numbers[e], False) for e in ends[node]) for node in nodes)
                tensors.append(Tensor(self.marks[block[0]], indices))
        tensors.sort(key=lambda tensor: (max(tensor.degrees), [*zip(tensor.degrees, tensor.nodes, strict=True)]))
        return Contraction(
            tuple(tensors),
            self.order,
            tuple(sorted(set(self._numbers))),
            tuple(self._numbers[e] for e in self._open_edges),
            eigenbasis=Eigenbasis(partial(_scalar, self))
            if modes is None
            else Eigenbasis(partial(_modal, self), (("r", "r"), ("w", "w"), ("v", "v")), modes.legend),
        )

    @cached_property
    def _in_modes(self) -> bool:
        """Whether it is written in the modes of a rule's memory, at a constant rate: where no fraction is simpler."""
        remembers = len(self.update.memory(Integer(1)).enter) > 1 and self.update.rates is None
        written = isinstance(self.times, TimeSum) and self.T is not oo or isinstance(self.times, TwoClocks)
        return remembers and written and not self.drift

    @cached_property
    def has_closed_form(self) -> bool:
        """Whether the sum over times is written in T and the eigenvalues."""
        if self.cells is not None or self.update.rates is not None:
            return False
        if isinstance(self.times, TwoMoments) and not isinstance(self.times.times, TimeSum):
            return False
        if len(self.update.memory(Integer(1)).enter) == 1:
            return True
        rates = {number: Dummy() for number in self._numbers}
        try:
            self.closed_sum([rates[number] for number in self._numbers], self._open_edges if self.drift else [])
        except (ValueError, NotImplementedError):  # momentum that is never forgotten has no limit; T may be finite
            return False
        return True

    @property
    def _legend(self) -> tuple[str, str]:
        """What a sum without a closed form is over, and what its edges carry."""
        run = self.cells.run if self.cells is not None else None
        sizes = getattr(run, "sizes", {"T": self.T})
        where = ", ".join(f"{name} = {sizes[name]}" for name in ("N", "T") if str(sizes.get(name, name)) != name)
        comma = ", " if where else ""
        plain = self.update == PLAIN
        edge, carried = "(1 - eta H)^(Δt - 1)", r"(1 - \eta H)^{\Delta t - 1}"
        if self.update.has_instant_edges:
            edge, carried = "(1 - eta H R)^(Δt - 1) R^p", r"(1 - \eta H R)^{\Delta t - 1} R^p"
        elif not plain:
            edge, carried = "c (A - eta H b c)^(Δt - 1) b", r"c\,(A - \eta H b c)^{\Delta t - 1} b"
        edge += "" if plain else f" of {_called(self.update)}"
        whose = "" if plain else rf"\allowbreak \text{{ of {_called(self.update)}}}"
        return (
            rf"\sum\nolimits_{{D}}\text{{ over the placements of }}D, \allowbreak {where}{comma}"
            rf"\allowbreak \text{{edges carry }}{carried}{whose}",
            f"Σ_[D] over the placements of D, {where}{comma}edges carry {edge}",
        )


def _encoded_end(end: Expr) -> Any:
    """A number of updates or epochs as JSON structure."""
    return "oo" if end is oo else encoded(end)


def _decoded_end(data: Any) -> Expr:
    return oo if data == "oo" else decoded(data)


def _called(update: Update) -> str:
    """The constructor's call of a rule, without what has its default."""
    parts = [
        f"{one.name}={getattr(update, one.name)}"
        for one in attrs_fields(type(update))
        if one.default is NOTHING or getattr(update, one.name) != one.default
    ]
    return f"{type(update).__name__}({', '.join(parts)})"


def penalty_of(values: Iterable[Any]) -> str:
    """The name of p if the tensors of some values are those of l + p; "" if they are those of l.

    Raises:
        NotImplementedError: if it is one for some and another for others.
    """
    found = sorted(
        {value.penalty if is_resummed(value) else "" for value in values if is_resummed(value) or value.order}
    )
    if len(found) > 1:
        names = ", ".join(f"l + {name}" if name else "l" for name in found)
        raise NotImplementedError(
            f"a formula mixes tensors of {names}; resummed formulas with a penalty hold those of the loss with it, so "
            "evaluate or lower them apart from others"
        )
    return found[0] if found else ""


def is_resummed(value: Any) -> TypeGuard[ResummedValue]:
    """Whether a value holds a sum over times."""
    return value.is_resummed


@lru_cache(maxsize=4096)
def _modal(
    value: ResummedValue, roots: tuple[Expr, ...], weights: tuple[Expr, ...], root_weights: tuple[Expr, ...]
) -> Expr:
    """η^d times the sum over times of the modes of all edges, each with its weight."""
    place = {number: i for i, number in enumerate(sorted(set(value._numbers)))}
    modes = modes_of(value.update.memory(Integer(1)))
    scalar = symbols.eta**value.order
    for (_, parent), number in zip(value.edges, value._numbers, strict=True):
        into_root = value.parents[parent] < 0 and modes.weight != modes.root_weight
        scalar = scalar * (root_weights if into_root else weights)[place[number]]
    decays = [1 - roots[place[number]] for number in value._numbers]
    return scalar * closed_time_sum(value.times, decays, value.T, continuous=False)  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def _scalar(value: ResummedValue, eigenvalues: tuple[Expr, ...]) -> Expr:
    """η^d times the sum over times, times λ for a root that was used as a diagonal H."""
    of = dict(zip(sorted(set(value._numbers)), eigenvalues, strict=True))
    flat = value._open_edges if value.drift else []
    rates = [Integer(0) if e in flat else symbols.eta * of[number] for e, number in enumerate(value._numbers)]
    closed = value.closed_sum(rates, flat)
    for root in value._diagonal[0]:
        closed = closed * of[value._numbers[value.edges_into(root)[0]]]
    scalar = symbols.eta**value.order * closed
    return factor_terms(scalar) if isinstance(scalar, Add) else scalar
