"""What curves of predictions and simulations say: where they agree, where they part, and what resumming helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from taylorsgd.reproducing.experiment import Finding
from taylorsgd.reproducing.labelled_images import Images
from taylorsgd.reproducing.significance import LEAST_P
from taylorsgd.reproducing.tenka.curves import Curve, CurveSize, breaking_point, joint_agreement
from taylorsgd.reproducing.tenka.image_classifiers import CONVOLUTIONAL, LOGISTIC, POINTS

__all__ = ["notes", "of_large_times", "of_resumming", "of_small_times"]


def notes(size: CurveSize, images: Images) -> list[str]:
    """What a reader should know of the population and the statistics."""
    count = min(size.images, len(images.train[1]) + len(images.test[1]))
    return [
        f"{images}; the population is the first {count} of them, from which training sets of N = {POINTS} are "
        "drawn with replacement, and over all of which the test loss is averaged; one epoch, batch size 1, T = N",
        f"un-resummed values from {size.samples} independent draws; their errors count in every χ²",
        f"resummed values are of order 2, along the top {size.eigenpairs[0]} eigendirections of the convolutional "
        f"net's Hessian and the top {size.eigenpairs[1]} of logistic regression's; all others are taken to be flat",
    ]


def of_small_times(found: Sequence[Curve], order: int, most: float, figure: str) -> list[Finding]:
    """Whether the order's prediction agrees for all initializations through ηT = most, and whether lower ones do."""
    nets = [curve for curve in found if curve.net == CONVOLUTIONAL]
    joint = {k: joint_agreement(nets, k, most / POINTS) for k in range(1, order + 1)}
    each = [joint_agreement([curve], order, most / POINTS).p_value for curve in nets]
    last = joint.pop(order)
    return [
        Finding(
            f"for all {len(nets)} initializations of the convolutional net, the order {order} prediction agrees with "
            f"simulation through ηT ≈ {most:g} ({figure})",
            f"jointly {last}; alone p = {', '.join(f'{p:.2g}' for p in each)}",
            last.agrees,
            asdict(last),
        ),
        *(
            Finding(
                f"the order {k} prediction, with as many trials, does not: the simulation tells orders apart",
                f"jointly {lower}",
                not lower.agrees,
                asdict(lower),
                "control",
            )
            for k, lower in joint.items()
        ),
    ]


def of_large_times(found: Sequence[Curve], order: int, figure: str) -> Finding:
    """The point where the order's prediction breaks."""
    nets = [curve for curve in found if curve.net == CONVOLUTIONAL]
    good, bad = breaking_point(nets, order)
    where = "nowhere" if good is None else f"through ηT = {good * POINTS:g}"
    broken = "which is all that was looked at" if bad is None else f"and no longer at ηT = {bad * POINTS:g}"
    alone = [breaking_point([curve], order)[1] for curve in nets]
    ends = ", ".join("none" if end is None else f"{end * POINTS:g}" for end in alone)
    return Finding(
        f"for large ηT the order {order} prediction breaks down ({figure})",
        f"it agrees {where}, {broken} (p < {LEAST_P:g}); breaks of single initializations at ηT = {ends}",
        bad is not None,
        {"last": POINTS * (good or 0.0)} | ({} if bad is None else {"first": POINTS * bad}),
    )


def of_resumming(found: Sequence[Curve], most: float, figure: str) -> Finding:
    """At how many of the learning rates beyond ηT = most the resummed value of order 2 is the nearer one."""
    (curve,) = (curve for curve in found if curve.net == LOGISTIC)
    large = curve.eta > most / POINTS * (1 + 1e-9)
    plain = np.abs(curve.predicted[1] - curve.simulated)[large]
    resummed = np.abs(curve.resummed[-1] - curve.simulated)[large]
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
