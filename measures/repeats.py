"""A gain measured in several trainings: how much of its noise comes from the images, and how much from the training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from measures.influence import Floats
from measures.intervals import MIN_UNITS, t_quantile


@dataclass(frozen=True)
class Gain:
    """A mean gain over trainings, and where its noise comes from.

    Args:
        value: the mean over trainings and images
        images: standard deviation of the gain of one training over other images
        seeds: standard deviation of the gain over other trainings, on endlessly many images
        low: of the 95 % interval of the mean gain, for other images and other trainings; None where there are too few
        high: likewise
    """

    value: float
    images: float
    seeds: float
    low: float | None
    high: float | None


def gain_over_repeats(gains: Floats, unit: NDArray[np.intp] | None = None, largest: float = math.inf) -> Gain:
    """Divide the variance of a gain between images and trainings: two crossed random factors, by analysis of variance.

    All trainings are tested on the same images, so what is common to all of them (an image that one model finds hard
    whatever its seed) does not make trainings differ. Only the rest, the interaction, is taken off the variance between
    trainings, which is clipped at 0.

    Args:
        gains: of each training on each image, shape `(repeat, sample)`; at least 2 of each
        unit: the group of each sample, numbered from 0, shape `(sample,)`; None where samples are independent
        largest: gain that there can be, and loss: 1 in accuracy
    """
    repeats, samples = gains.shape
    cells = gains.astype(np.float64)
    if unit is not None:
        units = int(unit.max()) + 1
        cells = np.stack([np.bincount(unit, row, units) for row in cells]) * (units / samples)
    units = cells.shape[1]
    by_repeat, by_unit, mean = cells.mean(1), cells.mean(0), float(cells.mean())
    between_repeats = units * float(by_repeat.var(ddof=1))
    between_units = repeats * float(by_unit.var(ddof=1))
    rest = cells - by_repeat[:, None] - by_unit + mean
    interaction = float(np.square(rest).sum()) / ((repeats - 1) * (units - 1))
    excess = max(between_repeats - interaction, 0.0)
    images = math.sqrt(float(cells.var(1, ddof=1).mean()) / units)
    low, high = None, None
    if units >= MIN_UNITS:
        # each component by its own t: few repeats say little of how much trainings differ
        squares = t_quantile(repeats - 1) ** 2 * excess + t_quantile(units - 1) ** 2 * between_units
        half = math.sqrt(squares / (repeats * units))
        low, high = max(mean - half, -largest), min(mean + half, largest)
    return Gain(mean, images, math.sqrt(excess / units), low, high)


def corrected_interval(gains: Sequence[float], held_share: float, largest: float = math.inf) -> tuple[float, float]:
    """Return the 95 % interval of a mean gain over folds, perhaps of several divisions (Nadeau and Bengio 2003).

    The folds' trainings share most of their samples, so their gains vary together, and the variance of the mean is
    larger than that of as many independent ones.

    Args:
        gains: of each fold, on the samples that it holds out; at least 2
        held_share: samples that a fold holds out over samples that it is trained on
        largest: gain that there can be, and loss: 1 in accuracy

    Example:
        >>> [round(end, 4) for end in corrected_interval([0.01, 0.02, 0.03], 0.5)]
        [-0.0193, 0.0593]
    """
    mean, error = _mean_and_error(gains, held_share)
    half = t_quantile(len(gains) - 1) * error
    return max(mean - half, -largest), min(mean + half, largest)


def corrected_p(gains: Sequence[float], held_share: float) -> float:
    """Return the p-value of the corrected resampled t-test that a mean gain is 0; see `corrected_interval`.

    Args:
        gains: likewise
        held_share: likewise

    Example:
        >>> round(corrected_p([0.01, 0.02, 0.03], 0.5), 4), corrected_p([0.01, 0.01], 0.5), corrected_p([0.0, 0.0], 0.5)
        (0.1598, 0.0, 1.0)
    """
    mean, error = _mean_and_error(gains, held_share)
    if not error:
        return float(not mean)
    return float(2 * stdtr(len(gains) - 1, -abs(mean) / error))


def _mean_and_error(gains: Sequence[float], held_share: float) -> tuple[float, float]:
    values = np.asarray(gains, np.float64)
    return float(values.mean()), math.sqrt((1 / len(values) + held_share) * float(values.var(ddof=1)))


def holm(values: Sequence[float], comparisons: int | None = None) -> list[float]:
    """Correct p-values for how many comparisons were made (Holm 1979): any false claim among all is as rare as one was.

    Args:
        values: p-values
        comparisons: how many were made, where these are not all of them; the others count as larger ones

    Returns:
        corrected, in the same order

    Example:
        >>> holm([0.01, 0.04, 0.03]), holm([0.01], comparisons=5)
        ([0.03, 0.06, 0.06], [0.05])
    """
    count = len(values) if comparisons is None else comparisons
    corrected, highest = [0.0] * len(values), 0.0
    for place, number in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (count - place) * values[number]))
        corrected[number] = highest
    return corrected
