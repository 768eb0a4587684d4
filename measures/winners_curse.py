"""How much the best of several models, chosen on the samples it is reported on, is expected to lose on new ones."""

import numpy as np
from numpy.typing import NDArray

from measures.bootstrap import REPLICATES, resample


def winners_curse(
    scores: NDArray[np.floating], unit: NDArray[np.intp] | None = None, replicates: int = REPLICATES, seed: int = 0
) -> float | None:
    """Estimate by how much the best mean score overstates what its model reaches on new samples.

    Bootstrap bias correction (BBC-CV; Tsamardinos, Greasidou and Borboudakis 2018): in each resample the model with the
    best mean is chosen anew, and scored on the samples that were not drawn. The mean of these scores is what a model
    chosen in this way reaches; the best mean as it stands is above it.

    Args:
        scores: of each model for each sample, more is better, such as 1 where it is right, shape `(model, sample)`
        unit: which unit each sample belongs to, numbered from 0, as groups are drawn whole, shape `(sample,)`
        replicates: resamples
        seed: of the draws

    Returns:
        the best mean less the mean of the chosen models' scores, at least 0; None for fewer than two models or units

    Example:
        >>> equal = np.random.default_rng(0).random((8, 400)) < 0.9
        >>> round(winners_curse(equal), 3)
        0.019
    """
    models, samples = scores.shape
    unit = np.arange(samples) if unit is None else unit
    sizes = np.bincount(unit).astype(np.float32)
    if models < 2 or len(sizes) < 2:
        return None
    sums = np.stack([np.bincount(unit, row) for row in scores]).astype(np.float32)
    found = []
    for weights in resample(len(sizes), replicates, seed):
        chosen = ((sums @ weights) / (sizes @ weights)).argmax(0)
        left = (weights == 0).astype(np.float32)
        count = sizes @ left
        reached = (left * sums[chosen].T).sum(0, dtype=np.float64)
        # a resample of a few units may leave none out
        found.append(reached[count > 0] / count[count > 0])
    of_chosen = np.concatenate(found)
    return max(0.0, float(scores.mean(1, dtype=np.float64).max() - of_chosen.mean())) if len(of_chosen) else None
