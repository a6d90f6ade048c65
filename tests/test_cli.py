"""The command line: what it prints, and one line with exit status 2 for every bad argument."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

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
        "diagrams --order x",
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
    assert len(capsys.readouterr().out.splitlines()) == 17 + 2
    pictures = sorted(tmp_path.glob("*.svg"))
    assert len(pictures) == 17
    for picture in pictures:
        ElementTree.parse(picture)


def test_demo_does_the_main_job(capsys, tmp_path):
    comparison = run_demo(order=2, trials=64, seed=3, output=tmp_path / "new", samples=64)
    printed = capsys.readouterr().out
    assert (tmp_path / "new" / "taylorsgd-demo.png").read_bytes().startswith(b"\x89PNG")
    for words in ("C_μν H^μν", "1797", "simulated (95 %)", "χ² = ", "Range: ", "(a a)"):
        assert words in printed
    assert len(comparison.simulated) == len(STEPS) == 8
    assert comparison.degrees == sum(step <= 1 for step in STEPS) == 6
    assert comparison.p_value > 1e-4
