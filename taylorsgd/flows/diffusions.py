r"""Modified equations with noise: the Itô diffusions that descent follows to a weak order.

A diffusion dθ = b dt + σ dW has the generator b·∂ + ½ σσᵀ:∂∂ and no more. The one whose generator agrees with
descent's through η^k follows it to weak order k: over T ~ 1/η updates, T wrong terms of η^{k+1} make an error η^k in
means of smooth functions. Where the generator has a rest, such as −(η³/6B²) S:∂∂∂, there is none.
"""

from __future__ import annotations

from attrs import field, frozen
from sympy import Expr, Integer

from taylorsgd.arguments import checked_order
from taylorsgd.diagrams import Value
from taylorsgd.flows.generators import Generator, generator
from taylorsgd.flows.operators import degree_of
from taylorsgd.formulas import Formula
from taylorsgd.spacetime import SGD, Spacetime
from taylorsgd.updates import Descent, Update

__all__ = ["ModifiedSDE", "modified_sde"]

GRADIENT = Value((-1, 0), None, ("@0", ""))
CURVED = Value((-1, 0, 1), None, ("@0", "", ""))
NOISE = Value((-1, 0, -1, 2), (0, 1, 2, 1), ("@0", "", "@1", ""))


@frozen(repr=False)
class ModifiedSDE:
    """An Itô diffusion dθ = drift dt + σ dW with σσᵀ = diffusion, per update; `simulate` takes it for a spacetime.

    Attributes:
        order: its weak order.
        spacetime: the spacetime that it stands beside.
        update: the update rule likewise.
        generator: its own generator, which has no rest.
    """

    order: int
    spacetime: Spacetime
    update: Update
    generator: Generator = field(eq=False)

    is_flow = True
    has_training_set = False
    data = "fresh"

    @property
    def drift(self) -> Formula:
        """A `Formula` with one open index."""
        return self.generator.drift

    @property
    def diffusion(self) -> Formula:
        """σσᵀ, a `Formula` with two open indices."""
        return self.generator.diffusion

    @property
    def sizes(self) -> dict[str, Expr]:
        """Those of the spacetime; T is how long it runs."""
        return self.spacetime.sizes

    @property
    def strengths(self) -> tuple[Expr, Expr, Expr]:
        """The coefficients of G^μ and of H^μ_ν G^ν in the drift, and that of C^{μν} in the diffusion.

        Raises:
            NotImplementedError: if it has other terms.
        """
        drift, diffusion = (
            {term.value: term.coefficient for term in formula.terms} for formula in (self.drift, self.diffusion)
        )
        others = [*(drift.keys() - {GRADIENT, CURVED}), *(diffusion.keys() - {NOISE})]
        if others:
            raise NotImplementedError(
                f"{self!r} has the terms {', '.join(map(str, sorted(others)))}; simulated are drifts along G and H G "
                "with the noise C, such as modified_sde(2)"
            )
        zero = Integer(0)
        return drift.get(GRADIENT, zero), drift.get(CURVED, zero), diffusion.get(NOISE, zero)

    def latex(self) -> str:
        r"""The equation in LaTeX.

        Example:
            >>> import taylorsgd as ts
            >>> print(ts.modified_sde(1).latex())
            d\theta^{\mu} = \left(-G^{\mu}\right) dt + \sigma^{\mu}_{i} dW^{i}, \qquad
            \sigma \sigma^{T} = \frac{1}{B} C^{\mu \nu}
        """
        return (
            rf"d\theta^{{\mu}} = \left({self.drift.latex()}\right) dt + \sigma^{{\mu}}_{{i}} dW^{{i}}, \qquad"
            "\n"
            rf"\sigma \sigma^{{T}} = {self.diffusion.latex()}"
        )

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.latex()}$"

    def __str__(self) -> str:
        """The equation in plain text."""
        return f"dθ = ({self.drift}) dt + σ dW, σσᵀ = {self.diffusion}"

    def __repr__(self) -> str:
        """What it is of, so that it reads well in errors."""
        rule = "" if self.update == Descent() else f", update={self.update!r}"
        return f"<ModifiedSDE of weak order {self.order} of {self.spacetime!r}{rule}>"


def modified_sde(order: int, spacetime: Spacetime | None = None, update: Update | None = None) -> ModifiedSDE:
    """Derive the Itô diffusion that descent follows to a weak order.

    Time counts updates. At order 1 that is dθ = −η∇l dt + η√(C/B) dW: its noise is of order η² and comes along, as
    usual. At order 2 the drift is −η∇(l + (η/4)|∇l|²). From order 3 on there is none where third cumulants of the
    gradients matter.

    Args:
        order: the weak order, at least 1.
        spacetime: as for `generator`; SGD(E=1) if None. With numbers for its sizes `simulate` runs the diffusion for
            as many updates.
        update: as for `generator`; with momentum it holds once the velocity has forgotten its start.

    Returns:
        A `ModifiedSDE`, with `drift` and `diffusion`.

    Raises:
        TypeError, NotImplementedError: as `generator`.
        ValueError: if the order is no integer of at least 1, or no diffusion has this weak order; it says why.

    Example:
        >>> import taylorsgd as ts
        >>> print(ts.modified_sde(2))
        dθ = (-G^μ - 1/2 H^μ_ν G^ν) dt + σ dW, σσᵀ = 1/B C^μν
        >>> ts.modified_sde(3)
        Traceback (most recent call last):
        ValueError: order=3: no Itô diffusion from η^3 on: it would lack -eta**3/(6*B**2) S_μνλ ∇^μ∇^ν∇^λ φ

    Source: Li, Tai and E 2017 and 2019, Theorem 9.
    """
    order = checked_order(order, 1)
    place = SGD(E=1) if spacetime is None else spacetime
    whole = generator(max(order, 2), place, update)
    if whole.obstruction is not None:
        raise ValueError(f"order={order}: {whole.obstruction}")
    noise = order + 1 if order == 1 else order
    kept = whole.action.part(
        term
        for term in whole.action.terms
        if term.order <= order or term.order <= noise and degree_of(term.value) == 2  # type: ignore[arg-type]
    )
    own = Generator(kept, place, whole.update, order, whole.start)
    return ModifiedSDE(order, place, whole.update, own)
