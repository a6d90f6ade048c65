"""In a forked process JAX would wait for ever: it is said at once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, sys, warnings
import jax.numpy as jnp
import taylorsgd as ts
warnings.simplefilter("ignore")
place = ts.Landscape(lambda theta, x: (theta - x) ** 2, jnp.array([1.0, 2.0]) if BEFORE else [1.0, 2.0])
formula = ts.derive(ts.TestLoss(), ts.GD(N=2, T=2), 1)
calls = [
    lambda: ts.simulate(place, 0.0, ts.GD(N=2, T=2), 0.1, trials=4, key=0),
    lambda: ts.measure(formula, place, 0.0),
    lambda: ts.predict(formula, place, 0.0, eta=0.1),
]
if BEFORE:
    calls[0]()
for call in calls:
    child = os.fork()
    if child == 0:
        try:
            call()
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_forks_after_jax_has_started() -> None:
    program = PROGRAM.replace("BEFORE", "True")
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    lines = run.stdout.splitlines()
    assert len(lines) == 3
    assert all("after JAX had started there" in line and "get_context('spawn')" in line for line in lines)
