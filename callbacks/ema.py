"""EMA: an exponential moving average of the weights, for validation, test and what is saved."""

import math
from itertools import chain
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from common.lightning_seam import AveragedWeights
from common.ranges import check_range
from lightning_modules.training.compute import settle_precision

HALF = (torch.float16, torch.bfloat16)


class EMA(AveragedWeights):
    """Keep an exponential moving average of weights and BatchNorm statistics (Polyak and Juditsky 1992).

    Validation, test and checkpoints use the average; training continues with the plain weights, which last.ckpt holds
    too. Lightning's EMAWeightAveraging does the same, but averages on the CPU where the model is when training is set
    up, tensor by tensor in Python, waits for the device in each step, and averages BatchNorm's counters as if they were
    weights: this class keeps its swapping and saving, and replaces the update. In 16 bits a small share of a weight is
    rounded away, and the average would stand still: there it is kept in 32 bits, and rounded where it is used.

    Args:
        decay: share of the average that is kept at each step, such as 0.999; null keeps no average
        warmup: keep less in the first steps, (1 + step) / (10 + step), so that the random start is soon forgotten
        every_n_steps: average once in so many steps, by the decays of all of them; also before each validation and at
            the end of training
    """

    def __init__(self, decay: float | None = None, warmup: bool = True, every_n_steps: int = 1) -> None:
        check_range("--ema.decay", decay, "[0, 1)")
        check_range("--ema.every_n_steps", every_n_steps, "[1, inf)")
        if decay is None and (every_n_steps != 1 or not warmup):
            raise ValueError("--ema.warmup and --ema.every_n_steps need --ema.decay")
        super().__init__(use_buffers=True)
        self.decay, self.warmup, self.every_n_steps = decay, warmup, every_n_steps
        # the averages, and the weights that they follow
        self._averaged: list[Tensor] = []
        self._current: list[Tensor] = []
        # for weights of 16 bits: the average as the model holds it and the plain weights; both in 32 bits are in the
        # lists above
        self._halves: list[tuple[Tensor, Tensor]] = []
        self._exact: list[Tensor] = []
        self._widened: list[Tensor] = []
        self._restored: list[Tensor] = []
        self._swapped = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the model in the precision that it is trained in."""
        settle_precision(trainer, pl_module)
        super().setup(trainer, pl_module, stage)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the average to where the model is by now, and find what is averaged."""
        assert self.average is not None
        self.move_average(pl_module.device)
        for average, now in zip(self.average.parameters(), pl_module.parameters(), strict=True):
            if average.stride() != now.stride():
                # the copy was made before the model chose its memory format; unlike ones are averaged one by one
                average.data = torch.empty_like(now).copy_(average)
        self._pair(pl_module)

    def _pair(self, model: nn.Module) -> None:
        assert self.average is not None
        pairs: list[tuple[Tensor, Tensor]] = []
        for ours, theirs in zip(self.average.modules(), model.modules(), strict=True):
            pairs += zip(ours.parameters(False), theirs.parameters(False), strict=True)
            if isinstance(theirs, _NormBase):
                names = ("running_mean", "running_var")
                pairs += [(getattr(ours, n), getattr(theirs, n)) for n in names if getattr(theirs, n) is not None]
        pairs = [(average.data, now.data) for average, now in pairs]
        whole = [pair for pair in pairs if pair[0].dtype not in HALF]
        self._halves = [pair for pair in pairs if pair[0].dtype in HALF]
        self._exact = [average.float() for average, _ in self._halves]
        self._widened = [now.float() for _, now in self._halves]
        for exact, restored in zip(self._exact, self._restored, strict=bool(self._restored)):
            exact.copy_(restored)
        self._averaged = [*(average for average, _ in whole), *self._exact]
        self._current = [*(now for _, now in whole), *self._widened]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after an optimizer step, in one call for all tensors."""
        if trainer.global_step % self.every_n_steps == 0:
            self._update(trainer.global_step, pl_module)

    def _update(self, step: int, model: nn.Module) -> None:
        """Average in the weights after a step, by the decays of all steps since the last update; copy them at first."""
        assert self.decay is not None
        if step == self.updated_at:
            return
        if self.updated_at:
            passed = range(self.updated_at + 1, step + 1)
            self._follow(math.prod(self._decay_of(number) for number in passed))
        else:
            # the random start is no step's result: of a decay near 1 much of it would be left
            self._follow(0)
        self.updated_at = step

    def _decay_of(self, step: int) -> float:
        assert self.decay is not None
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        if self._halves:
            torch._foreach_copy_(self._widened, [now for _, now in self._halves])
        # what torch's get_ema_multi_avg_fn returns does, without making a function for each step's decay
        torch._foreach_lerp_(self._averaged, self._current, 1 - decay)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do nothing: steps are what is averaged over."""

    @torch.no_grad()
    def _complete(self, model: nn.Module) -> None:
        """Round what is averaged in 32 bits, and copy what is not averaged, such as counters."""
        assert self.average is not None
        if self._swapped:
            # it holds the plain weights just now
            return
        if not self.updated_at:
            # there is no average yet
            self._follow(0)
        if self._halves:
            torch._foreach_copy_([average for average, _ in self._halves], self._exact)
        averaged = {tensor.data_ptr() for tensor in (*self._averaged, *(average for average, _ in self._halves))}
        ours, theirs = self.average, model
        pairs = zip(chain(ours.parameters(), ours.buffers()), chain(theirs.parameters(), theirs.buffers()), strict=True)
        for average, now in pairs:
            if average.data_ptr() not in averaged:
                average.data.copy_(now.data)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate with the average."""
        if self.average is not None:
            # the last validation of a fit must see what the fit ends with
            self._update(trainer.global_step, pl_module)
            self._complete(pl_module)
            super().on_validation_epoch_start(trainer, pl_module)
            self._swapped = True

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train on with the plain weights."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._swapped = False

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the model with the average of all steps."""
        self._update(trainer.global_step, pl_module)
        self._complete(pl_module)
        super().on_train_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return how far the average has come, and its values in 32 bits where the model's weights have 16."""
        return {**super().state_dict(), **({"exact": self._exact} if self._exact else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict(state_dict)
        self._restored = state_dict.get("exact", [])

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the weights, and the plain weights beside it."""
        if self.average is not None:
            self._complete(pl_module)
            super().on_save_checkpoint(trainer, pl_module, checkpoint)
