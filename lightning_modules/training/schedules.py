"""Learning-rate schedules in optimizer steps, injected by config."""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from common.ranges import check_range, check_ranges
from measures.names import mode_of

# steps that a run is divided into where its rate follows the time
TICKS = 10_000


class CurveScheduler(LRScheduler):
    """A scheduler that multiplies each group's own rate by a factor of the step.

    torch's LambdaLR fails once a group is added during training, as gradual unfreezing does; this one leaves groups
    alone that it did not begin with.

    Args:
        optimizer: whose learning rates are the highest of the run
        factor: of the step, from 0
    """

    STATE = ("last_epoch", "_step_count", "_last_lr")

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self.factor = factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each group."""
        factor = self.factor(self.last_epoch)
        groups = self.optimizer.param_groups
        return [g["initial_lr"] * factor if "initial_lr" in g else g["lr"] for g in groups]

    def state_dict(self) -> dict[str, Any]:
        """Return how far the run has come; the curve follows from the options."""
        return {name: getattr(self, name) for name in self.STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.__dict__.update({name: state_dict[name] for name in self.STATE})


class Schedule(ABC):
    """How the learning rate moves over a run."""

    @abstractmethod
    def build(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        """Build a scheduler, and say when Lightning steps it.

        Args:
            optimizer: whose learning rates are the highest of the run
            total_steps: optimizer steps in the whole run, which `needs_steps` asks for; else 0
        """

    @property
    def needs_steps(self) -> bool:
        """Whether the length of the run must be known."""
        return True


@dataclass(eq=False)
class StepSchedule(Schedule):
    """A rate that follows from the optimizer step alone, or from the time.

    Args:
        by_time: come to the end when --trainer.max_time is over, if that is before all epochs are trained
    """

    by_time: bool = field(default=False, kw_only=True)

    @abstractmethod
    def factor(self, step: int, total_steps: int) -> float:
        """Return the learning rate of a step, from 0, as a share of the highest."""

    def build(
        self, optimizer: Optimizer, total_steps: int, time_done: Callable[[], float] | None = None
    ) -> dict[str, Any]:
        """Build a scheduler to be stepped once an optimizer step.

        Args:
            optimizer: whose learning rates are the highest of the run
            total_steps: optimizer steps in the whole run
            time_done: returns the share of the run's time that has passed; None goes by the steps alone
        """

        def factor(step: int) -> float:
            if time_done is None:
                return self.factor(step, total_steps)
            done = max(step / total_steps, time_done())
            return self.factor(round(min(done, 1.0) * TICKS), TICKS)

        return {"scheduler": CurveScheduler(optimizer, factor), "interval": "step"}


@dataclass(eq=False)
class WarmedUp(StepSchedule):
    """Linear warm-up, then a rate that follows from the share of the run that is done.

    Args:
        warmup: share of the steps spent rising from near zero to the highest rate, in [0, 1)
    """

    warmup: float = 0.05

    def __post_init__(self) -> None:
        check_range("--model.schedule.warmup", self.warmup, "[0, 1)")

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """Return the learning rate as a share of the highest.

        Args:
            progress: share of the steps after warm-up that are done, in [0, 1]
        """

    def factor(self, step: int, total_steps: int) -> float:
        """Return the learning rate of a step as a share of the highest.

        Example:
            >>> [round(WarmupCosine(warmup=0.2).factor(step, 10), 2) for step in (0, 1, 2, 6, 10)]
            [0.5, 1.0, 1.0, 0.5, 0.0]
        """
        warmup_steps = round(self.warmup * total_steps)
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return self.after_warmup(min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps)))


@dataclass(eq=False)
class Constant(WarmedUp):
    """Linear warm-up, then the same rate to the end."""

    def after_warmup(self, progress: float) -> float:
        """Return the learning rate as a share of the highest."""
        return 1.0


@dataclass(eq=False)
class WarmupCosine(WarmedUp):
    """Linear warm-up, then half a cosine down (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Args:
        final: learning rate at the end, as a share of the highest
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--model.schedule.final", self.final, "[0, 1]")

    def after_warmup(self, progress: float) -> float:
        """Return the learning rate as a share of the highest."""
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(eq=False)
class WarmRestarts(WarmupCosine):
    """Linear warm-up, then several half cosines, each from the highest rate (Loshchilov and Hutter 2017).

    Args:
        cycles: how many
        growth: length of each cycle as a multiple of the one before
    """

    cycles: int = 3
    growth: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--model.schedule.cycles", self.cycles, "[1, 1000]")
        check_range("--model.schedule.growth", self.growth, "(0, inf)")

    def after_warmup(self, progress: float) -> float:
        """Return the learning rate as a share of the highest."""
        # lengths are shares of the longest cycle, so that no number overflows
        longest = self.cycles - 1 if self.growth > 1 else 0
        lengths = [self.growth ** (number - longest) for number in range(self.cycles)]
        left = progress * sum(lengths)
        for length in lengths[:-1]:
            if left < length:
                return super().after_warmup(left / length)
            left -= length
        return super().after_warmup(min(1.0, left / max(lengths[-1], sys.float_info.min)))


@dataclass(eq=False)
class OneCycle(StepSchedule):
    """Half a cosine up and half a cosine down to almost nothing (Smith and Topin 2019, arXiv:1708.07120).

    Args:
        rise: share of the steps spent rising, in (0, 1)
        start: learning rate at the beginning, as a share of the highest
        final: learning rate at the end, as a share of the highest
    """

    rise: float = 0.3
    start: float = 0.04
    final: float = 0.000004

    def __post_init__(self) -> None:
        check_ranges("--model.schedule", self, {"rise": "(0, 1)", "start": "[0, 1]", "final": "[0, 1]"})

    def factor(self, step: int, total_steps: int) -> float:
        """Return the learning rate of a step as a share of the highest."""
        # the first step has the first rate and the last step the last one, as in torch's
        peak, last = self.rise * total_steps - 1, total_steps - 1
        if step <= peak:
            return self._between(self.start, 1.0, step / peak if peak else 1.0)
        return self._between(1.0, self.final, min(1.0, (step - peak) / (last - peak)))

    @staticmethod
    def _between(first: float, last: float, progress: float) -> float:
        return last + (first - last) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(eq=False)
class StepDecay(WarmedUp):
    """Linear warm-up, then a rate that drops at given points of the run.

    Args:
        milestones: where it drops, as shares of the run in (0, 1), rising
        drop: what it is multiplied by at each
    """

    milestones: tuple[float, ...] = (0.5, 0.75)
    drop: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        points = (self.warmup, *self.milestones, 1.0)
        # not (a < b) is true of NaN too
        if not all(earlier < later for earlier, later in pairwise(points)):
            raise ValueError(
                f"--model.schedule.milestones must rise from above warmup ({self.warmup}) to below 1, not "
                f"{list(self.milestones)}"
            )
        check_range("--model.schedule.drop", self.drop, "[0, 1]")

    def after_warmup(self, progress: float) -> float:
        """Return the learning rate as a share of the highest."""
        # rounding must not delay a drop by a step
        done = self.warmup + (1 - self.warmup) * progress + 1e-9
        return self.drop ** sum(done >= point for point in self.milestones)


@dataclass(eq=False)
class Plateau(Schedule):
    """A rate that drops when a metric of validation no longer improves.

    Args:
        monitor: the metric, such as val/accuracy or val/loss
        drop: what the rate is multiplied by
        patience: validations without improvement before it drops
    """

    monitor: str = "val/accuracy"
    drop: float = 0.1
    patience: int = 5

    def __post_init__(self) -> None:
        mode_of(self.monitor, "--model.schedule.monitor")
        check_ranges("--model.schedule", self, {"drop": "(0, 1)", "patience": "[0, inf)"})

    @property
    def needs_steps(self) -> bool:
        """Whether the length of the run must be known."""
        return False

    def build(self, optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
        """Build a scheduler, which the classifier steps after each validation."""
        scheduler = ReduceLROnPlateau(optimizer, mode=mode_of(self.monitor), factor=self.drop, patience=self.patience)
        return {"scheduler": scheduler, "monitor": self.monitor}
