"""What curves of predictions and simulations say: where they agree, where they part, and what resumming helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from scipy.stats import norm

from taylorsgd.reproducing.experiment import Finding
from taylorsgd.reproducing.labelled_images import Images
from taylorsgd.reproducing.significance import LEAST_P, LEVEL
from taylorsgd.reproducing.tenka.controlled_curves import (
    CurveSize,
    LossCurve,
    agreement_at,
    breaking_point,
    coefficients_agree,
)
from taylorsgd.reproducing.tenka.image_classifiers import CONVOLUTIONAL, LOGISTIC, POINTS

__all__ = ["notes", "of_errors", "of_large_times", "of_resumming", "of_small_times"]


def notes(size: CurveSize, images: Images, found: Sequence[LossCurve], most: float) -> list[str]:
    """What a reader should know of the population, of the control variates and of the statistics."""
    nets = [curve for curve in found if curve.net == CONVOLUTIONAL]
    count = min(size.images, len(images.train[1]) + len(images.test[1]))
    gains = ", ".join(
        f"{np.exp(np.mean([np.log(curve.gain[i]) for curve in nets])):.3g} at ηT = {time:g}"
        for i, time in enumerate(size.times)
        if time <= most * (1 + 1e-9)
    )
    below = nets[0].below
    return [
        f"{size.of_population(images)}, from which training sets of N = {POINTS} are drawn with replacement, and "
        f"over all {count} of which the test loss is averaged; one epoch, batch size 1, T = N",
        f"{size.trials} trials with the same training sets at every learning rate. Where it lowers the error each "
        f"run's own Taylor series in η, through order {below} by forward mode along the run, is taken away, and the "
        "formula's terms put in its place: variances of means over trials are lower by factors of "
        f"{gains} (geometric means over initializations of the {CONVOLUTIONAL})",
        f"un-resummed values from {size.samples} independent draws; their errors count in every χ²",
        f"resummed values are of order 2, along the top {size.eigenpairs[0]} eigendirections of the convolutional "
        f"net's Hessian and the top {size.eigenpairs[1]} of logistic regression's; all others are taken to be flat",
    ]


def of_small_times(found: Sequence[LossCurve], size: CurveSize, most: float, figure: str) -> list[Finding]:
    """Whether the order's prediction agrees for all initializations through ηT = most, and whether lower ones do."""
    nets, order = [curve for curve in found if curve.net == CONVOLUTIONAL], size.order
    inside = [i for i, time in enumerate(size.times) if time <= most * (1 + 1e-9)]
    each = {i: agreement_at(nets, order, i, size.published) for i in inside}
    worst = min(each, key=lambda i: each[i].p_value)
    p_value = min(1.0, len(each) * each[worst].p_value)
    edge = inside[-1]
    lower = {k: agreement_at(nets, k, edge, size.published) for k in range(1, order)}
    told_apart = lower[order - 1].p_value < LEAST_P
    missed = np.array([curve.series.left[order][edge] / (curve.estimate[0][edge] - curve.start) for curve in nets])
    share = f"{missed.mean():+.2%} of the change at ηT = {most:g} is beyond order {order}, on average"
    good = breaking_point(nets, order)[0]
    sharply = "nowhere" if good is None else f"through ηT = {good * POINTS:g}"
    return [
        Finding(
            f"for all {len(nets)} initializations of the convolutional net, the order {order} prediction agrees with "
            f"simulation through ηT ≈ {most:g} ({figure})",
            f"at the resolution of {size.published} plain trials, of {len(each)} learning rates the worst, ηT = "
            f"{size.times[worst]:g}: {each[worst]}, times {len(each)} {p_value:.2g}, agrees above {LEAST_P:g}. "
            f"{share}, by initialization {', '.join(f'{one:+.2%}' for one in missed)}; at the resolution of this run, "
            f"which is finer, it agrees {sharply}",
            p_value > LEAST_P,
            asdict(each[worst]) | {"beyond": float(missed.mean()), "sharply": POINTS * (good or 0.0)},
            case=f"{share}, and up to {missed[np.argmax(np.abs(missed))]:+.2%} for one of the initializations",
            unmet="" if told_apart else f"order {order - 1} is not excluded at ηT = {most:g}",
        ),
        *(
            Finding(
                f"the order {k} prediction does not agree at ηT = {most:g}, at the same resolution: the simulation "
                "tells orders apart",
                f"{one}; excluded below {LEAST_P:g}. At the resolution of this run χ² = "
                f"{agreement_at(nets, k, edge).chi2:.4g}",
                one.p_value < LEAST_P,
                asdict(one),
                "control",
            )
            for k, one in lower.items()
        ),
        *_of_coefficients(nets, order),
    ]


def _of_coefficients(nets: Sequence[LossCurve], order: int) -> list[Finding]:
    """Whether every coefficient by the formulas is the mean of the runs' own, which knows of no other order."""
    each = {k: coefficients_agree(nets, k) for k in range(1, order + 1)}
    without = coefficients_agree(nets, order, predicted=False)
    p_value = min(1.0, len(each) * min(one.p_value for one in each.values()))
    return [
        Finding(
            f"the diagrams' coefficients of η to η^{order} are the means of the runs' own, by forward mode",
            "; ".join(f"order {k}: {one}" for k, one in each.items()) + f"; agrees if all exceed {LEAST_P:g} together",
            p_value > LEAST_P,
            {f"p_value of order {k}": one.p_value for k, one in each.items()},
            "control",
        ),
        Finding(
            f"that of η^{order} is not 0: the runs resolve it",
            f"{without}; excluded below {LEAST_P:g}",
            without.p_value < LEAST_P,
            asdict(without),
            "control",
        ),
    ]


def of_large_times(found: Sequence[LossCurve], size: CurveSize, figure: str) -> Finding:
    """The point where the order's prediction breaks."""
    nets, order = [curve for curve in found if curve.net == CONVOLUTIONAL], size.order
    good, bad = breaking_point(nets, order, size.published)
    where = "nowhere" if good is None else f"through ηT = {good * POINTS:g}"
    broken = "which is all that was looked at" if bad is None else f"and no longer at ηT = {bad * POINTS:g}"
    alone = [breaking_point([curve], order, size.published)[1] for curve in nets]
    ends = ", ".join("none" if end is None else f"{end * POINTS:g}" for end in alone)
    return Finding(
        f"for large ηT the order {order} prediction breaks down ({figure})",
        f"at the resolution of {size.published} plain trials it agrees {where}, {broken} (p < {LEAST_P:g}); breaks of "
        f"single initializations at ηT = {ends}",
        bad is not None,
        {"last": POINTS * (good or 0.0)} | ({} if bad is None else {"first": POINTS * bad}),
    )


def of_errors(found: Sequence[LossCurve], most: float, least: float, figure: str) -> Finding:
    """Whether the 0–1 error falls by about so much through ηT = most, on average over initializations."""
    nets = [curve for curve in found if curve.net == CONVOLUTIONAL]
    (edge,) = np.flatnonzero(np.isclose(nets[0].eta * POINTS, most))
    falls = np.array([float(curve.series.wrong_start) - curve.series.wrong[edge] for curve in nets])
    error = float(np.sqrt(sum(curve.series.wrong_error[edge] ** 2 for curve in nets)) / len(nets))
    p_value = float(norm.sf(falls.mean() / error)) if error else 1.0
    low, high = least / 10**0.5, least * 10**0.5
    return Finding(
        f"ηT ≈ {most:g} corresponds to a decrease in 0–1 error of ≈ {least:g} ({figure})",
        f"by {falls.mean():.4f} ± {error:.4f} on average, by initialization {', '.join(f'{f:.4f}' for f in falls)}; "
        f"agrees from {low:.1g} to {high:.1g}, with a one-sided p = {p_value:.2g} below {LEVEL:g}",
        bool(low < falls.mean() < high and p_value < LEVEL),
        {"mean": float(falls.mean()), "error": error, "p_value": p_value},
        case=f"it depends on the initialization: from {falls.min():.4f} to {falls.max():.4f}",
        unmet="" if p_value < LEVEL or falls.mean() + 5 * error < low else "no decrease is resolved",
    )


def of_resumming(found: Sequence[LossCurve], most: float, figure: str) -> Finding:
    """At how many of the learning rates beyond ηT = most the resummed value of order 2 is the nearer one."""
    (curve,) = (curve for curve in found if curve.net == LOGISTIC)
    large = curve.eta > most / POINTS * (1 + 1e-9)
    simulated = curve.estimate[0]
    plain = np.abs(curve.predicted[1] - simulated)[large]
    resummed = np.abs(curve.resummed[-1] - simulated)[large]
    nearer = int((resummed < plain).sum())
    claim = (
        f"un-resummed values may be less accurate than resummed ones ({figure}): of order 2, {LOGISTIC}, ηT > {most:g}"
    )
    if not len(plain):
        return Finding(claim, "no such learning rate was looked at", None, {})
    return Finding(
        claim,
        f"resummed nearer to the simulation at {nearer} of {len(plain)} learning rates; largest errors "
        f"{resummed.max():.3g} and, un-resummed, {plain.max():.3g}; agrees if nearer at more than half",
        nearer > len(plain) / 2,
        {"nearer": nearer, "of": len(plain), "resummed": resummed.max(), "un-resummed": plain.max()},
    )
