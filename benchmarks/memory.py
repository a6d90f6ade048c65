"""What measuring a model of about a million parameters at order 3 takes in memory.

Prints one JSON line per figure. A subprocess measures the order-3 test loss of one-epoch SGD of a net of three dense
layers twice: the first time compiles, then the kernel's high-water mark of resident memory is reset (Linux), and the
second time is what counts. `in parameters` is how far the mark rose above what was resident before (the program, the
compiled code, the data and θ), in units of the parameters' own bytes; one gradient of the loss over the same
population, taken alike, stands beside it. The aim is for all of it, the micro-batch included.

    python benchmarks/memory.py [--width 1000] [--samples 8] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

CODE = """
import ctypes, json, time
import jax, jax.numpy as jnp, numpy as np
import taylorsgd as ts

def loss(theta, point):
    signal, label = point
    for number, (weight, bias) in enumerate(theta):
        signal = signal @ weight + bias
        if number < len(theta) - 1:
            signal = jnp.tanh(signal)
    return jax.nn.logsumexp(signal) - signal[label]

def resident(name):
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))

def risen(call):
    jax.block_until_ready(call())
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    start = time.perf_counter()
    jax.block_until_ready(call())
    return resident("VmHWM") - before, time.perf_counter() - start

shapes = [(784, {width}), ({width}, 200), (200, 10)]
keys = jax.random.split(jax.random.key(0), len(shapes))
theta = [(jax.random.normal(k, s) / s[0] ** 0.5, jnp.zeros(s[1])) for k, s in zip(keys, shapes)]
random = np.random.default_rng(0)
points = random.normal(size=(512, 784)).astype(np.float32), random.integers(0, 10, 512).astype(np.int32)
landscape = ts.Landscape(loss, points)
formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)
gradient = jax.jit(jax.grad(lambda theta: jnp.mean(landscape.losses(theta, landscape.data))))
calls = {{
    "measuring": lambda: ts.measure(formula, landscape, theta, key=jax.random.key(1), samples={samples}),
    "one gradient": lambda: gradient(theta),
}}
print(json.dumps([sum(leaf.size for leaf in jax.tree.leaves(theta)), *risen(calls["{what}"])]))
"""


def main() -> None:
    """Measure, and print as soon as there is a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1000, help="of the first hidden layer (default 1000)")
    parser.add_argument("--samples", type=int, default=8, help="draws (default 8)")
    parser.add_argument("--runs", type=int, default=3, help="processes behind each median (default 3)")
    given = parser.parse_args()
    for what, aim in (("one gradient", None), ("measuring", 20)):
        code = CODE.format(width=given.width, samples=given.samples, what=what)
        outputs = [
            json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
            for _ in range(given.runs)
        ]
        parameters = outputs[0][0]
        rises = [round(taken / (4 * parameters), 2) for _, taken, _ in outputs]
        figure = {
            "figure": f"memory of {what}, order 3" if what == "measuring" else f"memory of {what} of 512 points",
            "parameters": parameters,
            "in parameters": statistics.median(rises),
            "runs": rises,
            "megabytes": round(statistics.median(taken for _, taken, _ in outputs) / 1e6, 1),
            "seconds": round(statistics.median(seconds for _, _, seconds in outputs), 2),
            "aim": aim,
        }
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
