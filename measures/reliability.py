"""Whether predictions are right as often as they are sure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


Ints = NDArray[np.int64]


BINS = 15


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
    # binned as by torchmetrics, which computes the ECE of result.json: in single precision, and with a bin of its own
    # for a confidence of exactly 1
    place = np.clip(np.digitize(confidence.astype(np.float32), edges.astype(np.float32)) - 1, 0, bins)
    counts, confidences, hits = (np.bincount(place, w, bins + 1) for w in (None, confidence, right.astype(np.float64)))
    ece = float(np.abs(confidences - hits).sum() / len(labels))
    # a picture need not show it
    for column in (counts, confidences, hits):
        column[bins - 1] += column[bins]
    with np.errstate(invalid="ignore"):
        means = [column[:bins] / np.where(counts[:bins] > 0, counts[:bins], np.nan) for column in (confidences, hits)]
    return Reliability(edges, counts[:bins].astype(np.int64), means[0], means[1], ece)
