r"""What interrupting and killing leave behind: every command that writes, many times, at random moments.

    python benchmarks/interrupting.py --times 200

starts a command in a folder of its own, sends it SIGINT or SIGKILL after a random time, looks at what is in the folder,
and starts it again until it is done. It prints a JSON line: how often a process was stopped, how many files were half
written, how many runs gave other numbers than an undisturbed one, how many interrupts were not obeyed within ten
seconds, and how many ended a command of ours in anything but what a shell calls status 130. All of these should be 0.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

RUN = [sys.executable, "-m", "taylorsgd"]
MEASURE = """
import sys
import jax, jax.numpy as jnp, taylorsgd as ts
landscape = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.linspace(-1.0, 1.0, 50))
formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=3)
method = ts.MatrixFree(checkpoint=f"{sys.argv[1]}/kept.npz", chunk=64)
ts.measure(formula, landscape, 0.5, key=0, samples=4096, method=method, progress=False).save(f"{sys.argv[1]}/done.npz")
"""
COMMANDS: dict[str, list[str]] = {
    "diagrams": [*RUN, "diagrams", "--order", "4", "--draw", "FOLDER"],
    "reproduce": [*RUN, "reproduce", "igr-errata", "--output", "FOLDER"],
    "demo": [*RUN, "demo", "--order", "2", "--trials", "64", "--output", "FOLDER"],
    "measure": [sys.executable, "-c", MEASURE, "FOLDER"],
}
PYTHON_STARTS = 0.1
"""Seconds until Python surely runs the command and listens."""


def started(name: str, folder: Path) -> subprocess.Popen[bytes]:
    """The command, writing into a folder."""
    words = [word.replace("FOLDER", str(folder)) for word in COMMANDS[name]]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder.parent)


def is_whole(path: Path) -> bool:
    """Whether a file can be read to its end."""
    try:
        content = path.read_bytes()
        match path.suffix:
            case ".npz":
                with np.load(path, allow_pickle=False) as stored:
                    return len([stored[name] for name in stored.files]) > 0
            case ".png":
                return content.startswith(b"\x89PNG") and content.rstrip().endswith(b"IEND\xaeB`\x82")
            case ".svg":
                return content.rstrip().endswith(b"</svg>")
            case ".json":
                return isinstance(json.loads(content), dict)
            case ".csv":
                rows = list(csv.reader(content.decode().splitlines()))
                return content.endswith(b"\n") and len({len(row) for row in rows}) == 1
            case _:
                return False
    except (OSError, ValueError, EOFError):
        return False


def visible(folder: Path) -> dict[str, bytes]:
    """The files of a folder, but for those that a killed process left under names with a dot."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def disturbed(name: str, kind: signal.Signals, after: float, undisturbed: dict[str, bytes]) -> dict[str, int]:
    """Stop a command once, look, and run it to its end."""
    found = {"stopped": 0, "half written": 0, "not obeyed": 0, "other status": 0, "other numbers": 0}
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "output")
        folder.mkdir()
        process = started(name, folder)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(kind)
            found["stopped"] = 1
        try:
            process.communicate(timeout=10 if found["stopped"] else 600)
        except subprocess.TimeoutExpired:
            found["not obeyed"] = 1
            process.kill()
            process.communicate()
        # A shell reports 130 for both: the command's own status, and a process that the signal itself ended. Before
        # Python runs a line of the command it is Python's own start that ends, in any way; so do a user's scripts.
        ours = name != "measure" and after > PYTHON_STARTS
        if kind == signal.SIGINT and ours and found["stopped"] and process.returncode not in (0, 130, -signal.SIGINT):
            found["other status"] = 1
        found["half written"] = sum(not is_whole(folder / path) for path in visible(folder))
        again = started(name, folder)
        _, errors = again.communicate(timeout=600)
        found["other numbers"] = int(again.returncode != 0 or not same(visible(folder), undisturbed))
        if found["other numbers"] or found["not obeyed"] or found["other status"]:
            print(name, kind.name, round(after, 2), process.returncode, errors.decode()[-300:], file=sys.stderr)
    return found


def same(one: dict[str, bytes], two: dict[str, bytes]) -> bool:
    """Whether two runs left the same files; what npz files hold is compared, for they hold times."""
    return one.keys() == two.keys() and all(one[name] == two[name] for name in one if not name.endswith(".npz"))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=200, help="how often a process is stopped (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=tuple(COMMANDS))
    options = parser.parse_args()
    # What runs in the background of a shell ignores interrupts, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chance = random.Random(options.seed)
    names = [options.only] if options.only else list(COMMANDS)
    lasts: dict[str, float] = {}
    left: dict[str, dict[str, bytes]] = {}
    for name in names:
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root, "output")
            folder.mkdir()
            start = monotonic()
            process = started(name, folder)
            _, errors = process.communicate()
            assert process.returncode == 0, errors.decode()
            lasts[name], left[name] = monotonic() - start, visible(folder)
    totals: dict[str, Any] = {"benchmark": "interrupting"}
    for i in range(options.times):
        name, kind = names[i % len(names)], (signal.SIGINT, signal.SIGKILL)[i // len(names) % 2]
        for what, count in disturbed(name, kind, chance.uniform(0.02, lasts[name]), left[name]).items():
            totals[what] = totals.get(what, 0) + count
    print(json.dumps(totals))


if __name__ == "__main__":
    main()
