"""No TPU is at hand: that lowered formulas compile for CPU, CUDA and TPU is what `jax.export` says."""

from __future__ import annotations

from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import taylorsgd as ts

PLATFORMS = ["cpu", "cuda", "tpu"]
SIZE = 3
H = jnp.diag(jnp.array([1.0, 2.0, 4.0])) + 0.1

CASES: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (ts.TestLoss(), {"spacetime": ts.SGD(), "order": 3}, {"N": 10.0, "B": 2.0, "E": 3.0}),
    (ts.GeneralizationGap(), {"spacetime": ts.GD(), "order": 3}, {"N": 10.0, "T": 4.0}),
    (ts.Displacement(), {"spacetime": ts.SGD(B=1, E=1), "order": 2}, {"N": 10.0}),
    (ts.TestLoss(), {"spacetime": ts.SGD(shuffle=True), "order": 4}, {"N": 10.0, "B": 2.0, "E": 3.0}),
    (ts.TestLoss(), {"spacetime": ts.SGD(B=1, E=1), "order": 2, "resum": "discrete"}, {"N": 10.0}),
    (ts.TestLoss(), {"spacetime": ts.GD(), "order": 2, "resum": "continuous"}, {"N": 10.0, "T": 4.0}),
    (ts.Displacement(), {"spacetime": ts.SGD(B=1, E=1), "order": 2, "resum": "discrete"}, {"N": 10.0}),
    (ts.TestLoss(), {"spacetime": ts.SGD(N=2, B=1, E=2), "order": 2, "resum": "discrete"}, {}),
    (ts.GeneralizationGap(), {"spacetime": ts.GD(), "order": 2, "resum": "discrete", "limit": True}, {"N": 10.0}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_every_kind_compiles_for_every_platform(case: int) -> None:
    observable, options, sizes = CASES[case]
    options = dict(options)
    limit = options.pop("limit", False)
    formula = ts.derive(observable, **options)
    if limit:
        formula = formula.assume("minimum").limit()
    lowered = formula.lower()
    if "resum" in options:
        shapes = {key: (SIZE,) * sum(d for d in key if isinstance(d, int)) for key in lowered.parts}
        tensors: Any = {key: jnp.ones(shape) / 8 for key, shape in shapes.items()} | {(2,): H}
        tensors = [tensors[key] for key in lowered.parts]

        def function(tensors: Any, eta: Any, sizes: Any) -> Any:
            return lowered(dict(zip(lowered.parts, tensors, strict=True)), eta=eta, **sizes)
    else:
        entry = jnp.ones(SIZE) if formula.indices else jnp.ones(())
        tensors = [entry] * len(lowered.values)

        def function(tensors: Any, eta: Any, sizes: Any) -> Any:
            return lowered(tensors, eta=eta, **sizes)

    arguments = (tensors, jnp.array(0.1), {name: jnp.array(size) for name, size in sizes.items()})
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    assert exported.platforms == tuple(PLATFORMS)
    np.testing.assert_allclose(exported.call(*arguments), function(*arguments), rtol=1e-5)
