"""Many devices, in one process and in two: the same numbers to rounding, and work on every device.

Each configuration is a program of its own, because JAX fixes its devices when it starts.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import numpy as np

PROGRAM = r"""
import json, os, sys
devices, processes, number, port = map(int, sys.argv[1:])
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={devices}"
os.environ["JAX_PLATFORMS"] = "cpu"
import jax
jax.config.update("jax_enable_x64", True)
if processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", processes, number)
import jax.numpy as jnp
import taylorsgd as ts
from taylorsgd.measuring import running

assert jax.device_count() == devices * processes
points = jnp.array([[0.5, -1.0], [-0.25, 0.75], [1.0, 0.5], [0.0, 0.25], [2.0, -0.5]])
loss = lambda theta, x: (theta["u"] * theta["v"] + x[0]) ** 2 / 2 + jnp.cosh(theta["u"] - x[1] * theta["v"])
theta = {"u": jnp.array(0.5), "v": jnp.array(-0.75)}
place = ts.Landscape(loss, points)
sampler = ts.Landscape(loss, lambda key, n: jax.random.normal(key, (n, 2)))
seen = set()
plain = running.Runner.estimates
def estimates(self, points):
    result = plain(self, points)
    for leaf in jax.tree.leaves(result):
        seen.add(len(leaf.sharding.device_set))
    return result
running.Runner.estimates = estimates

key = jax.random.key(4)
answer = {}
sgd = ts.SGD(B=1, E=1)
for name, where in (("population", place), ("sampler", sampler)):
    scalars = ts.measure(ts.derive(ts.TestLoss(), ts.GD(), 2), where, theta, key=key, samples=101,
                         method=ts.MatrixFree(batch=2, chunk=50))
    run = ts.simulate(where, theta, ts.SGD(N=4, B=2, E=1), [0.1, 0.2], 33, key, chunk=10, test_points=3)
    answer[name] = [scalars.mean, scalars.standard_error, run.test_loss.trials, run.displacement.standard_error]
vectors = ts.measure(ts.derive(ts.Displacement(), sgd, 2), place, theta, key=key, samples=37,
                     method=ts.MatrixFree(batch=2))
run = ts.simulate(place, theta, ts.SDE(T=2, B=1), 0.1, 11, key, refinement=2)
answer["more"] = [vectors.mean, vectors.standard_error, run.test_loss.trials, run.displacement.mean]
numbers = {name: [float(x) for leaf in jax.tree.leaves(found) for x in jnp.ravel(jnp.asarray(leaf))]
           for name, found in answer.items()}
print(json.dumps({"numbers": numbers, "devices": sorted(seen)}))
"""


def answers(devices: int, processes: int) -> list[Any]:
    """What every process prints."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, (devices, processes, number, port))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    found = []
    for process in running:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
        found.append(json.loads(output.splitlines()[-1]))
    return found


def test_numbers_do_not_depend_on_the_devices() -> None:
    (alone,) = answers(1, 1)
    assert alone["devices"] == [1]
    for devices, processes in ((4, 1), (1, 2)):
        for found in answers(devices, processes):
            assert found["devices"] == [devices * processes]  # every estimate lay on all of them
            for name, numbers in alone["numbers"].items():
                np.testing.assert_allclose(found["numbers"][name], numbers, rtol=1e-11, atol=1e-13)
