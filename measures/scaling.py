"""How an error falls with the number of training samples: a power law, and what twice as many would bring."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from measures.intervals import t_quantile


@dataclass(frozen=True)
class PowerLaw:
    """The line `error = factor * samples ** -exponent` through errors of runs, and what it says of twice the data.

    Args:
        exponent: how fast the error falls
        low: of its 95 % interval, as if runs were independent
        high: likewise
        samples: the most that any run had
        error: on the line, at that number
        twice: on the line, at twice as many samples: an extrapolation
        twice_low: of its 95 % interval
        twice_high: likewise
    """

    exponent: float
    low: float
    high: float
    samples: float
    error: float
    twice: float
    twice_low: float
    twice_high: float


def power_law(samples: Sequence[float], errors: Sequence[float]) -> PowerLaw | None:
    """Fit a power law by least squares of the logarithms.

    Args:
        samples: that each run was trained on
        errors: of each run

    Returns:
        the law; None where there are fewer than three different numbers of samples, or an error is 0

    Example:
        >>> law = power_law([100, 200, 400], [0.4, 0.2, 0.1])
        >>> round(law.exponent, 6), round(law.error, 6), round(law.twice, 6)
        (1.0, 0.1, 0.05)
    """
    if len(set(samples)) < 3 or min(errors) <= 0 or min(samples) <= 0:
        return None
    x, y = np.log(np.asarray(samples, np.float64)), np.log(np.asarray(errors, np.float64))
    centred = x - x.mean()
    spread = float(centred @ centred)
    slope = float(centred @ y) / spread
    rest = y - y.mean() - slope * centred
    freedom = len(x) - 2
    variance = float(rest @ rest) / freedom
    quantile = t_quantile(freedom)
    half = quantile * math.sqrt(variance / spread)
    most = float(x.max())

    def at(place: float) -> tuple[float, float]:
        away = place - float(x.mean())
        error = quantile * math.sqrt(variance * (1 / len(x) + away**2 / spread))
        return float(y.mean()) + slope * away, error

    now, _ = at(most)
    twice, error = at(most + math.log(2))
    ends = (math.exp(twice - error), math.exp(twice + error))
    return PowerLaw(-slope, -slope - half, -slope + half, math.exp(most), math.exp(now), math.exp(twice), *ends)
