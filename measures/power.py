"""Which gain in accuracy a paired comparison of two models can see, before there is any prediction."""

import math

from scipy.optimize import brentq
from scipy.stats import norm

from measures.intervals import LEVEL, MIN_UNITS

# the chance to see a gain that is there
POWER = 0.8
# correlation of two models' errors where nothing is known: that of a stack and its best member is about as high
ERROR_CORRELATION = 0.5


def smallest_visible_gain(units: int, discordant: float, power: float = POWER, level: float = LEVEL) -> float | None:
    """Compute the smallest gain in accuracy that is seen with some chance, by McNemar's test or the report's interval.

    A gain is seen where the 95 % interval of the paired difference leaves out 0. Where one model alone is right on a
    share p of the samples, the difference of a single sample has the variance p without a gain, and p - d * d with the
    gain d, so that d * sqrt(units) = z1 * sqrt(p) + z2 * sqrt(p - d * d), with z1 = 1.96 and z2 = 0.84 (Connor 1987).

    Args:
        units: independent samples; where samples come in groups, the groups
        discordant: share of samples on which exactly one of the two models is right
        power: the chance
        level: of the interval

    Returns:
        in shares of 1; None where no gain can be seen

    Example:
        >>> round(smallest_visible_gain(359, 0.04), 4)
        0.0295
    """
    if units < MIN_UNITS:
        return None
    sure, seen = norm.ppf((1 + level) / 2), norm.ppf(power)

    def spare(gain: float) -> float:
        # a gain cannot be larger than the share on which the models differ
        share = max(discordant, gain)
        return float(gain * math.sqrt(units) - sure * math.sqrt(share) - seen * math.sqrt(share - gain**2))

    return float(brentq(spare, 1e-9, 1)) if spare(1) > 0 else None


def typical_discordance(accuracy: float, correlation: float = ERROR_CORRELATION) -> float:
    """Return the share of samples on which exactly one of two models of the same accuracy is right.

    Args:
        accuracy: of both
        correlation: of their errors

    Example:
        >>> round(typical_discordance(0.95), 4)
        0.0475
    """
    return 2 * accuracy * (1 - accuracy) * (1 - correlation)
