r"""Measuring a resummed formula in the top eigendirections of ΛH: for models too large for dense tensors.

The eigenpairs come from `eigenpairs` or `two_sided`, the contractions from what `directions` plans. What is exact
(diagrams without ties, and all diagrams on small populations) is computed once; the rest are means over draws of random
points, kept apart for sixteen groups of draws, whose scatter is the standard error of whatever number is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from attrs import field, frozen
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, PRNGKeyArray

from taylorsgd.arguments import as_whole
from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.landscape import Landscape, check_counts
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.landscapes.pytrees import FlatFunction, all_finite, count_entries
from taylorsgd.lowering.projected import ProjectedTensors, Projection
from taylorsgd.measuring.contraction import Message, Piece, Plan, Product
from taylorsgd.measuring.dense import LIMIT
from taylorsgd.measuring.devices import gathered, spread
from taylorsgd.measuring.directions import make_eigenplan, open_edge
from taylorsgd.measuring.edge_labels import EdgeLabels, raised_rows
from taylorsgd.measuring.eigenpairs import top_eigenpairs
from taylorsgd.measuring.running import Runner, spans
from taylorsgd.measuring.spectral_results import SpectralMeasurement, named_metric
from taylorsgd.measuring.tasks import Task, measured
from taylorsgd.measuring.two_sided import is_positive, two_sided_eigenpairs

__all__ = ["TopEigenpairs"]

GROUPS = 16
"""Of draws, whose scatter is the standard error."""


@frozen
class TopEigenpairs:
    """Measure what a resummed formula takes along the top k eigendirections of H, all others taken to be flat.

        H ≈ Σ_{i ≤ k} λ_i v_i v_iᵀ,        K^m ≈ Σ_{i ≤ k} (1 − ηλ_i)^m v_i v_iᵀ + P_*,        P_* = 1 − Σ_i v_i v_iᵀ,

    so that every edge of a diagram carries one of k + 1 labels, and a diagram is (k + 1)^d numbers (`directions`).
    Nothing is larger than some vectors like θ: it is for large models, on a population.

    With a matrix learning rate ηΛ, and on a vector field, the step is K = 1 − ηΛH, H_μν = −∂_ν u_μ. A positive Λ,
    matrix or function, makes it symmetric in the inner product that Λ defines; else λ_i may be complex, and K^m takes
    right and left eigenvectors, v_i l_iᵀ. K has too few of them where some are parallel, as those of a shear; that is
    refused.

    Attributes:
        count: k, from 1 to P: how many eigenpairs to find, largest in absolute value first. Complex ones come in pairs.
        batch: the number of fresh points that stand for the population inside a draw.

    Raises:
        ValueError: if settings are impossible.

    Example:
        >>> import jax, jax.numpy as jnp, taylorsgd as ts
        >>> data = jnp.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 2.0, 0.1], [0.0, -2.0, 0.1]])
        >>> landscape = ts.Landscape(lambda theta, x: jnp.dot(theta, x) ** 2 + theta[2] / 2, data)
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2, resum="discrete")
        >>> measured = ts.measure(f, landscape, jnp.ones(3), key=jax.random.key(0), method=ts.TopEigenpairs(2))
        >>> print(*measured.pairs.values.round(3))
        4.0 1.0

    Source: Tenka, Theorem 2; the restriction to some directions is ours.
    """

    count: int
    batch: int = field(default=4, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Check the settings."""
        if (as_whole(self.count) or 0) < 1:
            raise ValueError(f"count={self.count!r}, of eigenpairs, must be an integer from 1 to P")
        check_counts(batch=(self.batch, 1))

    def plan(self, task: Task) -> Plan:
        """What measuring the diagrams of a task's formulas will do after the eigenpairs are found, where k < P.

        Raises:
            ValueError: if no formula is resummed, or k is larger than P.
            NotImplementedError: for a sampler, and for two open indices.
        """
        return self._planned(task, _is_two_sided(task))

    def _planned(self, task: Task, two_sided: bool, still: bool = False) -> Plan:
        """The same, where some of the labels may be known not to move."""
        if not task.resummed:
            raise ValueError(
                f"method={self!r} is for resummed formulas; this one holds no power of H, and takes MatrixFree()"
            )
        if task.landscape.size is None:
            raise NotImplementedError(
                f"method={self!r} takes the Hessian of a population, and the data are a sampler; draw a population "
                "from it, as in Landscape(loss, sampler(key, n))"
            )
        size = self.count + 1 if task.theta is None else count_entries(task.theta)
        if self.count > size:
            raise ValueError(f"count={self.count}, of eigenpairs, must be an integer from 1 to P = {size}")
        return make_eigenplan(
            task.diagrams, eigenvectors=self.count, rest=still or self.count < size, samples=task.draws,
            batch=self.batch, population=task.landscape.size, directed=two_sided,
        )  # fmt: skip

    def measure(self, task: Task) -> SpectralMeasurement:
        """Find eigenpairs, and contract diagrams along them; raises as `plan`, and as `taylorsgd.measure` says."""
        two_sided = _is_two_sided(task)
        plan = self._planned(task, two_sided)
        flat, _ = ravel_pytree(task.theta)
        _check_memory(plan, self.count + 1, flat)
        own, drawing = jax.random.split(task.started(draws=True))
        search = two_sided_eigenpairs if two_sided else top_eigenpairs
        pairs = search(task.landscape, task.theta, self.count, own, task.raising)
        labels = EdgeLabels.of(pairs, task.raising, task.theta)
        still = not np.any(np.asarray(pairs.vectors) != 0, axis=1).all()  # a label that moves nothing has no direction
        rest = still or self.count < flat.size
        if still:
            plan = self._planned(task, two_sided, still)
        runner = _flat_runner(plan, task, flat, labels)
        samples = -(-task.draws // GROUPS) * GROUPS if plan.sampled else 0
        totals = _accumulated(runner, labels, rest, drawing, samples, task.progress)
        projections = {
            diagram: _projection(several, pairs.values.dtype)
            for diagram, several in zip(plan.values, totals, strict=True)
        }
        for diagram, projection in projections.items():
            if not all_finite(projection):
                raise ValueError(f"a derivative of the loss that the diagram {diagram} takes is not finite at theta")
        neglected = on_device(np.array(pairs.neglected), flat.dtype)
        tensors = ProjectedTensors(pairs.values, pairs.vectors, neglected, projections, rest)
        points = task.landscape.size or 0
        return SpectralMeasurement(tensors, pairs, points, samples, task.origin.fingerprint, named_metric(task.metric))


def _is_two_sided(task: Task) -> bool:
    """Whether the step is symmetric in no inner product; of a function for a metric nothing is known without a θ."""
    if task.landscape.is_field or task.metric is None:
        return task.landscape.is_field
    if task.raising is not None and task.theta is not None:
        return not is_positive(task.raising, task.theta)
    return not callable(task.metric) and not task.metric.is_positive_semidefinite


def _check_memory(plan: Plan, labels: int, flat: Float[Array, " P"]) -> None:
    open_ones = [
        (_edges(diagram), GROUPS if i in plan.sampled else 1)
        for i, diagram in enumerate(plan.values)
        if open_edge(diagram) is not None
    ]
    total = sum(groups * labels ** (edges - 1) for edges, groups in open_ones) * flat.size * flat.dtype.itemsize
    if total > LIMIT:
        raise MemoryError(
            f"a displacement in {labels - 1} eigendirections of P = {flat.size} parameters would take "
            f"{total / 2**30:.3g} GiB; ask for fewer eigenpairs or a lower order, or observe scalars of theta"
        )


def _edges(diagram: Any) -> int:
    return sum(parent >= 0 for parent in diagram[0])


def _flat_runner(plan: Plan, task: Task, flat: Float[Array, " P"], labels: EdgeLabels) -> Runner:
    """A runner on the parameters in a row, over which eigenvectors are."""
    loss = FlatFunction.of(task.landscape.point_loss, task.theta)
    observables = {
        name: PointFunction(FlatFunction.of(function, task.theta), function.name)
        for name, function in task.observables.items()
    }
    return Runner(plan, Landscape(loss, task.landscape.data), flat, observables, labels=labels)


def _accumulated(
    runner: Runner, labels: EdgeLabels, rest: bool, key: PRNGKeyArray, samples: int, progress: bool | None
) -> list[list[_Total]]:
    """For every diagram what its draws add up to, in groups; one group where it is exact."""
    plan = runner.plan
    totals = [
        [_Total(diagram, labels, rest) for _ in range(GROUPS if i in plan.sampled else 1)]
        for i, diagram in enumerate(plan.values)
    ]
    for position in set(range(len(totals))) - set(plan.varying):
        totals[position][0].add(plan.products[position], runner.known, 1, 1.0)

    def add(positions: tuple[int, ...], points: Any, group: int, draws: int, weight: float) -> None:
        found = runner.answers(positions, spread(points))
        shown = {m: gathered(found[m])[:draws] if m.sampled else found[m] for m in plan.answers(positions)}
        for position in positions:
            totals[position][group].add(plan.products[position], shown, draws, weight)

    for slots, positions in plan.sweeps:
        for start, stop, points in runner.choices(slots):
            add(positions, points, 0, stop - start, 1 / (runner.landscape.size or 0) ** slots)
    if plan.sampled:
        at_once = min(samples // GROUPS, runner.draws_at_once)
        chunks = spans(samples, at_once, GROUPS)
        draws = measured(runner.draws(key, samples, at_once, GROUPS), len(chunks), progress)
        for (start, stop), points in zip(chunks, draws, strict=True):
            add(plan.sampled, points, start * GROUPS // samples, stop - start, GROUPS / samples)
    return totals


class _Total:
    """W of one diagram, as it is added up over draws; * is the last label."""

    def __init__(self, diagram: Any, labels: EdgeLabels, rest: bool) -> None:
        self.edges, self.open, self.labels = _edges(diagram), open_edge(diagram), labels
        self.count, size = labels.legs.shape
        shape = (self.count + rest,)
        self.numbers = np.zeros(shape * self.edges, float if labels.turn is None else complex)
        self.vectors = None
        if self.open is not None and rest:
            kind = jnp.result_type(labels.legs, float if labels.turn is None else complex)
            self.vectors = np.zeros((*shape * (self.edges - 1), size), kind)

    def add(self, shares: tuple[Product, ...], answers: Mapping[Message, Any], draws: int, weight: float) -> None:
        """Add what some draws contribute, each with a weight."""
        met: dict[tuple[Message, ...], Any] = {}
        for share in shares:
            for piece in share.pieces:
                if piece.messages not in met:
                    found = [answers[message] for message in piece.messages]
                    met[piece.messages] = _met(found, piece.open, self.labels.metric)
            self._add(share, met, draws, weight)

    def _add(self, share: Product, met: Mapping[tuple[Message, ...], Any], draws: int, weight: float) -> None:
        draw, coordinate = self.edges, self.edges + 1
        is_open = any(piece.open for piece in share.pieces)
        operands: list[Any] = []
        sampled = False
        for piece in share.pieces:
            array, varies = self._entries(piece, met[piece.messages])
            sampled |= varies
            axes = [*([draw] if varies else []), *piece.edges, *([coordinate] if piece.open else [])]
            operands += [array, axes]
        scale = share.coefficient * weight * (1 if sampled else draws)
        if self.vectors is not None and is_open:
            dtype = self.vectors.dtype
            operands = [on_device(x, dtype) if i % 2 == 0 else x for i, x in enumerate(operands)]
            block = jnp.einsum(*operands, [*share.cut, coordinate], precision="highest")
            whole, edges = self.vectors, [e for e in range(self.edges) if e != self.open]
        else:
            block = np.einsum(*operands, list(share.cut), optimize=True)
            whole, edges = self.numbers, list(range(self.edges))
        whole[tuple(slice(self.count) if e in share.cut else -1 for e in edges)] += scale * np.asarray(block)

    def _entries(self, piece: Piece, found: Any) -> tuple[Any, bool]:
        """A piece's entries, with axes (draws, if sampled; a label for each cut edge; P, if open), and if sampled."""
        sampled = any(message.sampled for message in piece.messages)
        shape = found.shape[:1] if sampled else ()
        shape += (self.count,) * len(piece.edges) + (found.shape[-1:] if piece.open else ())
        found = found.reshape(shape)
        entries = found if piece.open else np.asarray(found, dtype=float)
        if self.labels.turn is not None:
            for axis in range(len(piece.edges)):
                read = axis == len(piece.edges) - 1 and piece.messages[0].ends == "labels"
                entries = self.labels.turned(np.asarray(entries), axis + sampled, read)
        return entries, sampled


def _met(answers: list[Any], is_open: bool, metric: Any) -> Any:
    """One message, or all products of two that meet in the rest, for each draw where either has an axis for it.

    What is left open is raised, and so is one of two that meet.
    """
    if len(answers) == 1:
        return raised_rows(metric, answers[0]) if is_open else answers[0]
    return np.asarray(_dotted(answers[0], raised_rows(metric, answers[1])), dtype=float)


def _projection(totals: list[_Total], dtype: Any) -> Projection:
    numbers = on_device(np.stack([total.numbers for total in totals]), dtype)
    vectors = [total.vectors for total in totals if total.vectors is not None]
    return Projection(numbers, on_device(np.stack(vectors)) if vectors else None)


@jax.jit
def _dotted(left: Float[Array, "*draws i P"], right: Float[Array, "*draws j P"]) -> Float[Array, "*draws i j"]:
    return jnp.einsum("...ip,...jp->...ij", left, right, precision="highest")
