"""Where numbers come from: a loss, its data, and the cumulants of its derivatives.

A landscape is a distribution over losses x ↦ l_x, each a smooth function of the parameters θ ∈ ℝ^P. A formula
asks it for the derivative tensors ∇^k l_x at one point θ_0, combined over the data into

    moment   E_x[∇^{k_1} l_x ⊗ … ⊗ ∇^{k_m} l_x]
    cumulant Σ_π (−1)^{|π|−1} (|π|−1)! Π_{block ∈ π} moment(block),   π a set partition of the m nodes

The list (k_1, …, k_m) is called the degrees, each entry a node. Either tensor has Σ k_i axes of length P, the
axes of the first node first; all the nodes see the same x. In the paper's letters G = (1), H = (2), J = (3)
and C = (1, 1), all of them cumulants. A cumulant of two nodes or more vanishes when the loss is not random.

Exact, in SymPy: `FiniteLandscape`, a finite population of losses; `NormalLandscape`, a loss polynomial in
normal noise; and the paper's `gauss()`, `helix()` and `mean_estimation()`. Measured, in JAX: `Landscape`, any
loss on any data, whose values `measure` contracts without forming a tensor; for resummed formulas dense tensors
of small models (`landscapes.dense`), or contractions along top eigendirections of H (`landscapes.spectral`).

Of E, any loss or a landscape's mean, implicit gradient regularization (Barrett and Dherin) asks for its slope
|∇E|, the height of its surface above θ being E:

    R_IG = |∇E|²/m,    λ = hm/4,    Ẽ = E + λ R_IG = E + (h/4) slope²,    E_μ = E + μ slope²

found by `gradient_regularizer`, `regularization_rate`, `implicitly_regularized` and `explicitly_regularized`.
For least squares, `TangentKernel` says the same in terms of the neural tangent kernel.
"""

from typing import TYPE_CHECKING

from taylorsgd._lazy import loader
from taylorsgd.landscapes.finite import FiniteLandscape
from taylorsgd.landscapes.normal import NormalLandscape
from taylorsgd.landscapes.toys import ToyLandscape, gauss, helix, mean_estimation

if TYPE_CHECKING:
    from taylorsgd.datasets.fashion import fashion_mnist
    from taylorsgd.datasets.handwriting import digits
    from taylorsgd.datasets.nets import convolutional_net, logistic_regression
    from taylorsgd.landscapes.landscape import Landscape
    from taylorsgd.measuring.cumulant_tensors import tensors
    from taylorsgd.measuring.dense import DenseMeasurement
    from taylorsgd.measuring.front import measure, plan
    from taylorsgd.measuring.predicting import Prediction, predict
    from taylorsgd.measuring.results import Measurement
    from taylorsgd.measuring.spectral_results import SpectralMeasurement
    from taylorsgd.regularizing.gradient_penalty import explicitly_regularized, implicitly_regularized
    from taylorsgd.regularizing.loss_surface import (
        gradient_regularizer,
        loss_surface_slope,
        metric_determinant,
        norm_growth_bound,
        regularization_rate,
    )
    from taylorsgd.regularizing.tangent_kernel import TangentKernel

__all__ = [
    "DenseMeasurement",
    "FiniteLandscape",
    "Landscape",
    "Measurement",
    "NormalLandscape",
    "Prediction",
    "SpectralMeasurement",
    "TangentKernel",
    "ToyLandscape",
    "convolutional_net",
    "digits",
    "explicitly_regularized",
    "fashion_mnist",
    "gauss",
    "gradient_regularizer",
    "helix",
    "implicitly_regularized",
    "logistic_regression",
    "loss_surface_slope",
    "mean_estimation",
    "measure",
    "metric_determinant",
    "norm_growth_bound",
    "plan",
    "predict",
    "regularization_rate",
    "tensors",
]

__getattr__ = loader(
    __name__,
    {
        "DenseMeasurement": "taylorsgd.measuring.dense",
        "Landscape": "taylorsgd.landscapes.landscape",
        "Measurement": "taylorsgd.measuring.results",
        "Prediction": "taylorsgd.measuring.predicting",
        "SpectralMeasurement": "taylorsgd.measuring.spectral_results",
        "TangentKernel": "taylorsgd.regularizing.tangent_kernel",
        "convolutional_net": "taylorsgd.datasets.nets",
        "digits": "taylorsgd.datasets.handwriting",
        "explicitly_regularized": "taylorsgd.regularizing.gradient_penalty",
        "fashion_mnist": "taylorsgd.datasets.fashion",
        "gradient_regularizer": "taylorsgd.regularizing.loss_surface",
        "implicitly_regularized": "taylorsgd.regularizing.gradient_penalty",
        "logistic_regression": "taylorsgd.datasets.nets",
        "loss_surface_slope": "taylorsgd.regularizing.loss_surface",
        "measure": "taylorsgd.measuring.front",
        "metric_determinant": "taylorsgd.regularizing.loss_surface",
        "norm_growth_bound": "taylorsgd.regularizing.loss_surface",
        "plan": "taylorsgd.measuring.front",
        "predict": "taylorsgd.measuring.predicting",
        "regularization_rate": "taylorsgd.regularizing.loss_surface",
        "tensors": "taylorsgd.measuring.cumulant_tensors",
    },
)
