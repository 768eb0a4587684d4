"""Early stopping, which is off by default."""

import lightning.pytorch as pl
from lightning.pytorch import callbacks
from lightning.pytorch.utilities import rank_zero_info

from common.ranges import check_range
from measures.names import TRAINING_METRICS, VALIDATION_METRICS, mode_of


class EarlyStopping(callbacks.EarlyStopping):
    """Stop when a metric no longer improves, and say so.

    Args:
        patience: validations without improvement before training stops; of a training metric, epochs; null never stops
        monitor: the metric, of validation or train/loss, train/accuracy; null takes that of `--best_checkpoint.monitor`
        min_delta: the least change that counts as an improvement
    """

    def __init__(self, patience: int | None = None, monitor: str | None = None, min_delta: float = 0.0) -> None:
        check_range("--early_stopping.patience", patience, "[1, inf)")
        check_range("--early_stopping.min_delta", min_delta, "[0, inf)")
        if patience is None and (monitor is not None or min_delta):
            raise ValueError("--early_stopping.monitor and --early_stopping.min_delta need --early_stopping.patience")
        monitor = monitor or "val/accuracy"
        mode = mode_of(monitor, "--early_stopping.monitor", (*VALIDATION_METRICS, *TRAINING_METRICS))
        self.of_training = monitor in TRAINING_METRICS
        # a training metric is known at the end of the epoch alone
        super().__init__(
            monitor, min_delta, patience or 0, mode=mode, check_on_train_epoch_end=self.of_training or None
        )
        self.wanted = patience is not None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say why training ended before its last epoch."""
        if self.stopped_epoch:
            times = "epochs" if self.of_training else "validations"
            rank_zero_info(f"stopped early: {self.monitor} has not improved for {self.patience} {times}")
