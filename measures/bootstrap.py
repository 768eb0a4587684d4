"""Metrics of models on the same samples, with bootstrap intervals and paired differences."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import binomtest
from torch import Tensor

from measures.calibration import ECE_BINS, confidence_bins, ece_by_chance

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "nll", "brier", "ece")
LEVEL = 0.95
REPLICATES = 1000
# samples or groups that an interval must rest on: resamples of fewer hardly differ
MIN_UNITS = 6
# differences below this come from rounding logits to single precision
ROUNDING = 1e-6
# resampled weights held at once
CHUNK = 2**23
# the AUROC of many classes is resampled less often: additions a model, and the fewest replicates
AUROC_WORK, AUROC_REPLICATES = 2 * 10**9, 200

# value, low and high; None where undefined
Interval = dict[str, float | None]
Floats = NDArray[np.float64]
Weights = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Metrics of models, and the same metrics on resampled samples; every model saw the same resamples.

    Args:
        points: by model, by metric, on the samples as they are; NaN where undefined
        replicates: by model, by metric, on each resample, shape `(replicate,)`
        samples: how many there are
        units: how many samples or groups were drawn from; a few say nothing about the spread
        ece_by_chance: by model, the ECE that chance would explain; see `measures.calibration.ece_by_chance`
    """

    points: dict[str, dict[str, float]]
    replicates: dict[str, dict[str, Floats]]
    samples: int
    units: int
    ece_by_chance: Mapping[str, float] = field(default_factory=dict)

    def metric(self, model: str, metric: str) -> Interval:
        """Return a metric of a model with its 95 % interval."""
        interval = self._interval(self.points[model][metric], self.replicates[model][metric], metric)
        if metric == "ece" and interval["low"] is not None:
            by_chance = self.points[model]["ece"] <= self.ece_by_chance.get(model, 0.0)
            interval["low"] = 0.0 if by_chance else max(0.0, interval["low"])
        return interval

    def difference(self, model: str, other: str, metric: str) -> Interval:
        """Return how much more one model has of a metric than another, with the paired 95 % interval.

        Values that differ by rounding only count as equal, as those of one member and of a mean with all weight on it.
        """
        point = self.points[model][metric] - self.points[other][metric]
        drawn = self.replicates[model][metric] - self.replicates[other][metric]
        return self._interval(
            0.0 if abs(point) < ROUNDING else point, np.where(np.abs(drawn) < ROUNDING, 0.0, drawn), metric
        )

    def _interval(self, point: float, replicates: Floats, metric: str) -> Interval:
        if math.isnan(point):
            return {"value": None, "low": None, "high": None}
        if self.units < MIN_UNITS or np.isnan(replicates).all():
            return {"value": point, "low": None, "high": None}
        tail = (1 - LEVEL) / 2
        low, high = (float(bound) for bound in np.nanquantile(replicates, [tail, 1 - tail]))
        if metric == "ece":
            # resampling raises a sum of absolute gaps: percentiles would lie above the value itself, so they are
            # reflected at it (the basic bootstrap, which takes most of the bias off)
            low, high = min(point, 2 * point - high), max(point, 2 * point - low)
        return {"value": point, "low": low, "high": high}


def bootstrap(
    logits: Mapping[str, Tensor],
    labels: Tensor,
    metrics: Sequence[str] = METRICS,
    replicates: int = REPLICATES,
    seed: int = 0,
    groups: Tensor | None = None,
) -> Bootstrap:
    """Compute metrics of models, and again on samples drawn with replacement (Efron 1979).

    The draws follow from the number of samples, the groups and the seed alone, so that models compared in one call or
    in several are compared on the same draws. With very many classes AUROC is resampled less often than the rest.

    Args:
        logits: by model, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        metrics: some of METRICS
        replicates: resamples
        seed: of the draws
        groups: whole groups are drawn, for samples that are not independent; shape `(sample,)`

    Returns:
        values and replicates of each model

    Raises:
        ValueError: logits that are not finite or do not fit the labels; the message names the model

    Example:
        >>> logits = {"sure": torch.eye(3)[[0, 1, 2, 0]] * 9}
        >>> bootstrap(logits, torch.tensor([0, 1, 2, 1]), ["accuracy"]).metric("sure", "accuracy")["value"]
        0.75
    """
    for name, rows in logits.items():
        check_logits(name, rows, labels)
    samples = len(labels)
    ones = np.ones((samples, 1), np.float32)
    points = {
        name: {metric: float(values[0]) for metric, values in weighted_metrics(rows, labels, ones, metrics).items()}
        for name, rows in logits.items()
    }
    _, unit = np.unique(np.arange(samples) if groups is None else groups.numpy(), return_inverse=True)
    drawn = {name: {metric: np.full(replicates, np.nan) for metric in metrics} for name in logits}
    classes = max((rows.shape[1] for rows in logits.values()), default=1)
    ranked = max(AUROC_REPLICATES, AUROC_WORK // (classes * samples))
    sums, ranks = [metric for metric in metrics if metric != "auroc"], [m for m in metrics if m == "auroc"]
    done = 0
    for weights in resample(unit, replicates, seed):
        width = weights.shape[1]
        # AUROC's counts are exact in single precision, which is faster
        parts = [(sums, weights.astype(np.float64)), (ranks, weights[:, : max(0, ranked - done)])]
        for name, rows in logits.items():
            for part, given in parts:
                if part and given.size:
                    for metric, values in weighted_metrics(rows, labels, given, part).items():
                        drawn[name][metric][done : done + given.shape[1]] = values
        done += width
    # the ECE by chance is needed for intervals only, and without resamples there are none
    wanted = logits if "ece" in metrics and replicates else {}
    chance = {name: ece_by_chance(rows, seed) for name, rows in wanted.items()}
    return Bootstrap(points, drawn, samples, int(unit.max()) + 1, chance)


def resample(unit: NDArray[np.intp], replicates: int, seed: int) -> Iterator[Weights]:
    """Draw units with replacement, as many as there are, and count how often each sample was drawn.

    Args:
        unit: which unit each sample belongs to, numbered from 0, shape `(sample,)`
        replicates: resamples in all
        seed: of the draws

    Yields:
        counts of a part of the resamples, shape `(sample, replicate)`
    """
    rng = np.random.default_rng(seed)
    units = int(unit.max()) + 1
    width = max(1, CHUNK // len(unit))
    for start in range(0, replicates, width):
        counts = np.empty((min(width, replicates - start), units), np.float32)
        for row in counts:
            row[:] = np.bincount(rng.integers(0, units, units), minlength=units)
        yield np.ascontiguousarray(counts.T[unit])


def weighted_metrics(
    logits: Tensor, labels: Tensor, weights: Weights, metrics: Sequence[str] = METRICS
) -> dict[str, Floats]:
    """Compute metrics under many weightings of the samples; with weights of 1 they are `classification_metrics`.

    Args:
        logits: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        weights: how often each sample counts, shape `(sample, replicate)`
        metrics: some of METRICS

    Returns:
        by metric, shape `(replicate,)`; NaN where undefined
    """
    probabilities = logits.double().softmax(1)
    values: dict[str, Floats] = {}
    if set(metrics) - {"auroc"}:
        values = _from_sums(logits, probabilities, labels, weights)
    if "auroc" in metrics:
        values["auroc"] = weighted_auroc(probabilities, labels, weights)
    return {name: values[name] for name in metrics}


def _from_sums(logits: Tensor, probabilities: Tensor, labels: Tensor, weights: Weights) -> dict[str, Floats]:
    samples, classes = logits.shape
    confidence, top = probabilities.max(1)
    correct = (top == labels).double()
    nll = -logits.double().log_softmax(1).gather(1, labels[:, None])[:, 0]
    true = probabilities.gather(1, labels[:, None])[:, 0]
    brier = probabilities.square().sum(1) - true.square() + (1 - true).square()
    bins = confidence_bins(confidence)
    # every sample adds to seven sums: rows of a sparse matrix
    ece, hits = 3, 3 + ECE_BINS + 1
    predicted, support, rows = hits + classes, hits + 2 * classes, hits + 3 * classes
    ones = torch.ones_like(correct)
    zeros = torch.zeros_like(labels)
    index = [zeros, zeros + 1, zeros + 2, ece + bins, hits + labels, predicted + top, support + labels]
    data = torch.stack([correct, nll, brier, confidence - correct, correct, ones, ones], 1).numpy().ravel()
    starts = np.arange(0, 7 * samples + 1, 7)
    matrix = csc_array((data, torch.stack(index, 1).numpy().ravel(), starts), shape=(rows, samples))
    sums = matrix @ weights.astype(np.float64, copy=False)
    total = weights.sum(0, dtype=np.float64)
    found, said, there = sums[hits:predicted], sums[predicted:support], sums[support:]
    present, seen = there > 0, (there > 0) | (said > 0)
    recall, f1 = found / np.maximum(there, 1), 2 * found / np.maximum(there + said, 1)
    return {
        "accuracy": sums[0] / total,
        "balanced_accuracy": (recall * present).sum(0) / present.sum(0),
        "f1_macro": (f1 * seen).sum(0) / seen.sum(0),
        "nll": sums[1] / total,
        "brier": sums[2] / total,
        "ece": np.abs(sums[ece:hits]).sum(0) / total,
    }


def weighted_auroc(probabilities: Tensor, labels: Tensor, weights: Weights) -> Floats:
    """Compute the one-versus-rest AUROC, averaged over the classes present, under many weightings of the samples.

    Args:
        probabilities: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        weights: how often each sample counts, shape `(sample, replicate)`

    Returns:
        shape `(replicate,)`; NaN where there is but one class
    """
    sums, counts = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    # whole counts are exact in single precision up to here, halves included
    weights = weights if len(weights) < 2**22 else weights.astype(np.float64)
    for label in labels.unique().tolist():
        scores, positive = probabilities[:, label].numpy(), (labels == label).numpy()
        places, place = np.unique(scores[positive], return_inverse=True)
        # 2 k + 1: as high as the k-th place of the positives; 2 k: between it and the one before
        row = np.searchsorted(places, scores, "left") + np.searchsorted(places, scores, "right")
        row[positive] = 2 * len(places) + 1 + place
        starts = np.arange(len(row) + 1)
        shape = (3 * len(places) + 1, len(row))
        added = csc_array((np.ones(len(row), weights.dtype), row, starts), shape=shape) @ weights
        negatives, positives = added[: 2 * len(places) + 1], added[2 * len(places) + 1 :]
        below = negatives.cumsum(0)
        # ties count half
        beaten = below[0:-1:2] + negatives[1::2] / 2
        pairs = positives.sum(0, dtype=np.float64) * below[-1]
        won = np.einsum("pr,pr->r", positives, beaten, dtype=np.float64)
        sums += np.divide(won, pairs, out=np.zeros_like(won), where=pairs > 0)
        counts += pairs > 0
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def mcnemar(correct: Tensor, other: Tensor) -> float:
    """Compute the p-value of McNemar's exact test that two models are right equally often (McNemar 1947).

    Args:
        correct: whether one model is right, bool, shape `(sample,)`
        other: whether the other one is, on the same samples

    Returns:
        two-sided; 1 where they are right on the same samples

    Example:
        >>> mcnemar(torch.tensor([True] * 6), torch.tensor([False] * 6))
        0.03125
    """
    wins, losses = int((correct & ~other).sum()), int((~correct & other).sum())
    return float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0


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
    if not logits.isfinite().all():
        raise ValueError(f"{name}: logits hold NaN or infinite values")
    if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
        raise ValueError(f"{name}: gives {logits.shape[1]} classes, labels go from {labels.min()} to {labels.max()}")
