r"""The generator of SGD on quadratics, summed to all orders in η.

Where every l_x has one Hessian H, an update is θ ← θ* + K(θ − θ*) plus noise, K = 1 − ηH. In an eigenbasis of H, with
k = 1 − ηλ, the operator whose exponential this is has

    M^{μ_1…μ_m} = (−η)^m B^{1−m} κ_m^{μ_1…μ_m} · S/(e^S − 1),        S = log k_{μ_1} + … + log k_{μ_m},

as the coefficient of ∂_{μ_1}…∂_{μ_m}/m!, where κ_m is the m-th cumulant of the gradients: the drift log(K)(θ − θ*), the
diffusion, and a rest where the noise is not normal. For what e^{tS} M gathers over an update, ∫_0^1 e^{tS} dt being
(e^S − 1)/S, is the cumulant (−η)^m B^{1−m} κ_m of its step. There is such a flow if no update overshoots, ηλ < 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from sympy import Add, Expr, Integer, Matrix, exp, expand, latex, log, simplify

from taylorsgd import symbols
from taylorsgd.arguments import whole_number
from taylorsgd.exact_numbers import exact_argument
from taylorsgd.spacetime import GD, Spacetime

__all__ = ["QuadraticGenerator"]


@dataclass(frozen=True)
class QuadraticGenerator:
    """𝓖 = Σ_m M_m ∂^m/m!, exact in η on quadratics with additive noise; `Generator.resummed` makes it.

    Attributes:
        spacetime: whose batches are independent.

    Example:
        >>> import taylorsgd as ts
        >>> g = ts.generator(2, ts.SGD(E=1)).resummed()
        >>> toy = ts.landscapes.mean_estimation(H=2, S=1)          # H θ²/2 + x S θ
        >>> print(g.coefficient(1, toy, at=[3])[0])               # drift, of which exp(T𝓖) makes (1 − ηH)^T
        3*log(1 - 2*eta)
        >>> print(g.coefficient(2, toy, at=[3], B=1)[0, 0].series(ts.symbols.eta, 0, 4))
        eta**2 + 2*eta**3 + O(eta**4)
    """

    spacetime: Spacetime

    def coefficient(self, degree: int, landscape: Any, at: Any, eta: Any = None, **sizes: Any) -> Any:
        """M_m at a point: the drift for m = 1, the diffusion for m = 2, and for m ≥ 3 what no diffusion has.

        Args:
            degree: m, at least 1.
            landscape: with exact cumulants, one Hessian for all points and no third derivatives.
            at: the point.
            eta: the learning rate, a number or expression; None for the symbol η.
            **sizes: B, unless the spacetime has a number for it; other sizes are not needed.

        Returns:
            An array of SymPy expressions with m axes, symmetric.

        Raises:
            ValueError: if the landscape is not quadratic, its Hessian fluctuates, B has no value, or an update
                overshoots, ηλ ≥ 1.
            TypeError: if η or B is no number or expression.
        """
        import numpy as np

        degree = whole_number(degree, "degree", 1, 6, why="has more entries than are worth computing")
        rate = symbols.eta if eta is None else exact_argument(eta, "eta")
        _check_quadratic(landscape)
        point = landscape.point(at)
        hessian = Matrix(_plain(landscape.cumulant((2,), point)).tolist())
        basis, values = hessian.diagonalize()
        factors = [1 - rate * values[i, i] for i in range(hessian.rows)]
        for k in factors:
            if k.is_positive is False:
                raise ValueError(
                    f"eta={eta}: an update overshoots along an eigenvector of H, 1 - ηλ = {k}, which no flow does; "
                    "take η less than 1/λ"
                )
        logs = [log(k) for k in factors]
        tensor = self._batched(degree, sizes) * (-rate) ** degree * _plain(landscape.cumulant((1,) * degree, point))
        inside = np.array(basis.inv().tolist(), dtype=object)
        for _ in range(degree):  # the first axis is contracted, and the new one comes last
            tensor = np.tensordot(tensor, inside, axes=(0, 1))
        for index in product(range(hessian.rows), repeat=degree):
            total = Add(*(logs[i] for i in index))
            whole = expand(exp(total).rewrite(exp)) if total != 0 else Integer(1)
            tensor[index] = tensor[index] * (total / (simplify(whole) - 1) if simplify(whole) != 1 else Integer(1))
        outside = np.array(basis.tolist(), dtype=object)
        for _ in range(degree):
            tensor = np.tensordot(tensor, outside, axes=(0, 1))
        return np.vectorize(simplify, otypes=[object])(tensor)

    def _batched(self, degree: int, sizes: dict[str, Any]) -> Expr:
        """B^{1−m}."""
        if degree == 1:
            return Integer(1)
        unknown = sizes.keys() - self.spacetime.sizes.keys()
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: {self.spacetime!r} has no such size")
        if isinstance(self.spacetime, GD):
            return Integer(0)  # nothing is random
        own = self.spacetime.sizes["B"]
        batch = exact_argument(sizes.get("B", own), "B")
        if own.is_number and batch != own:
            raise ValueError(f"B={batch} is not B={own} of {self.spacetime!r}")
        if batch == symbols.B:
            raise ValueError("the size B has no value yet; give B as a keyword")
        return batch ** (1 - degree)

    def latex(self) -> str:
        r"""The coefficient of ∂_{μ_1}…∂_{μ_m}/m! in an eigenbasis, in LaTeX."""
        rate = latex(symbols.eta)
        return (
            rf"M_{{m}}^{{\mu_1 \cdots \mu_m}} = \frac{{(-{rate})^m}}{{B^{{m-1}}}} \kappa_m^{{\mu_1 \cdots \mu_m}} "
            rf"\frac{{S}}{{e^S - 1}}, \quad S = \sum_i \log\left(1 - {rate} \lambda_{{\mu_i}}\right)"
        )

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        """The coefficient of ∂_{μ_1}…∂_{μ_m}/m! in an eigenbasis, in plain text."""
        return "M_m = (-η)^m/B^(m-1) κ_m S/(e^S - 1), S = Σ log(1 - ηλ) over the m indices"

    def __repr__(self) -> str:
        """That, so that it reads well at a prompt."""
        return f"<QuadraticGenerator {self}>"


def _plain(tensor: Any) -> Any:
    """An array of SymPy expressions."""
    import numpy as np

    return np.vectorize(lambda number: exact_argument(number, "cumulant"), otypes=[object])(tensor)


def _check_quadratic(landscape: Any) -> None:
    """Raise unless every point has one and the same quadratic form."""
    if not callable(getattr(landscape, "cumulant", None)) or not hasattr(landscape, "variables"):
        raise TypeError(f"landscape={landscape!r} has no exact cumulants; give a FiniteLandscape or a toy landscape")
    anywhere = list(landscape.variables)
    for degrees, what in (((3,), "it has third derivatives"), ((2, 2), "its Hessian differs from point to point")):
        if any(simplify(entry) != 0 for entry in _plain(landscape.cumulant(degrees, anywhere)).flat):
            raise ValueError(
                f"landscape={landscape!r}: {what}, and the generator is summed on quadratics with additive noise only; "
                "generator(order, ...) is a series in η for any landscape"
            )
