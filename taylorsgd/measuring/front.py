"""The front door of measuring: what to measure and where, by which method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jaxtyping import PRNGKeyArray

from taylorsgd.formulas import Formula
from taylorsgd.formulas.closing import open_positions
from taylorsgd.landscapes.landscape import AnyLandscape, checked_parameters
from taylorsgd.measuring.contraction import Plan
from taylorsgd.measuring.dense import Dense, DenseMeasurement
from taylorsgd.measuring.linear_functions import checked_directions, one_direction
from taylorsgd.measuring.matrix_free import MatrixFree
from taylorsgd.measuring.projected_moments import count_components, one_way
from taylorsgd.measuring.results import Measurement
from taylorsgd.measuring.tasks import Method, Task

__all__ = ["chosen_method", "measure", "plan", "refuse_former"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    M = TypeVar("M", default=Measurement | DenseMeasurement)

FORMER = ("estimator", "batch", "chunk", "memory", "checkpoint", "eigenpairs")
"""What used to be arguments of `measure`, and belongs to its method now."""


def measure(
    formula: Formula | Sequence[Formula],
    landscape: AnyLandscape,
    theta: Any,
    *,
    method: Method[M] | None = None,
    key: PRNGKeyArray | int | None = None,
    samples: int | None = None,
    progress: bool | None = None,
    **former: Any,
) -> M:
    """Measure what a formula takes of a landscape at θ_0 = theta, without bias.

    `MatrixFree` estimates every value of a plain formula, with standard errors; `Dense` computes the cumulants of a
    resummed formula's parts as arrays over the parameters; `TopEigenpairs(k)` takes a resummed formula's contractions
    along the top k eigendirections of H, with nothing larger than some vectors like θ. Expectations are over the
    landscape's population, or a sampler's distribution. `plan` shows beforehand what it costs.

    Args:
        formula: a formula, or a list of several whose values are measured together.
        landscape: the loss and its data, or a toy landscape.
        theta: the parameters θ_0, a pytree of float arrays; their dtype is the dtype of the arithmetic.
        method: with what to measure; by default `MatrixFree()`, and `Dense()` for a resummed formula.
        key: a JAX random key, or an integer seed. Only needed if something is sampled.
        samples: the number of independent draws, at least 2, of what has to be sampled; 2048 by default. Standard
            errors fall as its square root. `Dense` draws so many points of a sampler, and `TopEigenpairs` rounds it
            up to a multiple of 16; a diagram whose tied points can be enumerated with less work it averages exactly.
        progress: whether to show a progress bar with the time left, while there are draws; None for one on a terminal
            and in a notebook, if more than a few seconds are ahead.
        **former: nothing; arguments that have moved into methods are refused with their new spelling.

    Returns:
        What the method makes, ready for `Formula.lower`: a `Measurement`, `DenseMeasurement` or `SpectralMeasurement`.

    Raises:
        TypeError: if the arguments have other types, θ has leaves that are no floats, or an `Observable`
            is a SymPy expression, which has no parameters to be differentiated in; for arguments that have moved.
        ValueError: if the method is not for this formula, the key is missing, formulas with and without open indices
            are mixed, the exact estimator would take too long, a loss or a derivative is not finite at θ_0, or a
            checkpoint belongs to another measurement.
        MemoryError: if a single draw takes more than the method's `memory`, or the dense tensors of a resummed
            formula would take more than 2 GiB.
        NotImplementedError: if a value has two open indices, and so is a P × P matrix, unless tensors are dense:
            `predict(along=)` measures it along directions; for eigenpairs on a sampler.

    Warns:
        RuntimeWarning: if the loss has kinks in θ (ReLU), or draws random numbers that are always the same (dropout
            without a key of its own).

    Example:
        >>> import jax, jax.numpy as jnp, taylorsgd as ts
        >>> data = jnp.array([-1.0, 0.0, 1.0])
        >>> landscape = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), data)
        >>> f = ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2)
        >>> measured = ts.measure(f, landscape, 0.5, key=jax.random.key(0))
        >>> g_g, c_h = f.terms[1].value, f.terms[3].value
        >>> print(f"{measured[g_g]:.4f}", f"{measured[c_h]:.1f}")
        0.5038 1.8

    Source: Tenka, sections C.2.2, C.3.1 and C.6.
    """
    refuse_former("measure", former)
    task = Task(formula, landscape, checked_parameters(theta), key, samples, progress)
    return chosen_method(method, task).measure(task)


def plan(
    formula: Formula | Sequence[Formula],
    landscape: AnyLandscape,
    *,
    method: Method[Any] | None = None,
    along: Any = None,
    **former: Any,
) -> Plan:
    """Plan what `measure` will do, to see its cost before anything runs.

    Args:
        formula: as in `measure`.
        landscape: as in `measure`.
        method: as in `measure`. `TopEigenpairs` plans what follows the search for eigenpairs, for 2048 draws; `Dense`
            has no plan.
        along: as in `predict`: directions that close the open indices of one plain formula. Every pair of them is
            measured by itself, and the plan is that of one.
        **former: as in `measure`.

    Returns:
        A `Plan`. Printed, it is a table of the derivatives that will be taken, what they cost in gradients of
        the loss of one point, and the totals.

    Raises:
        TypeError: if the arguments have other types, or have moved.
        ValueError: if the method is not for this formula or has no plan, or formulas with and without open
            indices are mixed.
        NotImplementedError: if a value has two open indices, and so is a P × P matrix.

    Example:
        >>> import jax.numpy as jnp, taylorsgd as ts
        >>> landscape = ts.Landscape(lambda theta, x: jnp.cosh(theta + x), jnp.arange(100.0))
        >>> print(ts.plan(ts.derive(ts.TestLoss(), ts.SGD(B=1, E=1), order=2), landscape))
        name  derivative     over              uses  gradients  when
        ────  ─────────────  ────────────────  ────  ─────────  ─────────
        n1    l              population (100)     1      33.33  once
        v1    ∇ l            population (100)     5      66.67  once
        n2    D[v1] D[v1] l  population (100)     1      166.7  once
        v2    ∇ l_x − v1     point x0             2          1  each draw
        n3    D[v2] D[v2] l  batch b0 (4)         1      6.667  each draw
        4 values by centred, of these 1 sampled: 5 messages in 4 stages.
        Once: 266.7 gradients of one point.
        Each draw: 7.667 gradients of one point, 1.917 of a batch of 4.
    """
    refuse_former("plan", former)
    task = Task(formula, landscape)
    if along is None:
        return chosen_method(method, task).plan(task)
    if len(task.formulas) > 1:
        raise ValueError("along= closes the indices of one formula; plan the others by themselves")
    one = next(iter(task.formulas))
    if not open_positions(one):
        raise ValueError("along= is for formulas with open indices, such as a displacement's; leave it out")
    if task.resummed:
        raise ValueError("along= of a resummed formula is taken of its dense tensors, for which there is no plan")
    like = one_direction(along)
    directions = checked_directions(along, like)
    positions = open_positions(one)
    closed = Task(one_way(one, directions[:1] * len(positions), like, positions), landscape)
    found = chosen_method(method, closed).plan(closed)
    return replace(found, repeats=count_components(one, len(directions), like))


def refuse_former(function: str, given: Mapping[str, Any]) -> None:
    """Raise for keyword arguments that a function does not take, and say where those that it took have gone.

    Example:
        >>> refuse_former("measure", {"estimator": "exact"})
        Traceback (most recent call last):
        TypeError: estimator='exact' belongs to the method now: measure(..., method=MatrixFree(estimator='exact'))
    """
    moved = {name: value for name, value in given.items() if name in FORMER}
    if len(moved) < len(given):
        (name, *_) = set(given) - set(moved)
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    if moved:
        old = ", ".join(f"{name}={value!r}" for name, value in moved.items())
        spelling = f"MatrixFree({old})"
        if "eigenpairs" in moved:
            rest = "".join(f", batch={value!r}" for name, value in moved.items() if name == "batch")
            spelling = f"TopEigenpairs({moved['eigenpairs']!r}{rest})"
        belongs = "belongs" if len(moved) == 1 else "belong"
        raise TypeError(f"{old} {belongs} to the method now: {function}(..., method={spelling})")


def chosen_method(method: Method[Any] | None, task: Task) -> Method[Any]:
    """The method that was given, or the one for a task's formulas.

    Raises:
        TypeError: if it is none.
    """
    if method is None:
        return Dense() if task.resummed else MatrixFree()
    if isinstance(method, type) or not hasattr(method, "measure") or not hasattr(method, "plan"):
        raise TypeError(f"method={method!r} must be MatrixFree(), Dense() or TopEigenpairs(k)")
    return method
