"""What measuring returns: what all of it has in common, and values with their standard errors and covariances."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from taylorsgd.device_arrays import on_device
from taylorsgd.diagrams import Value
from taylorsgd.display.numbers import with_error
from taylorsgd.formulas.term import AnyValue
from taylorsgd.landscapes.fingerprints import Fingerprint, Origin
from taylorsgd.measuring.storage import (
    decoded_tree,
    decoded_value,
    encoded_tree,
    encoded_value,
    read_arrays,
    write_arrays,
)

__all__ = ["DrawMoments", "Measured", "Measurement"]


class Measured(ABC):
    """What a formula takes of a landscape at θ_0: to hand to `Formula.lower`, to look at, to save and to load.

    `Measurement` holds values, `DenseMeasurement` tensors, `SpectralMeasurement` contractions along eigenvectors. Each
    has `exact`, whether nothing was sampled, and `fingerprint`, what it was measured on.
    """

    def refuse_other(self, origin: Origin) -> None:
        """Raise if this was measured elsewhere.

        Raises:
            ValueError: naming in what the two differ.
        """
        known: Fingerprint | None = getattr(self, "fingerprint", None)
        differing = [] if known is None else known.differing(origin.fingerprint)
        if differing:
            raise ValueError(
                f"the measurement is of another landscape, theta or observable: they differ in {', '.join(differing)}; "
                "measure again, or leave the measurement out"
            )

    @abstractmethod
    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table."""

    @abstractmethod
    def save(self, path: str | Path) -> None:
        """Write it to a file: NumPy's npz with a JSON header. `load`, of its class, reads it."""

    def __str__(self) -> str:
        """The table in plain text."""
        from taylorsgd.display import text_table

        return text_table(*self.table())

    def _repr_html_(self) -> str:
        from taylorsgd.display import html_table

        return html_table(*self.table())


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Measurement(Measured):
    """The values of a formula at one θ_0 on one landscape, as `measure` estimates them.

    With n values, every leaf below is an array with n as its leading axis: for scalar values one array (n,),
    for values with an open index a pytree like θ of arrays (n, *leaf). `measurement[value]` is one estimate.

    Attributes:
        values: the n values.
        mean: the estimates, in the dtype of θ.
        sampled: the positions of the s values that were sampled; the others are exact.
        sampled_covariance: the covariance of their estimates, (s, s, *leaf) in float64.
        samples: the number of independent draws behind each estimate; 0 if all values are exact.
        provenance: what it takes to measure again, as JSON text: the key, the settings, the plan and versions.

    Example:
        >>> import jax, taylorsgd as ts
        >>> coin = ts.Landscape(lambda theta, x: theta**2 / 2 + x * theta, jax.numpy.array([-1.0, 1.0]))
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(), order=2).assume("quadratic")
        >>> measured = ts.measure(f, coin, 1.0, key=jax.random.key(0), samples=64, method=ts.MatrixFree(batch=1))
        >>> print(measured)
        value              mean ± s.e.
        ─────────────────  ───────────
        l                  0.5, exact
        G_μ G^μ            1, exact
        G_μ H^μ_ν G^ν      1, exact
        ½ (∇_μ C^ν_ν) G^μ  0, exact
        C_μν H^μν          1
    """

    values: tuple[Value, ...] = field(metadata={"static": True})
    mean: Any
    sampled: tuple[int, ...] = field(metadata={"static": True})
    sampled_covariance: Any
    samples: int = field(metadata={"static": True})
    provenance: str = field(default="{}", metadata={"static": True}, repr=False)

    @property
    def fingerprint(self) -> Fingerprint | None:
        """What tells apart the landscape, parameters and observables; None if that was not kept."""
        return Fingerprint.from_json(json.loads(self.provenance).get("fingerprint"))

    def save(self, path: str | Path) -> None:
        """Write the measurement to a file: NumPy's npz with a JSON header.

        Example:
            >>> import jax.numpy as jnp, tempfile, taylorsgd as ts
            >>> points = ts.Landscape(lambda theta, x: (theta - x) ** 2, jnp.array([-1.0, 1.0]))
            >>> f = ts.derive(ts.TestLoss(), ts.SGD(), order=2)
            >>> measured = ts.measure(f, points, 0.5, method=ts.MatrixFree("exact"))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     measured.save(f"{folder}/measured.npz")
            ...     again = ts.landscapes.Measurement.load(f"{folder}/measured.npz")
            >>> bool((again.mean == measured.mean).all())
            True
        """
        means, covariances = jax.tree.leaves(self.mean), jax.tree.leaves(self.sampled_covariance)
        header = {
            "values": [encoded_value(value) for value in self.values],
            "sampled": self.sampled,
            "samples": self.samples,
            "provenance": self.provenance,
            "tree": encoded_tree(self.mean),
        }
        arrays = {f"mean {i}": leaf for i, leaf in enumerate(means)}
        arrays |= {f"covariance {i}": leaf for i, leaf in enumerate(covariances)}
        write_arrays(path, "measurement", header, arrays)

    @classmethod
    def load(cls, path: str | Path, like: Any = None) -> Measurement:
        """Read a measurement from a file.

        Args:
            path: the file.
            like: a pytree of θ's structure, for vectors over a θ that is not made of dicts, lists and tuples.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or the structure of θ is needed and missing.
        """
        header, arrays = read_arrays(path, "measurement")
        try:
            count = sum(name.startswith("mean ") for name in arrays)
            means = [on_device(arrays[f"mean {i}"]) for i in range(count)]
            covariances = [arrays[f"covariance {i}"] for i in range(count)]
            if like is None and header["tree"] is None:
                raise ValueError("it holds vectors over a structure that files can't describe; give like=theta")

            def whole(leaves: Sequence[Any]) -> Any:
                if like is not None:
                    return jax.tree.unflatten(jax.tree.structure(like), leaves)
                return decoded_tree(header["tree"], leaves)

            return cls(
                values=tuple(decoded_value(value) for value in header["values"]),
                mean=whole(means),
                sampled=tuple(header["sampled"]),
                sampled_covariance=whole(covariances),
                samples=header["samples"],
                provenance=header["provenance"],
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{path} can't be read as a measurement: {error}") from error

    @property
    def exact(self) -> bool:
        """Whether no value was sampled."""
        return not self.sampled

    @property
    def covariance(self) -> Any:
        """The covariance of all n estimates, leaves of shape (n, n, *leaf); 0 where a value is exact."""
        n, chosen = len(self.values), np.array(self.sampled, dtype=int)

        def spread(leaf: Float[np.ndarray, "s s ..."]) -> Float[np.ndarray, "n n ..."]:
            full = np.zeros((n, n, *leaf.shape[2:]))
            full[np.ix_(chosen, chosen)] = leaf
            return full

        return jax.tree.map(spread, self.sampled_covariance)

    @property
    def standard_error(self) -> Any:
        """The standard error of each estimate, leaves of shape (n, *leaf); 0 where a value is exact."""

        def spread(leaf: Float[np.ndarray, "s s ..."]) -> Float[np.ndarray, "n ..."]:
            full = np.zeros((len(self.values), *leaf.shape[2:]))
            full[list(self.sampled)] = np.sqrt(np.einsum("ii...->i...", leaf))
            return full

        return jax.tree.map(spread, self.sampled_covariance)

    def __getitem__(self, value: AnyValue) -> Any:
        """The estimate of one value.

        Raises:
            KeyError: if the value was not measured.
        """
        if not isinstance(value, Value) or value not in self.values:
            raise KeyError(f"{value} was not measured; measured are {', '.join(map(str, self.values))}")
        position = self.values.index(value)
        return jax.tree.map(lambda leaf: leaf[position], self.mean)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table: notation, and estimate ± standard error.

        Vectors are shown by their Euclidean norms.
        """
        vector = any(value.open_indices for value in self.values)
        header = ("value", f"{'norm' if vector else 'mean'} ± s.e.")
        means, errors = _norms(self.mean, len(self.values)), _norms(self.standard_error, len(self.values))
        rows = [
            (str(value), with_error(mean, error) if i in self.sampled else f"{mean:.6g}, exact")
            for i, (value, mean, error) in enumerate(zip(self.values, means, errors, strict=True))
        ]
        return header, rows

    def __repr__(self) -> str:
        """The table under a line that says what it is."""
        return f"<Measurement of {len(self.values)} values from {self.samples} draws>\n{self}"

    def _repr_html_(self) -> str:
        from taylorsgd.display import html_table

        header, rows = self.table()
        names = (f"${value.latex()}$" for value in self.values)
        return html_table(header, [(name, *row[1:]) for name, row in zip(names, rows, strict=True)])


class DrawMoments:
    """Mean and covariance of a stream of vectors, chunk by chunk, in float64 (Chan, Golub and LeVeque 1983).

    Leaves have the shape (draws, s, *leaf); the covariance is taken between the s, entry by entry of a leaf.

    Example:
        >>> import numpy as np
        >>> moments = DrawMoments()
        >>> for chunk in np.arange(6.0).reshape(2, 3, 1):
        ...     moments.add([chunk])
        >>> moments.count, float(moments.mean[0][0]), float(moments.covariance_of_mean()[0][0, 0])
        (6, 2.5, 0.58333...)
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.count = 0
        self.mean: list[Float[np.ndarray, "s ..."]] = []
        self._comoment: list[Float[np.ndarray, "s s ..."]] = []

    def add(self, leaves: Sequence[Float[np.ndarray, "draws s ..."]]) -> None:
        """Add the draws of one chunk."""
        new = len(leaves[0])
        wide = [np.asarray(leaf, dtype=np.float64) for leaf in leaves]
        means = [leaf.mean(axis=0) for leaf in wide]
        centred = [leaf - mean for leaf, mean in zip(wide, means, strict=True)]
        comoments = [np.einsum("ki...,kj...->ij...", leaf, leaf) for leaf in centred]
        if self.count:
            share = new / (self.count + new)
            for i, mean in enumerate(means):
                step = mean - self.mean[i]
                shift = np.einsum("i...,j...->ij...", step, step)
                comoments[i] = self._comoment[i] + comoments[i] + shift * self.count * share
                means[i] = self.mean[i] + step * share
        self.count += new
        self.mean, self._comoment = means, comoments

    def state(self) -> dict[str, np.ndarray]:
        """All that it knows, as arrays by name."""
        named = {f"mean {i}": leaf for i, leaf in enumerate(self.mean)}
        named |= {f"comoment {i}": leaf for i, leaf in enumerate(self._comoment)}
        return {"count": np.array(self.count), **named}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> DrawMoments:
        """Go on from what `state` gave."""
        moments = cls()
        moments.count = int(arrays["count"])
        leaves = sum(name.startswith("mean ") for name in arrays)
        moments.mean = [arrays[f"mean {i}"] for i in range(leaves)]
        moments._comoment = [arrays[f"comoment {i}"] for i in range(leaves)]
        return moments

    def covariance_of_mean(self) -> list[Float[np.ndarray, "s s ..."]]:
        """The unbiased covariance of the means, leaves (s, s, *leaf); needs two draws."""
        return [leaf / (self.count * (self.count - 1)) for leaf in self._comoment]


def _norms(tree: Any, count: int) -> Float[np.ndarray, " values"]:
    """Per value the number itself, or the Euclidean norm over all leaves."""
    leaves = [np.asarray(leaf, dtype=np.float64).reshape(count, -1) for leaf in jax.tree.leaves(tree)]
    flat = np.concatenate(leaves, axis=1)
    return flat[:, 0] if flat.shape[1] == 1 else np.linalg.norm(flat, axis=1)
