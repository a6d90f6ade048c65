r"""What formulas take of a landscape: values, tensors and contractions at θ_0, with errors; and predictions.

A plain formula is linear in its values, contractions of cumulants such as C_μν H^μν. `MatrixFree` estimates them
from K independent draws of a few points,

    mean = (1/K) Σ_k V_k,    E[V_k] = V,    covariance = Σ_k (V_k − mean)(V_k − mean)ᵀ / (K(K − 1)),

each by messages grad D_{v_1} … D_{v_j} f along the edges of a tree (`contraction`), never by a tensor. A resummed
formula has powers of K = I − ηH on its edges. `Dense` computes the cumulants κ(∇^{k_1} l_x, …) of its parts as arrays,
Σ k_i axes of length P; `TopEigenpairs(k)` splits every edge, 1 = Σ_{i ≤ k} v_i v_iᵀ + P_*, and contracts along the
eigenvectors and the rest by messages too (`directions`).

All go one way: formulas become a `Plan` of products of messages, and a `Runner` carries it out, stage by stage, for
the whole population, for all choices of points that a sweep lists, and for draws. What comes out is `Measured`: a
`Measurement`, a `DenseMeasurement` or a `SpectralMeasurement`. `predict` evaluates a formula on it; with weights
w_{ηi} = c_i η^{d_i}, a prediction w·V has the covariance w Cov wᵀ. Open indices are vectors like θ, or closed with
directions: `predict(along=)`, and `principal_components` searches for the directions of largest variance.
"""

from typing import TYPE_CHECKING

from taylorsgd._lazy import listing, loader

if TYPE_CHECKING:
    from taylorsgd.measuring.contraction import Plan
    from taylorsgd.measuring.cumulant_tensors import tensors
    from taylorsgd.measuring.dense import Dense, DenseMeasurement
    from taylorsgd.measuring.eigenpairs import Eigenpairs, top_eigenpairs
    from taylorsgd.measuring.front import measure, plan
    from taylorsgd.measuring.matrix_free import MatrixFree
    from taylorsgd.measuring.predicting import predict
    from taylorsgd.measuring.predictions import Prediction
    from taylorsgd.measuring.principal import PrincipalComponents, principal_components
    from taylorsgd.measuring.results import Measured, Measurement
    from taylorsgd.measuring.spectral import TopEigenpairs
    from taylorsgd.measuring.spectral_results import SpectralMeasurement

__all__ = [
    "Dense", "DenseMeasurement", "Eigenpairs", "MatrixFree", "Measured", "Measurement", "Plan", "Prediction",
    "PrincipalComponents", "SpectralMeasurement", "TopEigenpairs", "measure", "plan", "predict",
    "principal_components", "tensors", "top_eigenpairs",
]  # fmt: skip

NAMES = {
    "taylorsgd.measuring.contraction": "Plan",
    "taylorsgd.measuring.cumulant_tensors": "tensors",
    "taylorsgd.measuring.dense": "Dense DenseMeasurement",
    "taylorsgd.measuring.eigenpairs": "Eigenpairs top_eigenpairs",
    "taylorsgd.measuring.front": "measure plan",
    "taylorsgd.measuring.matrix_free": "MatrixFree",
    "taylorsgd.measuring.predicting": "predict",
    "taylorsgd.measuring.predictions": "Prediction",
    "taylorsgd.measuring.principal": "PrincipalComponents principal_components",
    "taylorsgd.measuring.results": "Measured Measurement",
    "taylorsgd.measuring.spectral": "TopEigenpairs",
    "taylorsgd.measuring.spectral_results": "SpectralMeasurement",
}

__dir__ = listing(__name__)
__getattr__ = loader(__name__, NAMES)
