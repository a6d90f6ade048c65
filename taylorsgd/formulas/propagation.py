r"""Exact evaluation of resummed values, with the matrix K itself and never its eigenvalues.

For a diagram with d edges the sum over times is a tensor with two indices for each edge,

    S = Σ_times ⊗_e K^{Δt_e − 1},

where it starts and where it ends. It is built update by update: the state after some events (a down-set of
the order) is the tensor of the edges born so far, those still alive multiplied by K at every update. As
T → ∞ the updates between two events sum to a resolvent, (1 − ⊗_{e alive} K)^{−1}. The tensors of the
landscape are contracted with S at the end. Entries are polynomials in η over the exact numbers at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

from sympy import EX, QQ, Dummy, Expr, Integer, Matrix, Rational, oo, simplify, sympify
from sympy.polys.matrices import DomainMatrix
from sympy.polys.rings import ring

from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.timesums.cells import GridSum
from taylorsgd.timesums.events import ROOT, TimeSum

__all__ = ["Propagation", "contract"]


class Propagation:
    """Evaluates resummed values of one landscape at one point and one learning rate.

    Args:
        tensors: a function from the degrees of a part to its cumulant, an array of exact numbers.
        observables: for every marked observable a function from a degree to its derivative, an array.
        eta: the learning rate: a rational number, or an expression.
        metric: Λ of the learning rate ηΛ, an array; None for the identity. K becomes I − ηHΛ, and where an edge
            starts it raises the index.
    """

    def __init__(
        self,
        tensors: Callable[[tuple[int, ...]], Any],
        observables: Mapping[str, Callable[[int], Any]],
        eta: Expr,
        metric: Any = None,
    ) -> None:
        """Keep the inputs; H is looked up at the first value."""
        self.metric = metric
        self.tensors = tensors
        self.observables = observables
        self.eta = eta

    @cached_property
    def hessian(self) -> Any:
        """H at θ_0, or HΛ, a P × P array."""
        hessian = self.tensors((2,))
        return hessian if self.metric is None else hessian @ self.metric

    def evaluate(self, value: ResummedValue) -> Any:
        """The value with its powers of η: a number, or an array with an axis for every open index."""
        parts = [
            (self.observables[value.marks[block[0]]](value.degrees[block[0]]), block)
            if value.marks[block[0]]
            else (self.tensors(tuple(value.degrees[node] for node in block)), block)
            for block in value.blocks
            if not value.marks[block[0]].startswith("@")
        ]
        if self.metric is not None:
            parts = [(self._raised(value, tensor, block), block) for tensor, block in parts]
        if value.T is oo:
            self._check_stable(value)
        # Exponentials at finite T have no polynomial in K; a resolvent needs H > 0, and in an eigenbasis flat
        # directions without noise can be left out.
        if value.drift or (self._flat if value.T is oo else value.continuous):
            if value.momentum != 0:
                raise NotImplementedError(
                    "H has a flat direction, where limits with momentum are not evaluated"
                )
            return self._in_eigenbasis(value, parts)
        import numpy as np

        entries = [entry for tensor, _ in parts for entry in np.ravel(tensor)]
        arithmetic = Arithmetic(self.eta, [*entries, *np.ravel(self.hessian), value.momentum])
        convert = np.vectorize(arithmetic.convert, otypes=[object])
        sums = _propagators(value, convert(self.hessian), arithmetic)
        operands: list[Any] = [sums, [label for e in range(len(value.edges)) for label in (2 * e, 2 * e + 1)]]
        for tensor, block in parts:
            operands += [convert(tensor), [label for node in block for label in _ends(value, node)]]
        result = contract(operands, [_ends(value, node)[0] for node in value.open_indices])
        express = np.vectorize(
            lambda entry: arithmetic.expression(entry) * self.eta**value.order, otypes=[object]
        )
        return express(result)[()] if value.open_indices else express(result).item()

    def _raised(self, value: ResummedValue, tensor: Any, block: tuple[int, ...]) -> Any:
        """A tensor with Λ on the indices in which edges start."""
        labels = [label for node in block for label in _ends(value, node)]
        fresh = max(labels, default=0) + 1
        operands: list[Any] = [tensor, labels]
        for axis, label in enumerate(labels):
            if label % 2 == 0:
                operands += [self.metric, [label, fresh + axis]]
        return contract(operands, [fresh + i if label % 2 == 0 else label for i, label in enumerate(labels)])

    @cached_property
    def _flat(self) -> bool:
        return Matrix(self.hessian.tolist()).applyfunc(sympify).det() == 0

    @cached_property
    def _spectrum(self) -> list[float]:
        """Eigenvalues of H in floating point, for warnings only; none where H has symbols."""
        import numpy as np

        matrix = Matrix(self.hessian.tolist()).applyfunc(sympify)
        if matrix.free_symbols:
            return []
        return [float(x) for x in np.linalg.eigvals(np.array(matrix.evalf().tolist(), dtype=float)).real]

    def _check_stable(self, value: ResummedValue) -> None:
        tolerance = 1e-12 * max(map(abs, self._spectrum), default=0.0)
        rate = float(self.eta) if self.eta.is_number else None
        momentum = float(value.momentum) if value.momentum.is_number else 0.0
        if abs(momentum) >= 1:
            raise ValueError(f"T -> oo diverges: beta={value.momentum} is not between -1 and 1")
        for eigenvalue in self._spectrum:
            if eigenvalue < -tolerance:
                raise ValueError(
                    f"theta_0 is no minimum: H has the eigenvalue {eigenvalue:.6g}, so T -> oo diverges"
                )
            edge = 2 * (1 + momentum)
            if rate is not None and not value.continuous and rate * eigenvalue >= edge:
                bound = "2 (1 + beta)/eta" if momentum else "2/eta"
                raise ValueError(
                    f"T -> oo diverges: H has the eigenvalue {eigenvalue:.6g}, at or beyond {bound} = {edge / rate:.6g}"
                )

    def _in_eigenbasis(self, value: ResummedValue, parts: Sequence[tuple[Any, tuple[int, ...]]]) -> Any:
        """Σ over eigendirections of the closed form: exponentials have no polynomial in K."""
        import numpy as np

        eigenvalues, vectors = self._eigenbasis
        size = len(eigenvalues)
        inverse = np.array(Matrix(vectors).inv().tolist(), dtype=object)
        flat_ends = [_ends(value, node)[0] // 2 for node in value.open_indices]
        sums = np.empty((size,) * value.order, dtype=object)
        for index in np.ndindex(sums.shape):
            rates = [self.eta * eigenvalues[i] for i in index]
            flat = [e for e in flat_ends if eigenvalues[index[e]] == 0] if value.drift else []
            if value.drift and len(flat) < len(flat_ends):
                sums[index] = Integer(0)  # a damped direction comes to rest
                continue
            sums[index] = self._closed(value, rates, flat, parts, index, vectors, inverse)
        count = value.order
        operands: list[Any] = [sums, list(range(count))]
        for e in range(count):
            operands += [vectors, [count + 2 * e, e], inverse, [e, count + 2 * e + 1]]
        for tensor, block in parts:
            operands += [tensor, [count + label for node in block for label in _ends(value, node)]]
        result = contract(operands, [count + _ends(value, node)[0] for node in value.open_indices])
        return np.vectorize(lambda entry: sympify(entry) * self.eta**value.order, otypes=[object])(result)[()]

    def _closed(
        self,
        value: ResummedValue,
        rates: Sequence[Expr],
        flat: Sequence[int],
        parts: Sequence[tuple[Any, tuple[int, ...]]],
        index: tuple[int, ...],
        vectors: Any,
        inverse: Any,
    ) -> Expr:
        from taylorsgd.timesums.closed_forms import closed_time_sum

        try:
            return closed_time_sum(value.time_sum, rates, value.T, continuous=value.continuous, flat=flat)
        except ValueError:
            # It diverges; that does no harm where the tensors have no such component.
            operands: list[Any] = []
            for e, direction in enumerate(index):
                operands += [vectors[:, direction], [2 * e], inverse[direction, :], [2 * e + 1]]
            for tensor, block in parts:
                operands += [tensor, [label for node in block for label in _ends(value, node)]]
            component = contract(operands, [_ends(value, node)[0] for node in value.open_indices])
            if all(simplify(entry) == 0 for entry in [*getattr(component, "flat", [component])]):
                return Integer(0)
            raise

    @cached_property
    def _eigenbasis(self) -> tuple[list[Expr], Any]:
        """Eigenvalues of H and a matrix of eigenvectors, not normalized."""
        import numpy as np

        matrix = Matrix(self.hessian.tolist()).applyfunc(sympify)
        if matrix.is_diagonal():
            eye = np.array(Matrix.eye(matrix.rows).tolist(), dtype=object)
            return [matrix[i, i] for i in range(matrix.rows)], eye
        factors = matrix.charpoly(Dummy("x")).factor_list()[1]
        if any(polynomial.degree() > 2 for polynomial, _ in factors):
            raise NotImplementedError(
                f"H = {matrix.tolist()} has eigenvalues that are no square roots, so exponentials of it have no closed "
                "form here; use resum='discrete', which needs no eigenvalues, or lower() for numbers"
            )
        values: list[Expr] = []
        columns: list[Matrix] = []
        for eigenvalue, _, basis in matrix.eigenvects():
            for vector in basis:
                values.append(eigenvalue)
                columns.append(vector)
        return values, np.array(Matrix.hstack(*columns).tolist(), dtype=object)


def _ends(value: ResummedValue, node: int) -> list[int]:
    """The labels of the edge ends at a node: 2e where edge e starts, 2e + 1 where it ends."""
    ends = []
    for e, (child, parent) in enumerate(value.edges):
        if child == node:
            ends.append(2 * e)
        if parent == node:
            ends.append(2 * e + 1)
    return ends


def contract(operands: list[Any], free: list[int]) -> Any:
    """Contract arrays of exact objects: operands and their labels in turn, and the labels that stay.

    Returns:
        An array with the axes of `free`, or the bare number where there are none.
    """
    import numpy as np

    arrays = [np.asarray(array, dtype=object) for array in operands[::2]]
    labels = [list(names) for names in operands[1::2]]
    path = np.einsum_path(
        *(x for pair in zip(arrays, labels, strict=True) for x in pair), free, optimize="greedy"
    )
    for step in path[0][1:]:
        # Pair by pair, so that a number that appears midway stays an array of one object.
        chosen = [(arrays[i], labels[i]) for i in step]
        for i in sorted(step, reverse=True):
            del arrays[i], labels[i]
        wanted = {label for names in labels for label in names} | set(free)
        if arrays:
            kept = [
                label for label in dict.fromkeys(n for _, names in chosen for n in names) if label in wanted
            ]
        else:
            kept = free
        result = np.einsum(*(x for pair in chosen for x in pair), kept)
        arrays.append(np.asarray(result, dtype=object))
        labels.append(kept)
    return arrays[0] if free else arrays[0][()]


class Arithmetic:
    """Exact entries: polynomials in η (or numbers, when η is one) over the numbers of a landscape."""

    def __init__(self, eta: Expr, entries: Sequence[Any]) -> None:
        """Choose the smallest domain that holds the learning rate and the entries.

        Args:
            eta: the learning rate; a rational number, or an expression that is put in at the end.
            entries: numbers of the landscape: Fractions or SymPy expressions.
        """
        rational = all(not isinstance(entry, Expr) or entry.is_Rational for entry in entries)
        self.eta = eta
        self.ring = ring("eta", QQ if rational else EX)[0]
        generator = self.ring.gens[0]
        self.rate = self.convert(eta) if isinstance(eta, Rational) else generator
        self.one, self.zero = self.ring.one, self.ring.zero

    def convert(self, entry: Any) -> Any:
        """Bring a landscape's number into the domain."""
        domain = self.ring.domain
        if not isinstance(entry, Expr):
            entry = Rational(int(entry.numerator), int(entry.denominator))
        return self.ring(domain.from_sympy(entry))

    def expression(self, entry: Any) -> Expr:
        """Write an entry as a SymPy expression, with the learning rate put in."""
        numerator, denominator = (
            (entry.numer, entry.denom) if hasattr(entry, "numer") else (entry, self.ring.one)
        )
        written = []
        for polynomial in (numerator, denominator):
            total: Expr = Rational(0)
            for (power,), coefficient in polynomial.terms():
                total = total + self.ring.domain.to_sympy(coefficient) * self.eta**power
            written.append(total)
        return written[0] / written[1]


def _propagators(value: ResummedValue, hessian: Any, arithmetic: Arithmetic) -> Any:
    """The tensor S of a value: one pair of axes for each edge, where it starts and where it ends.

    Args:
        value: a discrete resummed value with a concrete T, or either kind with T = ∞.
        hessian: H at θ_0, a P × P array of entries of `arithmetic`.
        arithmetic: exact entries.

    Returns:
        An object array with axes (start_1, end_1, start_2, end_2, …).

    Raises:
        ValueError: if T is not an integer.
    """
    import numpy as np

    size = len(hessian)
    identity = np.array(
        [[arithmetic.one if i == j else arithmetic.zero for j in range(size)] for i in range(size)]
    )
    damping = identity - hessian * arithmetic.rate
    if value.momentum != 0:
        # The state of an edge is what it carries and carried one update before: it starts and ends in the first.
        beta, zero = identity * arithmetic.convert(value.momentum), identity * arithmetic.zero
        damping = np.block([[damping + beta, -beta], [identity, zero]])
        identity = np.block([[identity, zero], [zero, identity]])
    sums = _summed(value, damping, identity, arithmetic)
    return sums[(slice(size),) * sums.ndim]


def _summed(value: ResummedValue, damping: Any, identity: Any, arithmetic: Arithmetic) -> Any:
    if isinstance(value.times, GridSum):
        return _over_grid(value, value.times, damping, identity)
    walk = _Walk(value.times, damping, identity)
    if value.T is oo:
        return walk.limit(arithmetic, value.continuous)
    if not value.T.is_Integer:
        raise ValueError(f"T={value.T} is not an integer number of updates")
    return walk.run(int(value.T), lambda chosen, t: 1)


class _Walk:
    """The states of a sum over times: for each down-set of the events, the tensor of the edges born."""

    def __init__(self, times: TimeSum, damping: Any, identity: Any) -> None:
        self.times = times
        self.damping = damping
        self.identity = identity
        self.full = (1 << times.events) - 1
        self.below = [0] * times.events
        for source, target in times.edges:
            if target != ROOT:
                self.below[target] |= 1 << source

    def alive(self, done: int) -> list[int]:
        """The edges born by events of a down-set and not yet consumed."""
        return [
            e
            for e, (source, target) in enumerate(self.times.edges)
            if done >> source & 1 and not (target != ROOT and done >> target & 1)
        ]

    def born(self, done: int) -> list[int]:
        return [e for e, (source, _) in enumerate(self.times.edges) if done >> source & 1]

    def steps(self, done: int) -> Iterator[int]:
        """The nonempty sets of events that can happen at one update after a down-set."""
        ready = [i for i, mask in enumerate(self.below) if not done >> i & 1 and mask & ~done == 0]
        for count in range(1, len(ready) + 1):
            for chosen in combinations(ready, count):
                yield sum(1 << event for event in chosen)

    def advance(self, tensor: Any, done: int, chosen: int) -> Any:
        """The state one update later, the chosen events having happened at it."""
        import numpy as np

        born = self.born(done)
        after = done | chosen
        survivors = set(self.alive(done)) & set(self.alive(after))
        for e in survivors:
            axis = 2 * born.index(e) + 1
            tensor = np.moveaxis(np.tensordot(tensor, self.damping, axes=(axis, 0)), -1, axis)
        fresh = [e for e in self.born(after) if e not in born]
        for _ in fresh:
            tensor = np.multiply.outer(tensor, self.identity)
        # New edges stand last; put all in the order of their labels.
        labels = [*born, *fresh]
        order = [axis for e in sorted(labels) for axis in (2 * labels.index(e), 2 * labels.index(e) + 1)]
        return np.transpose(tensor, order) if order else tensor

    def run(self, updates: int, weight: Callable[[int, int], int]) -> Any:
        """Sum over all times below `updates`; `weight(events, t)` counts the cells they may be in."""
        import numpy as np

        one = self.identity[0, 0]
        states: dict[int, Any] = {0: np.array(one, dtype=object)}
        for t in range(updates):
            following: dict[int, Any] = {}
            for done, tensor in states.items():
                moves = [0, *self.steps(done)]
                for chosen in moves:
                    factor = weight(chosen, t) if chosen else 1
                    if not factor:
                        continue
                    moved = self.advance(tensor, done, chosen) * (one * factor)
                    after = done | chosen
                    following[after] = following[after] + moved if after in following else moved
            states = following
        if self.full in states:
            return states[self.full]
        return np.full((len(self.identity),) * (2 * len(self.times.edges)), one - one, dtype=object)

    def limit(self, arithmetic: Arithmetic, continuous: bool) -> Any:
        """Sum or integrate over all times, T → ∞: between events stands the resolvent of the edges alive."""
        import numpy as np

        one = arithmetic.one
        field = one.ring.to_field()
        lift = np.vectorize(lambda entry: field(entry), otypes=[object])
        walk = _Walk(self.times, lift(self.identity if continuous else self.damping), lift(self.identity))
        # What leaves a state: K acts on all alive edges at once; a flow by the sum of its rates on each.
        rate = lift(self.identity - self.damping) if continuous else None
        states: dict[int, Any] = {0: np.array(field(one), dtype=object)}
        for done in sorted(range(self.full + 1), key=int.bit_count):
            if done not in states:
                continue
            tensor = states[done]
            if done:
                tensor = walk.resolve(tensor, done, field, rate)
                states[done] = tensor
            for chosen in walk.steps(done):
                if continuous and chosen.bit_count() > 1:
                    continue  # events at one instant have no volume
                moved = walk.advance(tensor, done, chosen)
                after = done | chosen
                states[after] = states[after] + moved if after in states else moved
        return states[self.full]

    def resolve(self, tensor: Any, done: int, field: Any, rate: Any) -> Any:
        """Apply (1 − ⊗ K)^{−1}, or (Σ rate)^{−1} if there is one, to the edges alive after a down-set."""
        import numpy as np

        born = self.born(done)
        axes = [2 * born.index(e) + 1 for e in self.alive(done)]
        size = len(self.identity)
        domain = field.to_domain()
        identity = DomainMatrix.eye(size, domain)
        factors = [DomainMatrix([[*row] for row in self.damping], (size, size), domain)] * len(axes)
        if rate is None:
            matrix = DomainMatrix.eye(size ** len(axes), domain) - _kronecker(factors)
        else:
            single = DomainMatrix([[*row] for row in rate], (size, size), domain)
            matrix = DomainMatrix.zeros((size ** len(axes),) * 2, domain)
            for place in range(len(axes)):
                matrix = matrix + _kronecker([single if i == place else identity for i in range(len(axes))])
        inverse = np.array(matrix.to_dense().inv().to_list(), dtype=object)
        moved = np.moveaxis(tensor, axes, range(len(axes)))
        solved = np.dot(inverse.T, moved.reshape(size ** len(axes), -1)).reshape(moved.shape)
        return np.moveaxis(solved, range(len(axes)), axes)


def _kronecker(factors: Sequence[DomainMatrix]) -> DomainMatrix:
    product = factors[0].to_list()
    for factor in factors[1:]:
        right = factor.to_list()
        product = [[a * b for a in row for b in other] for row in product for other in right]
    return DomainMatrix(product, (len(product), len(product)), factors[0].domain)


def _over_grid(value: ResummedValue, grid: GridSum, damping: Any, identity: Any) -> Any:
    """Sum over the cells of a grid: every node an event, at the times at which its row is in the batch."""
    from taylorsgd.timesums.events import times_of_nodes

    diagram = value.diagram
    inner = [node for node, parent in enumerate(diagram.parents) if parent >= 0]
    walk = _Walk(times_of_nodes(diagram), damping, identity)
    total: Any = 0
    for multiplicity, when in grid.schedules(diagram):

        def weight(chosen: int, t: int, when: Mapping[int, Sequence[int]] = when) -> int:
            product = 1
            for event, node in enumerate(inner):
                if chosen >> event & 1:
                    product *= when[node][t]
            return product

        total = total + walk.run(len(grid.cells[0]), weight) * (walk.identity[0, 0] * multiplicity)
    return total
