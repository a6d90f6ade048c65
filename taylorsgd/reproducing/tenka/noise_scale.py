"""Which corrections keep to the scaling laws of an SDE's noise, being functions of η/B: the second author response.

One epoch on N points, with η → κη, B → κB and so T → T/κ, keeps ηT and η/B. A term c(N, B) η^d of a derived formula
keeps to the law if c(N, κB) κ^d = c(N, B).
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from scipy.stats import norm
from sympy import Rational, Symbol, simplify

import taylorsgd as ts
from taylorsgd.landscapes import gauss
from taylorsgd.reproducing.experiment import Finding, Work
from taylorsgd.reproducing.significance import LEAST_P
from taylorsgd.symbols import eta

__all__ = ["of_noise_scale", "split_by_law"]

KAPPA = Symbol("kappa", positive=True)
ORDER = 3
RATE = Rational(1, 20)
"""Of the runs with B = 1; those with B = 2 have twice that."""


def split_by_law(order: int) -> tuple[list[str], list[str]]:
    """The values in the test loss of one-epoch SGD that stand with functions of η/B at given ηT, and the others.

    Example:
        >>> split_by_law(2)
        (['G_μ G^μ', 'C_μν H^μν'], ['G_μ H^μ_ν G^ν'])
    """
    kept, broken = [], []
    for term in ts.derive(ts.TestLoss(), ts.SGD(E=1), order).terms:
        if term.order:
            batch: Any = next((s for s in term.coefficient.free_symbols if str(s) == "B"), None)
            scaled = term.coefficient.subs(batch, KAPPA * batch) if batch is not None else term.coefficient
            keeps = simplify(scaled * KAPPA**term.order - term.coefficient) == 0
            (kept if keeps else broken).append(str(term.value))
    return kept, broken


def of_noise_scale(size: Any, work: Work) -> list[Finding]:
    """Count the terms that keep to the law, and see on GAUSS what the others do.

    Args:
        size: the settings `start`, `points`, `trials` and `seed`.
        work: told what is run.
    """
    kept, broken = split_by_law(ORDER)
    work.say(f"{size.trials} pairs of runs with η and B scaled together")
    found = work.keep("scaled", lambda: _paired(size))
    mean, error = float(found["mean"]), float(found["error"])
    predicted = {order: _predicted(size, order) for order in range(1, ORDER + 1)}
    p_values = {order: float(2 * norm.sf(abs(value - mean) / error)) for order, value in predicted.items()}
    lower = p_values[ORDER - 1]
    return [
        Finding(
            "some but not all corrections are functions of η/B (second response)",
            f"through η^{ORDER}, at given ηT, {len(kept)} of {len(kept) + len(broken)} terms: {', '.join(kept)}",
            bool(kept and broken),
            {"kept": len(kept), "of": len(kept) + len(broken)},
            exact=True,
        ),
        Finding(
            "with twice η and twice B the test loss differs by what the other terms say",
            f"GAUSS from h = {size.start}, N = {size.points}, η = {float(RATE):g}: {mean:.4g} ± {error:.1g} (paired), "
            f"order {ORDER} {predicted[ORDER]:.4g}, p = {p_values[ORDER]:.2g}; agrees above {LEAST_P:g}",
            bool(p_values[ORDER] > LEAST_P),
            {"mean": mean, "error": error, f"order {ORDER}": predicted[ORDER]},
            "control",
            unmet="" if lower < LEAST_P else f"order {ORDER - 1} is not excluded",
        ),
        Finding(
            f"order {ORDER - 1}, and the law that it is 0, do not agree: the runs tell orders apart",
            f"order {ORDER - 1} {predicted[ORDER - 1]:.4g}, p = {lower:.2g}; the law, p = {p_values[1]:.2g}; excluded "
            f"below {LEAST_P:g}",
            bool(max(lower, p_values[1]) < LEAST_P),
            {f"order {ORDER - 1}": lower, "law": p_values[1]},
            "control",
        ),
    ]


def _paired(size: Any) -> dict[str, np.ndarray]:
    """The test loss with 2η and B = 2 less that with η and B = 1, on the same training sets."""
    key, start = jax.random.fold_in(jax.random.key(size.seed), 2), jax.numpy.array([float(size.start)])
    ends = [
        ts.simulate(gauss(), start, ts.SGD(N=size.points, B=b, E=1), [b * float(RATE)], size.trials, key).test_loss
        for b in (1, 2)
    ]
    difference = np.asarray(ends[1].trials, float)[0] - np.asarray(ends[0].trials, float)[0]
    return {"mean": difference.mean(), "error": difference.std(ddof=1) / np.sqrt(size.trials)}


def _predicted(size: Any, order: int) -> float:
    """The same by the formula of an order, exactly; at order 1 the law holds."""
    formula = ts.derive(ts.TestLoss(), ts.SGD(E=1), order)
    start = [Rational(str(size.start))]
    one, two = (formula.evaluate(gauss(), at=start, N=size.points, B=b).subs(eta, b * RATE) for b in (1, 2))
    return float(two - one)
