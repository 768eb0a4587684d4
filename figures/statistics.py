"""The numbers behind the pictures: pure functions of labels and probabilities, equal to scikit-learn's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensembling.risk_coverage import aurc, error_curve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 15
# micro-averaged curves sort all of these at once
MICRO_LIMIT = 20_000_000


def check_predictions(labels: NDArray, probabilities: NDArray) -> tuple[Ints, Floats]:
    """Refuse predictions that no picture could be believed of.

    Args:
        labels: class of each sample, shape `(sample,)`
        probabilities: shape `(sample, class)`

    Returns:
        labels as int64 and probabilities as float64

    Raises:
        ValueError: there are none, shapes do not fit, a label is no class, or a probability is none
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities {probabilities.shape} do not fit labels {labels.shape}")
    if not probabilities.size:
        raise ValueError("there are no predictions")
    bad = ~np.isfinite(probabilities).all(1)
    if bad.any():
        raise ValueError(f"the probabilities of {int(bad.sum())} of {len(bad)} samples are NaN or infinite")
    if probabilities.min() < 0 or probabilities.max() > 1 + 1e-6:
        raise ValueError("probabilities must be in [0, 1]: are these logits?")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels must be from 0 to {probabilities.shape[1] - 1}")
    return labels.astype(np.int64), probabilities


def softmax(logits: NDArray) -> Floats:
    """Turn logits `(sample, class)` into probabilities, in double precision."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


# classes


def confusion_counts(labels: NDArray, predicted: NDArray, num_classes: int) -> Ints:
    """Count samples by true class (row) and predicted class (column), shape `(class, class)`."""
    pairs = np.asarray(labels, dtype=np.int64) * num_classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class ConfusedPair:
    """A class that was taken for another.

    Args:
        true: its number
        predicted: number of the other
        count: samples
        share: of the samples of the true class
    """

    true: int
    predicted: int
    count: int
    share: float


def most_confused(counts: Ints, limit: int = 15) -> list[ConfusedPair]:
    """Return the pairs of classes that were confused most often, the most frequent first.

    Args:
        counts: by true class (row) and predicted class (column)
        limit: how many pairs
    """
    off = counts.copy()
    np.fill_diagonal(off, 0)
    support = counts.sum(1)
    order = np.argsort(-off, axis=None, kind="stable")[:limit]
    pairs = [(int(true), int(predicted)) for true, predicted in zip(*np.unravel_index(order, off.shape), strict=True)]
    return [ConfusedPair(t, p, int(off[t, p]), float(off[t, p] / support[t])) for t, p in pairs if off[t, p]]


@dataclass(frozen=True)
class ClassReport:
    """How well each class is told from the others; all have shape `(class,)`.

    Args:
        precision: share of right ones among samples predicted as the class; 0 where none was
        recall: share of right ones among samples of the class; 0 where there is none
        f1: harmonic mean of both
        support: samples of the class
        predicted: samples predicted as the class
    """

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints
    predicted: Ints

    @property
    def error_rate(self) -> Floats:
        """Share of wrong ones among samples of the class; NaN where there is none."""
        return np.where(self.support > 0, 1 - self.recall, np.nan)


def class_report(counts: Ints) -> ClassReport:
    """Compute precision, recall and F1 of each class.

    Args:
        counts: by true class (row) and predicted class (column)
    """
    hits, support, predicted = np.diag(counts).astype(np.float64), counts.sum(1), counts.sum(0)
    return ClassReport(
        hits / np.maximum(predicted, 1),
        hits / np.maximum(support, 1),
        2 * hits / np.maximum(support + predicted, 1),
        support,
        predicted,
    )


def text_report(labels: NDArray, predicted: NDArray, class_names: Sequence[str]) -> str:
    """Return scikit-learn's classification report with four digits, over the classes that occur.

    Args:
        labels: class of each sample, shape `(sample,)`
        predicted: class that was predicted for each
        class_names: the name of each class
    """
    # slow to import
    from sklearn.metrics import classification_report

    seen = np.union1d(labels, predicted)
    names = [class_names[number] for number in seen]
    report = classification_report(labels, predicted, labels=seen, target_names=names, digits=4, zero_division=0)
    absent = [name for number, name in enumerate(class_names) if number not in set(np.unique(labels).tolist())]
    return report + (f"\nwithout a sample: {', '.join(absent)}\n" if absent else "")


# calibration


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy of samples sorted into bins of equal width by their confidence.

    Args:
        edges: of the bins, shape `(bin + 1,)`
        counts: samples in each bin, shape `(bin,)`
        confidence: mean confidence in each bin; NaN where it is empty
        accuracy: share of right ones in each bin; NaN where it is empty
        ece: expected calibration error (Naeini et al. 2015; Guo et al. 2017)
    """

    edges: Floats
    counts: Ints
    confidence: Floats
    accuracy: Floats
    ece: float


def reliability_bins(labels: NDArray, probabilities: NDArray, bins: int = BINS) -> Reliability:
    """Sort predictions into bins by the probability of the predicted class.

    Args:
        labels: shape `(sample,)`
        probabilities: shape `(sample, class)`
        bins: how many
    """
    labels, probabilities = check_predictions(labels, probabilities)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    # torchmetrics, whose number stands in result.json, keeps a bin of its own for a confidence of exactly 1
    # and compares in single precision
    place = np.clip(np.digitize(confidence.astype(np.float32), edges.astype(np.float32)) - 1, 0, bins)
    counts, confidences, hits = (np.bincount(place, w, bins + 1) for w in (None, confidence, right.astype(np.float64)))
    ece = float(np.abs(confidences - hits).sum() / len(labels))
    # a picture need not show it
    for column in (counts, confidences, hits):
        column[bins - 1] += column[bins]
    with np.errstate(invalid="ignore"):
        means = [column[:bins] / np.where(counts[:bins] > 0, counts[:bins], np.nan) for column in (confidences, hits)]
    return Reliability(edges, counts[:bins].astype(np.int64), means[0], means[1], ece)


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
class Curves:
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


def roc_curves(labels: NDArray, probabilities: NDArray) -> Curves:
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


def precision_recall_curves(labels: NDArray, probabilities: NDArray) -> Curves:
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


def _one_versus_rest(labels: NDArray, probabilities: NDArray, curve, falling: bool) -> Curves:  # type: ignore[no-untyped-def]
    labels, probabilities = check_predictions(labels, probabilities)
    support = np.bincount(labels, minlength=probabilities.shape[1])
    ranked = [int(number) for number in np.flatnonzero((support > 0) & (support < len(labels)))]
    classes = {number: curve(labels == number, probabilities[:, number]) for number in ranked}
    absent = [number for number in range(len(support)) if number not in classes]
    if not classes:
        return Curves({}, None, None, absent)
    grid = np.linspace(0, 1, 501)
    sampled = np.mean([at(each, grid, falling) for each in classes.values()], axis=0)
    macro = Curve(grid, sampled, float(np.mean([each.area for each in classes.values()])))
    micro = None
    if len(labels) * len(ranked) <= MICRO_LIMIT:
        micro = curve((labels[:, None] == ranked).ravel(), probabilities[:, ranked].ravel())
    return Curves(classes, macro, micro, absent)


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
