"""Precision, recall and F1 of each class, and which classes are confused."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from measures.reliability import Floats, Ints


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
    """How well each class is distinguished from the others; all have shape `(class,)`.

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
