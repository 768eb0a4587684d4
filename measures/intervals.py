"""Metrics of models on the same samples, with 95 % intervals and paired differences; docs/evidence.md has coverages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit
from scipy.stats import binomtest
from torch import Tensor

from measures.influence import METRICS, Floats, Influence, check_logits, class_weights, influence

LEVEL = 0.95
# samples or groups that an interval must rest on
MIN_UNITS = 6
# below this number of them, a note says that intervals are too narrow
FEW_UNITS = 20
# differences below this come from rounding logits to single precision
ROUNDING = 1e-6
# samples of a group may by chance look less alike than those of different groups, but hardly more so than this: the
# variance of a mean of groups over that of as many independent samples
LEAST_EFFECT = 0.5
# metrics that are rates of samples, or nearly so
RATES = ("accuracy", "balanced_accuracy", "f1_macro")

# value, low and high; None where undefined
Interval = dict[str, float | None]


def largest_change(metric: str) -> float:
    """Return by how much two models can differ in a metric.

    Example:
        >>> largest_change("accuracy"), largest_change("nll")
        (1.0, inf)
    """
    if metric == "brier":
        return 2.0
    return 1.0 if metric in (*RATES, "auroc") else math.inf


def beyond_noise(units: int) -> str:
    """Say how sure a claim is that an interval makes: of few samples, intervals are too narrow.

    Args:
        units: samples or groups behind it

    Example:
        >>> beyond_noise(200), beyond_noise(12)
        ('beyond noise', 'as far as 12 samples or groups can tell')
    """
    return "beyond noise" if units >= FEW_UNITS else f"as far as {units} samples or groups can tell"


@dataclass(frozen=True, eq=False)
class Measured:
    """Metrics of models on the same samples.

    Args:
        models: by name
        labels: shape `(sample,)`
        classes: how many there are
        unit: the group of each sample, numbered from 0, shape `(sample,)`; None where samples are independent
    """

    models: dict[str, Influence]
    labels: NDArray[np.int64]
    classes: int
    unit: NDArray[np.intp] | None = None

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.labels)

    @property
    def units(self) -> int:
        """How many samples or groups are independent of each other."""
        return self.samples if self.unit is None else int(self.unit.max()) + 1

    @property
    def points(self) -> dict[str, dict[str, float]]:
        """By model, by metric; NaN where undefined."""
        return {name: model.values for name, model in self.models.items()}

    def metric(self, model: str, metric: str) -> Interval:
        """Return a metric of a model with its 95 % interval.

        The ECE has none, as none that was tried covers. The NLL and Brier score of a model that is always right, and an
        AUROC of 0 or 1, have none, as nothing was seen of what would change them.
        """
        found = self.models[model]
        value = found.values[metric]
        if math.isnan(value):
            return undefined()
        spread = found.of_sample.get(metric)
        if self.units < MIN_UNITS or spread is None:
            return {"value": value, "low": None, "high": None}
        if metric in RATES:
            return {"value": value, **_ends(rate_interval(value, *self._size(metric, value, spread)))}
        if found.right.all() if metric in ("nll", "brier") else value in (0, 1):
            return {"value": value, "low": None, "high": None}
        error, quantile = standard_error(spread, self.unit)
        if metric == "auroc":
            half = quantile * error / (value * (1 - value))
            return {"value": value, "low": float(expit(logit(value) - half)), "high": float(expit(logit(value) + half))}
        stretch = math.exp(min(quantile * error / value, 700.0))
        high = value * stretch
        return {"value": value, "low": value / stretch, "high": min(high, 2.0) if metric == "brier" else high}

    def _size(self, metric: str, value: float, spread: Floats) -> tuple[float, float]:
        """Return how many independent samples a rate is worth (Korn and Graubard 1998), and the quantile."""
        if metric == "accuracy":
            most = float(self.samples)
            if self.unit is None:
                return most, t_quantile(self.samples - 1)
        else:
            most = self.samples**2 / float(np.square(class_weights(self.labels, self.classes)).sum())
        variance = standard_error(spread, self.unit)[0] ** 2
        # all alike: the groups might be, too
        size = value * (1 - value) / variance if variance > 0 else min(most, self.units)
        return min(size, self.samples / LEAST_EFFECT), t_quantile(self.units - 1)

    def difference(self, model: str, other: str, metric: str) -> Interval:
        """Return how much more one model has of a metric than another, with the paired 95 % interval.

        Values that differ by rounding only count as equal, as those of one member and of a mean with all weight on it.
        """
        one, two = self.models[model], self.models[other]
        point = one.values[metric] - two.values[metric]
        if math.isnan(point):
            return undefined()
        if self.units < MIN_UNITS or metric not in one.of_sample:
            return {"value": 0.0 if abs(point) < ROUNDING else point, "low": None, "high": None}
        if abs(point) < ROUNDING and np.allclose(one.losses, two.losses, rtol=ROUNDING, atol=ROUNDING):
            return {"value": 0.0, "low": 0.0, "high": 0.0}
        if metric == "accuracy":
            middle, error = accuracy_difference(one.right, two.right, self.unit)
            quantile = t_quantile(self.units - 1)
        else:
            error, quantile = standard_error(one.of_sample[metric] - two.of_sample[metric], self.unit)
            middle = point
        most = largest_change(metric)
        low, high = float(middle - quantile * error), float(middle + quantile * error)
        return {"value": point, "low": max(low, -most), "high": min(high, most)}


def measure(
    logits: Mapping[str, Tensor], labels: Tensor, metrics: Sequence[str] = METRICS, groups: Tensor | None = None
) -> Measured:
    """Compute metrics of models, ready for intervals.

    Args:
        logits: by model, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        metrics: some of METRICS
        groups: of samples that are not independent, shape `(sample,)`

    Raises:
        ValueError: logits that are not finite or do not fit the labels; the message names the model

    Example:
        >>> import torch
        >>> logits = {"sure": torch.eye(3)[[0, 1, 2, 0]] * 9}
        >>> measure(logits, torch.tensor([0, 1, 2, 1]), ["accuracy"]).metric("sure", "accuracy")["value"]
        0.75
    """
    for name, rows in logits.items():
        check_logits(name, rows, labels)
    classes = max((rows.shape[1] for rows in logits.values()), default=1)
    models = {name: influence(rows, labels, metrics) for name, rows in logits.items()}
    return Measured(models, labels.numpy(), classes, numbered(groups))


def numbered(groups: Tensor | None) -> NDArray[np.intp] | None:
    """Give groups numbers from 0, shape `(sample,)`."""
    return None if groups is None else np.unique(groups.numpy(), return_inverse=True)[1]


def rate_interval(rate: float, size: float, quantile: float) -> tuple[float, float]:
    """Return the score interval of a rate (Wilson 1927).

    Args:
        rate: share of the samples
        size: how many independent samples it is worth
        quantile: of the statistic

    Example:
        >>> [round(end, 3) for end in rate_interval(1.0, 100, 1.96)]
        [0.963, 1.0]
    """
    square = quantile**2 / size
    middle, half = rate + square / 2, math.sqrt(square * rate * (1 - rate) + square**2 / 4)
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def standard_error(of_sample: Floats, unit: NDArray[np.intp] | None, pairs: int = 1) -> tuple[float, float]:
    """Return the standard error of a mean, and the quantile of t that goes with it.

    The degrees of freedom are those of the variance (Satterthwaite 1946): where a few samples or groups make most of
    it, they are few.

    Args:
        of_sample: influence of each sample, shape `(sample,)`
        unit: the group of each sample, numbered from 0; None where samples are independent
        pairs: how many intervals are to hold together (Bonferroni)
    """
    sums = of_sample if unit is None else np.bincount(unit, of_sample)
    units = len(sums)
    sums = sums - sums.mean()
    squares = np.square(sums)
    variance = float(squares.mean())
    if variance <= 0:
        return 0.0, t_quantile(units - 1, pairs)
    kurtosis = float(np.square(squares).mean()) / variance**2
    freedom = min(units - 1.0, max(1.0, 2 * units / max(kurtosis - 1, 1e-9)))
    error = math.sqrt(variance * units / (units - 1) * units) / len(of_sample)
    return error, t_quantile(freedom, pairs)


def accuracy_difference(
    right: NDArray[np.bool_], other: NDArray[np.bool_], unit: NDArray[np.intp] | None
) -> tuple[float, float]:
    """Return the middle of the interval of a paired difference of accuracies, and its standard error.

    Half a sample is added on which only the one is right, half a one on which only the other is, and a whole one more
    (Agresti and Min 2005), so that few samples that tell the two apart are not taken for none. Samples in groups count
    for fewer, by the design effect.

    Args:
        right: whether one model is, shape `(sample,)`
        other: whether the other one is
        unit: the group of each sample, numbered from 0; None where samples are independent
    """
    samples = len(right)
    won, lost = np.count_nonzero(right & ~other), np.count_nonzero(~right & other)
    effect = 1.0
    if unit is not None:
        change = right.astype(np.float64) - other
        single = float(change.var()) / (samples - 1)
        grouped = standard_error(change - change.mean(), unit)[0] ** 2
        effect = grouped / single if single > 0 and grouped > 0 else samples / (int(unit.max()) + 1)
        effect = max(effect, LEAST_EFFECT)
    size = samples / effect + 2
    more, less = (won / effect + 0.5) / size, (lost / effect + 0.5) / size
    return float(more - less), math.sqrt((more + less - (more - less) ** 2) / size)


def t_quantile(freedom: float, pairs: int = 1) -> float:
    """Return the quantile of Student's t for two-sided intervals, as many as are to hold together."""
    return float(stdtrit(freedom, 1 - (1 - LEVEL) / (2 * pairs)))


def mcnemar(correct: Tensor, other: Tensor) -> float:
    """Compute the p-value of McNemar's exact test that two models are right equally often (McNemar 1947).

    Args:
        correct: whether one model is right, bool, shape `(sample,)`
        other: whether the other one is, on the same samples

    Returns:
        two-sided; 1 where they are right on the same samples

    Example:
        >>> import torch
        >>> mcnemar(torch.tensor([True] * 6), torch.tensor([False] * 6))
        0.03125
    """
    wins, losses = int((correct & ~other).sum()), int((~correct & other).sum())
    return float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0


def undefined() -> Interval:
    """Return what has no value."""
    return {"value": None, "low": None, "high": None}


def _ends(ends: tuple[float, float]) -> Interval:
    return {"low": ends[0], "high": ends[1]}
