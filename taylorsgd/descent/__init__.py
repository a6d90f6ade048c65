"""What really happens: descent itself, run on training sets drawn from a landscape.

A training set is N independent draws l_1, …, l_N. The update t moves the parameters by

    θ_{t+1} = θ_t − η (1/B) Σ_{n in batch t} ∇l_n(θ_t)

and an observable s(θ_T) is averaged over training sets. `perturb` does this exactly, as a power series in η
and over every training set of a finite landscape. It sums no diagrams and counts no embeddings, and is what
the formulas are checked against. `simulate` does it in JAX, on random training sets of any landscape, with
error bars, and `compare` holds a prediction against it. `expand` differentiates the same runs in η, for any optimizer:
Taylor coefficients where no formula is known. For descent in a user's own training loop there are
`explicit_gradient_regularization`, down E + μ|∇E|², `covariance_regularization` (GDC), down l̂ + s tr Ĉ, and
`gap_regularization` (STIC), down l̂ + `gap_estimate`.
"""

from typing import TYPE_CHECKING

from taylorsgd._lazy import listing, loader
from taylorsgd.descent.perturbation import perturb

if TYPE_CHECKING:
    from taylorsgd.descent.checking import Check, check
    from taylorsgd.descent.comparing import Comparison, compare
    from taylorsgd.descent.expanding import expand
    from taylorsgd.descent.expansions import Expansion
    from taylorsgd.descent.runs import Difference, Simulation
    from taylorsgd.descent.simulating import simulate
    from taylorsgd.regularizing.explicit import explicit_gradient_regularization
    from taylorsgd.regularizing.gap import gap_estimate
    from taylorsgd.regularizing.transformations import covariance_regularization, gap_regularization

__all__ = [
    "Check", "Comparison", "Difference", "Expansion", "Simulation", "check", "compare", "covariance_regularization",
    "expand", "explicit_gradient_regularization", "gap_estimate", "gap_regularization", "perturb", "simulate",
]  # fmt: skip

__dir__ = listing(__name__)
__getattr__ = loader(
    __name__,
    {
        "taylorsgd.descent.checking": "Check check",
        "taylorsgd.descent.comparing": "Comparison compare",
        "taylorsgd.descent.expanding": "expand",
        "taylorsgd.descent.expansions": "Expansion",
        "taylorsgd.descent.runs": "Difference Simulation",
        "taylorsgd.regularizing.transformations": "covariance_regularization gap_regularization",
        "taylorsgd.regularizing.explicit": "explicit_gradient_regularization",
        "taylorsgd.regularizing.gap": "gap_estimate",
        "taylorsgd.descent.simulating": "simulate",
    },
)
