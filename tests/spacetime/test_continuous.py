r"""Volumes of embeddings for gradient flow and the diffusion: the leading power of T of discrete counts.

References: Tenka, section 3.2 (SGD beside the SDE); Li, Tai and E 2017 (the diffusion); Stanley, section 3.15.

Identities:
    (1) ODE: Z(D) = the leading power T^d of Z_GD(N=1)(D) if all parts are single, else 0
    (2) SDE: Z(D) = the leading power T^#parts of Z_{E=1}(D) if parts have at most two nodes, else 0
    (3) ODE: Z = T^d / Π_v (size of the subtree below v)
    (4) SDE on all-single diagrams = ODE; B enters as B^{−(d − #parts)}
"""

from __future__ import annotations

from math import prod

import pytest
import sympy

import taylorsgd as ts
from taylorsgd.symbols import B, N, T

DIAGRAMS = [diagram for order in range(6) for diagram in ts.diagrams_of_order(order)]


def leading(expression: sympy.Expr, symbol: sympy.Symbol, power: int) -> sympy.Expr:
    return sympy.Poly(expression, symbol).coeff_monomial(symbol**power)


def test_ode_is_the_leading_power_of_the_discrete_count() -> None:
    ode, discrete = ts.ODE(), ts.GD(N=1)
    for diagram in DIAGRAMS:
        volume = ode.embeddings(diagram)
        if len(diagram.inner_blocks) < diagram.order:
            assert volume == 0
        else:
            assert volume == leading(discrete.embeddings(diagram), T, diagram.order) * T**diagram.order


def test_ode_is_the_tree_factorial() -> None:
    for diagram in DIAGRAMS:
        if len(diagram.inner_blocks) == diagram.order:
            sizes = [1] * (diagram.order + 1)
            for node in range(diagram.order, 0, -1):
                sizes[diagram.parents[node]] += sizes[node]
            assert ts.ODE().embeddings(diagram) == T**diagram.order / prod(sizes[1:])


def test_sde_is_the_leading_power_of_one_epoch() -> None:
    sde, one_epoch = ts.SDE(), ts.SGD(B=1, E=1)
    nonzero = 0
    for diagram in DIAGRAMS:
        volume = sde.embeddings(diagram) / B**diagram.order
        parts = len(diagram.inner_blocks)
        if any(len(block) > 2 for block in diagram.inner_blocks):
            assert volume == 0
            continue
        expected = leading(one_epoch.embeddings(diagram), N, parts) * T**parts / B ** (diagram.order - parts)
        assert sympy.expand(volume - expected) == 0, diagram
        nonzero += volume != 0
    assert nonzero > 50


def test_sde_without_noise_is_ode() -> None:
    for diagram in DIAGRAMS:
        if len(diagram.inner_blocks) == diagram.order:
            assert ts.SDE(B=1).embeddings(diagram) == ts.ODE().embeddings(diagram)


@pytest.mark.parametrize(("parents", "parts", "volume"), [
    ((-1,), (0,), 1),
    ((-1, 0), (0, 1), B * T),
    ((-1, 0, 1), (0, 1, 2), B**2 * T**2 / 2),
    ((-1, 0, 0), (0, 1, 2), B**2 * T**2),
    ((-1, 0, 0), (0, 1, 1), B * T),
    ((-1, 0, 1), (0, 1, 1), 0),
    ((-1, 0, 0, 0), (0, 1, 1, 1), 0),
    ((-1, 0, 1, 1), (0, 1, 2, 2), B**2 * T**2 / 2),
])  # fmt: skip
def test_volumes_by_hand(parents, parts, volume) -> None:
    assert ts.SDE().embeddings(ts.Diagram(parents, parts)) == volume


def test_concrete_times_and_batches() -> None:
    fork = ts.Diagram((-1, 0, 0), (0, 1, 1))
    assert ts.SDE(T=6, B=3).embeddings(fork) == 18
    assert ts.ODE(T=3).embeddings(ts.Diagram((-1, 0, 1))) == sympy.Rational(9, 2)
    assert ts.ODE(T=2 * N).sizes == {"T": 2 * N}
