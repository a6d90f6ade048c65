r"""What descent adds to a loss, and what may be added to it on purpose.

Of E, any loss or a landscape's mean, implicit gradient regularization (Barrett and Dherin) asks for its slope
|∇E|, the height of its surface above θ ∈ ℝ^m being E:

    R_IG = |∇E|²/m,    λ = hm/4,    Ẽ = E + λ R_IG = E + (h/4) slope²,    E_μ = E + μ slope²

found by `gradient_regularizer`, `regularization_rate`, `implicitly_regularized` and `explicitly_regularized`.
For least squares, E = s|ε|², `TangentKernel` says the same in terms of the neural tangent kernel K: Ẽ = s εᵀ(1 + hsK)ε.

Inside a user's own training loop three optax transformations turn the gradient of a batch's loss into that of a
regularized one (Tenka, section 4, and Barrett and Dherin, equation 8):

    explicit_gradient_regularization    E + μ|∇E|²                                      ∇E + 2μ H∇E
    covariance_regularization           l̂ + s tr Ĉ, GDC                                 ∇l̂ + s ∇ tr Ĉ
    gap_regularization                  l̂ + tr[Ĉ/N · Ĥ⁻¹ (1 − e^{−ηTĤ})], STIC          ∇l̂ + ∇ of `gap_estimate`

Beside `gap_estimate` stand the criteria that it smoothes: `takeuchi`, tr(Ĉ Ĥ⁻¹)/N, and `akaike`, P/N.
"""

from typing import TYPE_CHECKING

from taylorsgd._lazy import listing, loader

if TYPE_CHECKING:
    from taylorsgd.regularizing.criteria import akaike, takeuchi
    from taylorsgd.regularizing.explicit import explicit_gradient_regularization
    from taylorsgd.regularizing.gap import gap_estimate
    from taylorsgd.regularizing.gradient_penalty import explicitly_regularized, implicitly_regularized
    from taylorsgd.regularizing.loss_surface import (
        gradient_regularizer,
        loss_surface_slope,
        metric_determinant,
        norm_growth_bound,
        regularization_rate,
    )
    from taylorsgd.regularizing.tangent_kernel import TangentKernel
    from taylorsgd.regularizing.transformations import covariance_regularization, gap_regularization

__all__ = [
    "TangentKernel", "akaike", "covariance_regularization", "explicit_gradient_regularization",
    "explicitly_regularized", "gap_estimate", "gap_regularization", "gradient_regularizer",
    "implicitly_regularized", "loss_surface_slope", "metric_determinant", "norm_growth_bound",
    "regularization_rate", "takeuchi",
]  # fmt: skip

NAMES = {
    "taylorsgd.regularizing.criteria": "akaike takeuchi",
    "taylorsgd.regularizing.explicit": "explicit_gradient_regularization",
    "taylorsgd.regularizing.gap": "gap_estimate",
    "taylorsgd.regularizing.gradient_penalty": "explicitly_regularized implicitly_regularized",
    "taylorsgd.regularizing.loss_surface": "gradient_regularizer loss_surface_slope metric_determinant "
    "norm_growth_bound regularization_rate",
    "taylorsgd.regularizing.tangent_kernel": "TangentKernel",
    "taylorsgd.regularizing.transformations": "covariance_regularization gap_regularization",
}

__dir__ = listing(__name__)
__getattr__ = loader(__name__, NAMES)
