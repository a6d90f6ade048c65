"""What is measured in the top eigendirections of H, to look at, to save and to load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taylorsgd.device_arrays import on_device
from taylorsgd.landscapes.fingerprints import Fingerprint
from taylorsgd.lowering.projected import ProjectedTensors, Projection
from taylorsgd.measuring.eigenpairs import Eigenpairs
from taylorsgd.measuring.results import Measured
from taylorsgd.measuring.storage import read_arrays, versions, write_arrays

__all__ = ["SpectralMeasurement", "named_metric"]

KIND = "spectral measurement"


@dataclass(frozen=True, repr=False)
class SpectralMeasurement(Measured):
    """What a resummed formula takes of a large model at θ_0: contractions in the top eigendirections of H.

    A formula evaluated on it takes ΛH to be Σ_{i ≤ k} λ_i v_i v_iᵀ; `LoweredResummed.uncertainty` states the effect.

    Attributes:
        tensors: the eigenpairs and contractions, as `lowering.projected` describes them.
        pairs: the eigenpairs with their residuals.
        points: the number of points in the population.
        samples: the number of independent draws behind estimated contractions; 0 if all are exact.
        fingerprint: what it was measured on; None if that was not kept.
        metric: what Λ is called: a matrix by its rows, "a function", or None for the identity.

    Example:
        >>> import jax, jax.numpy as jnp, taylorsgd as ts
        >>> data = jnp.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 2.0, 0.1], [0.0, -2.0, 0.1]])
        >>> landscape = ts.Landscape(lambda theta, x: jnp.dot(theta, x) ** 2 + theta[2] / 2, data)
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2, resum="discrete")
        >>> measured = ts.measure(f, landscape, jnp.ones(3), key=jax.random.key(0), method=ts.TopEigenpairs(2))
        >>> print(*measured.pairs.values.round(3), f"{measured.neglected[1]:.2f}")
        4.0 1.0 0.01
        >>> g = f.lower()
        >>> print(f"{g(measured, eta=0.1, N=20):.4f} ± {g.uncertainty(measured, eta=0.1, N=20).neglected:.4f}")
        0.5259 ± 0.0050
    """

    tensors: ProjectedTensors
    pairs: Eigenpairs
    points: int
    samples: int
    fingerprint: Fingerprint | None = None
    metric: str | None = None

    @property
    def exact(self) -> bool:
        """Whether all contractions are exact averages over the population."""
        return self.samples == 0

    @property
    def neglected(self) -> tuple[float, float]:
        """Between what lie the eigenvalues of H in the directions taken to be flat; 0, 0 if there are none."""
        return self.pairs.neglected if self.tensors.rest else (0.0, 0.0)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The header and the rows of a table: eigenvalues and residual norms, and a bound on what is neglected."""
        values, residuals = np.asarray(self.pairs.values), np.asarray(self.pairs.residuals)
        rows = [(_written(value), f"{miss:.1g}") for value, miss in zip(values, residuals, strict=True)]
        if self.tensors.rest:
            count = self.tensors.vectors.shape[1] - len(values)
            low, high = self.neglected
            ends = f"|λ| ≤ {high:.2g}" if np.iscomplexobj(values) else f"{low:.2g} … {high:.2g}"
            rows.append((ends, f"the other {count}, taken to be 0"))
        return ("eigenvalue", "|Hv − λv|"), rows

    def __repr__(self) -> str:
        """The table under a line that says what it is."""
        count, size = self.tensors.vectors.shape
        how = "exact" if self.exact else f"{self.samples} draws"
        return (
            f"<SpectralMeasurement of {len(self.tensors.projections)} diagrams in {count} of {size} eigendirections, "
            f"from {self.points} points ({how})>\n{self}"
        )

    def save(self, path: str | Path) -> None:
        """Write the eigenpairs and contractions to a file: NumPy's npz with a JSON header."""
        arrays: dict[str, Any] = {
            "values": self.pairs.values,
            "vectors": self.pairs.vectors,
            "residuals": self.pairs.residuals,
            "neglected": self.tensors.neglected,
        }
        for i, projection in enumerate(self.tensors.projections.values()):
            arrays[f"numbers {i}"] = projection.numbers
            if projection.vectors is not None:
                arrays[f"open {i}"] = projection.vectors
        header = {
            "diagrams": list(self.tensors.projections),
            "left": self.pairs.left,
            "rest": self.tensors.rest,
            "points": self.points,
            "samples": self.samples,
            "metric": self.metric,
            "versions": versions(),
        }
        write_arrays(path, KIND, header, arrays, self.fingerprint)

    @classmethod
    def load(cls, path: str | Path) -> SpectralMeasurement:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or of another kind.
        """
        header, stored = read_arrays(path, KIND)
        try:
            arrays = {name: on_device(array) for name, array in stored.items()}
            least, largest = map(float, header["left"])
            pairs = Eigenpairs(arrays["values"], arrays["vectors"], arrays["residuals"], (least, largest))
            projections = {
                (tuple(parents), tuple(parts), tuple(marks)): Projection(
                    arrays[f"numbers {i}"], arrays.get(f"open {i}")
                )
                for i, (parents, parts, marks) in enumerate(header["diagrams"])
            }
            tensors = ProjectedTensors(
                pairs.values, pairs.vectors, arrays["neglected"], projections, rest=bool(header["rest"])
            )
            known = Fingerprint.from_json(header.get("fingerprint"))
            points, samples = int(header["points"]), int(header["samples"])
            return cls(tensors, pairs, points, samples, known, header.get("metric"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} can't be read as a {KIND}: {error}") from error


def named_metric(metric: Any) -> str | None:
    """What a formula's metric is called."""
    if metric is None:
        return None
    return "a function" if callable(metric) else str(metric.tolist())


def _written(value: complex) -> str:
    if abs(value.imag) < 5e-7 * abs(value):
        return f"{value.real:.6g}"
    return f"{value.real:.6g} {'+' if value.imag > 0 else '−'} {abs(value.imag):.6g}i"
