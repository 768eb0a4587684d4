"""Runs that are sent a signal at a chosen moment, in processes of their own."""

import io
import math
import os
import signal
import time
from types import SimpleNamespace

import torch
from lightning.pytorch.callbacks import Callback

from lightning_modules import MLP, checkpoint_io


class SignalAt(Callback):
    """Send this process a signal at a moment of its run.

    Args:
        name: of the signal
        step: in the middle of this optimizer step; null at none
        validation: at the end of the validation of this epoch; null of none
        save: when half of this save of a checkpoint has been written, counted from 0; null at none
        rank: of the process
    """

    def __init__(
        self,
        name: str = "SIGKILL",
        step: int | None = None,
        validation: int | None = None,
        save: int | None = None,
        rank: int = 0,
    ) -> None:
        self.name, self.step, self.validation, self.save, self.rank = name, step, validation, save, rank
        self.saves = 0

    def send(self):
        os.kill(os.getpid(), signal.Signals[self.name])

    def on_train_start(self, trainer, pl_module) -> None:
        if self.save is not None:
            checkpoint_io.torch = SimpleNamespace(save=self.write)

    def write(self, checkpoint, file):
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        file.write(content[: len(content) // 2])
        file.flush()
        if self.saves == self.save:
            self.send()
        file.write(content[len(content) // 2 :])
        self.saves += 1

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            self.send()

    def on_validation_end(self, trainer, pl_module) -> None:
        if trainer.current_epoch == self.validation and not trainer.sanity_checking:
            self.send()


class _BrokenOnSecond(MLP):
    """An MLP whose ninth loss is not finite on the second of two processes."""

    def training_step(self, batch, batch_idx):
        broken = self.global_step == 8 and self.global_rank == 1
        loss = super().training_step(batch, batch_idx)
        if broken:
            self.loss_watch.losses[-1] = loss.detach() * math.nan
        return loss


class Slow(Callback):
    """Let each step take a while, so that something can happen in the middle of a run.

    Args:
        seconds: of each step
    """

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        time.sleep(self.seconds)
