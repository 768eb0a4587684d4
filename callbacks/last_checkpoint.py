"""LastCheckpoint: the state to resume from, and when it is saved."""

import math
import signal
import time
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor

from callbacks.signals import Signals
from common.lightning_seam import (
    StateCheckpoint,
    after_epoch_is_logged,
    ignore_from_now_on,
    log_epochs_as_before,
    stop_broadcasting_sigterm,
    validation_follows,
)
from common.slurm import requeue
from common.stopped import StoppedError
from common.warned import warn
from records.launched import slurm_job

# processes talk about signals and the time this often, because each talk waits for the device
SECONDS_BETWEEN_TALKS = 1.0


class LastCheckpoint(StateCheckpoint):
    """Save last.ckpt at the end of each epoch, within long epochs, and when a signal asks the run to stop.

    Lightning's own can do one of these at a time. Within an epoch it is saved between two optimizer steps alone, where
    weights, optimizer, loader and random numbers belong together.

    Args:
        every_minutes: save within an epoch once this much time has passed since the last save; null does not
        every_n_train_steps: save within an epoch after this many optimizer steps; null does not
    """

    def __init__(self, every_minutes: float | None = 5.0, every_n_train_steps: int | None = None) -> None:
        for name, value in (("every_minutes", every_minutes), ("every_n_train_steps", every_n_train_steps)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"--last_checkpoint.{name} must be above 0, or null, not {value}")
        super().__init__(filename="last", enable_version_counter=False)
        self.seconds = math.inf if every_minutes is None else 60 * every_minutes
        self.every_steps = every_n_train_steps
        self.signals = Signals()
        # the state that all processes have agreed on
        self.stop, self.requeue, self.due = 0, 0, False
        self.next_save = math.inf
        self.batches, self.until_talk, self.talked = 1, 1, 0.0

    @property
    def state_key(self) -> str:
        """Name of its state; Lightning asks for it at every step."""
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: what was saved before does not matter."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on without a state."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and take the signals."""
        self.next_save, self.talked = time.monotonic() + self.seconds, time.monotonic()
        if not getattr(trainer, "fast_dev_run", False):
            self.signals.install(trainer)
        if trainer.world_size > 1:
            # it is agreed on more seldom here
            stop_broadcasting_sigterm(trainer)
        self._save_after_logging(trainer)

    def _save_after_logging(self, trainer: pl.Trainer) -> None:
        """Have the end of an epoch saved once its metrics are logged: Lightning has no hook for it.

        What is logged after a state was saved is lost if the process is killed right then: a run that goes on from that
        state begins with the next epoch.
        """

        def save() -> None:
            if not getattr(trainer, "fast_dev_run", False):
                self._save(trainer)

        after_epoch_is_logged(trainer, save)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the Trainer log as before."""
        log_epochs_as_before(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if it is time, and stop, if a signal asks for it.

        Raises:
            StoppedError: the state is saved
        """
        self._agree(trainer)
        by_steps = self.every_steps is not None and trainer.global_step % self.every_steps == 0
        if not (by_steps or self.due or self.stop or self.requeue):
            return
        if validation_follows(trainer, batch_idx) or (batch_idx + 1) % trainer.accumulate_grad_batches:
            # a run that resumes from here would leave out the validation, or the gradients that are accumulated
            return
        if not self.skips_saving(trainer):
            self._save(trainer)
        self._end(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save nothing yet: the epoch's metrics are logged after this."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between two epochs, if a signal asks for it.

        Raises:
            StoppedError: the state is saved
        """
        self.until_talk = 1
        self._agree(trainer)
        self._end(trainer)

    def _end(self, trainer: pl.Trainer) -> None:
        """End what has saved its state, if a signal has asked for it."""
        if self.requeue:
            number, self.requeue, self.signals.requeue = self.requeue, 0, 0
            job = slurm_job()
            refused = requeue(str(job)) if trainer.is_global_zero else ""
            # none ends before the job is queued again: that might end the whole job
            if not trainer.strategy.broadcast(refused):
                # SLURM now ends the job, which ends by itself
                ignore_from_now_on(trainer, signal.SIGTERM)
                raise StoppedError(number)
            if trainer.is_global_zero:
                warn(f"the state is saved, but SLURM does not queue job {job} again ({refused}): training goes on")
        if self.stop:
            raise StoppedError(self.stop)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save nothing: the epoch's end does."""

    def _agree(self, trainer: pl.Trainer) -> None:
        signals, now = self.signals, time.monotonic()
        if trainer.world_size == 1:
            self.stop, self.requeue, self.due = signals.stop, signals.requeue, now >= self.next_save
            return
        self.until_talk -= 1
        if self.until_talk:
            return
        # the number of batches until the next talk, by the clock of the first process
        wanted = self.batches * SECONDS_BETWEEN_TALKS / max(now - self.talked, 1e-3)
        mine = (
            [max(1, min(round(wanted), 2 * self.batches)), now >= self.next_save] if trainer.is_global_zero else [0, 0]
        )
        told = torch.tensor([signals.stop, signals.requeue, *mine], device=trainer.strategy.root_device)
        agreed = cast(Tensor, trainer.strategy.reduce(told, reduce_op="max")).tolist()
        self.stop, self.requeue, self.batches, due = agreed
        self.due, self.until_talk, self.talked = bool(due), self.batches, now

    def _save(self, trainer: pl.Trainer) -> None:
        # first: a run that resumes from the state logs again what was logged after it, but not what was logged before
        for logger in trainer.loggers:
            logger.save()
        path = self.format_checkpoint_name({})
        self.best_model_path = self.last_model_path = path
        self.save_now(trainer, path)
        self.due, self.next_save = False, time.monotonic() + self.seconds
