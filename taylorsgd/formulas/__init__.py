r"""What comes out: exact formulas for what descent does, order by order in η.

    f = Σ_terms coefficient · value,         coefficient = Σ_D (−1)^|D| Z_S(D) / (B^|D| |Aut D|),

the inner sum over all diagrams D with the same value. A coefficient is an exact function of the sizes N, B,
E, T; a value holds the tensors of the landscape at θ_0 and its own powers of η, one for each edge.

By observable, with the root of D carrying ∇^k s (Tenka, sections A.7 and B.3):

    test loss            s = l, root alone
    training loss        root alone or in a part; each tie of a root to a part weighs 1/N
    generalization gap   −1 times the training loss's diagrams in which the root is tied
    displacement         a root of degree 1 that carries the identity: an open index
    second moment        two roots; a covariance keeps the diagrams in which a part meets both trees

Cumulants, not moments: they make the counting free of exclusions (section B.4). `Formula.to_moments`
rewrites a formula in moments by Möbius inversion over set partitions.
"""

from taylorsgd.formulas.derivation import derive
from taylorsgd.formulas.embeddings import Embedding, embeddings_of
from taylorsgd.formulas.formula import Formula
from taylorsgd.formulas.observables import (
    Covariance,
    Displacement,
    GeneralizationGap,
    Observable,
    SecondMoment,
    TestLoss,
    TrainLoss,
    Variance,
)
from taylorsgd.formulas.term import Term

__all__ = [
    "Covariance", "Displacement", "Embedding", "Formula", "GeneralizationGap", "Observable", "SecondMoment", "Term",
    "TestLoss", "TrainLoss", "Variance", "derive", "embeddings_of",
]  # fmt: skip
