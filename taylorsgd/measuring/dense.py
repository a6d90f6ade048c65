"""Dense tensors of small problems: every cumulant that a resummed formula takes, as arrays.

On a population they are exact: κ of ∇^{k_1} l_x, …, ∇^{k_m} l_x over all points, from central moments. From a
sampler they are unbiased estimates from n points, by k-statistics: with m the central sample moments,

    k_2 = n/(n−1) m_12,        k_3 = n²/((n−1)(n−2)) m_123,
    k_4 = n²/((n−1)(n−2)(n−3)) [(n+1) m_1234 − (n−1) (m_12 m_34 + m_13 m_24 + m_14 m_23)]

(Fisher 1929). A formula is not linear in them, so its error needs more than their standard errors; see there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from attrs import frozen
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float, PRNGKeyArray

from taylorsgd.device_arrays import on_device
from taylorsgd.diagrams.partitions import moebius, set_partitions
from taylorsgd.landscapes.fingerprints import Fingerprint
from taylorsgd.landscapes.landscape import Landscape
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.lowering.networks import part_keys
from taylorsgd.measuring.contraction import Plan
from taylorsgd.measuring.estimators import unshifted_partitions
from taylorsgd.measuring.results import Measured
from taylorsgd.measuring.storage import read_arrays, write_arrays
from taylorsgd.measuring.tasks import Task

__all__ = ["LIMIT", "Dense", "DenseMeasurement", "measure_dense"]

Degrees = tuple[int, ...]
LIMIT = 2**31
"""The most bytes that the tensors of one formula may take."""


@frozen
class Dense:
    """Measure the dense cumulants that a resummed formula takes, arrays over all P parameters.

    With κ the joint cumulant over the points, a part whose nodes have degrees k_1 ≤ … ≤ k_m takes

        κ(∇^{k_1} l_x, …, ∇^{k_m} l_x),        Σ k_i axes of length P:

    exact on a population, k-statistics of the points that `measure` draws of a sampler.

    Example:
        >>> import jax.numpy as jnp, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: jnp.sum(theta**2) / 2 + x * theta[0], jnp.array([-1.0, 1.0]))
        >>> f = ts.derive(ts.GeneralizationGap(), ts.GD(), order=1, resum="continuous")
        >>> print(ts.measure(f, coin, jnp.zeros(2), method=ts.Dense())[1, 1])
        [[1. 0.]
         [0. 0.]]

    Source: Fisher, Moments and product moments of sampling distributions, 1929.
    """

    def plan(self, task: Task) -> Plan:
        """Raise: there is nothing to choose."""
        raise ValueError(
            "formula is resummed; it takes dense tensors, for which there is no plan. "
            "plan(..., method=TopEigenpairs(k)) shows what contractions along k eigendirections take"
            if task.resummed
            else f"method={self!r} is for resummed formulas, and has no plan; leave it out"
        )

    def measure(self, task: Task) -> DenseMeasurement:
        """Compute the tensors of a task's formulas; raises as `measure_dense`, or if none is resummed."""
        if not task.resummed:
            raise ValueError(f"method={self!r} is for resummed formulas; this one takes MatrixFree()")
        observables = task.observables
        key = task.started(draws=task.landscape.size is None)
        parts = tuple(dict.fromkeys(part for one in task.formulas for part in part_keys(one)))
        found = measure_dense(parts, task.landscape, task.theta, key, task.draws, observables)
        matrix = task.raising.matrix(task.theta) if task.raising is not None and callable(task.metric) else None
        directed = task.landscape.is_field
        fingerprint = task.origin.fingerprint.without("metric")  # the tensors serve any
        return replace(found, fingerprint=fingerprint, metric=matrix, directed=directed)


@dataclass(frozen=True, repr=False)
class DenseMeasurement(Measured):
    """The dense tensors of a formula at θ_0.

    Attributes:
        tensors: by part key (see `lowering.LoweredResummed`) the cumulant, an array over the P parameters in
            the order of `jax.flatten_util.ravel_pytree`.
        points: the number of points that were averaged over.
        exact: whether these were the whole population.
        fingerprint: what it was measured on; None if that was not kept.
        metric: Λ as a matrix, if the formula has it as a function of pytrees.
        directed: whether they are of a vector field: of every node the axis of u comes first.
    """

    tensors: Mapping[tuple[Any, ...], Float[Array, ...]]
    points: int
    exact: bool
    fingerprint: Fingerprint | None = None
    metric: Float[Array, "P P"] | None = None
    directed: bool = False

    def __getitem__(self, key: tuple[Any, ...]) -> Float[Array, ...]:
        """The tensor of a part.

        Raises:
            KeyError: if the part was not measured.
        """
        if key not in self.tensors:
            raise KeyError(f"{key!r} was not measured; measured are {', '.join(map(str, self.tensors))}")
        return self.tensors[key]

    def save(self, path: str | Path) -> None:
        """Write the tensors to a file: NumPy's npz with a JSON header."""
        header = {"parts": list(self.tensors), "points": self.points, "exact": self.exact, "directed": self.directed}
        arrays = {f"tensor {i}": tensor for i, tensor in enumerate(self.tensors.values())}
        if self.metric is not None:
            arrays["metric"] = self.metric
        write_arrays(path, "dense measurement", header, arrays, self.fingerprint)

    @classmethod
    def load(cls, path: str | Path) -> DenseMeasurement:
        """Read the tensors from a file.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or of another kind.
        """
        header, arrays = read_arrays(path, "dense measurement")
        try:
            tensors = {tuple(part): on_device(arrays[f"tensor {i}"]) for i, part in enumerate(header["parts"])}
            known = Fingerprint.from_json(header.get("fingerprint"))
            metric = on_device(arrays["metric"]) if "metric" in arrays else None
            return cls(tensors, header["points"], header["exact"], known, metric, header.get("directed", False))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} can't be read as a dense measurement: {error}") from error

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table: part keys, shapes and Euclidean norms."""
        rows = [
            (str(key), " × ".join(map(str, tensor.shape)), f"{float(jnp.linalg.norm(tensor.ravel())):.6g}")
            for key, tensor in self.tensors.items()
        ]
        return ("part", "shape", "norm"), rows

    def __repr__(self) -> str:
        """The shapes, and where they come from."""
        shapes = ", ".join(f"{key}: {array.shape}" for key, array in self.tensors.items())
        return f"<DenseMeasurement {{{shapes}}} from {self.points} points{' (exact)' if self.exact else ''}>"


def measure_dense(
    parts: Sequence[tuple[Any, ...]],
    landscape: Landscape,
    theta: Any,
    key: PRNGKeyArray,
    samples: int,
    observables: Mapping[str, PointFunction],
    chunk: int = 64,
) -> DenseMeasurement:
    """Compute the cumulants that a resummed formula takes.

    Args:
        parts: the part keys of the formula.
        landscape: the loss and its data.
        theta: the parameters θ_0, checked.
        key: a JAX random key, used for samplers only.
        samples: the number of points drawn from a sampler.
        observables: the functions behind the formula's observables.
        chunk: the points differentiated at once.

    Returns:
        The tensors.

    Raises:
        MemoryError: if they would be larger than 2 GiB, naming the largest.
        NotImplementedError: for cumulants of five and more from a sampler.
        ValueError: if there are too few points, or a derivative is not finite.
    """
    flat, unravel = ravel_pytree(theta)
    _check_memory(parts, flat)
    degrees = [key_ for key_ in parts if not isinstance(key_[0], str)]
    points = landscape.size if landscape.size is not None else samples
    largest = max(map(len, degrees))
    if landscape.size is None:
        if largest > 4:
            raise NotImplementedError(
                f"a cumulant of {largest} derivatives is not estimated from a sampler; give a population of data"
            )
        if samples < largest:
            raise ValueError(f"samples={samples} are too few for a cumulant of {largest} derivatives")
    data = landscape.data if landscape.size is not None else landscape.draw(key, (samples,))
    population = landscape.size is not None
    found, finite = _tensors(
        tuple(parts), landscape.point_loss, tuple(observables.items()), population, theta, data, chunk
    )
    tensors = dict(zip(parts, found, strict=True))
    for part, good in zip(parts, np.asarray(finite), strict=True):
        if not good:
            raise ValueError(f"the tensor {part} is not finite at theta; the loss is not smooth there, or overflows")
    return DenseMeasurement(tensors, points, population)


def _check_memory(parts: Sequence[tuple[Any, ...]], flat: Float[Array, " P"]) -> None:
    def size(part: tuple[Any, ...]) -> int:
        return flat.size ** sum(degree for degree in part if isinstance(degree, int)) * flat.dtype.itemsize

    total, largest = sum(map(size, parts)), max(parts, key=size)
    if total > LIMIT:
        raise MemoryError(
            f"the dense tensors would take {total / 2**30:.3g} GiB, the largest {largest} over P = {flat.size} "
            "parameters; measure top eigenpairs by method=TopEigenpairs(k), derive without resum=, which is measured "
            "matrix-free, or use fewer parameters"
        )


def _derivative(function: Any, degree: int) -> Any:
    for _ in range(degree):
        function = jax.jacfwd(function)
    return function


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 6))
def _tensors(
    parts: tuple[tuple[Any, ...], ...],
    point_loss: PointFunction,
    observables: tuple[tuple[str, PointFunction], ...],
    population: bool,
    theta: Any,
    data: Any,
    chunk: int,
) -> tuple[list[Float[Array, ...]], Bool[Array, " parts"]]:
    """The tensors of the parts, over a population or unbiased from draws, and which of them are finite."""
    flat, unravel = ravel_pytree(theta)
    means, moments = _moments(parts, point_loss, theta, data, chunk)
    points = jax.tree.leaves(data)[0].shape[0]

    def tensor(part: tuple[Any, ...]) -> Float[Array, ...]:
        if isinstance(part[0], str):
            name, degree = part
            return _derivative(lambda parameters: dict(observables)[name](unravel(parameters)), degree)(flat)
        if len(part) == 1:
            return means[part[0]]
        return _cumulant(part, moments) if population else _unbiased(part, moments, points)

    found = [tensor(part) for part in parts]
    return found, jnp.array([jnp.isfinite(array).all() for array in found])


def _moments(
    parts: tuple[tuple[Any, ...], ...], point_loss: PointFunction, theta: Any, data: Any, chunk: int
) -> tuple[dict[int, Float[Array, ...]], dict[Degrees, Float[Array, ...]]]:
    """Means of the derivatives, and central moments of products of them, in two passes over the points."""
    degrees = [part for part in parts if not isinstance(part[0], str)]
    orders = sorted({degree for part in degrees for degree in part})
    subsets = sorted({s for d in degrees for r in range(2, len(d) + 1) for s in combinations(d, r)})
    flat, unravel = ravel_pytree(theta)

    def loss(parameters: Float[Array, " P"], x: Any) -> Float[Array, ""]:
        return point_loss(unravel(parameters), x)

    def derivatives(x: Any) -> dict[int, Float[Array, "*P"]]:
        return {order: _derivative(loss, order)(flat, x) for order in orders}

    count = jax.tree.leaves(data)[0].shape[0]

    def mean(function: Any) -> Any:
        summed = jax.eval_shape(function, jax.tree.map(lambda leaf: leaf[0], data))
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), summed)
        whole = count // chunk * chunk
        head = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, chunk, *leaf.shape[1:]), data)
        tail = jax.tree.map(lambda leaf: leaf[whole:], data)

        def add(total: Any, batch: Any) -> tuple[Any, None]:
            parts = jax.vmap(function)(batch)
            return jax.tree.map(lambda a, b: a + jnp.sum(b, axis=0), total, parts), None

        total, _ = lax.scan(add, zero, head)
        if count > whole:
            total, _ = add(total, tail)
        return jax.tree.map(lambda leaf: leaf / count, total)

    means = mean(derivatives)

    def products(x: Any) -> dict[Degrees, Float[Array, "*P"]]:
        centred = jax.tree.map(jnp.subtract, derivatives(x), means)
        return {subset: _outer([centred[degree] for degree in subset], _consecutive(subset)) for subset in subsets}

    return means, mean(products) if subsets else {}


def _consecutive(degrees: Degrees) -> list[list[int]]:
    starts = np.cumsum([0, *degrees])
    return [list(range(start, start + degree)) for start, degree in zip(starts, degrees, strict=False)]


def _outer(arrays: Sequence[Float[Array, ...]], labels: Sequence[Sequence[int]]) -> Float[Array, ...]:
    """The outer product with its axes put in order."""
    operands = [x for pair in zip(arrays, map(list, labels), strict=True) for x in pair]
    return jnp.einsum(*operands, sorted(label for names in labels for label in names), precision="highest")


def _blocks(
    part: Degrees, partition: Sequence[Sequence[int]], moments: Mapping[Degrees, Float[Array, ...]]
) -> Float[Array, ...]:
    labels = _consecutive(part)
    arrays = [moments[tuple(part[i] for i in block)] for block in partition]
    return _outer(arrays, [[label for i in block for label in labels[i]] for block in partition])


def _cumulant(part: Degrees, moments: Mapping[Degrees, Float[Array, ...]]) -> Float[Array, ...]:
    """Σ over set partitions into blocks of two and more of (−1)^{k−1} (k−1)! Π central moments."""
    total: Any = sum(
        moebius([len(partition)]) * _blocks(part, partition, moments)
        for partition in unshifted_partitions(range(len(part)))
    )
    return total


def _unbiased(part: Degrees, moments: Mapping[Degrees, Float[Array, ...]], n: int) -> Float[Array, ...]:
    whole = _blocks(part, [range(len(part))], moments)
    if len(part) == 2:
        return whole * (n / (n - 1))
    if len(part) == 3:
        return whole * (n * n / ((n - 1) * (n - 2)))
    pairs: Any = sum(
        _blocks(part, partition, moments)
        for partition in set_partitions(range(4))
        if sorted(map(len, partition)) == [2, 2]
    )
    return ((n + 1) * whole - (n - 1) * pairs) * (n * n / ((n - 1) * (n - 2) * (n - 3)))
