r"""Resummed terms where H is known in a few directions only, and taken to be flat in all others.

Here H is ΛH where there is a metric Λ, and v_i v_iᵀ is v_i w_iᵀ with left eigenvectors w_i where it is not symmetric.

With orthonormal eigenvectors v_1, …, v_k of H and the projection P_* = 1 − Σ_i v_i v_iᵀ on the rest,

    K^m ≈ Σ_{i ≤ k} (1 − ηλ_i)^m v_i v_iᵀ + P_*,

so every edge e of a diagram carries one of k + 1 labels r_e, and a term is, but for its coefficient,

    η^d Σ_{r ∈ {1, …, k, *}^d} W[r] · F(ηλ_{r_1}, …, ηλ_{r_d}; T),        λ_* = 0,

with W[r] the diagram's tensors contracted along edges that carry v_i v_iᵀ or P_*: (k+1)^d numbers, whatever P is.
An open index at the end of an edge e leaves Σ_i v_i (…) + a vector in the rest for each label of the others.

What this neglects are the eigenvalues of H − Σ λ_i v_i v_iᵀ, between δ₋ and δ₊. Their effect is estimated by

    Σ_terms Σ_r |coefficient · η^d W[r]| · max_± |F at λ_* = δ_± − F at λ_* = 0|,

which is a bound while the parts of W[r] that different flat directions contribute do not cancel. Where eigenvalues are
complex, δ_± = ∓δ, and λ_* = ±iδ is tried as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from taylorsgd.lowering.networks import Network, sums_along_edges

__all__ = ["Projection", "ProjectedTensors", "Uncertainty", "changed_terms", "projected_terms"]

Terms = Callable[[Any, tuple[Any, ...]], Sequence[Array]]
"""All terms as a function of η and of T for each term."""


class Projection(NamedTuple):
    """The contractions W of one diagram, by the labels of its edges; estimates from g groups of draws.

    Attributes:
        numbers: (g, n, …, n), an axis for each edge, n the number of labels. Where an edge ends at an open index,
            its label * has zeros here.
        vectors: None without an open index, or where there is no rest; else (g, n, …, n, P), what the label * of
            that edge leaves open, with an axis for each other edge.
    """

    numbers: Float[Array, "g ..."]
    vectors: Float[Array, "g ... P"] | None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ProjectedTensors:
    """What a lowered formula takes of a landscape that is known in k eigendirections of H.

    Attributes:
        eigenvalues: λ_1, …, λ_k; if complex, so are vectors and projections, and what they make is real.
        vectors: v_1, …, v_k, (k, P), what a label leaves at an open index; orthonormal where there is no metric.
        neglected: δ₋ and δ₊, (2,): between what the eigenvalues of H − Σ λ_i v_i v_iᵀ lie.
        projections: for every diagram, by its key, its contractions.
        rest: whether there is a rest, k < P; then the last of the n = k + 1 labels is *, else n = k.
    """

    eigenvalues: Float[Array, " k"]
    vectors: Float[Array, "k P"]
    neglected: Float[Array, " 2"]
    projections: Mapping[Any, Projection]
    rest: bool = field(metadata={"static": True})

    def labelled(self, flat: Any = 0.0) -> Float[Array, " labels"]:
        """The eigenvalue of every label, with that of the rest as given."""
        if not self.rest:
            return self.eigenvalues
        return jnp.append(self.eigenvalues, jnp.asarray(flat, self.eigenvalues.dtype))


class Uncertainty(NamedTuple):
    """How far a lowered formula may be off for what was measured.

    Attributes:
        neglected: an estimate of what the eigenvalues of H that were taken to vanish change, see
            `lowering.projected`.
        sampling: the standard error, where contractions were estimated from random draws; 0 where they are exact.
    """

    neglected: Float[Array, ...]
    sampling: Float[Array, ...]


def projected_terms(networks: tuple[Network, ...], keys: tuple[Any, ...], tensors: ProjectedTensors) -> Terms:
    """All terms without their coefficients, as a function of η and of T for each term.

    Args:
        networks: the terms.
        keys: for every term the key of its projection.
        tensors: what was measured.

    Returns:
        A function whose results have the axes (g, and P for an open index).
    """

    def terms(rate: Float[Array, ""], updates: tuple[Float[Array, ""], ...]) -> list[Float[Array, "g ..."]]:
        rates = rate * tensors.labelled()
        outputs = []
        for network, key, T in zip(networks, keys, updates, strict=True):
            sums = sums_along_edges(network, rates, T)
            output = _contracted(network, tensors.projections[key], sums, tensors.vectors)
            outputs.append(output.real * rate**network.edges)
        return outputs

    return terms


def changed_terms(networks: tuple[Network, ...], keys: tuple[Any, ...], tensors: ProjectedTensors) -> Terms:
    """For all terms how much flat eigenvalues of δ₋ or δ₊ change them, without letting any part cancel another.

    Args:
        networks: the terms.
        keys: for every term the key of its projection.
        tensors: what was measured.

    Returns:
        A function of η and of T for each term, whose results have the axes (1, and P for an open index).
    """
    sizes = {
        key: jax.tree.map(lambda leaf: jnp.abs(jnp.mean(leaf, axis=0, keepdims=True)), projection)
        for key, projection in tensors.projections.items()
    }

    def terms(rate: Float[Array, ""], updates: tuple[Float[Array, ""], ...]) -> list[Float[Array, "g ..."]]:
        outputs = []
        for network, key, T in zip(networks, keys, updates, strict=True):

            def whole(flat: Any, network: Network = network, T: Float[Array, ""] = T) -> Float[Array, ...]:
                rates = rate * tensors.labelled(flat)
                operands = [x for array, edges in sums_along_edges(network, rates, T) for x in (array, list(edges))]
                product = jnp.einsum(*operands, list(range(network.edges))) if operands else jnp.ones(())
                return jnp.broadcast_to(product, rates.shape * network.edges)

            still, ends = whole(0.0), tensors.neglected
            if jnp.iscomplexobj(tensors.eigenvalues):
                ends = jnp.concatenate([ends, 1j * ends])
            change = jnp.max(jnp.stack([jnp.abs(whole(end) - still) for end in ends]), axis=0)
            sums = [(change, range(network.edges))]
            output = _contracted(network, sizes[key], sums, jnp.abs(tensors.vectors))
            outputs.append(output * jnp.abs(rate) ** network.edges)
        return outputs

    return terms


def _contracted(
    network: Network, projection: Projection, sums: list[tuple[Float[Array, ...], Any]], vectors: Float[Array, "k P"]
) -> Float[Array, "g ..."]:
    group, edges = network.edges, list(range(network.edges))
    operands: list[Any] = [projection.numbers, [group, *edges]]
    for array, own in sums:
        operands += [array, list(own)]
    along = jnp.einsum(*operands, [group, *network.open], precision="highest")
    if not network.open:
        return along
    (end,) = network.open
    count = vectors.shape[0]
    result = jnp.matmul(along[:, :count], vectors, precision="highest")
    if projection.vectors is None:
        return result
    # What the rest leaves open: the label * on the edge that ends there.
    others, coordinate = [e for e in edges if e != end], group + 1
    operands = [projection.vectors, [group, *others, coordinate]]
    for array, own in sums:
        labels = list(own)
        if end in labels:
            array = jnp.take(array, count, axis=labels.index(end))
            labels.remove(end)
        operands += [array, labels]
    return result + jnp.einsum(*operands, [group, coordinate], precision="highest")
