"""ROC, precision-recall and risk-coverage curves: pure functions, equal to scikit-learn's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measures.reliability import Floats, check_predictions
from measures.risk_coverage import aurc, error_curve

# micro-averaged curves sort all of these at once
MICRO_LIMIT = 20_000_000


# classes


# calibration


# ranking


@dataclass(frozen=True)
class Curve:
    """One curve and the number that sums it up.

    Args:
        x: false positive rate, or recall
        y: true positive rate, or precision
        area: under it
    """

    x: Floats
    y: Floats
    area: float


@dataclass(frozen=True)
class ClassCurves:
    """One-versus-rest curves of the classes that have one.

    Args:
        classes: by number of the class; one without samples, or with nothing else, has none
        macro: the mean curve; its area is the mean of the classes' areas; None without any class
        micro: of all decisions together; None where they are too many
        absent: numbers of the classes left out
    """

    classes: dict[int, Curve]
    macro: Curve | None
    micro: Curve | None
    absent: list[int]


def roc_curves(labels: NDArray, probabilities: NDArray) -> ClassCurves:
    """Compute the ROC curve of each class against the rest, and their averages.

    Args:
        labels: shape `(sample,)`
        probabilities: shape `(sample, class)`
    """
    from sklearn.metrics import auc, roc_curve

    def curve(truth: NDArray, scores: NDArray) -> Curve:
        x, y, _ = roc_curve(truth, scores)
        return Curve(x, y, float(auc(x, y)))

    return _one_versus_rest(labels, probabilities, curve, falling=False)


def precision_recall_curves(labels: NDArray, probabilities: NDArray) -> ClassCurves:
    """Compute the precision-recall curve of each class against the rest, and their averages.

    The area is the average precision: the sum of steps, without the interpolation that is too hopeful.

    Args:
        labels: shape `(sample,)`
        probabilities: shape `(sample, class)`
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    def curve(truth: NDArray, scores: NDArray) -> Curve:
        precision, recall, _ = precision_recall_curve(truth, scores, drop_intermediate=True)
        return Curve(recall[::-1], precision[::-1], float(average_precision_score(truth, scores)))

    return _one_versus_rest(labels, probabilities, curve, falling=True)


def _one_versus_rest(labels: NDArray, probabilities: NDArray, curve, falling: bool) -> ClassCurves:  # type: ignore[no-untyped-def]
    labels, probabilities = check_predictions(labels, probabilities)
    support = np.bincount(labels, minlength=probabilities.shape[1])
    ranked = [int(number) for number in np.flatnonzero((support > 0) & (support < len(labels)))]
    classes = {number: curve(labels == number, probabilities[:, number]) for number in ranked}
    absent = [number for number in range(len(support)) if number not in classes]
    if not classes:
        return ClassCurves({}, None, None, absent)
    grid = np.linspace(0, 1, 501)
    sampled = np.mean([at(each, grid, falling) for each in classes.values()], axis=0)
    macro = Curve(grid, sampled, float(np.mean([each.area for each in classes.values()])))
    micro = None
    if len(labels) * len(ranked) <= MICRO_LIMIT:
        micro = curve((labels[:, None] == ranked).ravel(), probabilities[:, ranked].ravel())
    return ClassCurves(classes, macro, micro, absent)


def at(curve: Curve, grid: Floats, falling: bool) -> Floats:
    """Read a curve off at some places.

    Args:
        curve: with `x` from 0 to 1
        grid: rising places
        falling: the curve is one of steps (precision over recall): the value at a recall is that of the next point
            that reaches it; else points are joined by lines, and a vertical rise counts at its top
    """
    if falling:
        return curve.y[np.minimum(np.searchsorted(curve.x, grid, side="left"), len(curve.y) - 1)]
    return np.interp(grid, curve.x, curve.y)


@dataclass(frozen=True)
class RiskCoverage:
    """Error among the samples that are kept when the least confident ones are left undecided.

    Args:
        coverage: share of samples that are kept, rising
        risk: share of wrong ones among them
        area: mean risk over all counts of kept samples (AURC; Geifman et al. 2019)
    """

    coverage: Floats
    risk: Floats
    area: float


def risk_coverage_curve(labels: NDArray, probabilities: NDArray) -> RiskCoverage:
    """Compute the error over the share of samples that are decided (Geifman and El-Yaniv 2017).

    Samples of equal confidence are kept or left together.

    Args:
        labels: shape `(sample,)`
        probabilities: shape `(sample, class)`
    """
    labels, probabilities = check_predictions(labels, probabilities)
    accepted, errors, _ = error_curve(probabilities.max(1), probabilities.argmax(1) == labels)
    return RiskCoverage(accepted / len(labels), errors / accepted, aurc(accepted, errors))
