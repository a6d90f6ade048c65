"""The command line: what it prints, and one line with exit status 2 for every bad argument."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sympy
from sympy import Rational

import taylorsgd as ts
from taylorsgd.cli import main
from taylorsgd.demo import STEPS, run_demo


def test_derive_prints_each_format(capsys):
    words = ["derive", "test-loss", "--sgd", "-B", "1", "-E", "1", "--order", "2"]
    formula = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), 2)
    for name, expected in (("text", str(formula)), ("latex", formula.latex())):
        assert main([*words, "--format", name]) == 0
        assert capsys.readouterr().out.strip() == expected
    main([*words, "--format", "json", "--assume", "minimum", "--assume", "gaussian"])
    text = capsys.readouterr().out
    assert json.loads(text) and ts.Formula.from_json(text) == formula.assume("minimum")


@pytest.mark.parametrize(
    ("words", "observable", "spacetime"),
    [
        ("train-loss --gd -T 3", ts.TrainLoss(), ts.GD(T=3)),
        ("gap --sgd -N 6 -B 2", ts.GeneralizationGap(), ts.SGD(N=6, B=2)),
        ("displacement --sde -B 1", ts.Displacement(), ts.SDE(B=1)),
        ("variance(test-loss) --ode", ts.Variance(ts.TestLoss()), ts.ODE()),
        ("covariance(gap,displacement) --gd", ts.Covariance(ts.GeneralizationGap(), ts.Displacement()), ts.GD()),
        (
            "second-moment(displacement,displacement) --gd",
            ts.SecondMoment(ts.Displacement(), ts.Displacement()),
            ts.GD(),
        ),
    ],
)
def test_derive_understands_observables_and_dynamics(capsys, words, observable, spacetime):
    main(["derive", *words.split(), "--order", "2"])
    assert capsys.readouterr().out.strip() == str(ts.derive(observable, spacetime, 2))


BETA, LAMBDA, W = sympy.symbols("beta lambda w")


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("descent", ts.Descent()),
        ("decay(0.01)", ts.Descent(decay=Rational(1, 100))),
        ("decay", ts.Descent(decay=W)),
        ("heavy-ball(9/10)", ts.HeavyBall(Rational(9, 10))),
        ("heavy-ball(0.9)", ts.HeavyBall(Rational(9, 10))),
        ("heavy-ball(.90)", ts.HeavyBall(Rational(9, 10))),
        ("heavy-ball", ts.HeavyBall(BETA)),
        ("nesterov(1/2)", ts.Nesterov(Rational(1, 2))),
        ("nesterov(1/2, 0.01)", ts.Nesterov(Rational(1, 2), decay=Rational(1, 100))),
        ("heavy-ball(0,1/3)", ts.HeavyBall(0, decay=Rational(1, 3))),
        ("second-order(2)", ts.SecondOrder(2)),
        ("implicit(1)", ts.ImplicitStep(1)),
        ("implicit", ts.ImplicitStep(LAMBDA)),
        ("gdc(2)", ts.GDC(2)),
        ("gdc", ts.GDC()),
        ("warmup", ts.Descent(rates=ts.LinearWarmup())),
        ("cosine", ts.Descent(rates=ts.Cosine())),
    ],
)
def test_derive_understands_update_rules(capsys, words, rule):
    """Decimals are the fractions that they are short for."""
    main(["derive", "test-loss", "--gd", "-T", "3", "--order", "2", "--update", words])
    assert capsys.readouterr().out.strip() == str(ts.derive(ts.TestLoss(), ts.GD(T=3), 2, update=rule))


@pytest.mark.parametrize("how", ["discrete", "continuous"])
def test_derive_resums(capsys, how):
    main(["derive", "gap", "--gd", "--order", "2", "--resum", how, "--assume", "minimum"])
    expected = ts.derive(ts.GeneralizationGap(), ts.GD(), 2, resum=how).assume("minimum")
    assert capsys.readouterr().out.strip() == str(expected)


def test_derive_takes_a_rule_and_resums(capsys):
    words = "derive test-loss --gd -T 2 --order 1 --resum discrete --update heavy-ball(1/2) --format json"
    main(words.split())
    expected = ts.derive(ts.TestLoss(), ts.GD(T=2), 1, resum="discrete", update=ts.HeavyBall(Rational(1, 2)))
    assert ts.Formula.from_json(capsys.readouterr().out) == expected


@pytest.mark.parametrize(
    ("words", "spacetime"),
    [
        ("--replacement -B 1", ts.Replacement(B=1)),
        ("--replacement -T 3 --data fixed", ts.Replacement(T=3, data="fixed")),
        ("--sgd --shuffle", ts.SGD(shuffle=True)),
        ("--sgd -E 1 --shuffle --data fixed", ts.SGD(E=1, shuffle=True, data="fixed")),
    ],
)
def test_derive_understands_batches_by_chance(capsys, words, spacetime):
    main(["derive", "test-loss", *words.split(), "--order", "2"])
    assert capsys.readouterr().out.strip() == str(ts.derive(ts.TestLoss(), spacetime, 2))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "frobnicate",
        "derive",
        "derive test-loss --order 1",
        "derive test-loss --sgd --gd --order 1",
        "derive nonsense --gd --order 1",
        "derive variance(test-loss,gap) --gd --order 1",
        "derive gap --ode --order 1",
        "derive test-loss --sgd -N 5 -B 2 --order 1",
        "derive test-loss --gd -B 2 --order 1",
        "derive test-loss --gd --order -1",
        "derive test-loss --gd --order two",
        "derive test-loss --gd --order 1 --assume frozen",
        "derive test-loss --gd --order 1 --format pdf",
        "derive test-loss --sgd --shuffle --order 1 --resum continuous",
        "derive test-loss --gd --order 1 --resum sideways",
        "derive test-loss --gd --order 1 --shuffle",
        "derive test-loss --gd --order 1 --data fixed",
        "derive test-loss --sgd --order 1 --data fixed",
        "derive test-loss --replacement -E 2 --order 1",
        "derive test-loss --sgd --order 1 --update heavy-ball",
        "derive test-loss --gd --order 1 --update heavyball(0.9)",
        "derive test-loss --gd --order 1 --update heavy-ball(0.9",
        "derive test-loss --gd --order 1 --update heavy-ball(0.9,0.1,0.1)",
        "derive test-loss --gd --order 1 --update adam(0.9)",
        "derive test-loss --gd --order 1 --update heavy-ball()",
        "derive test-loss --gd --order 1 --update heavy-ball(1/0)",
        "derive test-loss --gd --order 1 --update heavy-ball(sqrt(2))",
        "derive test-loss --gd --order 1 --update heavy-ball(__import__('os'))",
        "derive test-loss --gd --order 1 --update heavy-ball(nan)",
        "derive test-loss --gd --order 1 --update heavy-ball(1_0)",
        "derive test-loss --gd --order 1 --update gdc(1/2)",
        "derive test-loss --gd --order 1 --update cosine(2)",
        "diagrams --order x",
        "diagrams --order 1 --format pdf",
        "diagrams --order 1 --draw pictures --format jpeg",
        "diagrams --order 1 --draw pictures --svg pictures",
        "diagrams --order 1 --draw /dev/null/nowhere",
        "demo --order 1",
        "demo --trials 0",
        "demo --seed minus",
        "demo --output /dev/null/nowhere",
        "reproduce",
        "reproduce --list igr-slope",
        "reproduce igr-nothing",
        "reproduce igr-slope --quick --full",
        "reproduce igr-slope --data nowhere",
        "reproduce igr-two-parameters --data .",
        "reproduce igr-two-parameters --output /dev/null/nowhere",
    ],
)
def test_a_bad_argument_gives_one_line_and_status_2(capsys, words):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("taylorsgd") and captured.err.count("\n") == 1
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("words", ["--help", "demo --help", "derive --help", "diagrams --help", "reproduce --help"])
def test_help_exists(capsys, words):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 0 and "usage: taylorsgd" in capsys.readouterr().out


def test_diagrams_are_listed_and_drawn(capsys, tmp_path):
    assert main(["diagrams", "--order", "3", "--svg", str(tmp_path)]) == 0
    *listed, written = capsys.readouterr().out.splitlines()
    assert len(listed) == 17 + 2
    assert written == f"Written: 17 pictures, order-3-01.svg to order-3-17.svg, in {tmp_path}"
    pictures = sorted(tmp_path.glob("*.svg"))
    assert len(pictures) == 17
    for picture in pictures:
        ElementTree.parse(picture)


@pytest.mark.parametrize(
    ("name", "begin"), [("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG"), ("tikz", b"\\begin{tikzpicture}")]
)
def test_diagrams_are_drawn_in_every_format(capsys, tmp_path, name, begin):
    folder = tmp_path / "new" / "folder"
    assert main(["diagrams", "--order", "2", "--draw", str(folder), "--format", name]) == 0
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"order-2-{i}.{name}" for i in range(1, 5)]
    assert all(file.read_bytes().startswith(begin) for file in files)
    assert f"4 pictures, order-2-1.{name} to order-2-4.{name}, in {folder}" in capsys.readouterr().out


def test_one_diagram_is_one_picture(capsys, tmp_path):
    main(["diagrams", "--order", "1", "--draw", str(tmp_path)])
    assert capsys.readouterr().out.endswith(f"Written: order-1-1.svg, in {tmp_path}\n")
    main(["diagrams", "--order", "1"])
    assert "Written" not in capsys.readouterr().out


def test_it_says_its_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"taylorsgd {ts.__version__}\n"
    for words, text in (
        (["--version"], f"taylorsgd {ts.__version__}"),
        (["diagrams", "--order", "0"], "number  diagram"),
    ):
        run = subprocess.run([sys.executable, "-m", "taylorsgd", *words], capture_output=True, text=True, check=True)
        assert run.stdout.startswith(text)


def test_demo_does_the_main_job(capsys, tmp_path):
    comparison = run_demo(order=2, trials=64, seed=3, output=tmp_path / "new", samples=64)
    printed = capsys.readouterr().out
    assert (tmp_path / "new" / "taylorsgd-demo.png").read_bytes().startswith(b"\x89PNG")
    for words in ("C_μν H^μν", "1797", "simulated ± s.e.", "χ² = ", "Range: ", "(a a)"):
        assert words in printed
    assert len(comparison.simulated) == len(STEPS) == 8
    assert comparison.degrees == sum(step <= 1 for step in STEPS) == 6
    assert comparison.p_value > 1e-4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
@pytest.mark.parametrize("command", ["diagrams --order 2", "derive test-loss --sgd --order 1"])
def test_a_full_disk_is_no_success(command: str) -> None:
    line = f"{sys.executable} -m taylorsgd {command} > /dev/full"
    run = subprocess.run(line, shell=True, capture_output=True, text=True)
    assert run.returncode in (1, 2)
    assert "No space left on device" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize("command", ["diagrams --order 4", "reproduce --list"])
def test_a_reader_that_goes_away_is_no_error(command: str) -> None:
    run = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m taylorsgd {command} | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")


@pytest.fixture
def hear_interrupts() -> Iterator[None]:
    """What runs in the background of a shell ignores them, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def leaving(words: list[str], wait: Callable[[subprocess.Popen[str]], None]) -> tuple[int, str]:
    """What Python was told to run, interrupted after something: its status and the rest of its errors."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def while_importing(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    while "taylorsgd.cli.wording" not in process.stderr.readline():
        pass


def in_the_middle(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    while "Measuring" not in process.stdout.readline():
        pass


@pytest.mark.usefixtures("hear_interrupts")
@pytest.mark.parametrize(("options", "wait"), [(["-X", "importtime"], while_importing), ([], in_the_middle)])
def test_interrupts_end_a_command_at_once(options: list[str], wait: Callable[[Any], None], tmp_path: Path) -> None:
    status, errors = leaving([*options, "-m", "taylorsgd", "demo", "--output", str(tmp_path)], wait)
    assert (status, errors.strip().splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "environment", "found"),
    [
        (
            ["derive", "test-loss", "--gd", "--order", "1"],
            {"PYTHONIOENCODING": "ascii"},
            "E[l(theta_T)] = l - T G_mu G^mu",
        ),
        (["diagrams", "--order", "2"], {"PYTHONIOENCODING": "latin-1"}, "------"),
        (["diagrams", "--order", "1"], {"MPLBACKEND": "nonsense"}, "(.)"),
    ],
)
def test_odd_terminals(words: list[str], environment: dict[str, str], found: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "taylorsgd", *words], env=os.environ | environment, capture_output=True, check=True
    )
    assert found in run.stdout.decode("ascii" if "ascii" in environment.values() else "latin-1")


def test_platforms_that_are_not_there() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "taylorsgd", "demo"],
        env=os.environ | {"JAX_PLATFORMS": "nonsense"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr.startswith("taylorsgd demo: error: JAX finds no device for JAX_PLATFORMS='nonsense'")
    assert len(run.stderr.splitlines()) == 1


def test_interrupting_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The quickest of the commands that write, stopped six times; the benchmark stops all, two hundred times."""
    run = subprocess.run(
        [sys.executable, "benchmarks/interrupting.py", "--times", "6", "--only", "diagrams"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(run.stdout)
    assert found.pop("benchmark") == "interrupting" and found.pop("stopped") > 0
    assert set(found.values()) == {0}
