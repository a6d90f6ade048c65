r"""Functions ψ(g, θ) of the gradient and the parameter at one coordinate, in a normal form that derivatives keep.

Rules hold √(g²) = |g|, whose derivatives SymPy writes with Dirac's δ. So g = σr, with a sign σ and r = |g| > 0: every
function is one of r, reduced with σ² = 1, and d/dg = σ d/dr away from g = 0. A root of a sum, w = (b(r))^{1/n}, is a
symbol of its own with w′ = b′/(n w^{n−1}); where b = αr² + κ is the only one, r² is (w² − κ)/α. What is left are
rational functions, which are equal if and only if their factored forms are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sympy import (
    Abs,
    Add,
    Dummy,
    Expr,
    Integer,
    Mul,
    Poly,
    Pow,
    Rational,
    Symbol,
    cancel,
    diff,
    expand,
    factor,
    fraction,
    sign,
)

from taylorsgd import symbols

__all__ = ["ScalarFunctions"]


class ScalarFunctions:
    """The functions that the flow of one rule is made of.

    Example:
        >>> from sympy import sqrt
        >>> from taylorsgd.symbols import g
        >>> functions = ScalarFunctions()
        >>> wave = functions.read(g / sqrt(g**2 + 1))
        >>> functions.write(functions.derivative(wave))
        (g**2 + 1)**(-3/2)
        >>> functions.write(functions.derivative(functions.read(sqrt(g**2))))
        sign(g)
    """

    def __init__(self) -> None:
        """Begin without any roots."""
        self.r, self.sign = Dummy("r", positive=True), Dummy("sigma", real=True)
        self._roots: dict[tuple[Expr, int], Dummy] = {}
        self._derivatives: dict[Expr, Expr] = {}

    def read(self, expression: Expr) -> Expr:
        """A function of `symbols.g` and `symbols.theta`, in the normal form."""
        return self.normal(self.raw(expression))

    def raw(self, expression: Expr) -> Expr:
        """The same with r and σ for g and a symbol for every root, as it comes."""
        found: Any = expression.xreplace({symbols.g: self.sign * self.r})
        found = found.replace(lambda e: e.is_Pow and e.base == self.sign and e.exp.is_Integer, self._reduced)
        found = found.replace(Abs(self.sign), Integer(1)).replace(sign(self.sign), self.sign)
        return found.replace(self._is_root, self._named)

    def write(self, function: Expr) -> Expr:
        """A function in `symbols.g` and `symbols.theta`."""
        roots: Any = {w: base ** Rational(1, n) for (base, n), w in self._roots.items()}
        found: Any = function.xreplace(roots)
        size: Any = Abs(symbols.g)
        found = found.replace(lambda e: e.is_Mul and e.has(self.sign), self._signed)
        written: Any = found.xreplace({self.r: size, self.sign: sign(symbols.g)})
        return written.replace(
            lambda e: e.is_Pow and e.base == size and e.exp.is_Integer and e.exp % 2 == 0, lambda e: symbols.g**e.exp
        )

    def derivative(self, function: Expr, by_theta: bool = False) -> Expr:
        """dψ/dg, or dψ/dθ."""
        key: Any = (function, by_theta)
        if key not in self._derivatives:
            variable = symbols.theta if by_theta else self.r
            found = diff(function, variable)
            for (base, n), w in self._roots.items():
                found = found + diff(function, w) * diff(base, variable) / (n * w ** (n - 1))  # type: ignore[operator]
            self._derivatives[key] = self.normal(found if by_theta else self.sign * found)  # type: ignore[operator]
        return self._derivatives[key]

    def normal(self, function: Expr) -> Expr:
        """The factored form."""
        above, below = fraction(cancel(function))
        return factor(self._without_squares(above) / self._without_squares(below))

    def parameters(self, function: Expr) -> tuple[Expr, Expr]:
        """A function in the normal form as a factor without g and θ, and the rest."""
        return function.as_independent(self.r, self.sign, symbols.theta, *self._roots.values(), as_Add=False)

    def is_constant(self, function: Expr) -> bool:
        """Whether a function in the normal form is the same at all g and θ."""
        return not function.free_symbols & {self.r, self.sign, symbols.theta, *self._roots.values()}

    # -- on the page ---------------------------------------------------------------------------------------

    def size(self, functions: Iterable[Expr]) -> tuple[Expr, Expr] | None:
        """What functions are best written in powers of: the one root w, or the one sum α|g| + κ in denominators.

        Returns:
            That as it is written, and r or a root in terms of `self.w`; None where there is no such one.
        """
        if len(self._roots) == 1:
            (((base, n), w),) = self._roots.items()
            return self.write(base) ** Rational(1, n), w
        sums = {
            part.as_base_exp()[0]
            for function in functions
            for part in Mul.make_args(fraction(function)[1])
            if part.has(self.r) and part.as_base_exp()[0].is_Add
        }
        if len(sums) != 1 or self._roots:
            return None
        (base,) = sums
        if not base.is_polynomial(self.r) or base.has(self.sign) or Poly(base, self.r).degree() != 1:
            return None
        return self.write(base), base

    def in_powers(self, function: Expr, base: Expr, letter: Symbol) -> Expr:
        """A function in powers of a letter that stands for a root or for α|g| + κ, or as one fraction if shorter."""
        if base.is_Symbol:
            inside = function.xreplace({base: letter})
        else:
            line = Poly(base, self.r)
            inside = cancel(function.xreplace({self.r: (letter - line.nth(0)) / line.nth(1)}))
        plain = self.write(function).subs(self.write(base), letter)
        above, below = fraction(cancel(inside))
        front, power = self._varying(factor(below), letter)
        if power.as_base_exp()[0] not in (1, letter):
            return plain
        found: dict[Any, list[Any]] = {}
        for term in Add.make_args(expand(above)):
            number, rest = self._varying(term, letter)
            found.setdefault(rest / power, []).append(number)
        summed = self.write(Add(*(factor(Add(*numbers) / front) * rest for rest, numbers in found.items())))
        return summed if summed.count_ops() <= 2 * plain.count_ops() or base.is_Symbol else plain

    def _varying(self, term: Any, letter: Symbol) -> tuple[Expr, Expr]:
        return term.as_independent(letter, self.r, self.sign, symbols.theta, as_Add=False)

    # -- inside ------------------------------------------------------------------------------------------

    def _reduced(self, power: Any) -> Any:
        return self.sign ** (power.exp % 2)

    def _is_root(self, e: Any) -> bool:
        return e.is_Pow and e.exp.is_Rational and not e.exp.is_Integer and e.base.has(self.r) and e.base.is_Add

    def _named(self, power: Any) -> Any:
        base, n = expand(power.base), int(power.exp.q)
        w = self._roots.setdefault((base, n), Dummy("w", positive=True))
        return w ** int(power.exp.p)

    def _without_squares(self, polynomial: Any) -> Any:
        """Reduce with σ² = 1 and, where there is one root of αr² + κ, with r² = (w² − κ)/α."""
        polynomial = expand(polynomial)
        if polynomial.has(self.sign):
            polynomial = polynomial.replace(
                lambda e: isinstance(e, Pow) and e.base == self.sign and e.exp.is_Integer, self._reduced
            )
        if len(self._roots) != 1 or not polynomial.has(self.r):
            return polynomial
        (((base, n), w),) = self._roots.items()
        if n != 2 or not base.is_polynomial(self.r) or not polynomial.is_polynomial(self.r):
            return polynomial
        below = Poly(base, self.r)
        if below.monoms() not in ([(2,)], [(2,), (0,)]):
            return polynomial
        square = (w**2 - below.nth(0)) / below.nth(2)
        terms = Poly(polynomial, self.r).terms()
        return expand(Add(*(c * self.r ** (k % 2) * square ** (k // 2) for (k,), c in terms)))

    def _signed(self, term: Any) -> Any:
        """σ r is g: written before r becomes |g|."""
        power = term.as_powers_dict()
        if power.get(self.sign) == 1 and power.get(self.r, 0) >= 1:
            return term / (self.sign * self.r) * symbols.g
        return term
