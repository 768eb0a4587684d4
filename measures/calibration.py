"""The bins of the expected calibration error."""

import torch
from torch import Tensor

ECE_BINS = 15


def confidence_bins(confidence: Tensor) -> Tensor:
    """Return each sample's bin of the expected calibration error; one is for confidences that round to 1.

    They are torchmetrics' bins.

    Args:
        confidence: greatest probability, shape `(sample,)`
    """
    return torch.bucketize(confidence.float(), torch.linspace(0, 1, ECE_BINS + 1), right=True) - 1
