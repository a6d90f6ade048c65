"""The documentation's pages that are made by commands are what the commands make.

(1) docs/dynamics.md is collected from the marks of the tests: it is up to date
(2) a cell names a test if and only if one says that it shows it, and a mark that fits no cell is refused
(4) the examples of docs/extending.md run as they stand, each shorter than 40 lines
(5) docs/architecture.md is what the code says
(3) what a cell calls impossible raises a ValueError, and no test says that it shows it
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import taylorsgd as ts

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dynamics() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dynamics", ROOT / "docs" / "dynamics.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shown(dynamics: ModuleType, request: pytest.FixtureRequest) -> Any:
    """What the tests say they show: those of this run if it is of all; else collected in a process of their own."""
    files = {path.resolve() for path in (ROOT / "tests").rglob("test_*.py")}
    chosen = request.config.option
    if not (chosen.keyword or chosen.markexpr or chosen.deselect) and files <= {i.path for i in request.session.items}:
        collector = dynamics.Collector()
        collector.pytest_collection_modifyitems(request.session.items)
        return collector.shown
    program = "import dynamics, json; print(json.dumps([[*k, sorted(v)] for k, v in dynamics.collected().items()]))"
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "docs"), *filter(None, sys.path)])}
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    return {(resum, name, observable): set(tests) for resum, name, observable, tests in json.loads(run.stdout)}


def test_the_page_of_dynamics_is_up_to_date(
    dynamics: ModuleType, shown: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dynamics.py", "--check"])
    monkeypatch.setattr(dynamics, "collected", lambda: shown)
    assert dynamics.main() == 0
    monkeypatch.setattr(dynamics, "collected", lambda: {**shown, ("none", "GD", "gap"): {"tests/a.py::test_new"}})
    assert dynamics.main() == 1 and "not what the tests say" in capsys.readouterr().err


def test_a_cell_names_the_tests_that_show_it(dynamics: ModuleType) -> None:
    collector = dynamics.Collector()
    collector.add("tests/a.py::test_one", "GD", ("gap", "test loss"))
    collector.add("tests/b.py::test_two", "GD", "gap", resum="discrete")
    collector.add("tests/b.py::test_three", "GD", "gap")
    page = dynamics.written(collector.shown)
    rows = [line for line in page.splitlines() if line.startswith("| GD |")]
    one, others = "[test_one](../tests/a.py)", "| not yet "
    assert rows == [
        f"| GD | {one} {others}| {one} and 1 more {others}{others}|",
        f"| GD {others}{others}| [test_two](../tests/b.py) {others}{others}|",
        f"| GD {others * 5}|",
    ]


def test_what_is_impossible_raises(dynamics: ModuleType, shown: Any) -> None:
    observables = {
        "test loss": ts.TestLoss(),
        "training loss": ts.TrainLoss(),
        "gap": ts.GeneralizationGap(),
        "displacement": ts.Displacement(),
        "variance": ts.Variance(ts.TestLoss()),
    }
    flows = {
        "ODE": ts.ODE(), "SDE": ts.SDE(), "SGD": ts.SGD(), "Grid": ts.Grid([[1, 0], [0, 1]]),
        "shuffle": ts.SGD(shuffle=True),
    }  # fmt: skip
    rules = {
        "SecondOrder": ts.SecondOrder(1), "ImplicitStep": ts.ImplicitStep(), "GDC": ts.GDC(1),
        "HeavyBall": ts.HeavyBall(0.5), "Nesterov": ts.Nesterov(0.5), "rates": ts.Descent([1, 2]),
        "warm-up": ts.Descent(ts.LinearWarmup()), "cosine": ts.Descent(ts.Cosine()),
    }  # fmt: skip
    for resum, name, observable in dynamics.IMPOSSIBLE:
        spacetime, update = flows.get(name, ts.GD()), rules.get(name)
        method = None if resum == "none" else resum
        with pytest.raises(ValueError):
            ts.derive(observables[observable], spacetime, 2, resum=method, update=update)
    assert not dynamics.IMPOSSIBLE.keys() & shown.keys()


@pytest.mark.parametrize("mark", [("gd", "gap"), ("GD", "loss"), ("GD", "gap", "yes")])
def test_a_mark_that_fits_no_cell_is_refused(dynamics: ModuleType, mark: tuple[str, ...]) -> None:
    with pytest.raises(pytest.UsageError, match="expected one of"):
        dynamics.Collector().add("tests/a.py::test_one", *mark)


EXAMPLES = re.findall(
    r"## ([^\n]+)\n.*?```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text("utf-8"), re.DOTALL
)


@pytest.mark.parametrize(("title", "code"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_examples_of_extending_run(title: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "assert" in code and len(code.splitlines()) < 40
    example = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", example)
    exec(compile(code, f"docs/extending.md: {title}", "exec"), vars(example))


def test_extending_has_all_its_examples() -> None:
    assert [title.split()[-1] for title, _ in EXAMPLES] == [
        "spacetime", "rule", "observable", "landscape", "estimator", "experiment"
    ]  # fmt: skip


def test_the_page_of_the_architecture_is_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "docs" / "architecture.py"), "--check"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_promises_name_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)`", text))
    assert len(named) >= 10
    assert [name for name in named if not (ROOT / name).exists()] == []
