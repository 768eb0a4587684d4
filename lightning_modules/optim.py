"""Learning-rate schedules in optimizer steps, injected by config."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler


class Schedule(ABC):
    """How the learning rate moves over a run."""

    @abstractmethod
    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        """Build a scheduler to be stepped once an optimizer step.

        Args:
            optimizer: whose learning rates are the highest of the run
            total_steps: optimizer steps in the whole run
        """


@dataclass(eq=False)
class WarmupCosine(Schedule):
    """Linear warm-up, then half a cosine down (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Args:
        warmup: share of the steps spent rising from near zero, in [0, 1)
        final: learning rate at the end, as a share of the highest
    """

    warmup: float = 0.05
    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be in [0, 1), not {self.warmup}")
        if not 0 <= self.final <= 1:
            raise ValueError(f"final must be in [0, 1], not {self.final}")

    def factor(self, step: int, total_steps: int) -> float:
        """Return the learning rate of a step as a share of the highest.

        Example:
            >>> [round(WarmupCosine(warmup=0.2).factor(step, 10), 2) for step in (0, 1, 2, 6, 10)]
            [0.5, 1.0, 1.0, 0.5, 0.0]
        """
        warmup_steps = round(self.warmup * total_steps)
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))

    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        """Build a scheduler to be stepped once an optimizer step."""
        return LambdaLR(optimizer, lambda step: self.factor(step, total_steps))
