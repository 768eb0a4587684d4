"""Losses, injected by config."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Loss(ABC):
    """What a classifier minimises.

    A plain callable rather than a module: it holds options, no weights, so a checkpoint does not depend on it.
    """

    @abstractmethod
    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: shape `(batch, class)`
            labels: int64 class of each sample, shape `(batch,)`
        """


@dataclass(eq=False)
class CrossEntropy(Loss):
    """Cross-entropy with label smoothing (Szegedy et al. 2016, arXiv:1512.00567).

    Args:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1)
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}")

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
