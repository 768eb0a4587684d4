"""Early stopping, which is off by default."""

import lightning.pytorch as pl
from lightning.pytorch import callbacks
from lightning.pytorch.utilities import rank_zero_info

from common.ranges import check_range
from measures.names import mode_of


class EarlyStopping(callbacks.EarlyStopping):
    """Stop when a metric of validation no longer improves, and say so.

    Args:
        patience: validations without improvement before training stops; null never stops
        monitor: the metric; null takes that of `--best_checkpoint.monitor`
        min_delta: the least change that counts as an improvement
    """

    def __init__(self, patience: int | None = None, monitor: str | None = None, min_delta: float = 0.0) -> None:
        check_range("--early_stopping.patience", patience, "[1, inf)")
        check_range("--early_stopping.min_delta", min_delta, "[0, inf)")
        if patience is None and (monitor is not None or min_delta):
            raise ValueError("--early_stopping.monitor and --early_stopping.min_delta need --early_stopping.patience")
        monitor = monitor or "val/accuracy"
        super().__init__(monitor, min_delta, patience or 0, mode=mode_of(monitor, "--early_stopping.monitor"))
        self.wanted = patience is not None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say why training ended before its last epoch."""
        if self.stopped_epoch:
            rank_zero_info(f"stopped early: {self.monitor} has not improved for {self.patience} validations")
