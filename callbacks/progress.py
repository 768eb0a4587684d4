"""The rich progress bar, drawn a few times a second."""

import time
from typing import Any

import lightning.pytorch as pl

from common.lightning_seam import StillProgressBar
from common.ranges import check_range


class ProgressBar(StillProgressBar):
    """Show progress, speed and validation accuracy.

    Lightning's reads the metrics in each training step, which waits for the device, and draws in a thread of its own,
    which competes with those that compute and is waited for at the end: this one draws between two steps.

    Args:
        refresh_rate: refreshes a second; 0 shows nothing
        leave: keep the bar of every epoch on the screen
    """

    def __init__(self, refresh_rate: int = 2, leave: bool = False) -> None:
        check_range("--progress_bar.refresh_rate", refresh_rate, "[0, inf)")
        super().__init__(refresh_rate=refresh_rate, leave=leave)
        self._next = 0.0

    def refresh(self, hard: bool = False) -> None:
        """Draw, if it is time.

        Args:
            hard: draw at once
        """
        now = time.monotonic()
        if self.progress is not None and (hard or now >= self._next):
            self._next = now + 1 / self.refresh_rate
            self.progress.refresh()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, if it is about to be drawn."""
        if (time.monotonic() < self._next and not trainer.is_last_batch) or self.is_disabled:
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
