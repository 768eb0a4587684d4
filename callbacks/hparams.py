"""The kept checkpoint's metrics beside the run's options in TensorBoard's HParams tab."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.recorder import RunRecorder, is_rehearsal
from common.printable import printable
from lightning_modules.model import Model


class HParamsMetrics(Callback):
    """Log the run's options, and at the end of the fit the validation metrics of the checkpoint that is kept.

    TensorBoard shows metrics in the tab only if they are announced with the options. A run that is stopped has none.

    Args:
        options: what is to be told of the run, by short names
        monitor: the metric that chooses the checkpoint
    """

    def __init__(self, options: Mapping[str, Any], monitor: str = "val/accuracy") -> None:
        self.monitor = monitor.removeprefix("val/")
        self.names: tuple[str, ...] = ()
        # lists become text
        self.options = {
            name: value if isinstance(value, bool | int | float) else printable(str(value))
            for name, value in options.items()
        }

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the options and announce the metrics: those of the model, and the one that chooses the checkpoint."""
        shown = pl_module.shown_metrics if isinstance(pl_module, Model) else ()
        self.names = tuple(dict.fromkeys((*shown, self.monitor)))
        for logger in self._loggers(trainer):
            # slow to import, and imported by now
            from torch.utils.tensorboard.summary import hparams

            # Lightning's own way to log them writes a value of each metric too
            announced, options, _ = hparams(self.options, {tag(name): 0.0 for name in self.names})
            for summary in (announced, options):
                logger.experiment.file_writer.add_summary(summary)

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the metrics of the kept checkpoint, one point each."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        best = next((each.best for each in callbacks if isinstance(each, RunRecorder)), {})
        final = {tag(name): best[name] for name in self.names if name in best}
        for logger in self._loggers(trainer) if final else ():
            logger.log_metrics(final, trainer.global_step)

    @staticmethod
    def _loggers(trainer: pl.Trainer) -> list[TensorBoardLogger]:
        if is_rehearsal(trainer):
            return []
        return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def tag(name: str) -> str:
    """Name a metric of the kept checkpoint."""
    return f"best/val_{name}"
