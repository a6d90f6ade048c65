"""Closed-form Taylor expansions of stochastic gradient descent.

Derive what SGD does to order η^d as an exact formula, evaluate it on tensors measured on your own loss, and
compare it with simulated SGD:

    import taylorsgd as ts
    f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)

The rooms, in the order in which data flows: `diagrams` (what is summed), `timesums` and `spacetime` (over which times,
and where), `updates` (what edges carry), `formulas` (what comes out), `flows` (backward error analysis), `lowering`
(formulas as jitted JAX functions), `landscapes` and `measuring` (where numbers come from), `regularizing` and
`datasets`, beside `descent` (what really happens), and `display` and `writing` (shapes and formulas on a page).
"""

from typing import TYPE_CHECKING

from taylorsgd._lazy import listing, loader

if TYPE_CHECKING:
    from taylorsgd import landscapes, symbols
    from taylorsgd.descent import check, compare, expand, perturb, simulate
    from taylorsgd.diagrams import Diagram, Value, count_diagrams, diagrams_of_order
    from taylorsgd.flows import (
        ModifiedFlow,
        ModifiedLoss,
        ModifiedMap,
        RungeKutta,
        generator,
        modified_flow,
        modified_loss,
        modified_map,
        modified_sde,
        scaling_rule,
    )
    from taylorsgd.formulas import (
        Covariance,
        Displacement,
        Embedding,
        Formula,
        GeneralizationGap,
        Observable,
        SecondMoment,
        Term,
        TestLoss,
        TrainLoss,
        Variance,
        derive,
        embeddings_of,
    )
    from taylorsgd.landscapes import FiniteField, FiniteLandscape
    from taylorsgd.landscapes.fields import Field
    from taylorsgd.landscapes.landscape import Landscape
    from taylorsgd.measuring import (
        Dense,
        MatrixFree,
        TopEigenpairs,
        measure,
        plan,
        predict,
        principal_components,
        tensors,
    )
    from taylorsgd.spacetime import GD, ODE, SDE, SGD, Grid, Replacement
    from taylorsgd.updates import (
        GDC,
        Adam,
        Cosine,
        Descent,
        Elementwise,
        HeavyBall,
        ImplicitStep,
        LinearWarmup,
        Nesterov,
        Players,
        RMSProp,
        SecondOrder,
    )

__version__ = "0.2.0"

__all__ = [
    "GD", "GDC", "ODE", "SDE", "SGD", "Adam", "Cosine", "Covariance", "Dense", "Descent", "Diagram", "Displacement",
    "Elementwise", "Embedding", "Field", "FiniteField", "FiniteLandscape", "Formula", "GeneralizationGap", "Grid",
    "HeavyBall", "ImplicitStep", "Landscape", "LinearWarmup", "MatrixFree", "ModifiedFlow", "ModifiedLoss",
    "ModifiedMap", "Nesterov", "Observable", "Players", "RMSProp", "Replacement", "RungeKutta", "SecondMoment",
    "SecondOrder", "Term", "TestLoss", "TopEigenpairs", "TrainLoss", "Value", "Variance", "check", "compare",
    "count_diagrams", "derive", "diagrams_of_order", "embeddings_of", "expand", "generator", "landscapes", "measure",
    "modified_flow", "modified_loss", "modified_map", "modified_sde", "perturb", "plan", "predict",
    "principal_components", "scaling_rule", "simulate", "symbols", "tensors",
]  # fmt: skip

__dir__ = listing(__name__)
__getattr__ = loader(
    __name__,
    {
        "taylorsgd.diagrams": "Diagram Value count_diagrams diagrams_of_order",
        "taylorsgd.formulas": "Covariance Displacement Embedding Formula GeneralizationGap Observable SecondMoment "
        "Term TestLoss TrainLoss Variance derive embeddings_of",
        "taylorsgd.spacetime": "GD ODE SDE SGD Grid Replacement",
        "taylorsgd.updates": "GDC Adam Cosine Descent Elementwise HeavyBall ImplicitStep LinearWarmup Nesterov "
        "Players RMSProp SecondOrder",
        "taylorsgd.measuring": "Dense MatrixFree TopEigenpairs measure plan predict principal_components tensors",
        "taylorsgd.flows": "ModifiedFlow ModifiedLoss ModifiedMap RungeKutta generator modified_flow modified_loss "
        "modified_map modified_sde scaling_rule",
        "taylorsgd.landscapes.fields": "Field",
        "taylorsgd.landscapes.finite": "FiniteLandscape",
        "taylorsgd.landscapes.finite_field": "FiniteField",
        "taylorsgd.landscapes.landscape": "Landscape",
        "taylorsgd.descent.perturbation": "perturb",
        "taylorsgd.descent.checking": "check",
        "taylorsgd.descent.comparing": "compare",
        "taylorsgd.descent.expanding": "expand",
        "taylorsgd.descent.simulating": "simulate",
    },
    rooms="symbols diagrams timesums spacetime updates formulas landscapes descent flows measuring lowering "
    "regularizing datasets reproducing display writing",
)
