r"""What a loss is: the losses l_x of data x, and the cumulants of their derivatives.

A landscape is a distribution over losses x ↦ l_x, each a smooth function of the parameters θ ∈ ℝ^P. A formula
asks it for the derivative tensors ∇^k l_x at one point θ_0, combined over the data into

    moment   E_x[∇^{k_1} l_x ⊗ … ⊗ ∇^{k_m} l_x]
    cumulant Σ_π (−1)^{|π|−1} (|π|−1)! Π_{block ∈ π} moment(block),   π a set partition of the m nodes

The list (k_1, …, k_m) is called the degrees, each entry a node. Either tensor has Σ k_i axes of length P, the
axes of the first node first; all the nodes see the same x. In the paper's letters G = (1), H = (2), J = (3)
and C = (1, 1), all of them cumulants. A cumulant of two nodes or more vanishes when the loss is not random.

Exact, in SymPy: `FiniteLandscape`, a finite population of losses; `NormalLandscape`, a loss polynomial in
normal noise; the paper's `gauss()`, `helix()` and `mean_estimation()`; and `linear_regression()` on normal features,
whose first two moments SGD moves by a recursion that is exact at every learning rate. In JAX: `Landscape`, any loss on
any data.

A vector field u_x, for training that goes down no loss, stands in the place of a landscape, −u in that of ∇l:
`FiniteField` exactly, `Field` in JAX. `sharpness_aware`, `clipped`, `normalized`, `natural_gradient` and `game` make
fields of losses, `geodesic_descent` of steps on curved weight spaces.

What is measured on landscapes (`measuring`), added to losses (`regularizing`) and kept at hand to try both
(`datasets`) has rooms of its own; their names may be taken from here as well.
"""

from typing import TYPE_CHECKING

from taylorsgd._lazy import listing, loader
from taylorsgd.landscapes.finite import FiniteLandscape
from taylorsgd.landscapes.finite_field import FiniteField
from taylorsgd.landscapes.normal import NormalLandscape
from taylorsgd.landscapes.regression import LinearRegression, linear_regression
from taylorsgd.landscapes.second_moments import MomentRecursion, RegressionMoments
from taylorsgd.landscapes.toys import ToyLandscape, gauss, helix, mean_estimation

if TYPE_CHECKING:
    from taylorsgd.datasets import (
        attention_head,
        convolutional_net,
        digits,
        fashion_mnist,
        logistic_regression,
        with_dropout,
    )
    from taylorsgd.landscapes.curved import at_rate, geodesic_descent
    from taylorsgd.landscapes.fields import Field
    from taylorsgd.landscapes.landscape import Landscape
    from taylorsgd.landscapes.moment_curves import MomentCurve
    from taylorsgd.landscapes.training_fields import clipped, game, natural_gradient, normalized, sharpness_aware
    from taylorsgd.measuring import (
        DenseMeasurement,
        Measurement,
        Prediction,
        SpectralMeasurement,
        measure,
        plan,
        predict,
        tensors,
    )
    from taylorsgd.regularizing import (
        TangentKernel,
        akaike,
        explicitly_regularized,
        gap_estimate,
        gradient_regularizer,
        implicitly_regularized,
        loss_surface_slope,
        metric_determinant,
        norm_growth_bound,
        regularization_rate,
        takeuchi,
    )

__all__ = [
    "DenseMeasurement", "Field", "FiniteField", "FiniteLandscape", "Landscape", "LinearRegression", "Measurement",
    "MomentCurve", "MomentRecursion", "NormalLandscape", "Prediction", "RegressionMoments", "SpectralMeasurement",
    "TangentKernel", "ToyLandscape", "akaike", "at_rate", "attention_head", "clipped", "convolutional_net",
    "digits", "explicitly_regularized", "fashion_mnist", "game", "gap_estimate", "gauss", "geodesic_descent",
    "gradient_regularizer", "helix", "implicitly_regularized", "linear_regression", "logistic_regression",
    "loss_surface_slope", "mean_estimation", "measure", "metric_determinant", "natural_gradient",
    "norm_growth_bound", "normalized", "plan", "predict", "regularization_rate", "sharpness_aware", "takeuchi",
    "tensors", "with_dropout",
]  # fmt: skip

ELSEWHERE = {
    "taylorsgd.datasets": "attention_head convolutional_net digits fashion_mnist logistic_regression with_dropout",
    "taylorsgd.landscapes.curved": "at_rate geodesic_descent",
    "taylorsgd.landscapes.fields": "Field",
    "taylorsgd.landscapes.training_fields": "clipped game natural_gradient normalized sharpness_aware",
    "taylorsgd.landscapes.landscape": "Landscape",
    "taylorsgd.landscapes.moment_curves": "MomentCurve",
    "taylorsgd.measuring": "DenseMeasurement Measurement Prediction SpectralMeasurement measure plan predict tensors",
    "taylorsgd.regularizing": "TangentKernel akaike explicitly_regularized gap_estimate gradient_regularizer "
    "implicitly_regularized loss_surface_slope metric_determinant norm_growth_bound regularization_rate takeuchi",
}

__dir__ = listing(__name__)
__getattr__ = loader(__name__, ELSEWHERE)
