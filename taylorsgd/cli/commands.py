"""The commands: what they take and what they do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import taylorsgd
from taylorsgd.cli.wording import OBSERVABLES, RULES, observable_named, rule_named, spacetime_given
from taylorsgd.writing.drawn import FORMATS

__all__ = ["run"]


class _Parser(argparse.ArgumentParser):
    """A parser that reports a bad argument in one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run(arguments: Sequence[str] | None) -> int:
    """Run a command; see `taylorsgd.cli.main`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()  # a full disk is noticed here, and not after the end
        return status
    except BrokenPipeError:  # the reader of a pipe went away: what is left goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except options.user_errors as error:
        return options.parser.error(str(error))
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"taylorsgd: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="taylorsgd", description="Closed-form Taylor expansions of stochastic gradient descent.")
    parser.add_argument("--version", action="version", version=f"taylorsgd {taylorsgd.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    demo = commands.add_parser(
        "demo",
        help="derive, measure, predict and simulate on real images",
        description="Derive the expected test loss of one-epoch SGD, measure it on a classifier of handwritten "
        "digits, and compare the prediction with simulated SGD.",
    )
    demo.add_argument("--order", type=_integer(2, 4), default=3, help="highest power of eta, 2 to 4 (default 3)")
    demo.add_argument(
        "--trials", type=_integer(16), default=4000, help="simulated runs per learning rate (default 4000)"
    )
    demo.add_argument("--seed", type=_integer(0, 2**32 - 1), default=0, help="seed of all random numbers (default 0)")
    demo.add_argument("--output", type=Path, default=Path("."), help="folder for the plot (default: this folder)")
    demo.set_defaults(run=_demo, parser=demo, user_errors=OSError)

    derive = commands.add_parser(
        "derive", help="print a formula", description="Derive the expectation of an observable after descent, exactly."
    )
    derive.add_argument("observable", metavar="OBSERVABLE", help=OBSERVABLES)
    where = derive.add_mutually_exclusive_group(required=True)
    for name, text in (
        ("sgd", "SGD on N points in batches of B for E epochs, without shuffling unless --shuffle is given"),
        ("replacement", "SGD whose T batches of B are drawn from N points with replacement"),
        ("gd", "full-batch gradient descent on N points, T updates"),
        ("ode", "gradient flow for a time T"),
        ("sde", "the stochastic differential equation for a time T, with the noise of batches of B"),
    ):
        where.add_argument(f"--{name}", dest="dynamics", action="store_const", const=name, help=text)
    for name, text in (("N", "training points"), ("B", "batch size"), ("E", "epochs"), ("T", "updates or time")):
        derive.add_argument(f"-{name}", type=_integer(0), help=f"{text}; left out: a symbol")
    derive.add_argument("--shuffle", action="store_true", help="of --sgd: shuffle the points before every epoch")
    derive.add_argument(
        "--data",
        choices=("fresh", "fixed"),
        default="fresh",
        help="of --sgd --shuffle and of --replacement: average over training sets too (fresh, the default), or over "
        "the order alone, with the landscape as the training set (fixed)",
    )
    derive.add_argument("--order", type=_integer(0), required=True, help="highest power of eta")
    derive.add_argument(
        "--resum",
        choices=("discrete", "continuous"),
        help="sum powers of 1 - eta H to all orders: exactly, or as integrals of exponentials",
    )
    derive.add_argument("--update", metavar="RULE", help=f"the update rule, {RULES} (default descent)")
    derive.add_argument(
        "--assume",
        action="append",
        default=[],
        metavar="NAME",
        help="drop terms that vanish: minimum, gaussian, noiseless or quadratic; may be repeated",
    )
    derive.add_argument("--format", choices=("text", "latex", "json"), default="text", help="default text")
    derive.set_defaults(run=_derive, parser=derive, user_errors=(ValueError, TypeError, NotImplementedError))

    diagrams = commands.add_parser(
        "diagrams",
        help="list the diagrams of an order",
        description="List every diagram with so many edges, in brackets: root outermost, tied nodes share a letter.",
    )
    diagrams.add_argument("--order", type=_integer(0), required=True, help="number of edges")
    folder = diagrams.add_mutually_exclusive_group()
    folder.add_argument("--draw", type=Path, metavar="DIR", help="also draw each into this folder")
    folder.add_argument("--svg", type=Path, metavar="DIR", help="the same as --draw DIR --format svg")
    diagrams.add_argument("--format", choices=FORMATS, help="of --draw: the pictures' format (default svg)")
    diagrams.set_defaults(run=_diagrams, parser=diagrams, user_errors=(ValueError, OSError))

    reproduce = commands.add_parser(
        "reproduce",
        help="run a published experiment again",
        description="Run a published experiment again: draw its figure, write its numbers, and say whether its "
        "claims are found, by a statistic fixed beforehand. Writes NAME.png, NAME.svg, NAME.csv and NAME.json, and in "
        "NAME.run.json what it took; runs of other images, sizes or seeds have that in the files' names.",
    )
    which = reproduce.add_mutually_exclusive_group(required=True)
    which.add_argument("name", metavar="NAME", nargs="?", help="the experiment, one of --list")
    which.add_argument("--list", action="store_true", help="list the experiments, and how long each takes")
    which.add_argument(
        "--all",
        action="store_true",
        help="run every experiment that has no verdict in the folder yet, and write REPRODUCTION.md there",
    )
    which.add_argument("--report", action="store_true", help="write REPRODUCTION.md from the verdicts in the folder")
    size = reproduce.add_mutually_exclusive_group()
    for name, text in (
        ("quick", "a small run, in minutes (the default)"),
        ("full", "a large run; says how long it takes"),
        ("paper", "with the paper's own sizes, where an experiment has them; goes on where it was interrupted"),
    ):
        size.add_argument(f"--{name}", dest="size", action="store_const", const=name, help=text)
    reproduce.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a folder of images: CIFAR-10's binary version (data_batch_1.bin, …), or MNIST's or Fashion-MNIST's "
        "IDX files (default: scikit-learn's digits). With --full, igr-egr trains a ResNet-18 on CIFAR-10, which "
        "needs a GPU",
    )
    reproduce.add_argument(
        "--output", type=Path, default=Path("."), metavar="DIR", help="folder for the files (default: this folder)"
    )
    reproduce.add_argument(
        "--seed", type=_integer(0, 2**31 - 1), help="seed of all random numbers (default: that of the settings)"
    )
    reproduce.add_argument(
        "--pieces",
        type=_integer(1),
        metavar="K",
        help="of a run that is made of pieces (igr-rate-width --paper): do K of them now, and judge those done so far; "
        "the same command goes on with the next (default: all that are left)",
    )
    reproduce.set_defaults(
        run=_reproduce, parser=reproduce, size="quick", user_errors=(ValueError, OSError, ArithmeticError)
    )
    return parser


def _integer(least: int, most: int | None = None):
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if number < least or (most is not None and number > most):
            bounds = f"at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{number} is out of range; it must be {bounds}")
        return number

    return convert


def _need_devices(options: argparse.Namespace) -> None:
    """End with one line if JAX finds nothing to compute on."""
    import jax

    try:
        jax.devices()
    except RuntimeError as error:
        chosen = os.environ.get("JAX_PLATFORMS", "")
        options.parser.error(f"JAX finds no device for JAX_PLATFORMS={chosen!r}: {str(error).splitlines()[0]}")


def _demo(options: argparse.Namespace) -> int:
    _need_devices(options)
    from taylorsgd.demo import run_demo

    run_demo(options.order, options.trials, options.seed, options.output)
    return 0


def _derive(options: argparse.Namespace) -> int:
    from taylorsgd.formulas import derive

    formula = derive(
        observable_named(options.observable),
        spacetime_given(options),
        options.order,
        resum=options.resum,
        update=rule_named(options.update) if options.update else None,
    ).assume(*options.assume)
    write = {"text": str, "latex": lambda f: f.latex(), "json": lambda f: f.to_json()}[options.format]
    print(write(formula))
    return 0


def _diagrams(options: argparse.Namespace) -> int:
    from taylorsgd.diagrams import count_diagrams, diagrams_of_order
    from taylorsgd.display import text_table

    folder = options.svg or options.draw
    if options.format and not options.draw:
        raise ValueError(f"argument --format: {options.format} is the format of pictures; say where with --draw DIR")
    suffix = options.format or "svg"
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    width = len(str(count_diagrams(options.order)))
    rows, names = [], []
    for number, diagram in enumerate(diagrams_of_order(options.order), start=1):
        rows.append((str(number), str(diagram), str(diagram.automorphisms), "yes" if diagram.is_linkless else "no"))
        if folder is not None:
            names.append(f"order-{options.order}-{number:0{width}d}.{suffix}")
            diagram.save(folder / names[-1])
    print(text_table(("number", "diagram", "automorphisms", "linkless"), rows))
    if names:
        written = names[0] if len(names) == 1 else f"{len(names)} pictures, {names[0]} to {names[-1]}"
        print(f"Written: {written}, in {folder}")
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from taylorsgd.reproducing import experiment_names, load_experiment, run_all, run_experiment, write_report

    if options.list:
        print("\n\n".join(load_experiment(name).describe(name) for name in experiment_names()))
        return 0
    if options.pieces is not None and not options.name:
        raise ValueError("argument --pieces: goes with the name of an experiment")
    if not options.report:
        _need_devices(options)
    if options.all:
        print(f"Written: {run_all(options.size, options.output, options.data, seed=options.seed)}")
    elif options.report:
        print(f"Written: {write_report(options.output)}")
    else:
        run_experiment(
            options.name, options.size, options.output, options.data, seed=options.seed, pieces=options.pieces
        )
    return 0
