"""What trials give, chunk by chunk, put together into a simulation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from taylorsgd.descent.runs import Simulation, Statistic, TrainingSets, over_trials
from taylorsgd.formulas import Observable
from taylorsgd.landscapes.fingerprints import Origin
from taylorsgd.landscapes.point_functions import PointFunction
from taylorsgd.measuring.devices import gathered
from taylorsgd.measuring.results import DrawMoments
from taylorsgd.spacetime import Spacetime
from taylorsgd.updates import Descent

__all__ = ["Record", "assembled", "observable_functions", "refuse_open_sizes", "warn_of_divergence"]


class Record:
    """What the trials at one learning rate gave so far.

    Attributes:
        scalars: chunks (trials, c): test loss, training loss where there is a training set, observables; of a field,
            which has no losses, |θ|² in their place.
        displacement: mean and covariance of θ_T − θ_0, leaf by leaf.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.scalars: list[np.ndarray] = []
        self.displacement = DrawMoments()

    def add(self, results: tuple[jax.Array, Any], chunk: int, trials: int) -> None:
        """Add a chunk's scalars and displacements, as far as it takes to make `trials` of them."""
        scalars, displacement = results
        # The last chunk is longer than needed, and any may be filled up for its devices.
        wanted = min(chunk, trials - self.displacement.count)
        self.scalars.append(gathered(scalars)[:wanted])
        with np.errstate(all="ignore"):  # divergence is reported by name, once for a learning rate
            self.displacement.add([gathered(leaf)[:wanted, None] for leaf in jax.tree.leaves(displacement)])

    def add_copies(self, scalars: jax.Array, displacement: Any, trials: int) -> None:
        """Stand a deterministic result for all trials."""
        self.scalars.append(np.broadcast_to(np.asarray(scalars), (trials, *scalars.shape)))
        # Two copies have the mean and the spread of any number of them.
        self.displacement.add([np.stack([leaf, leaf])[:, None] for leaf in jax.tree.leaves(displacement)])


def observable_functions(observables: Sequence[Observable]) -> tuple[PointFunction, ...]:
    """The functions of θ behind some observables.

    Raises:
        TypeError: if one is no `Observable`, or a SymPy expression.
        ValueError: if two share a name.
    """
    functions = []
    for observable in observables:
        if not isinstance(observable, Observable):
            raise TypeError(f"observables holds {observable!r}; it takes Observable(s)")
        if not callable(observable.s):
            raise TypeError(
                f"{observable!r} is an expression, and here s must be a function of the parameters, "
                "as in Observable(lambda theta: jnp.sum(theta**2))"
            )
        functions.append(PointFunction(observable.s, f"the observable {observable.name}"))
    names = [observable.name for observable in observables]
    if len(set(names)) < len(names):
        raise ValueError(f"observables share a name: {', '.join(names)}; write Observable(s, name='u')")
    return tuple(functions)


def refuse_open_sizes(spacetime: Spacetime) -> None:
    """Raise if a size of a spacetime is a symbol.

    Raises:
        ValueError: naming the symbols.
    """
    names = sorted({str(symbol) for size in spacetime.sizes.values() for symbol in size.free_symbols})
    if names:
        raise ValueError(
            f"spacetime={spacetime!r} leaves {', '.join(names)} open; give numbers, as in SGD(N=10, B=1, E=2)"
        )


def warn_of_divergence(rates: np.ndarray, records: Sequence[Record], trials: int) -> None:
    """Warn, once for a learning rate, if trials ended with something that is not finite."""
    for rate, record in zip(rates.flat, records, strict=True):
        diverged = np.sum(~np.isfinite(np.concatenate(record.scalars)).all(axis=1))
        if diverged:
            warnings.warn(
                f"eta={rate:.4g}: {diverged} of {trials} trials diverged, and so do the means over trials",
                RuntimeWarning,
                stacklevel=3,
            )


def assembled(
    spacetime: Spacetime,
    rates: np.ndarray,
    trials: int,
    records: Sequence[Record],
    names: Sequence[str],
    training_sets: TrainingSets | None,
    update: Any,
    origin: Origin,
) -> Simulation:
    """The statistics over the trials of a rule at all learning rates, one record for each."""
    scalars = np.stack([np.concatenate(record.scalars) for record in records]).astype(np.float64)
    scalars = np.moveaxis(scalars, -1, 0).reshape(-1, *rates.shape, trials)
    test, *rest = scalars
    train = rest.pop(0) if spacetime.has_training_set and not origin.landscape.is_field else None
    moments = [record.displacement for record in records]
    structure = jax.tree.structure(origin.theta)

    def vector(leaves: Sequence[Sequence[np.ndarray]]) -> Any:
        joined = [np.stack(leaf).reshape((*rates.shape, *leaf[0].shape)) for leaf in zip(*leaves, strict=True)]
        return jax.tree.unflatten(structure, joined)

    with np.errstate(all="ignore"):
        displacement = Statistic(
            vector([[leaf[0] for leaf in m.mean] for m in moments]),
            vector([[np.sqrt(leaf[0, 0]) for leaf in m.covariance_of_mean()] for m in moments]),
        )
    return Simulation(
        spacetime=spacetime,
        eta=rates,
        count=trials,
        test_loss=None if origin.landscape.is_field else over_trials(test),  # type: ignore[arg-type]
        train_loss=None if train is None else over_trials(train),
        gap=None if train is None else over_trials(test - train),
        displacement=displacement,
        observables={name: over_trials(column) for name, column in zip(names, rest, strict=True)},
        diverged=np.sum(~np.isfinite(scalars).all(axis=0), axis=-1),
        training_sets=training_sets,
        update=Descent() if update is None else update,
        origin=origin,
    )
