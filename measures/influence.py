"""Metrics of one model, and how much each sample adds to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from measures.calibration import ECE_BINS, confidence_bins
from measures.names import WITH_INTERVALS

METRICS = WITH_INTERVALS

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Influence:
    """Metrics of one model with the influence of each sample (Hampel 1974), whose spread is that of the metric.

    Args:
        values: by metric; NaN where undefined
        of_sample: by metric, shape `(sample,)`: its mean is 0, and the metric's standard error that of its mean; not of
            ECE, which adds up gaps whatever their sign
        right: whether each sample's class is the most probable one, shape `(sample,)`
        losses: negative log-likelihood of each sample, shape `(sample,)`
    """

    values: dict[str, float]
    of_sample: dict[str, Floats]
    right: NDArray[np.bool_]
    losses: Floats


def influence(logits: Tensor, labels: Tensor, metrics: Sequence[str] = METRICS) -> Influence:
    """Compute metrics, as `classification_metrics` does, and the influence of each sample on them.

    Args:
        logits: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        metrics: some of METRICS
    """
    # in NumPy: on small arrays, torch's threads wait for each other
    given, true = logits.double().numpy(), labels.numpy()[:, None]
    shifted = given - given.max(1, keepdims=True)
    sums = np.exp(shifted).sum(1, keepdims=True)
    probabilities = np.exp(shifted) / sums
    top = probabilities.argmax(1)
    right = top == labels.numpy()
    losses = (np.log(sums) - np.take_along_axis(shifted, true, 1))[:, 0]
    values: dict[str, float] = {}
    parts: dict[str, Floats] = {}

    def add_mean(name: str, of_sample: Floats) -> None:
        values[name] = float(of_sample.mean())
        parts[name] = of_sample - values[name]

    for name in metrics:
        if name == "accuracy":
            add_mean(name, right.astype(np.float64))
        elif name == "nll":
            add_mean(name, losses)
        elif name == "brier":
            own = np.take_along_axis(probabilities, true, 1)[:, 0]
            add_mean(name, np.square(probabilities).sum(1) - own**2 + (1 - own) ** 2)
        elif name == "balanced_accuracy":
            values[name], parts[name] = _balanced(right, labels.numpy(), logits.shape[1])
        elif name == "f1_macro":
            values[name], parts[name] = _f1(right, labels.numpy(), top, logits.shape[1])
        elif name == "auroc":
            values[name], parts[name] = _auroc(probabilities, labels.numpy())
        elif name == "ece":
            confidence = probabilities.max(1)
            bins = confidence_bins(torch.from_numpy(confidence)).numpy()
            gaps = np.bincount(bins, confidence - right, ECE_BINS + 1)
            values[name] = float(np.abs(gaps).sum()) / len(labels)
    return Influence(values, parts, right, losses)


def class_weights(labels: NDArray[np.int64], classes: int) -> Floats:
    """Return how much each sample counts in a mean over classes, with a mean of 1, shape `(sample,)`."""
    support = np.bincount(labels, minlength=classes)
    return (len(labels) / np.count_nonzero(support) / np.maximum(support, 1))[labels]


def _balanced(right: NDArray[np.bool_], labels: NDArray[np.int64], classes: int) -> tuple[float, Floats]:
    support = np.bincount(labels, minlength=classes)
    recall = np.bincount(labels, right, classes) / np.maximum(support, 1)
    weights = class_weights(labels, classes)
    # a class of few samples has a spread that is too small by (n - 1) / n
    few = np.sqrt(support / np.maximum(support - 1, 1))[labels]
    return float(recall[support > 0].mean()), weights * (right - recall[labels]) * few


def _f1(
    right: NDArray[np.bool_], labels: NDArray[np.int64], top: NDArray[np.int64], classes: int
) -> tuple[float, Floats]:
    both = np.bincount(labels, minlength=classes) + np.bincount(top, minlength=classes)
    f1 = 2 * np.bincount(labels[right], minlength=classes) / np.maximum(both, 1)
    seen = np.count_nonzero(both)
    per_sample = (2.0 * right - f1[labels]) / both[labels] - f1[top] / both[top]
    return float(f1.sum() / seen), per_sample * len(labels) / seen


def _auroc(probabilities: Floats, labels: NDArray[np.int64]) -> tuple[float, Floats]:
    """Return the one-versus-rest AUROC over the classes present, and DeLong's components (DeLong et al. 1988)."""
    total, of_sample, ranked = 0.0, np.zeros(len(labels)), 0
    for label in np.unique(labels).tolist():
        scores, positive = probabilities[:, label], labels == label
        ups, downs = np.sort(scores[positive]), np.sort(scores[~positive])
        if not len(downs):
            continue
        won = np.empty(len(labels))
        # ties count half
        won[positive] = _below(downs, scores[positive])
        won[~positive] = 1 - _below(ups, scores[~positive])
        area = float(won[positive].mean())
        counts = np.where(positive, len(ups), len(downs))
        of_sample += (won - area) * len(labels) / np.sqrt(counts * np.maximum(counts - 1.0, 1.0))
        total, ranked = total + area, ranked + 1
    return (total / ranked, of_sample / ranked) if ranked else (float("nan"), of_sample)


def _below(ordered: Floats, scores: Floats) -> Floats:
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(ordered))


def check_logits(name: str, logits: Tensor, labels: Tensor) -> None:
    """Refuse logits that nothing can be computed from.

    Args:
        name: of the model, for the message
        logits: shape `(sample, class)`
        labels: int64, shape `(sample,)`

    Raises:
        ValueError: they are not finite, or do not fit the labels
    """
    if logits.ndim != 2 or len(logits) != len(labels) or not len(labels):
        raise ValueError(f"{name}: logits {tuple(logits.shape)} do not fit labels {tuple(labels.shape)}")
    if not torch.isfinite(logits).all():
        raise ValueError(f"{name}: logits hold NaN or infinite values")
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise ValueError(f"{name}: gives {logits.shape[1]} classes, labels go from {labels.min()} to {labels.max()}")
