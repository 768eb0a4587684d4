"""The rich progress bar, refreshed a few times a second."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar


class ProgressBar(RichProgressBar):
    """Show progress, speed and validation accuracy.

    Lightning's reads the metrics in each training step, which waits for the device, although it draws more rarely.

    Args:
        refresh_rate: refreshes a second; 0 shows nothing
        leave: keep the bar of every epoch on the screen
    """

    def __init__(self, refresh_rate: int = 2, leave: bool = False) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self._next = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, if it is about to be drawn."""
        now = time.monotonic()
        if self.is_disabled or (now < self._next and batch_idx + 1 < self.total_train_batches):
            return
        self._next = now + 1 / self.refresh_rate
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
