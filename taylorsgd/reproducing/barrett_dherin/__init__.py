"""D. Barrett and B. Dherin, *Implicit Gradient Regularization*: their figures, and their mistakes in print.

With steps of h descent follows, to one order more, the flow of the modified loss E + λ R_IG, where R_IG = |∇E|²/m and
λ = hm/4; so the larger h and the number m of parameters are, the flatter, they claim, are the places where it ends.

    igr-two-parameters   the modified flow, and where descent ends, on E(a, b) = (y − abx)²/2: Figures 1 and A.1
    igr-rate-width       R_IG and test accuracy of perceptrons against h and m: Figures 2 and A.2 to A.5
    igr-slope            |∇E| where perceptrons end, and around it: Figure 3a
    igr-robustness       their test accuracy when parameters are perturbed: Figure 3b
    igr-egr              a residual network with μ|∇E|² added to its loss: Figures 3c, A.6 and A.7
    igr-errata           lemmas and equations that are not so
"""

__all__ = ["EXPERIMENTS", "TITLE"]

TITLE = "Implicit Gradient Regularization"
"""The paper's."""

EXPERIMENTS = {
    "igr-egr": "explicit_penalty",
    "igr-errata": "euler_errata",
    "igr-rate-width": "rate_and_width",
    "igr-robustness": "shaken_networks:ROBUSTNESS",
    "igr-slope": "shaken_networks:SLOPE",
    "igr-two-parameters": "two_parameter_paths",
}
"""The experiments by their commands' names, with the module of each, and the constant there if it is not EXPERIMENT."""
