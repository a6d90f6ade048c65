r"""Update rules: how gradients move θ, and so what a diagram's edges carry.

An update rule is linear in the gradients g_t. With no curvature, what g_t leaves in θ_{t'} is −η·w(t, t'), its
Green's function, and so an edge from a node at t to one at t' (or to the root, at T) carries w(t, t'), Δ = t' − t:

    descent                    θ ← θ − η r_t g                              r_t
    … with decay towards θ_0   θ ← θ − η r_t g − w (θ − θ_0)                r_t (1 − w)^{Δ−1}
    heavy ball (Polyak)        v ← βv − η r_t g, θ ← θ + v                  r_t (1 − β^Δ)/(1 − β)
    heavy ball (torch)         v ← βv + g, θ ← θ − η r_t v                  Σ_{s=t}^{t'−1} r_s β^{s−t}
    Nesterov (torch, optax)    v ← βv + g, θ ← θ − η r_t (g + βv)           r_t + Σ_{s=t}^{t'−1} r_s β^{s−t+1}
    Nesterov (Sutskever)       v ← βv − η r_t g(θ + βv), θ ← θ + v          r_t (1 − β^{Δ+1})/(1 − β), to the root
                                                                            r_t (1 − β^Δ)/(1 − β)
    heavy ball with decay      θ ← θ + v − w (θ − θ_0)                      r_t ((1 − w)^Δ − β^Δ)/((1 − w) − β)
    Nesterov with decay        … − w (θ − θ_0)                              the same system, 1 − w for θ's own 1
    second order           θ ← θ − η (1 + ηλ ∇∇l_t)⁻¹ g                     1, and λ on an instant edge
    implicit step          θ ← θ′ with θ′ = θ − η ∇l_t(θ + λ(θ′ − θ))       1, and λ on an instant edge

All of these are linear systems, z ← A_t z + b_t u with u = −η g(θ_0 + c·z) and θ_T − θ_0 = r·z (`Memory`):

    w(t, t') = c A_{t'−1} ⋯ A_{t+1} b_t,  r for c at the root;      resummed, A_t − ηH b_t c for A_t.

So a rule says its A, b, c and r, and all sums over time follow. With constant rates w is a sum of powers x^Δ, its
*modes*, x the eigenvalues of A: sums over times have closed forms. So do those of schedules of rates without memory.

An *instant* edge joins two nodes of one update, any two of its cells, and never ends in the root. The second-order
update is linear in g: at most one instant edge ends in each node. An implicit step allows any number. GDC joins
pairs of nodes likewise, with weights that depend on their rows (`gdc`).

Elementwise optimizers (`elementwise`: RMSProp, Adam) are no linear systems. They have modified flows and no diagrams,
as have the players of a game (`games`).
"""

from taylorsgd.updates.curvature import ImplicitStep, SecondOrder
from taylorsgd.updates.elementwise import Adam, Elementwise, ElementwiseRule, RMSProp
from taylorsgd.updates.games import Players
from taylorsgd.updates.gdc import GDC
from taylorsgd.updates.heavy_ball import HeavyBall
from taylorsgd.updates.nesterov import Nesterov
from taylorsgd.updates.plain_descent import Descent
from taylorsgd.updates.rates import Cosine, LinearWarmup, RateSchedule
from taylorsgd.updates.rule import Batch, Memory, Memoryless, Update

__all__ = [
    "Adam", "Batch", "Cosine", "Descent", "Elementwise", "ElementwiseRule", "GDC", "HeavyBall", "ImplicitStep",
    "LinearWarmup", "Memory", "Memoryless", "Nesterov", "Players", "RMSProp", "RateSchedule", "SecondOrder", "Update",
]  # fmt: skip
