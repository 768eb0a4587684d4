"""Final metrics beside the hyperparameters in TensorBoard's HParams tab."""

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from common.printable import printable
from common.settings import flat


class HParamsMetrics(Callback):
    """Log the run's options with the metrics that it ends with.

    TensorBoard shows metrics in the tab only if they are announced when the options are first logged.

    Args:
        options: the run's configuration, nested
        metrics: names of validation metrics to show
    """

    def __init__(
        self, options: dict[str, Any], metrics: tuple[str, ...] = ("val/accuracy", "val/nll", "val/ece")
    ) -> None:
        self.metrics = metrics
        # lists become text
        self.options = {
            name: value if isinstance(value, bool | int | float) else printable(str(value))
            for name, value in flat(options).items()
        }

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the options and announce the metrics."""
        for logger in self._loggers(trainer):
            logger.log_hyperparams(self.options, {f"hp/{name}": 0.0 for name in self.metrics})

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the metrics of the last epoch."""
        final = {f"hp/{n}": float(trainer.callback_metrics[n]) for n in self.metrics if n in trainer.callback_metrics}
        for logger in self._loggers(trainer):
            logger.log_metrics(final, trainer.global_step)

    @staticmethod
    def _loggers(trainer: pl.Trainer) -> list[TensorBoardLogger]:
        return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
