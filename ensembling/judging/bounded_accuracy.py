"""What held-out samples promise of the accuracy on new images, whichever threshold is chosen on them."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

CONFIDENCE = 0.95


def promised(accuracy: float, accepted: NDArray[np.float64], errors: NDArray[np.float64]) -> int | None:
    """Find the lowest threshold above which an accuracy holds on new images, with a confidence of 95 %.

    Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052) with the binomial bound of Clopper and Pearson: from a
    number of accepted samples that is fixed in advance, thresholds are lowered as long as each passes the test. A chain
    is wrong only if the first threshold that is too low passes, so that looking at many costs nothing. Several chains
    share the doubt, since errors among the surest few would end the only one. It needs that less sure predictions are
    not right more often.

    Args:
        accuracy: wanted among the accepted
        accepted: by threshold from high to low, how many are accepted, shape `(threshold,)`
        errors: how many of them are wrong, shape `(threshold,)`

    Returns:
        the place of the threshold; None where none can be promised
    """
    total = accepted[-1]
    starts, doubt = chains(accuracy, total)
    passes = doubt_left(accuracy, accepted, errors) <= doubt
    best = None
    for start in starts:
        first = int(np.searchsorted(accepted, start - 1e-9))
        failed = np.flatnonzero(~passes[first:])
        last = first + (int(failed[0]) if len(failed) else len(passes) - first) - 1
        if last >= first and (best is None or last > best):
            best = last
    return best


def chains(accuracy: float, samples: float) -> tuple[list[float], float]:
    """Return at how many accepted samples chains of tests begin, and the doubt that each may leave.

    Each begins at twice as many as the one before; the first with as many as can pass if all are right.

    Args:
        accuracy: wanted
        samples: how many there are
    """
    starts: list[float] = []
    doubt = 1 - CONFIDENCE
    for count in range(1, 64):
        share = (1 - CONFIDENCE) / count
        least = fewest(accuracy, share)
        if least * 2 ** (count - 1) > samples:
            break
        starts, doubt = [least * 2**number for number in range(count)], share
    return starts, doubt


def fewest(accuracy: float, doubt: float = 1 - CONFIDENCE) -> float:
    """Return how many samples promise an accuracy if all are right; infinitely many for 1."""
    return math.ceil(math.log(doubt) / math.log(accuracy) - 1e-9) if accuracy < 1 else math.inf


def doubt_left(accuracy: float, accepted: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how likely so few errors would be if the accuracy were just missed.

    Args:
        accuracy: wanted
        accepted: numbers of samples, which need not be whole, shape `(threshold,)`
        errors: how many of them are wrong, shape `(threshold,)`
    """
    right = np.maximum(accepted - errors, 0)
    found = betainc(np.maximum(right, 1e-9), errors + 1, accuracy)
    return np.asarray(np.where(right > 0, found, 1.0), dtype=np.float64)


def what_it_would_take(accuracy: float, accepted: NDArray[np.float64], errors: NDArray[np.float64]) -> str:
    """Say how many held-out samples would be needed, where an accuracy cannot be promised.

    Args:
        accuracy: wanted
        accepted: as in `promised`; may be empty
        errors: likewise
    """
    if accuracy == 1:
        return "an accuracy of 1 cannot be promised by any number of held-out samples"
    told = f"an accuracy of {accuracy:g} on new images cannot be promised with a confidence of {CONFIDENCE:.0%}"
    total, least = float(accepted[-1]) if len(accepted) else 0.0, fewest(accuracy)
    if total < least:
        return f"{told} by {total:.0f} held-out samples: it takes at least {least:,}, all of them right"
    # of fewer samples, chance makes the rate
    tried = accepted >= min(least, total)
    rates = np.where(tried, errors / accepted, 1.0)
    best = int(np.argmin(rates))
    reached = f"{1 - rates[best]:.4f}, at a coverage of {accepted[best] / total:.3f}, is the most"
    if rates[best] >= 1 - accuracy:
        return f"{told}: on held-out samples {reached}"
    needed = total / accepted[best] * enough(accuracy, float(rates[best]))
    return f"{told}: on {total:,.0f} held-out samples {reached}, for which it would take about {needed:,.0f}"


def enough(accuracy: float, rate: float) -> float:
    """Return how many accepted samples promise an accuracy at a lower rate of errors, for as many chains."""
    samples = fewest(accuracy)
    while True:
        _, doubt = chains(accuracy, samples)
        if doubt_left(accuracy, np.array([samples]), np.array([samples * rate]))[0] <= doubt:
            return samples
        samples *= 1.05
