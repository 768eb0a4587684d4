"""Many comparisons at once: intervals and claims that hold together, by the bootstrap of their greatest deviation."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from measures.influence import Floats
from measures.intervals import LEAST_EFFECT, LEVEL, MIN_UNITS, Interval, Measured, accuracy_difference

REPLICATES = 1000
# resampled weights held at once
CHUNK = 2**23
# with very many models, differences of all pairs in all resamples, and the fewest resamples
PAIRS_WORK, LEAST_REPLICATES = 10**9, 200
Weights = NDArray[np.float32]


def resample(units: int, replicates: int, seed: int) -> Iterator[Weights]:
    """Draw units with replacement, as many as there are (Efron 1979), and count how often each was drawn.

    Args:
        units: samples or groups
        replicates: resamples in all
        seed: of the draws

    Yields:
        counts of a part of the resamples, shape `(unit, replicate)`
    """
    rng = np.random.default_rng(seed)
    width = max(1, CHUNK // units)
    for start in range(0, replicates, width):
        counts = np.empty((min(width, replicates - start), units), np.float32)
        for row in counts:
            row[:] = np.bincount(rng.integers(0, units, units), minlength=units)
        yield counts.T


def less_best(
    right: NDArray[np.bool_], best: int, unit: NDArray[np.intp] | None = None, seed: int = 0
) -> list[Interval]:
    """Return each model's accuracy less that of the best one, with 95 % intervals that hold together.

    The best one was chosen on the same samples. So the intervals allow for every pair of models: their half width is
    the quantile of the greatest difference of all pairs in resamples, each by its standard error (Tukey 1953; Westfall
    and Young 1993). Of models that are equally good, one is shown as worse in 5 % of cases, however many there are.

    Args:
        right: whether each model is, shape `(model, sample)`
        best: number of the one that others are compared with
        unit: the group of each sample, numbered from 0; None where samples are independent
        seed: of the draws

    Returns:
        by model, without an interval where there are too few samples or groups; that of the best one is 0
    """
    models, samples = right.shape
    points = right.mean(1, dtype=np.float64)
    values = [float(value) for value in points - points[best]]
    if (samples if unit is None else int(unit.max()) + 1) < MIN_UNITS:
        return [{"value": value, "low": None, "high": None} for value in values]
    errors = pair_errors(right, unit)
    steps = errors.astype(np.float32)
    sums = right.astype(np.float32) if unit is None else _sums(right, unit)
    units = sums.shape[1]
    replicates = min(REPLICATES, max(LEAST_REPLICATES, 2 * PAIRS_WORK // models**2))
    sizes = np.ones(samples, np.float32) if unit is None else np.bincount(unit).astype(np.float32)
    greatest = []
    for weights in resample(units, replicates, seed):
        drawn = ((sums @ weights) / (sizes @ weights) - points[:, None]).astype(np.float32)
        part = np.zeros(weights.shape[1], np.float32)
        for one in range(models - 1):
            apart = np.abs(drawn[one + 1 :] - drawn[one]) / steps[one, one + 1 :, None]
            np.maximum(part, apart.max(0), out=part)
        greatest.append(part)
    quantile = _of_t(float(np.quantile(np.concatenate(greatest), LEVEL)), units)
    found: list[Interval] = []
    for number, value in enumerate(values):
        if number == best:
            found.append({"value": 0.0, "low": 0.0, "high": 0.0})
            continue
        middle = accuracy_difference(right[number], right[best], unit)[0]
        half = quantile * float(errors[number, best])
        found.append({"value": value, "low": max(middle - half, -1.0), "high": min(middle + half, 1.0)})
    return found


def pair_errors(right: NDArray[np.bool_], unit: NDArray[np.intp] | None) -> Floats:
    """Return the standard errors of all paired differences of accuracies, as `accuracy_difference` does for one.

    Args:
        right: whether each model is, shape `(model, sample)`
        unit: the group of each sample, numbered from 0; None where samples are independent

    Returns:
        shape `(model, model)`
    """
    samples = right.shape[1]
    exact = right.astype(np.float32)
    both = (exact @ exact.T).astype(np.float64)
    won = both.diagonal()[:, None] - both
    effect = np.ones_like(won)
    if unit is not None:
        units = int(unit.max()) + 1
        sums = _sums(right, unit).astype(np.float64)
        sums -= right.mean(1)[:, None] * np.bincount(unit)
        cross = sums @ sums.T
        grouped = (cross.diagonal()[:, None] + cross.diagonal() - 2 * cross) * units / (units - 1)
        change = (won - won.T) / samples
        single = ((won + won.T) / samples - change**2) * samples**2 / (samples - 1)
        known = (single > 0) & (grouped > 0)
        effect = np.where(known, grouped / np.where(known, single, 1), samples / units)
        # of many pairs, some have groups that look alike by chance: none counts as more alike than all together
        pooled = grouped[known].sum() / single[known].sum() if known.any() else LEAST_EFFECT
        effect = np.maximum(effect, max(float(pooled), LEAST_EFFECT))
    size = samples / effect + 2
    more, less = (won / effect + 0.5) / size, (won.T / effect + 0.5) / size
    return np.sqrt((more + less - (more - less) ** 2) / size)


def gains_beyond_noise(
    measured: Measured, models: Sequence[str], other: str, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, set[str]]:
    """Tell which models are better than another one, in accuracy or in NLL, all claims together at a level of 5 %.

    Each gain is taken by its standard error, and compared with the greatest of all gains in resamples whose true gains
    are 0: where all models are equally good, a claim is made in 5 % of cases, however many models there are.

    Args:
        measured: accuracy and nll of all of them
        models: those that may be better
        other: the one that they may be better than
        replicates: resamples
        seed: of the draws

    Returns:
        by model, the metrics in which it is better beyond noise
    """
    claims = [(name, metric) for name in models for metric in ("accuracy", "nll")]
    base = measured.models[other]
    rows, gains, errors = [], [], []
    units, unit = measured.units, measured.unit
    for name, metric in claims:
        one = measured.models[name]
        if metric == "accuracy":
            middle, error = accuracy_difference(one.right, base.right, unit)
            change = one.right.astype(np.float64) - base.right
            gains.append(middle)
        else:
            change, error = base.losses - one.losses, 0.0
            gains.append(float(change.mean()))
        sums = change - change.mean()
        rows.append(sums if unit is None else np.bincount(unit, sums) * units / measured.samples)
        errors.append(error)
    drawn_from = np.stack(rows)
    likelihood = np.array([metric == "nll" for _, metric in claims])
    scale = np.where(likelihood, drawn_from.std(1) / np.sqrt(units - 1), errors)
    # models that are the same to rounding have no gain
    same = drawn_from.std(1) < 1e-9
    greatest = []
    for weights in resample(units, replicates, seed):
        drawn = drawn_from @ weights / units
        spread = np.sqrt(np.maximum(np.square(drawn_from) @ weights / units - drawn**2, 0) / (units - 1))
        # the standard error of an accuracy is steady as it is; that of an NLL goes with the draw
        by = np.where(likelihood[:, None], np.maximum(spread, scale[:, None] / 10), scale[:, None])
        greatest.append(np.divide(drawn, by, out=np.zeros_like(drawn), where=by > 0).max(0))
    quantile = _of_t(float(np.quantile(np.concatenate(greatest), LEVEL)), units)
    better: dict[str, set[str]] = {name: set() for name in models}
    for number, (name, metric) in enumerate(claims):
        if gains[number] > quantile * scale[number] and not (same[number] and metric == "nll"):
            better[name].add(metric)
    return better


def _of_t(quantile: float, units: int) -> float:
    """Return the quantile of t with the tail of a normal quantile: the standard errors of few groups are uncertain."""
    return float(-stdtrit(units - 1, ndtr(-quantile)))


def _sums(right: NDArray[np.bool_], unit: NDArray[np.intp]) -> NDArray[np.float32]:
    return np.stack([np.bincount(unit, row) for row in right]).astype(np.float32)
