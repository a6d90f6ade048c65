r"""Backward error analysis: the flows that discrete descent follows, and their losses where they have any.

Symbols:
    f, h         a vector field and a step size; for gradient descent f = −∇E and h = η.
    τ, |τ|       a rooted tree (a diagram without ties) and its number of nodes; σ(τ) its automorphisms.
    F(τ)(f)      its elementary differential: f'f for the chain of two nodes, f''(f, f) for the cherry.
    c, b         coefficients of a series of elementary differentials, b(τ) = σ(τ) c(τ).

Modified equation.  The iterates of a method lie on the solution of

    θ̇ = Σ_τ h^{|τ|−1} c(τ) F(τ)(f) = f + h f_1 + h² f_2 + …

For Euler b(τ) is the coefficient of t in the strict order polynomial Ω(τ; t), which counts the ways to run the
nodes of τ at t steps (`iterates`): f_1 = −½ f'f, f_2 = ⅓ f'f'f + 1/12 f''(f, f). For heavy ball it is the flow on
the slow manifold, with c(•) = 1/(1 − β).

Modified loss.  A field of derivatives of E is −∇Ẽ + R with R = 0 if and only if the rootings of every tree come
in the proportions that ∇ of that tree has (`splitting`). Through h, Ẽ = E + (h/4)|∇E|² and R = 0; at h², R ≠ 0.

Effective flow.  The same for averages: the expected displacement D = Σ_d D_d of any spacetime is the time-T flow
of one autonomous field φ = Σ_d φ_d, with φ_d of order η^d,

    D = Σ_{n≥1} T^n/n! · φ ▷ (φ ▷ … ▷ φ),

where u ▷ v is the derivative of v along u: on values, u's tree grafted to every node of v's, ties kept
(`grafting`). This is solved for φ order by order (`effective`); φ may depend on T.

Generator.  Of means of functions, E φ(θ_T) = exp(T 𝓖) φ where updates are independent: 𝓖φ is the part linear in T,
an operator of every order in ∂ whose first two are a drift and a diffusion (`generators`, `operators`).

(Barrett and Dherin, *Implicit Gradient Regularization*, section 3 and appendix A; Hairer, Lubich and Wanner,
*Geometric Numerical Integration*, chapter IX; Smith et al. 2021; Ghosh et al. 2023.) The recursion of Barrett and
Dherin, Lemmas A.1-A.4, takes f'f for the gradient of |f|²/2, true of gradients only: it is right through f_2, and
first wrong at f_3.
"""

from taylorsgd.flows.curls import curl
from taylorsgd.flows.diffusions import ModifiedSDE, modified_sde
from taylorsgd.flows.effective import EffectiveFlow, EffectiveLoss
from taylorsgd.flows.generators import Generator, Obstruction, generator
from taylorsgd.flows.losses import ModifiedLoss, modified_loss
from taylorsgd.flows.modified import ModifiedFlow, modified_flow
from taylorsgd.flows.quadratics import QuadraticGenerator
from taylorsgd.flows.scaling import Failure, ScalingRule, scaling_rule
from taylorsgd.flows.tableau import RungeKutta

__all__ = [
    "EffectiveFlow", "EffectiveLoss", "Failure", "Generator", "ModifiedFlow", "ModifiedLoss", "ModifiedSDE",
    "Obstruction", "QuadraticGenerator", "RungeKutta", "ScalingRule", "curl", "generator", "modified_flow",
    "modified_loss", "modified_sde", "scaling_rule",
]  # fmt: skip
