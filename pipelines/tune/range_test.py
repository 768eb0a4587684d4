"""What a learning-rate range test says: where the loss falls, how sure that is, and which rate follows."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# a fall of the loss by less than this share is noise
LEAST_FALL = 0.05
# the smoothed losses of a curve without any fall lie within so many standard errors of each other
SCATTER = 6.0
# the curve is flat where it lies above its lowest point by less than this share of the fall; that is wide where the
# greatest rate is this many times the least
FLAT, WIDE = 0.1, 30.0
# standard deviation of the Gaussian that a curve is smoothed with, as a share of its steps
SMOOTHING = 0.03


@dataclass(frozen=True)
class Suggestion:
    """What a range test says of the learning rate.

    Args:
        rate: to train with; None where the test says nothing
        reason: why this one
        alike: least and greatest of the rates that the test cannot tell apart; None where there is no such range
    """

    rate: float | None
    reason: str
    alike: tuple[float, float] | None = None


@dataclass(frozen=True)
class RangeTest:
    """The loss over a rising learning rate (Smith 2017, arXiv:1506.01186).

    Args:
        rates: learning rate of each step
        losses: training loss of each step
        own: the rate that the optimizer has without a search
    """

    rates: list[float]
    losses: list[float]
    own: float | None = None

    @property
    def smoothed(self) -> list[float]:
        """Losses without their noise: a Gaussian mean to both sides, so that nothing is shifted to higher rates."""
        return (self._weights(SMOOTHING) @ self._bounded).tolist()

    @property
    def _bounded(self) -> NDArray[np.float64]:
        # what follows on divergence would reach down to the rates before it
        return np.minimum(self.losses, 2 * self.losses[0])

    def _weights(self, share: float) -> NDArray[np.float64]:
        """Return what each step counts in the mean around each step, for a Gaussian of a share of all steps."""
        places = np.arange(len(self.losses))
        weights = np.exp(-0.5 * ((places[:, None] - places) / max(1.0, share * len(places))) ** 2)
        return weights / weights.sum(1, keepdims=True)

    @property
    def noise(self) -> float:
        """Standard deviation of a step's loss around the curve, from what three neighbours lie off a line."""
        # from the first loss at the bound on, there is none
        ends = np.append(np.flatnonzero(self._bounded >= 2 * self.losses[0]), len(self.losses))
        bends = np.diff(self._bounded[: max(3, ends[0])], 2)
        return float(1.4826 * np.median(np.abs(bends)) / math.sqrt(6))

    def suggestion(self) -> Suggestion:
        """Say which rate to train with.

        Where the loss stays as low as it gets over one and a half decades of rates, the test tells none of them apart:
        it is the one that is nearest to the optimizer's own rate, and at most half of the greatest. Otherwise it is
        where the loss falls fastest for a step on the logarithmic scale; of rates at which it falls as fast but for
        noise, the nearest to the optimizer's own.

        Lightning takes the slope over the rate itself, which is steepest at the very lowest rates, by noise alone.
        """
        kept = "" if self.own is None else f"; the optimizer's own, {self.own:.3g}, is kept"
        if len(self.losses) < 3:
            return Suggestion(None, f"the loss was not finite from the start{kept}")
        smoothed = np.asarray(self.smoothed)
        lowest = int(smoothed.argmin())
        scatter = SCATTER * self.noise * float(np.sqrt((self._weights(SMOOTHING) ** 2).sum(1).mean()))
        fall = float(smoothed[: lowest + 1].max() - smoothed[lowest])
        if fall < max(LEAST_FALL * smoothed[: lowest + 1].max(), scatter):
            return Suggestion(None, f"the loss does not fall{kept}")
        low = np.flatnonzero(smoothed <= smoothed[lowest] + max(FLAT * fall, scatter))
        if low[0] == 0:
            return Suggestion(None, f"the loss does not fall by more than its noise{kept}")
        low_rates = (self.rates[low[0]], self.rates[low[-1]])
        if low_rates[1] >= WIDE * low_rates[0]:
            return self._among(low_rates, low_rates[1] / 2, f"the loss is flat from {span(low_rates)}")
        slopes, slope_error = self._slopes()
        steepest = int(slopes[: lowest + 1].argmin())
        as_steep = np.flatnonzero(slopes[: lowest + 1] <= slopes[steepest] + 2 * slope_error)
        if len(as_steep) == 1:
            return Suggestion(self.rates[steepest], "the loss falls fastest there")
        steep_rates = (self.rates[as_steep[0]], self.rates[as_steep[-1]])
        return self._among(steep_rates, steep_rates[1], f"the loss falls fastest from {span(steep_rates)}")

    def _among(self, alike: tuple[float, float], most: float, what: str) -> Suggestion:
        """Choose one of some rates that are as good: up to `most` the nearest to the optimizer's own, or the middle."""
        if self.own is None:
            return Suggestion(math.sqrt(alike[0] * alike[1]), f"{what}: the middle of these", alike)
        if alike[0] <= self.own <= most:
            return Suggestion(self.own, f"{what}: the optimizer's own is kept", alike)
        nearest = min(max(self.own, alike[0]), most)
        return Suggestion(nearest, f"{what}: the nearest to the optimizer's own, {self.own:.3g}", alike)

    def _slopes(self) -> tuple[NDArray[np.float64], float]:
        """Return the slope of the line that fits best around each step, and the greatest standard error of one."""
        weights = self._weights(2 * SMOOTHING)
        places = np.arange(len(self.losses), dtype=np.float64)
        off = places - (weights @ places)[:, None]
        share = weights * off / (weights * off**2).sum(1, keepdims=True)
        errors = self.noise * np.sqrt((share**2).sum(1))
        return share @ self._bounded, float(np.median(errors))


def span(ends: tuple[float, float]) -> str:
    """Name a range of rates.

    Example:
        >>> span((0.0003, 0.02))
        '0.0003 to 0.02'
    """
    return f"{ends[0]:.2g} to {ends[1]:.2g}"
