"""The error among the most certain predictions, for pictures, reports and thresholds alike."""

import numpy as np
from numpy.typing import NDArray


def error_curve(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Count what is accepted at each threshold; samples of equal confidence are accepted together.

    Args:
        confidence: shape `(sample,)`
        correct: whether each prediction is right, shape `(sample,)`

    Returns:
        how many are accepted, how many of them are wrong, and the confidence that is just accepted, each of shape
        `(threshold,)`, from few accepted to all
    """
    values, place = np.unique(-confidence, return_inverse=True)
    accepted = np.bincount(place).cumsum()
    errors = np.bincount(place, weights=~correct).cumsum()
    return accepted, errors, -values


def aurc(accepted: NDArray[np.intp], errors: NDArray[np.float64]) -> float:
    """Average the error among the accepted over all counts of them (AURC; Geifman et al. 2019, arXiv:1805.08206).

    The errors of samples of equal confidence are spread evenly among them, so that their order makes no difference.

    Args:
        accepted: as `error_curve` returns it, shape `(threshold,)`
        errors: likewise
    """
    counts = np.arange(1, accepted[-1] + 1)
    return float((np.interp(counts, np.r_[0, accepted], np.r_[0, errors]) / counts).mean())
