"""What is observed at the end of a run: s(θ_T), averaged over training sets.

    test loss            l(θ_T) = E_x l_x(θ_T)
    training loss        (1/N) Σ_n l_n(θ_T) over the training points themselves
    generalization gap   test loss − training loss
    displacement         θ_T − θ_0, a vector
    observable           s(θ_T) for any smooth s
    second moment        E[a b]              for two of the above
    covariance           E[a b] − E[a] E[b]

(The root of a diagram carries the observable: Tenka, sections A.7 and B.3.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from taylorsgd.diagrams.tensor_network import LOSS, is_open, open_index
from taylorsgd.writing.notation import in_latex

__all__ = [
    "AnyObservable", "Covariance", "Displacement", "GeneralizationGap", "Observable", "Root", "SecondMoment",
    "SingleObservable", "TestLoss", "TrainLoss", "Variance", "roots_of",
]  # fmt: skip


class Root(NamedTuple):
    """What an observable asks of the root of its diagrams.

    Attributes:
        mark: what the root carries: `LOSS`, an open index, or an observable's name.
        may_tie: whether the root may share a row with other nodes, each tie weighing 1/N.
        must_tie: whether it must.
        sign: what multiplies every diagram.
    """

    mark: str
    may_tie: bool = False
    must_tie: bool = False
    sign: int = 1


class SingleObservable(ABC):
    """What one run of descent ends with; a frozen class."""

    @abstractmethod
    def root(self, position: int) -> Root:
        """The root of its diagrams, as the first observable of a pair (or alone, 0) or the second (1)."""

    def at(self, theta: str, latex: bool, position: int) -> str:
        """How it is written at given parameters.

        Args:
            theta: the parameters' name.
            latex: whether to write LaTeX rather than plain text.
            position: 0 for the first observable of a pair or one alone, 1 for the second.
        """
        return rf"\mathrm{{{type(self).__name__}}}({theta})" if latex else f"{type(self).__name__}({theta})"


@dataclass(frozen=True)
class TestLoss(SingleObservable):
    """The expected test loss E[l(θ_T)], a scalar.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.derive(ts.TestLoss(), ts.SGD(), order=1))
        E[l(θ_T)] = l - T G_μ G^μ + O(η^2)    with T = E*N/B
    """

    __test__ = False  # pytest would otherwise collect the class by its name

    def root(self, position: int) -> Root:
        """A plain node of the loss, alone."""
        return Root(LOSS)

    def at(self, theta: str, latex: bool, position: int) -> str:
        """l(θ)."""
        return f"l({theta})"


@dataclass(frozen=True)
class TrainLoss(SingleObservable):
    """The expected training loss E[(1/N) Σ_n l_n(θ_T)], a scalar."""

    def root(self, position: int) -> Root:
        """Alone or in a part."""
        return Root(LOSS, may_tie=True)

    def at(self, theta: str, latex: bool, position: int) -> str:
        """l_train(θ)."""
        return rf"l_{{\mathrm{{train}}}}({theta})" if latex else f"l_train({theta})"


@dataclass(frozen=True)
class GeneralizationGap(SingleObservable):
    """The expected test loss minus the expected training loss, a scalar."""

    def root(self, position: int) -> Root:
        """Those of the training loss's diagrams in which the root is tied, with −1."""
        return Root(LOSS, may_tie=True, must_tie=True, sign=-1)

    def at(self, theta: str, latex: bool, position: int) -> str:
        """l(θ) − l_train(θ)."""
        return f"{TestLoss().at(theta, latex, position)} - {TrainLoss().at(theta, latex, position)}"


@dataclass(frozen=True)
class Displacement(SingleObservable):
    """The expected displacement E[θ_T − θ_0], a vector with one upper index."""

    def root(self, position: int) -> Root:
        """An open index, which ends one edge."""
        return Root(open_index(position))

    def at(self, theta: str, latex: bool, position: int) -> str:
        """(θ − θ_0)^μ."""
        origin, index = (r"\theta_{0}", (r"\mu", r"\nu")[position]) if latex else ("θ_0", "μν"[position])
        return rf"({theta} - {origin})^{{{index}}}" if latex else f"({theta} - {origin})^{index}"


@dataclass(frozen=True)
class Observable(SingleObservable):
    """The expectation of any smooth observable s(θ_T), a scalar.

    Args:
        s: a SymPy expression in the landscape's variables, or a function of θ. The function is called
            with a tuple of SymPy symbols where the answer is exact and with the parameters themselves
            (any pytree) where it is measured with JAX.
        name: how s is written in formulas; "l" is taken by the loss.

    Raises:
        TypeError: if s is neither an expression nor a function, or the name is no string.
        ValueError: if s is not finite, or the name is empty, starts with "@", or is "l".
    """

    s: Any | Callable[..., Any]
    name: str = "s"

    def __post_init__(self) -> None:
        """Reject what is neither an expression nor a function."""
        from taylorsgd.exact_numbers import as_exact, refuse_infinite

        exact = as_exact(self.s, binary=True)
        if exact is not None:
            refuse_infinite(exact, self.s, "s")
        elif not callable(self.s):
            raise TypeError(
                f"s={self.s!r} is neither a SymPy expression nor a function of theta; "
                "write for example Observable(x**2) with x = sympy.Symbol('x')"
            )
        if not isinstance(self.name, str):
            raise TypeError(f"name={self.name!r} is not a string; write for example name='s'")
        if self.name in ("", "l") or is_open(self.name):
            raise ValueError(f"name={self.name!r} is taken; call the observable something else, such as 's'")

    def root(self, position: int) -> Root:
        """Derivatives of s."""
        return Root(self.name)

    def at(self, theta: str, latex: bool, position: int) -> str:
        """s(θ)."""
        return f"{in_latex(self.name) if latex else self.name}({theta})"


@dataclass(frozen=True)
class SecondMoment:
    """The second moment E[a b] over training sets; open indices of a come before those of b.

    Args:
        a: an observable.
        b: another.
        times: after how many updates a and b are taken, (t, t′) with t ≤ t′; integers, SymPy expressions, such as
            T − 3 with T = `taylorsgd.symbols.T`, or None for the end T. None for both at the end.

    Raises:
        TypeError: if a or b is no single observable, or a time is neither an integer nor an expression.
        ValueError: if a time is negative, or the first is the later one.

    Example:
        >>> import taylorsgd as ts
        >>> from sympy import Symbol
        >>> loss, t = ts.TestLoss(), Symbol("t")
        >>> print(ts.derive(ts.SecondMoment(loss, loss, times=(t, None)), ts.GD(), order=1))
        E[l(θ_t) l(θ_T)] = l l - (T + t) l G_μ G^μ + O(η^2)
    """

    a: SingleObservable
    b: SingleObservable
    times: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        """Reject nested moments."""
        _check_pair(self)


@dataclass(frozen=True)
class Covariance:
    """The covariance E[a b] − E[a] E[b] over training sets; open indices of a come before those of b.

    Args:
        a: an observable.
        b: another.
        times: after how many updates a and b are taken, as for `SecondMoment`.

    Raises:
        TypeError: as for `SecondMoment`.
        ValueError: as for `SecondMoment`.

    Example:
        How the displacement after t updates of one epoch is correlated with that at its end:

        >>> import taylorsgd as ts
        >>> from sympy import Symbol
        >>> moved, t = ts.Displacement(), Symbol("t")
        >>> print(ts.derive(ts.Covariance(moved, moved, times=(t, None)), ts.SGD(B=1, E=1), order=2))
        Cov[(θ_t - θ_0)^μ, (θ_T - θ_0)^ν] = t C^μν + O(η^3)    with T = N
    """

    a: SingleObservable
    b: SingleObservable
    times: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        """Reject nested moments."""
        _check_pair(self)


def Variance(a: SingleObservable) -> Covariance:
    """The variance of an observable: `Covariance(a, a)`.

    Example:
        >>> import taylorsgd as ts
        >>> ts.Variance(ts.TestLoss()) == ts.Covariance(ts.TestLoss(), ts.TestLoss())
        True
    """
    return Covariance(a, a)


AnyObservable = SingleObservable | SecondMoment | Covariance
"""What can be averaged over training sets."""


def roots_of(observable: AnyObservable) -> tuple[Root, ...]:
    """The roots of an observable's diagrams, or of two.

    Raises:
        TypeError: if it is no observable.
        ValueError: if two different ones share a name.

    Example:
        >>> [root.mark for root in roots_of(Variance(Displacement()))]
        ['@0', '@1']
    """
    if isinstance(observable, (SecondMoment, Covariance)):
        first, second = observable.a, observable.b
        if isinstance(first, Observable) and isinstance(second, Observable) and first != second:
            if first.name == second.name:
                raise ValueError(
                    f"the observables {first!r} and {second!r} share the name {first.name!r}; "
                    "give each its own, as in Observable(s, name='u')"
                )
        return first.root(0), second.root(1)
    if not isinstance(observable, SingleObservable):
        raise TypeError(
            f"observable={observable!r} is not an observable; give TestLoss(), TrainLoss(), "
            "GeneralizationGap(), Displacement(), Observable(s), or a SecondMoment, Covariance or Variance"
        )
    return (observable.root(0),)


def _check_pair(pair: SecondMoment | Covariance) -> None:
    for name in ("a", "b"):
        member = getattr(pair, name)
        if not isinstance(member, SingleObservable):
            raise TypeError(
                f"{name}={member!r} is not a single observable; a {type(pair).__name__} takes two of "
                "TestLoss(), TrainLoss(), GeneralizationGap(), Displacement(), Observable(s)"
            )
    if pair.times is not None:
        object.__setattr__(pair, "times", _checked_times(pair.times))


def _checked_times(times: Any) -> tuple[Any, Any] | None:
    """Two times as exact numbers; None if both are the end."""
    from sympy import Expr, Integer

    if not isinstance(times, (tuple, list)) or len(times) != 2:
        raise TypeError(f"times={times!r} must be two: after how many updates a and b are taken")
    exact = []
    for time in times:
        if hasattr(time, "__index__") and not isinstance(time, bool):
            time = Integer(int(time))
        if time is not None and not isinstance(time, Expr):
            raise TypeError(f"times={times!r}: {time!r} is neither an integer, a SymPy expression nor None for the end")
        if time is not None and time.is_number and not (time.is_Integer and time >= 0):
            raise ValueError(f"times={times!r}: {time} is no number of updates, an integer of at least 0")
        exact.append(time)
    first, second = exact
    if second is not None and (first is None or (first - second).is_positive):
        raise ValueError(f"times={times!r} must not decrease; swap a and b, and their times")
    return None if first is None else (first, second)
