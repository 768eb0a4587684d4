"""Expected calibration error, and what chance alone makes of it."""

import numpy as np
import torch
from torch import Tensor

ECE_BINS = 15


# for the ECE by chance: most draws, fewest draws, samples drawn in all, and the quantile of the draws
CHANCE_DRAWS, CHANCE_LEAST, CHANCE_WORK, CHANCE_LEVEL = 1000, 200, 1_000_000, 0.975


def confidence_bins(confidence: Tensor) -> Tensor:
    """Return each sample's bin of the expected calibration error; one is for confidences that round to 1.

    They are torchmetrics' bins.

    Args:
        confidence: greatest probability, shape `(sample,)`
    """
    return torch.bucketize(confidence.float(), torch.linspace(0, 1, ECE_BINS + 1), right=True) - 1


def ece_by_chance(logits: Tensor, seed: int = 0) -> float:
    """Compute the expected calibration error that a perfectly calibrated model stays below in 97.5 % of all cases.

    It is not 0, as gaps that chance makes between confidence and accuracy count whatever their sign. Whether each
    prediction is right is drawn from the model's own confidence (consistency resampling: Broecker and Smith, Increasing
    the Reliability of Reliability Diagrams, 2007), each sample by itself.

    Args:
        logits: shape `(sample, class)`
        seed: of the draws
    """
    confidence = logits.double().softmax(1).amax(1)
    bins, order = confidence_bins(confidence).sort()
    said = confidence[order].numpy()
    starts = np.flatnonzero(np.diff(bins.numpy(), prepend=-1))
    draws = min(CHANCE_DRAWS, max(CHANCE_LEAST, CHANCE_WORK // len(said)))
    rng = np.random.default_rng(seed)
    errors = np.empty(draws)
    for draw in range(draws):
        right = rng.random(len(said), dtype=np.float32) < said
        errors[draw] = np.abs(np.add.reduceat(said - right, starts)).sum()
    return float(np.quantile(errors, CHANCE_LEVEL)) / len(said)
