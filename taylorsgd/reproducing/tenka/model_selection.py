"""Models chosen by AIC, TIC and STIC, with the true gap beside what they estimate: Corollary 5, section 4.3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure
from scipy.stats import norm

from taylorsgd.regularizing import akaike, gap_estimate, takeuchi
from taylorsgd.reproducing.experiment import Experiment, Finding, Outcome, Work
from taylorsgd.reproducing.pictures import bars, panels
from taylorsgd.reproducing.significance import LEVEL

__all__ = ["EXPERIMENT", "FAMILIES", "Family", "SelectionSize", "trained_and_judged"]

CRITERIA = ("AIC", "TIC", "STIC")
NOISE = 0.3
"""The standard deviation σ of what polynomials are fitted to."""


@dataclass(frozen=True)
class Family:
    """Nested models, and where their points come from.

    Attributes:
        name: what they are.
        models: their numbers of parameters.
        points: N.
        rate: η.
        draw: a function (random generator, count) that draws so many points, features (count, P) and labels (count,).
        loss: the loss of parameters (P,) on one point, a negative log likelihood.
    """

    name: str
    models: tuple[int, ...]
    points: int
    rate: float
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
    loss: Callable[[Any, Any], Any]


def _polynomial_points(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Powers of x, uniform in [−1, 1], and sin 4x with normal noise, which no polynomial is."""
    x = random.uniform(-1, 1, count)
    return x[:, None] ** np.arange(8), np.sin(4 * x) + NOISE * random.standard_normal(count)


def _logistic_points(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Normal features, the later ones the smaller, and signs that mostly depend on the first three."""
    scales, truth = 0.7 ** np.arange(8), np.array([1.5, -1.5, 1.5, 0.3, -0.3, 0, 0, 0])
    x = random.standard_normal((count, 8)) * scales
    return x, np.where(random.uniform(size=count) < 1 / (1 + np.exp(-x @ truth)), 1.0, -1.0)


def _squares(theta: Any, point: Any) -> Any:
    x, y = point
    return (y - x @ theta) ** 2 / (2 * NOISE**2)


def _logistic(theta: Any, point: Any) -> Any:
    x, y = point
    return jnp.logaddexp(0.0, -y * (x @ theta))


FAMILIES = (
    Family("polynomials", (2, 3, 4, 5, 6, 7, 8), 20, 0.02, _polynomial_points, _squares),
    Family("logistic regression", (1, 2, 3, 4, 5, 6, 7, 8), 30, 1.0, _logistic_points, _logistic),
)
"""The kinds of models that are selected among."""


@dataclass(frozen=True)
class SelectionSize:
    """The settings.

    Attributes:
        updates: T of gradient descent from 0, one number for short and one for long training.
        trials: training sets.
        tested: points of the test set.
        seed: of the points.
        largest: the most parameters of a model.
    """

    updates: tuple[int, int] = (30, 1000)
    trials: int = 1000
    tested: int = 5000
    seed: int = 0
    largest: int = 8

    def models(self, family: Family) -> tuple[int, ...]:
        """The numbers of parameters of a family's models that are looked at."""
        return tuple(count for count in family.models if count <= self.largest)


def trained_and_judged(
    family: Family, parameters: int, updates: int, train: Any, test: Any
) -> Mapping[str, np.ndarray]:
    """The test and training loss of one model on each training set, and what the criteria say of their difference.

    Args:
        family: the models.
        parameters: of this one: it sees the first so many features.
        updates: T of gradient descent from 0.
        train: the training sets, features (trials, N, P) and labels (trials, N).
        test: the test set, features (count, P) and labels (count,).

    Returns:
        By name, (trials,) each: "test", "train", and for every criterion its estimate of the gap.
    """

    def mean(theta: Any, points: Any) -> Any:
        return jnp.mean(jax.vmap(family.loss, (None, 0))(theta, points))

    def trained(batch: Any) -> tuple[Any, dict[str, Any]]:
        start = jnp.zeros(parameters)
        step = lambda theta, _: (theta - family.rate * jax.grad(mean)(theta, batch), None)  # noqa: E731
        theta, _ = lax.scan(step, start, length=updates)
        losses = {"test": mean(theta, test), "train": mean(theta, batch)}
        return theta, losses | {"AIC": jnp.asarray(akaike(theta, batch))}

    train, test = ((x[..., :parameters], y) for x, y in (train, test))
    thetas, found = jax.jit(jax.vmap(trained))(train)
    criteria = {
        "TIC": partial(takeuchi, family.loss),
        "STIC": partial(gap_estimate, family.loss, time=family.rate * updates),
    }
    # Programs of their own, one waited for before the next: jaxlib splits LAPACK's work on many matrices among the
    # very threads that wait for it, so that TIC's and STIC's side by side can wait for ever on two cores.
    for name, criterion in criteria.items():
        found[name] = np.asarray(jax.jit(jax.vmap(criterion))(thetas, train))
    return {name: np.asarray(values) for name, values in found.items()}


Results = dict[tuple[str, int], dict[str, np.ndarray]]
"""By family and T, arrays (models, trials) by name."""


def _results(size: SelectionSize, work: Work) -> Results:
    found: Results = {}
    for number, family in enumerate(FAMILIES):
        random = np.random.default_rng((size.seed, number))
        test = family.draw(random, size.tested)
        x, y = family.draw(random, size.trials * family.points)
        train = x.reshape(size.trials, family.points, -1), y.reshape(size.trials, family.points)
        for updates in size.updates:
            work.say(f"{family.name}: {len(size.models(family))} models on {size.trials} training sets, T = {updates}")
            with jax.enable_x64(True):
                each = [
                    work.keep(
                        f"{family.name} {updates} {parameters}",
                        partial(trained_and_judged, family, parameters, updates, train, test),
                    )
                    for parameters in size.models(family)
                ]
            found[family.name, updates] = {name: np.stack([one[name] for one in each]) for name in each[0]}
    return found


def _chosen(found: Mapping[str, np.ndarray], criterion: str | None) -> np.ndarray:
    """The test loss, above the best model's, of the one that a criterion chooses on each training set, (trials,)."""
    scores = found["train"] + (found[criterion] if criterion else 0.0)
    best = np.argmin(np.where(np.isfinite(scores), scores, np.inf), axis=0)
    return found["test"][best, np.arange(scores.shape[1])] - found["test"].min(axis=0)


def _error(found: Mapping[str, np.ndarray], criterion: str) -> np.ndarray:
    """How far a criterion is from the mean true gap, averaged over models, on each training set, (trials,)."""
    gap = (found["test"] - found["train"]).mean(axis=1, keepdims=True)
    return np.abs(found[criterion] - gap).mean(axis=0)


def _smaller(claim: str, pair: Sequence[np.ndarray], what: str, source: str = "paper") -> Finding:
    """That the first numbers are smaller than the second on average, by a paired z-score."""
    first, second = pair
    apart = first - second
    error = apart.std(ddof=1) / np.sqrt(len(apart))
    z = float(apart.mean() / error) if error > 0 else 0.0
    return Finding(
        claim,
        f"{what} {first.mean():.4g} against {second.mean():.4g}, z = {z:.1f}, one-sided p = {norm.cdf(z):.2g}",
        bool(norm.cdf(z) < LEVEL),
        {"first": float(first.mean()), "second": float(second.mean()), "z": z, "p_value": float(norm.cdf(z))},
        source,
        contrary=float(norm.sf(z)),
    )


def _findings(size: SelectionSize, results: Results) -> list[Finding]:
    findings = []
    for (family, updates), found in results.items():
        short = updates == size.updates[0]  # where ηTH is small in most directions, of which the paper speaks
        when = f"{family}, {'short' if short else 'long'} training"
        for other in ("TIC", "AIC"):
            findings += [
                _smaller(
                    f"{when}: STIC estimates the generalization gap better than {other} does (4.3)",
                    [_error(found, name) for name in ("STIC", other)],
                    "mean distance from the true gap",
                    "paper" if short else "control",
                ),
                _smaller(
                    f"{when}: the model that STIC selects has less test loss than the one that {other} selects",
                    [_chosen(found, name) for name in ("STIC", other)],
                    "test loss above the best model's",
                    "control",
                ),
            ]
        findings.append(
            _smaller(
                f"{when}: STIC selects better than the training loss alone",
                [_chosen(found, name) for name in ("STIC", None)],
                "test loss above the best model's",
                "control",
            )
        )
    return findings


def _run(size: SelectionSize, work: Work) -> Outcome:
    results = _results(size, work)
    models = {family.name: size.models(family) for family in FAMILIES}
    table = [
        {
            "family": family,
            "T": updates,
            "parameters": parameters,
            "test loss": found["test"][i].mean(),
            "training loss": found["train"][i].mean(),
            "gap": (found["test"] - found["train"])[i].mean(),
            "standard error": (found["test"] - found["train"])[i].std(ddof=1) / np.sqrt(size.trials),
            **{name: found[name][i].mean() for name in CRITERIA},
            **{f"median {name}": np.median(found[name][i]) for name in CRITERIA},
        }
        for (family, updates), found in results.items()
        for i, parameters in enumerate(models[family])
    ]
    notes = [
        "polynomials of x in [−1, 1] are fitted to sin 4x with normal noise of standard deviation 0.3, N = 20; "
        "logistic regressions to signs of 8 normal features, the later ones the smaller, N = 30; descent starts from 0",
        f"η = {', '.join(f'{family.rate:g} for {family.name}' for family in FAMILIES)}; T = {size.updates[0]} in short "
        f"and {size.updates[1]} in long training; the true gap is on {size.tested} test points, its mean over "
        f"{size.trials} training sets",
        "Corollary 5 is about descent from a test minimum; here it starts elsewhere, as model selection must",
    ]
    return Outcome(_picture(size, results), table, _findings(size, results), notes)


COLOURS = {"AIC": "tab:orange", "TIC": "tab:red", "STIC": "tab:blue"}


def _picture(size: SelectionSize, results: Results) -> Figure:
    figure, axes = panels(14, 8, 2, 4)
    models = {family.name: size.models(family) for family in FAMILIES}
    names: Sequence[str | None] = (None, *CRITERIA)
    for column, ((family, updates), found) in enumerate(results.items()):
        above, below = axes[:, column]
        gap = found["test"] - found["train"]
        bars(above, models[family], gap.mean(axis=1), gap.std(axis=1, ddof=1) / np.sqrt(size.trials), "true gap (95%)")
        for name in CRITERIA:
            above.plot(models[family], np.median(found[name], axis=1), "o-", ms=3, color=COLOURS[name], label=name)
        above.set(xlabel="parameters", ylabel="gap (criteria: medians)", title=f"{family}, $T = {updates}$")
        above.set_yscale("symlog", linthresh=1.0)
        regrets = np.array([_chosen(found, name) for name in names])
        mean, error = regrets.mean(axis=1), regrets.std(axis=1, ddof=1) / np.sqrt(size.trials)
        below.bar(range(4), mean, yerr=1.96 * error, color=["0.7", *COLOURS.values()])
        below.set_xticks(range(4), ["none", *CRITERIA])
        below.set(ylabel="test loss above the best model's", title="the model that is selected")
    axes[0, 0].legend(fontsize=8)
    return figure


EXPERIMENT = Experiment(
    title="model selection by AIC, TIC and STIC",
    shows="Tenka, Corollary 5 and Sections 3.4 and 4.3",
    claim="Corollary 5's estimate of the generalization gap (STIC) improves on TIC and thus on AIC near H = 0; unlike "
    "AIC it does not assume a well-specified model",
    judged="paired z-scores over training sets, one-sided, at the level 0.01: of the distance of the estimate from the "
    "mean true gap, averaged over models; of the test loss of the model with the least training loss + estimate",
    sizes={"quick": SelectionSize(), "full": SelectionSize(trials=20_000)},
    lasts={"quick": "about a minute", "full": "about ten minutes"},
    run=_run,
)
"""The experiment."""
