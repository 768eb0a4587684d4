"""A line an epoch, where no progress bar can be drawn."""

import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from callbacks.recorder import RunRecorder, is_rehearsal
from common.lightning_seam import after_epoch_is_logged
from common.words import duration


class EpochLines(Callback):
    """Print how an epoch went: to a file, a pipe or a job's log, where a bar would be noise.

    Args:
        monitor: the metric that chooses the best epoch
    """

    def __init__(self, monitor: str = "val/accuracy") -> None:
        self.monitor = monitor
        # when training began here, and when the last epoch ended
        self._began, self._ended = 0.0, 0.0
        self._epochs, self._steps_before, self._validated = 0, 0, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began = self._ended = time.monotonic()
        self._epochs, self._steps_before = 0, trainer.global_step
        if trainer.is_global_zero and not is_rehearsal(trainer):
            # the loss of the epoch is known then
            after_epoch_is_logged(trainer, lambda: self._print(trainer))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the metric is of this epoch."""
        self._validated = not trainer.sanity_checking

    def _print(self, trainer: pl.Trainer) -> None:
        now = time.monotonic()
        seconds, self._ended = now - self._ended, now
        self._epochs += 1
        metrics = trainer.callback_metrics
        parts = [f"{name} {float(metrics[name]):.4f}" for name in self._names() if name in metrics]
        if parts and self._is_best(trainer):
            parts[-1] += " (best so far)"
        self._validated = False
        left = self._left(trainer, now)
        parts += [f"{seconds:.1f} s", *([f"{duration(left)} left"] if left is not None else [])]
        print(f"{place(trainer)}: {', '.join(parts)}", flush=True)

    def _names(self) -> list[str]:
        return ["train/loss", *([self.monitor] if self._validated else [])]

    def _is_best(self, trainer: pl.Trainer) -> bool:
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        recorder = next((each for each in callbacks if isinstance(each, RunRecorder)), None)
        return self._validated and recorder is not None and recorder.best_epoch == trainer.current_epoch

    def _left(self, trainer: pl.Trainer, now: float) -> float | None:
        """Return the seconds that are left at most, by what the epochs here have taken; None without an end."""
        spent, shares = now - self._began, []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            shares.append((trainer.max_epochs - trainer.current_epoch - 1) / self._epochs)
        steps = trainer.global_step - self._steps_before
        if trainer.max_steps > 0 and steps:
            shares.append((trainer.max_steps - trainer.global_step) / steps)
        return spent * max(0.0, min(shares)) if shares else None


def place(trainer: pl.Trainer) -> str:
    """Say which epoch it is, numbered as in metrics.csv: from 0."""
    last = "" if trainer.max_epochs is None or trainer.max_epochs < 1 else f"/{trainer.max_epochs - 1}"
    return f"epoch {trainer.current_epoch}{last}"
