"""What the words of the command line mean: observables, dynamics and update rules.

Words are matched against lists, and numbers against their pattern; no text is ever evaluated. A decimal is exact:
0.9 is 9/10.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

__all__ = ["OBSERVABLES", "RULES", "exact_number_named", "observable_named", "rule_named", "spacetime_given"]

_SINGLE = ("test-loss", "train-loss", "gap", "displacement")
_PAIRS = ("variance", "covariance", "second-moment")
OBSERVABLES = f"{', '.join(_SINGLE)}, variance(A), covariance(A,B) or second-moment(A,B) with A and B among the first"
"""What may be observed, in words."""

RULES = (
    "descent, decay(W), heavy-ball(BETA), nesterov(BETA), second-order(LAMBDA), implicit(LAMBDA), gdc(B), warmup or "
    "cosine, with exact numbers such as 9/10 or 0.9; the number left out: a symbol; decay W after BETA, as in "
    "nesterov(0.9,W)"
)
"""The update rules, in words."""

_CALL = re.compile(r"([a-z-]+)(?:\((.*)\))?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+/[0-9]+|[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")


def observable_named(text: str) -> Any:
    """The observable of a word such as gap, or of a call such as covariance(gap,displacement).

    Raises:
        ValueError: if there is none of that name.
    """
    from taylorsgd import formulas

    single = {
        "test-loss": formulas.TestLoss(),
        "train-loss": formulas.TrainLoss(),
        "gap": formulas.GeneralizationGap(),
        "displacement": formulas.Displacement(),
    }
    if text in single:
        return single[text]
    head, bracket, rest = text.partition("(")
    members = [word.strip() for word in rest.removesuffix(")").split(",")]
    wanted = 1 if head == "variance" else 2
    if head not in _PAIRS or not bracket or not text.endswith(")") or len(members) != wanted:
        raise ValueError(f"argument OBSERVABLE: {text!r} is unknown; give {OBSERVABLES}")
    for member in members:
        if member not in single:
            raise ValueError(
                f"argument OBSERVABLE: {member!r} in {text!r} is unknown; give one of {', '.join(_SINGLE)}"
            )
    build = {"variance": formulas.Variance, "covariance": formulas.Covariance, "second-moment": formulas.SecondMoment}[
        head
    ]
    return build(*(single[member] for member in members))


def spacetime_given(options: argparse.Namespace) -> Any:
    """The spacetime of the options of `taylorsgd derive`.

    Raises:
        ValueError: if a size or an option is given that it has not.
    """
    from taylorsgd import spacetime

    kind, sizes, choices = {
        "sgd": (spacetime.SGD, "NBE", ("shuffle", "data")),
        "replacement": (spacetime.Replacement, "NBT", ("data",)),
        "gd": (spacetime.GD, "NT", ()),
        "ode": (spacetime.ODE, "T", ()),
        "sde": (spacetime.SDE, "TB", ()),
    }[options.dynamics]
    for name in "NBET":
        if getattr(options, name) is not None and name not in sizes:
            raise ValueError(f"argument -{name}: --{options.dynamics} has no size {name}; it has {', '.join(sizes)}")
    if options.shuffle and "shuffle" not in choices:
        raise ValueError(f"argument --shuffle: --{options.dynamics} has nothing to shuffle; --sgd has")
    if options.data == "fixed" and not (options.shuffle or options.dynamics == "replacement"):
        raise ValueError(
            f"argument --data: fixed is of --sgd --shuffle or --replacement, not of --{options.dynamics} alone"
        )
    chosen = {name: getattr(options, name) for name in (*sizes, *choices)}
    return kind(**chosen)


def rule_named(text: str) -> Any:
    """The update rule of a word such as cosine, or of a call such as heavy-ball(9/10) or nesterov(9/10,1/100).

    Raises:
        ValueError: if there is none of that name, it has no formula, or a number is no exact number.

    Example:
        >>> rule_named("heavy-ball(0.9)").beta, rule_named("implicit").lam, rule_named("nesterov(0.9, 0.01)").decay
        (9/10, lambda, 1/100)
    """
    from sympy import Symbol

    from taylorsgd import updates

    # A rule's name, what its number is called (none: it has no number), and how it is made of it, and of its decay.
    rules: dict[str, tuple[str | None, Callable[..., Any]]] = {
        "descent": (None, lambda _: updates.Descent()),
        "decay": ("w", lambda w: updates.Descent(decay=w)),
        "heavy-ball": ("beta", updates.HeavyBall),
        "nesterov": ("beta", updates.Nesterov),
        "second-order": ("lambda", updates.SecondOrder),
        "implicit": ("lambda", updates.ImplicitStep),
        "gdc": ("B", updates.GDC),
        "warmup": (None, lambda _: updates.Descent(rates=updates.LinearWarmup())),
        "cosine": (None, lambda _: updates.Descent(rates=updates.Cosine())),
    }
    call = _CALL.fullmatch(text)
    if call is not None and call[1] in ("adam", "rmsprop"):
        raise ValueError(
            f"argument --update: {text!r} is not linear in the gradient, and has no formula; in Python "
            "modified_flow(3, update=Adam(beta1, beta2, epsilon)) is the flow that it follows, and expand() its series"
        )
    if call is None or call[1] not in rules:
        raise ValueError(f"argument --update: {text!r} is unknown; give {RULES}")
    symbol, make = rules[call[1]]
    if call[2] is None:
        return make(None if symbol in (None, "B") else Symbol(symbol))
    if symbol is None:
        raise ValueError(f"argument --update: {call[1]} takes no number, and {text!r} has one")
    numbers = call[2].split(",", 1) if symbol == "beta" else [call[2]]
    try:
        first, *decays = [exact_number_named(number.strip()) for number in numbers]
    except ValueError as error:
        raise ValueError(f"argument --update: in {text!r}, {error}") from None
    return make(first, decay=decays[0]) if decays else make(first)


def exact_number_named(text: str) -> Any:
    """An exact number: an integer, a fraction or a decimal, which is the fraction that it is short for.

    Raises:
        ValueError: if it is anything else.

    Example:
        >>> exact_number_named("0.9"), exact_number_named("-3/6"), exact_number_named("2")
        (9/10, -1/2, 2)
    """
    from sympy import Rational

    try:
        if not _NUMBER.fullmatch(text.strip()):
            raise ValueError
        number = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is no exact number; give one such as 9/10, 0.9 or 2") from None
    return Rational(number.numerator, number.denominator)
