r"""The exact recursion of SGD's first two moments on linear regression with normal features.

With features x ~ N(0, H), labels' noise ξ ~ N(0, σ²), θ measured from the minimum, l_x(θ) = (θ·x − ξ)²/2 and a fresh
batch of B points at every update, Isserlis' theorem for the batch's Ĥ = (1/B) Σ x xᵀ,

    E[Ĥ M Ĥ] = (1 + 1/B) H M H + (1/B) tr(HM) H,

closes the recursion of M = E θθᵀ at second order, exactly in η:

    M ← M − η(HM + MH) + η² [(1 + 1/B) HMH + (1/B)(tr(HM) + σ²) H],        E θ ← (I − ηH) E θ.

In H's eigenbasis diagonal entries mix through s = tr(HM) alone, a diagonal matrix plus one of rank one, and others not
at all:

    M_ii ← (1 − 2ηλ_i + (1 + 1/B) η²λ_i²) M_ii + (η²/B) λ_i (Σ_j λ_j M_jj + σ²)
    M_ij ← (1 − η(λ_i + λ_j) + (1 + 1/B) η²λ_iλ_j) M_ij.

A rule with memory doubles the state: y_i = (θ_i, v_i) for heavy ball, in general y ← A y − b (slope of the batch at
c·y) (`linear_rules`). With F_i = A − ηλ_i b cᵀ and Y_ij = E y_i y_jᵀ,

    Y_ij ← F_i Y_ij F_jᵀ + η² b bᵀ [λ_iλ_j cᵀY_ij c + δ_ij λ_i (s + σ²)] / B,        s = Σ_j λ_j cᵀY_jj c.

**Which diagrams these are.** On a parabola a node has at most one child, and the test loss's root at most two: a
diagram is one chain or two, and a part, which is one update's, holds at most one node of each. What is left are
ladders: two chains with k rungs, the parts of two nodes, each of which brings one factor 1/B. The recursion sums all
ladders, and its coefficient of B^−k those of k rungs, exactly in η: F_i^Δ is a chain between rungs with all its links.

A resummed formula sums links too, K^(Δ−1) on its edges. That of order n holds the ladders of at most n nodes: 2k for k
rungs, and one for each chain that goes on beyond the last rung and ends in G. So order 2k + 2 has all ladders of k
rungs, and of those of k + 1 only the ones that end there. At the minimum, G = 0, there are no others: order 2k is the
recursion's Taylor polynomial of degree k in 1/B, for every η and T, and order 2k + 1 adds nothing.

**Many dimensions.** Let each direction i be k copies of itself, w_i k of them where there are weights w, that share its
start, and let a batch hold kB points. Then M_ii is the sum over the copies, 1/B becomes 1/(kB) in front of λ_iλ_j, the
rest of the copies' noise adds up, and for k → ∞

    M_ii ← (1 − ηλ_i)² M_ii + (η²/B) w_i λ_i (s + σ²),

which is a renewal (Volterra) equation for s alone, with the memory kernel (η²/B) Σ_i w_i λ_i² (1 − ηλ_i)^{2t}:

    s_t = Σ_i λ_i (1 − ηλ_i)^{2t} M_ii(0) + (η²/B) Σ_{u<t} Σ_i w_i λ_i² (1 − ηλ_i)^{2(t−1−u)} (s_u + σ²).

B is then a batch size per direction: the limit is d → ∞ at a constant ratio of batch size and dimension, with the
spectral measure Σ_i w_i δ(λ − λ_i) / Σ w_i.

Sources: Bordelon and Pehlevan, *Learning Curves for SGD on Structured Features* (2021), for the recursion; Paquette,
Lee, Pedregosa and Paquette, *SGD in the Large* (2021), for Volterra equations of SGD in many dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from sympy import Add, Expr, ImmutableMatrix, oo

from taylorsgd.arguments import switched, whole_number
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.landscapes.linear_rules import refuse_rates
from taylorsgd.landscapes.moment_arithmetic import Moments, Recursion, is_symbolic, moments_after, moments_at_rest

if TYPE_CHECKING:
    from taylorsgd.landscapes.moment_curves import MomentCurve

__all__ = ["MomentRecursion", "RegressionMoments"]

MOST_UPDATES = 10_000
"""The most updates in exact numbers, whose digits grow with each."""
MOST_SYMBOLIC = 1_000
"""The most updates in polynomials, whose degrees grow with each."""


@frozen
class RegressionMoments:
    """The first two moments of θ_T on linear regression with normal features; θ is measured from the minimum.

    Attributes:
        updates: T, an int, or SymPy's oo.
        spectrum: the eigenvalues λ_i, P expressions.
        start: θ_0, P expressions.
        noise: σ², the variance of the labels' noise.
        mean: E θ_T, a P × 1 matrix.
        second: M_ii = E θ_i², P expressions.
        full: M = E θθᵀ, a P × P matrix, where it was asked for; else None.
    """

    updates: Any
    spectrum: tuple[Expr, ...] = field(repr=False)
    start: tuple[Expr, ...] = field(repr=False)
    noise: Expr = field(repr=False)
    mean: ImmutableMatrix
    second: tuple[Expr, ...]
    full: ImmutableMatrix | None = None

    @property
    def excess(self) -> Expr:
        """By how much the test loss exceeds its minimum: tr(HM)/2, in the units of the loss."""
        return _tidy(Add(*(rate * second for rate, second in zip(self.spectrum, self.second, strict=True))) / 2)

    @property
    def test_loss(self) -> Expr:
        """E l(θ_T) = tr(HM)/2 + σ²/2."""
        return _tidy(self.excess + self.noise / 2)

    @property
    def displacement(self) -> ImmutableMatrix:
        """E[θ_T − θ_0], a P × 1 matrix: what `derive(Displacement(), ...)` expands."""
        return (self.mean - ImmutableMatrix(self.start)).applyfunc(_tidy)

    @property
    def displacement_second_moment(self) -> ImmutableMatrix:
        """E[(θ_T − θ_0)(θ_T − θ_0)ᵀ], P × P: what `derive(SecondMoment(Displacement(), Displacement()), ...)` expands.

        Raises:
            ValueError: if the full matrix M was not asked for.
        """
        if self.full is None:
            raise ValueError(
                "full=False left out the second moments across directions; ask for moments(..., full=True)"
            )
        mean, start = self.mean, ImmutableMatrix(self.start)
        return (self.full - mean * start.T - start * mean.T + start * start.T).applyfunc(_tidy)


@frozen
class MomentRecursion:
    """The recursion itself, for a spectrum or, `wide`, its limit of many dimensions.

    `linear_regression(...)` makes one, and `linear_regression(...).in_many_dimensions()` a wide one.

    Attributes:
        spectrum: λ_i, P positive expressions.
        start: θ_0 along each direction; wide: the length of θ_0 in the directions that i stands for.
        noise: σ².
        weights: w_i, how many directions i stands for, relatively; 1 unless wide.
        wide: whether this is the limit.
    """

    spectrum: tuple[Expr, ...]
    start: tuple[Expr, ...]
    noise: Expr
    weights: tuple[Expr, ...]
    wide: bool = False

    def moments(self, eta: Any, T: Any, B: Any = 1, update: Any = None, full: Any = False) -> RegressionMoments:
        """The moments after T updates, exactly.

        Args:
            eta: the learning rate, an exact number, a float that means its shortest decimal, or an expression.
            T: how many updates, an int of at least 0: at most 10,000 with numbers, and 1,000 with symbols.
            B: the batch size, an int of at least 1 or an expression; wide: a positive number, points per direction.
            update: `Descent`, `HeavyBall` or `Nesterov`, rates and decay included; None for plain descent.
            full: whether M's other entries are wanted too; not where wide.

        Returns:
            A `RegressionMoments` of SymPy numbers or expressions: polynomials in symbols.

        Raises:
            TypeError: an argument is of the wrong kind.
            ValueError: an argument is out of range, there are too many updates, or rates for another number of them.
            NotImplementedError: the rule is not linear in the gradients, or has a metric; `full` where wide.

        Example:
            >>> import taylorsgd as ts
            >>> toy = ts.landscapes.linear_regression([2, 1], noise=1)
            >>> toy.moments(ts.symbols.eta, T=1, B=1).test_loss
            19*eta**2 - 5*eta + 2
        """
        recursion = self._recursion(eta, B, update)
        most = MOST_SYMBOLIC if is_symbolic(recursion) else MOST_UPDATES
        updates = whole_number(T, "T", 0, most, why="is too many updates for exact numbers, and curve() takes more")
        return self._answer(updates, moments_after(recursion, updates, self._full(full)))

    def stationary(self, eta: Any, B: Any = 1, update: Any = None, full: Any = False) -> RegressionMoments:
        """The moments for T → ∞, exactly.

        For plain descent and for heavy ball, with e = 1/B, or e = 0 where wide, let

            h_i = η / (2 − ηλ_i(1 + e)),        h_i = η / (2(1 − β) − ηλ_i((1 − β)/(1 + β) + e)).

        Then M_ii = h_i w_i (s + σ²)/B with s = κσ²/(1 − κ), κ = (1/B) Σ_i w_i λ_i h_i. Moments converge to this from
        every start if and only if the mean does (0 < ηλ_i < 2; −1 < β < 1 and 0 < ηλ_i < 2(1 + β)), every h_i is
        positive (a direction's own noise is fed back less than 1-fold) and κ < 1 (nor is that of all): the map of
        second moments keeps positive semidefinite matrices so, and each feedback adds rank one to it, so its spectral
        radius is below 1 as long as no feedback reaches 1.

        Args:
            eta: the learning rate, as `moments` takes it.
            B: the batch size, likewise.
            update: `Descent`, `HeavyBall` or `Nesterov` at a constant rate; None for plain descent.
            full: whether M's other entries are wanted too; not where wide.

        Returns:
            A `RegressionMoments`, of rational functions where there are symbols. Where these leave it open whether a
            state is stable, it is taken for stable.

        Raises:
            TypeError: an argument is of the wrong kind.
            ValueError: an argument is out of range, the rule has rates, or moments grow for ever; the condition that
                fails is named.
            NotImplementedError: the rule is not linear in the gradients, or has a metric; `full` where wide.

        Example:
            >>> import taylorsgd as ts
            >>> toy = ts.landscapes.linear_regression([2, 1], noise=1)
            >>> toy.stationary(0.2, B=4).test_loss
            21/38
            >>> toy.stationary(0.8, B=1)
            Traceback (most recent call last):
            ValueError: eta=4/5, B=1: along spectrum[0]=2 a direction's noise is fed back 4-fold and grows for ever; ...
        """
        refuse_rates(update)
        return self._answer(oo, moments_at_rest(self._recursion(eta, B, update), self._full(full)))

    def curve(self, eta: Any, times: Any, B: Any = 1, update: Any = None) -> MomentCurve:
        """The same moments at many times, in JAX: for thousands of directions or millions of updates.

        Args:
            eta: the learning rate, a number; or traced by JAX, to map over it or differentiate in it (`jax.jacfwd`).
            times: after how many updates, one int or a sequence of them in any order, each at least 0.
            B: the batch size, an int of at least 1; wide: a positive number, points per direction.
            update: `Descent`, `HeavyBall` or `Nesterov`, rates and decay included; None for plain descent.

        Returns:
            A `MomentCurve` in JAX's default floating type, its first axis the times as they were given. A run that
            diverges overflows to what is not finite.

        Raises:
            TypeError: an argument is of the wrong kind.
            ValueError: an argument is out of range or has symbols; rates are there for another number of updates than
                the largest of the times.
            NotImplementedError: the rule is not linear in the gradients, or has a metric.

        Example:
            A million updates of a hundred directions whose eigenvalues fall off as 1/k:

            >>> from taylorsgd.landscapes import linear_regression
            >>> toy = linear_regression([1 / k for k in range(1, 101)], noise=1)
            >>> print(toy.recursion.curve(0.1, [0, 10**6], B=1).test_loss.round(3))
            [3.094 0.683]
        """
        from taylorsgd.landscapes.moment_curves import moment_curve

        size = self.batch_size(B)
        return moment_curve(
            Recursion(self.spectrum, self.start, self.noise, self.weights, self.wide, eta, size, update), times
        )

    def batch_size(self, B: Any) -> Expr:
        """B as an exact number or expression.

        Raises:
            TypeError: if it is neither.
            ValueError: if it is not positive, or not wide and no integer.
        """
        size = exact_argument(B, "B")
        if self.wide and size.is_extended_positive is False or not self.wide and size.is_number and not size.is_Integer:
            raise ValueError(f"B={B!r} must be {'positive' if self.wide else 'an integer of at least 1'}")
        if not self.wide and size.is_number and size < 1:
            raise ValueError(f"B={B!r} must be an integer of at least 1")
        return size

    def _recursion(self, eta: Any, B: Any, update: Any) -> Recursion:
        rate = exact_argument(eta, "eta")
        if rate.is_extended_real is False:
            raise ValueError(f"eta={eta!r} must be real")
        size = self.batch_size(B)
        return Recursion(self.spectrum, self.start, self.noise, self.weights, self.wide, rate, size, update)

    def _full(self, full: Any) -> bool:
        if switched(full, "full") and self.wide:
            raise NotImplementedError(
                "full=True in many dimensions: a direction stands for many, without a matrix; supported is full=False"
            )
        return bool(full)

    def _answer(self, updates: Any, moments: Moments) -> RegressionMoments:
        full = None if moments.full is None else ImmutableMatrix(moments.full)
        mean = ImmutableMatrix(len(self.spectrum), 1, list(moments.mean))
        return RegressionMoments(updates, self.spectrum, self.start, self.noise, mean, tuple(moments.second), full)


def _tidy(expression: Expr) -> Expr:
    """Expanded if a polynomial, over one denominator if a fraction."""
    return expression.expand() if expression.is_polynomial() else expression.cancel()
