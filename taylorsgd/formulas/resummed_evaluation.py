r"""Exact evaluation of resummed values, with the matrix K itself and never its eigenvalues.

For a diagram with d edges the sum over times is a tensor with two indices for each edge,

    S = Σ_times ⊗_e c A^{Δt_e − 1} b,        with A − ηH b c for A,  K = I − ηH for plain descent,

where it starts and where it ends; an instant edge has powers of R = (1 + ηλH)⁻¹ alone (`updates.curvature`). It is
built update by update (`timesums.walking`), or at T → ∞ from resolvents. The tensors of the landscape are contracted
with S at the end. Entries are polynomials in η over the exact numbers at hand, or quotients of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, lru_cache, reduce
from operator import mul
from typing import Any, NamedTuple

from sympy import Dummy, Expr, Integer, Matrix, oo, simplify

from taylorsgd.exact_numbers import exact_argument
from taylorsgd.formulas.eta_polynomials import Arithmetic, is_rational
from taylorsgd.formulas.resummed_value import ResummedValue
from taylorsgd.timesums.cells import CellSum
from taylorsgd.timesums.epoch_walks import epoch_tensor
from taylorsgd.timesums.events import ROOT, TimeSum
from taylorsgd.timesums.set_times import SetTimes
from taylorsgd.timesums.two_clocks import TwoClocks
from taylorsgd.timesums.two_moments import TwoMoments
from taylorsgd.timesums.walking import Tensors, along, walk
from taylorsgd.updates import Update

__all__ = ["Evaluated", "Resummation", "contract"]


class Evaluated(NamedTuple):
    """A resummed value with its powers of η.

    Attributes:
        entries: a number, or an array with an axis for every open index.
        arithmetic: what they are entries of; None for SymPy expressions. Of most values of a formula it is one.
    """

    entries: Any
    arithmetic: Arithmetic | None = None


class Resummation:
    """Evaluates resummed values of one landscape at one point and one learning rate.

    Args:
        tensors: a function from the degrees of a part to its cumulant, an array of exact numbers.
        observables: for every marked observable a function from a degree to its derivative, an array.
        eta: the learning rate: a rational number, or an expression.
        metric: Λ of the learning rate ηΛ, an array; None for the identity. K becomes I − ηHΛ, and where an edge
            starts it raises the index.
        directed: whether the first axis of every node is that of the edge that starts there, as of a vector field.
    """

    def __init__(
        self,
        tensors: Callable[[tuple[int, ...]], Any],
        observables: Mapping[str, Callable[[int], Any]],
        eta: Expr,
        metric: Any = None,
        directed: bool = False,
    ) -> None:
        """Keep the inputs; H is looked up at the first value."""
        self.metric = metric
        self.directed = directed
        self.tensors = tensors
        self.observables = observables
        self.eta = eta
        self._arithmetic = cache(lambda known, field: Arithmetic(eta, known, field=field))

    @cached_property
    def hessian(self) -> Any:
        """H at θ_0, or HΛ, a P × P array."""
        hessian = self.tensors((2,))
        if self.directed:  # an influence, a row, enters at a derivative's index and leaves at that of u
            hessian = hessian.T
        return hessian if self.metric is None else hessian @ self.metric

    def evaluate(self, value: ResummedValue) -> Evaluated:
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
        # Exponentials at finite T, or over a lag, have no polynomial in K; a resolvent needs H > 0, and in an
        # eigenbasis flat directions without noise can be left out.
        finite = value.T is not oo or isinstance(value.times, TwoMoments)
        if value.drift or (value.continuous and finite) or (value.T is oo and self._flat):
            return Evaluated(self._in_eigenbasis(value, parts))
        import numpy as np

        entries = [entry for tensor, _ in parts for entry in np.ravel(tensor)]
        memories = [value.update.memory(rate) for rate in value.rates]
        kept = [x for memory in memories for part in memory for x in np.ravel(np.array(part, dtype=object))]
        kept.append(value.update.instant)
        known = frozenset(x for x in [*entries, *np.ravel(self.hessian), *kept] if not is_rational(x))
        arithmetic = self._arithmetic(known, value.T is oo)
        convert = np.vectorize(arithmetic.convert, otypes=[object])
        operands = _sums(value, convert(self.hessian), arithmetic)
        for tensor, block in parts:
            operands += [convert(tensor), [label for node in block for label in self._ends(value, node)]]
        result = contract(operands, [self._ends(value, node)[0] for node in value.open_indices])
        return Evaluated(result * arithmetic.power(value.order), arithmetic)

    def _raised(self, value: ResummedValue, tensor: Any, block: tuple[int, ...]) -> Any:
        """A tensor with Λ on the indices in which edges start."""
        labels = [label for node in block for label in self._ends(value, node)]
        fresh = max(labels, default=0) + 1
        operands: list[Any] = [tensor, labels]
        for axis, label in enumerate(labels):
            if label % 2 == 0:
                operands += [self.metric, [label, fresh + axis]]
        return contract(operands, [fresh + i if label % 2 == 0 else label for i, label in enumerate(labels)])

    @cached_property
    def _flat(self) -> bool:
        return _matrix(self.hessian).det() == 0

    @cached_property
    def _spectrum(self) -> list[complex]:
        """Eigenvalues of H in floating point, for warnings only; none where H has symbols. Of losses they are real."""
        import numpy as np

        matrix = _matrix(self.hessian)
        if matrix.free_symbols:
            return []
        found = np.linalg.eigvals(np.array(matrix.evalf().tolist(), dtype=float))
        return [complex(x) if self.directed else complex(x.real) for x in found]

    def _check_stable(self, value: ResummedValue) -> None:
        if self.eta.is_number and not self.eta > 0:
            raise ValueError(f"eta={self.eta}: the limit T -> oo exists for positive learning rates only")
        tolerance = 1e-12 * max(map(abs, self._spectrum), default=0.0)
        for eigenvalue in self._spectrum:
            shown = f"{eigenvalue if eigenvalue.imag else eigenvalue.real:.6g}"
            if eigenvalue.real < -tolerance:
                raise ValueError(f"theta_0 is no minimum: H has the eigenvalue {shown}, so T -> oo diverges")
            if value.continuous or not self.eta.is_number or abs(eigenvalue) <= tolerance:
                continue
            radius = _spectral_radius(value.update, float(self.eta) * eigenvalue)
            if radius is not None and radius >= 1:
                edge = f"at or beyond 2/eta = {2 / float(self.eta):.6g}"
                if not value.update.is_plain or eigenvalue.imag:
                    edge = f"where under {value.update!r} an influence grows by {radius:.6g} in an update"
                raise ValueError(f"T -> oo diverges: H has the eigenvalue {shown}, {edge}")

    def _in_eigenbasis(self, value: ResummedValue, parts: Sequence[tuple[Any, tuple[int, ...]]]) -> Any:
        """Σ over eigendirections of the closed form: exponentials have no polynomial in K."""
        import numpy as np

        eigenvalues, vectors = self._eigenbasis
        size = len(eigenvalues)
        inverse = np.array(Matrix(vectors).inv().tolist(), dtype=object)
        flat_ends = [self._ends(value, node)[0] // 2 for node in value.open_indices]
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
            operands += [tensor, [count + label for node in block for label in self._ends(value, node)]]
        result = contract(operands, [count + self._ends(value, node)[0] for node in value.open_indices])
        return np.vectorize(lambda entry: exact_argument(entry, "an entry") * self.eta**value.order, otypes=[object])(
            result
        )[()]

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
        try:
            return value.closed_sum(rates, flat)
        except ValueError:
            # It diverges; that does no harm where the tensors have no such component.
            operands: list[Any] = []
            for e, direction in enumerate(index):
                operands += [vectors[:, direction], [2 * e], inverse[direction, :], [2 * e + 1]]
            for tensor, block in parts:
                operands += [tensor, [label for node in block for label in self._ends(value, node)]]
            component = contract(operands, [self._ends(value, node)[0] for node in value.open_indices])
            if all(simplify(entry) == 0 for entry in [*getattr(component, "flat", [component])]):
                return Integer(0)
            raise

    @cached_property
    def _eigenbasis(self) -> tuple[list[Expr], Any]:
        """Eigenvalues of H and a matrix of eigenvectors, not normalized."""
        import numpy as np

        matrix = _matrix(self.hessian)
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

    def _ends(self, value: ResummedValue, node: int) -> list[int]:
        """The labels of the edge ends at a node, as its axes come: 2e where edge e starts, 2e + 1 where it ends."""
        ends = []
        for e, (child, parent) in enumerate(value.edges):
            if child == node:
                ends.append(2 * e)
            if parent == node:
                ends.append(2 * e + 1)
        return sorted(ends, key=lambda end: end % 2) if self.directed else ends


def contract(operands: list[Any], free: list[int]) -> Any:
    """Contract arrays of exact objects: operands and their labels in turn, and the labels that stay.

    Returns:
        An array with the axes of `free`, or the bare number where there are none.
    """
    import numpy as np

    arrays = [np.asarray(array, dtype=object) for array in operands[::2]]
    if arrays and all(array.size == 1 for array in arrays):  # of one parameter every tensor is a number
        product = reduce(mul, (array.item() for array in arrays))
        return np.full((1,) * len(free), product, dtype=object) if free else product
    labels = [list(names) for names in operands[1::2]]
    for step in _path(tuple((array.shape, *names) for array, names in zip(arrays, labels, strict=True)), tuple(free)):
        # Pair by pair, so that a number that appears midway stays an array of one object.
        chosen = [(arrays[i], labels[i]) for i in step]
        for i in sorted(step, reverse=True):
            del arrays[i], labels[i]
        wanted = {label for names in labels for label in names} | set(free)
        if arrays:
            kept = [label for label in dict.fromkeys(n for _, names in chosen for n in names) if label in wanted]
        else:
            kept = free
        result = np.einsum(*(x for pair in chosen for x in pair), kept)
        arrays.append(np.asarray(result, dtype=object))
        labels.append(kept)
    return arrays[0] if free else arrays[0][()]


@lru_cache(maxsize=4096)  # found by trying, in Python
def _path(operands: tuple[tuple[Any, ...], ...], free: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Which operands to contract at each step, given their shapes and labels."""
    import numpy as np

    given = (x for shape, *labels in operands for x in (np.broadcast_to(0.0, shape), labels))
    return np.einsum_path(*given, list(free), optimize="greedy")[0][1:]


def _spectral_radius(update: Update, rate: complex) -> float | None:
    """The largest |eigenvalue| of A − ηλ b c in floating point; None where the rule has symbols."""
    import numpy as np

    memory = update.memory(Integer(1))
    if update.instant.free_symbols:
        return None
    rate = rate / (1 + float(update.instant) * rate)
    entries = [*memory.enter, *memory.read, *(x for row in memory.carry for x in row)]
    if any(entry.free_symbols for entry in entries):
        return None
    carry, enter, read = (np.array(part, dtype=float) for part in (memory.carry, memory.enter, memory.read))
    return float(np.abs(np.linalg.eigvals(carry - rate * np.outer(enter, read))).max())


def _sums(value: ResummedValue, hessian: Any, arithmetic: Arithmetic) -> list[Any]:
    """The tensor S as operands of `contract`, with the powers of R that edges are dressed with; K has HR for H."""
    shrinking = arithmetic.convert(value.update.instant) * arithmetic.rate
    damping, dressing = hessian, None
    if shrinking:
        dressing = arithmetic.inverse(hessian * shrinking + arithmetic.identity(len(hessian)))
        damping = hessian @ dressing
    moving = [e for e, (node, _) in enumerate(value.edges) if node not in value.instant]
    shape = [label for e in moving for label in (2 * e, 2 * e + 1)]
    sums = _summed(value, damping, arithmetic)
    operands: list[Any] = []
    for e, power in enumerate(value.powers):
        matrix = arithmetic.identity(len(hessian))
        for _ in range(power if dressing is not None else 0):
            matrix = matrix @ dressing
        if e in moving and power:
            sums = along(sums, 2 * moving.index(e), matrix.T)
        elif e not in moving:
            operands += [matrix, [2 * e, 2 * e + 1]]
    return [sums, shape, *operands]


def _summed(value: ResummedValue, hessian: Any, arithmetic: Arithmetic) -> Any:
    """The tensor S of a value: one pair of axes for each edge, where it starts and where it ends.

    Instant edges have no axes.

    Args:
        value: a discrete resummed value with a concrete T, or either kind with T = ∞.
        hessian: H at θ_0, or HΛ, a P × P array of entries of `arithmetic`; HR where the rule shrinks it.
        arithmetic: exact entries.

    Raises:
        ValueError: if T is not an integer.
    """
    import numpy as np

    if not (value.T is oo or value.T.is_Integer):
        raise ValueError(f"T={value.T} is not an integer number of updates")
    times, updates = value.times, None if value.T is oo else int(value.T)
    varied = value.update.rates is not None
    if isinstance(times, TwoMoments) and updates is None:
        return _after_a_lag(value, times, hessian, arithmetic)
    if isinstance(times, (CellSum, TwoMoments, SetTimes)) or (isinstance(times, TwoClocks) and varied):
        assert updates is not None
        system = _system(value, hessian, arithmetic, updates)
        moving = len(value.edges) - len(value.instant)
        total: Any = np.full((len(hessian),) * (2 * moving), arithmetic.zero, dtype=object)
        for way in times.ways(value.diagram, updates):
            sums = Tensors(way.times, *system, moments=way.moments)
            total = total + walk(sums, updates, way.choices) * arithmetic.number(way.number)
        return total
    if isinstance(times, TwoClocks):
        return _over_epochs(value, times, hessian, arithmetic)
    if updates is not None:
        return walk(Tensors(times, *_system(value, hessian, arithmetic, updates)), updates)
    late = Tensors(times, *_system(value, hessian, arithmetic, 1))
    if not value.continuous:
        return late.limit(arithmetic.field.to_domain())
    decay = arithmetic.convert(1 - value.update.memory(Integer(1)).carry[0][0])
    falling = hessian * arithmetic.rate + arithmetic.identity(len(hessian)) * decay
    return late.limit(arithmetic.field.to_domain(), falling)


def _after_a_lag(value: ResummedValue, times: TwoMoments, hessian: Any, arithmetic: Arithmetic) -> Any:
    """The same at two late moments: what has happened by the first, and then update by update."""
    if not (times.lag is not None and times.lag.is_Integer and times.lag >= 0):
        raise ValueError(f"times: the lag {times.lag} between them is no integer of at least 0")
    lag, system = int(times.lag), _system(value, hessian, arithmetic, max(int(times.lag), 1))
    assert isinstance(times.times, TimeSum)
    late = Tensors(times.times, *system).late(arithmetic.field.to_domain())
    (way,) = times.ways(value.diagram, lag)
    return walk(Tensors(way.times, *system, moments=way.moments), lag, way.choices, late)


def _over_epochs(value: ResummedValue, times: TwoClocks, hessian: Any, arithmetic: Arithmetic) -> Any:
    """The same in several epochs, of any number where T = ∞."""
    carry, enter, read, by_root, one = _system(value, hessian, arithmetic, 1)
    sums = epoch_tensor(times, carry[0], one, None if arithmetic.field is None else arithmetic.field.to_domain())
    for e, (_, target) in enumerate(times.moving[1].edges):
        sums = along(sums, 2 * e, enter[0].T)
        sums = along(sums, 2 * e + 1, by_root if target == ROOT else read)
    return sums


def _system(
    value: ResummedValue, hessian: Any, arithmetic: Arithmetic, updates: int
) -> tuple[list[Any], list[Any], Any, Any, Any]:
    """What edges carry: the rule's memory with a Hessian wherever a gradient is read and enters again, and a 1."""
    import numpy as np

    number = np.vectorize(arithmetic.convert, otypes=[object])
    identity = arithmetic.identity(len(hessian))

    @cache
    def system(rate: Expr) -> tuple[Any, Any, Any, Any]:
        carry, enter, read, by_root = (number(np.array(part, dtype=object)) for part in value.update.memory(rate))
        bent = np.multiply.outer(read, enter) * arithmetic.rate
        # a state is a row: it is multiplied from the right
        damped = identity if value.continuous else np.kron(carry.T, identity) - np.kron(bent, hessian)
        ends = (
            np.kron(enter[None, :], identity),
            np.kron(read[:, None], identity),
            np.kron(by_root[:, None], identity),
        )
        return (damped, *ends)

    rates = (Integer(1),) * updates if value.update.rates is None else value.rates
    systems = [system(rate) for rate in rates] or [system(Integer(1))]
    *_, read, by_root = systems[-1]
    return ([each[0] for each in systems], [each[1] for each in systems], read, by_root, arithmetic.one)


def _matrix(array: Any) -> Any:
    """An array of exact numbers as a matrix."""
    return Matrix([[exact_argument(entry, "an entry") for entry in row] for row in array.tolist()])
