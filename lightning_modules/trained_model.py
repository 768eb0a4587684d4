"""TrainedModel: optimizer and schedule, and the one training step of every model that is trained in epochs."""

from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from common.lazy_seam import lazy
from common.options import configurable, option
from common.ranges import check_range
from datamodules.loaders import Batch
from lightning_modules.model import Model
from lightning_modules.training.epoch_sums import EpochSums
from lightning_modules.training.finite_loss import LossWatch, check_weights
from lightning_modules.training.parameter_groups import Rate, build_optimizer
from lightning_modules.training.rate_scaling import Rule, factor_of
from lightning_modules.training.schedules import Schedule, StepSchedule, WarmupCosine


@configurable
class TrainedModel(Model):
    """A model that is trained in epochs.

    A subclass makes its `criterion`, and overrides `batch_loss`.

    Args:
        optimizer: any optimizer of torch or timm by its class, with its options
        schedule: how the learning rate moves over the run; null keeps it constant
        decay_norm_and_bias: apply weight decay to biases and normalisations too
        lr_scaling: how the learning rate grows with the images of an optimizer step, over all processes and accumulated
            batches: linear (for SGD), sqrt (for Adam and its kin) or off
        lr_batch: the batch that the learning rate was chosen for, from which `lr_scaling` scales it
    """

    optimizer: OptimizerCallable = option(torch.optim.AdamW, "training")
    schedule: Schedule | None = option(lazy(WarmupCosine), "training")
    decay_norm_and_bias: bool = option(False, "training")
    lr_scaling: Rule = option("off", "training")
    lr_batch: int = option(128, "training")

    def __post_init__(self) -> None:
        check_range("--model.lr_batch", self.lr_batch, "[1, inf)")
        super().__post_init__()
        self._train_sums = EpochSums()
        # the schedule that a validation metric steps, with the name of that metric; and its state in a resumed run
        self._plateau: tuple[Any, str] | None = None
        self._plateau_state: dict[str, Any] = {}
        self.loss_watch = LossWatch()

    def check_trainable(self) -> None:
        """Refuse nothing."""

    # steps

    def on_train_start(self) -> None:
        """Take the sums to the device: an epoch that is resumed half-way continues them."""
        self._train_sums.move(self.device)
        if self.global_rank > 0:
            # what was saved are the sums of the first process
            self._train_sums.clear()
        alone_on_cpu = self.device.type == "cpu" and self.trainer.world_size == 1
        self.loss_watch.start(alone_on_cpu, self.trainer.log_every_n_steps)  # type: ignore[attr-defined]

    def on_train_epoch_start(self) -> None:
        """Forget the sums of the epoch before."""
        self._train_sums.clear()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss; sums stay on the device, because reading them would wait for it."""
        loss = self.batch_loss(batch, self._train_sums)
        if self.loss_watch.add(loss, batch_idx):
            self.loss_watch.check(self.trainer)
        return loss

    def batch_loss(self, batch: Batch, sums: EpochSums) -> Tensor:
        """Return the mean loss of a batch, and add it to the epoch's sums."""
        raise NotImplementedError(f"{type(self).__name__} must override batch_loss()")

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training loss, and what else it has summed, over all processes."""
        self.loss_watch.check(self.trainer)
        sums = cast(Tensor, self.trainer.strategy.reduce(self._train_sums.with_count(), reduce_op="sum"))
        loss, hits, count = sums.tolist()
        if count:
            # the same on all processes by now
            self.log_dict({"train/loss": loss / count, **self.epoch_metrics(hits / count)}, sync_dist=True)

    def epoch_metrics(self, hits: float) -> dict[str, float]:
        """Return what is logged of an epoch of training beside its loss.

        Args:
            hits: share of right predictions, where they were summed
        """
        return {}

    def on_validation_start(self) -> None:
        """Stop before the validation of what has gone wrong."""
        self.loss_watch.check(self.trainer)

    def on_validation_epoch_end(self) -> None:
        """Gather and log `val/*`, and step what follows a metric of them."""
        super().on_validation_epoch_end()
        if self._plateau is not None and self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            scheduler, metric = self._plateau
            scheduler.step(self.metrics[metric])

    # optimizer

    def learning_rates(self) -> dict[nn.Parameter, Rate]:
        """Return the group and relative learning rate of each parameter."""
        raise NotImplementedError(f"{type(self).__name__} must override learning_rates()")

    @property
    def rate_factor(self) -> float:
        """By what the learning rate is multiplied in this Trainer; a resumed run goes on with the rates it had."""
        return factor_of(self, self.lr_scaling, self.lr_batch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the injected optimizer over the trainable parameters, and its schedule."""
        optimizer = build_optimizer(self.optimizer, self.learning_rates(), self.decay_norm_and_bias)
        for group in optimizer.param_groups:
            # a rate that is a tensor may be that of several groups
            group["lr"] = group["lr"] * self.rate_factor
        if self.schedule is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches if self.schedule.needs_steps else 0
        if self.schedule.needs_steps and not 0 < steps < float("inf"):
            raise ValueError("a schedule needs an end: set --trainer.max_epochs, or --model.schedule null")
        if isinstance(self.schedule, StepSchedule) and self.schedule.by_time:
            scheduler = self.schedule.build(optimizer, int(steps), self._time_done())
        else:
            scheduler = self.schedule.build(optimizer, int(steps))
        if "monitor" in scheduler:
            # Lightning would step it once an epoch, and after the state is saved: a resumed run would miss a step
            self._plateau = scheduler["scheduler"], scheduler["monitor"].removeprefix("val/")
            if self._plateau_state:
                self._plateau[0].load_state_dict(self._plateau_state)
            return optimizer
        return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": scheduler})

    def _time_done(self) -> Callable[[], float]:
        """Return what tells the share of the time limit that has passed, the same on all processes."""
        timers = (each for each in self.trainer.callbacks if isinstance(each, Timer))  # type: ignore[attr-defined]
        timer = next((each for each in timers if each.time_remaining() is not None), None)
        if timer is None:
            raise ValueError("--model.schedule.by_time true needs --trainer.max_time, such as 00:00:05:00")

        def share() -> float:
            elapsed, remaining = timer.time_elapsed(), timer.time_remaining() or 0.0
            return float(self.trainer.strategy.broadcast(elapsed / max(elapsed + remaining, 1e-9)))

        return share

    # checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record what resuming needs, beside what every model records.

        Raises:
            NotFiniteError: the weights are useless, or about to be: the checkpoint saved before is kept
        """
        self.loss_watch.check(self.trainer)
        check_weights(self.parameters(), self.trainer)
        super().on_save_checkpoint(checkpoint)
        checkpoint["train_sums"] = self._train_sums.state_dict()
        if self._plateau is not None:
            checkpoint["plateau"] = self._plateau[0].state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with an unfinished epoch's sums and with what follows a metric."""
        super().on_load_checkpoint(checkpoint)
        if "train_sums" in checkpoint:
            self._train_sums.load_state_dict(checkpoint["train_sums"])
        self._plateau_state = checkpoint.get("plateau", {})
