"""What really happens: descent itself, run on training sets drawn from a landscape.

A training set is N independent draws l_1, …, l_N. The update t moves the parameters by

    θ_{t+1} = θ_t − η (1/B) Σ_{n in batch t} ∇l_n(θ_t)

and an observable s(θ_T) is averaged over training sets. `perturb` does this exactly, as a power series in η
and over every training set of a finite landscape. It sums no diagrams and counts no embeddings, and is what
the formulas are checked against.
"""

from taylorsgd.descent.perturbation import perturb

__all__ = ["perturb"]
