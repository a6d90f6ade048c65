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

The same iterates make a step without memory, θ ← θ + h(…), on the invariant manifold (`modified_map`). Nesterov's
momentum is run as heavy ball is, in both conventions. Decoupled decay w = hλ is a second field −λ(θ − θ_0), and trees
have nodes of both (`decaying`, `coloured`); coupled decay is a part of E.

Elementwise optimizers (RMSProp, Adam).  With L the derivative along the unknown flow Φ,

    s_i = (1 − A_i)/(1 − A_i e^{−hL}) P_i(g),        (e^{hL} − 1)/(hL) Φ = −U(s),

solved order by order in trees with elementwise products, ψ(g) ⊙ Π_i ∇^{k_i}g[V_1, …, V_{k_i}] (`slow_manifold`).

Games.  Each node of a tree is coloured by its player, and brings that player's rate; simultaneous players are Euler on
the joint field, alternating ones a composition of partial steps (`player_flow`). Time counts rounds: flows that are
written player by player, each in its own time, are right for one step only.

Every flow is evaluated exactly on a landscape, and lowered to JAX on any loss (`calculus`).

Modified loss.  A field of derivatives of E is −∇Ẽ + R with R = 0 if and only if the rootings of every tree come
in the proportions that ∇ of that tree has (`splitting`). Through h, Ẽ = E + (h/4)|∇E|² and R = 0; at h², R ≠ 0.

Effective flow.  The same for averages: the expected displacement D = Σ_d D_d of any spacetime is the time-T flow
of one autonomous field φ = Σ_d φ_d, with φ_d of order η^d,

    D = Σ_{n≥1} T^n/n! · φ ▷ (φ ▷ … ▷ φ),

where u ▷ v is the derivative of v along u: on values, u's tree grafted to every node of v's, ties kept
(`grafting`). This is solved for φ order by order (`effective`); φ may depend on T.

Of an elementwise optimizer the modified loss is Ẽ with θ̇ = φ(∇Ẽ), where it moves without steps by φ(∇E)
(`elementwise_loss`): Adam has one through h where β₁ = β₂.

Generator.  Of means of functions, E φ(θ_T) = exp(T 𝓖) φ where updates are independent: 𝓖φ is the part linear in T,
an operator of every order in ∂ whose first two are a drift and a diffusion (`generators`, `operators`).

(Barrett and Dherin, *Implicit Gradient Regularization*, section 3 and appendix A; Hairer, Lubich and Wanner,
*Geometric Numerical Integration*, chapter IX; Smith et al. 2021; Ghosh et al. 2023.) The recursion of Barrett and
Dherin, Lemmas A.1-A.4, takes f'f for the gradient of |f|²/2, true of gradients only: it is right through f_2, and
first wrong at f_3.
"""

from taylorsgd.flows.curls import curl
from taylorsgd.flows.decaying import DecayingFlow, DecayingMap
from taylorsgd.flows.diffusions import ModifiedSDE, modified_sde
from taylorsgd.flows.effective import EffectiveFlow, EffectiveLoss
from taylorsgd.flows.elementwise_flow import ElementwiseFlow
from taylorsgd.flows.elementwise_scaling import ElementwiseFailure, ElementwiseScaling
from taylorsgd.flows.generators import Generator, Obstruction, generator
from taylorsgd.flows.losses import ModifiedLoss, modified_loss
from taylorsgd.flows.modified import ModifiedFlow, ModifiedMap, modified_flow, modified_map
from taylorsgd.flows.player_flow import PlayersFlow
from taylorsgd.flows.quadratics import QuadraticGenerator
from taylorsgd.flows.scaling import Failure, ScalingRule, scaling_rule
from taylorsgd.flows.tableau import RungeKutta

__all__ = [
    "DecayingFlow", "DecayingMap", "EffectiveFlow", "EffectiveLoss", "ElementwiseFailure", "ElementwiseFlow",
    "ElementwiseScaling", "Failure", "Generator", "ModifiedFlow", "ModifiedLoss", "ModifiedMap", "ModifiedSDE",
    "Obstruction", "PlayersFlow", "QuadraticGenerator", "RungeKutta", "ScalingRule", "curl", "generator",
    "modified_flow", "modified_loss", "modified_map", "modified_sde", "scaling_rule",
]  # fmt: skip
