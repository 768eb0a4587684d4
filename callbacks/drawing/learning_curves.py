"""How a run's loss, accuracy, learning rate and throughput went."""

from pathlib import Path
from typing import ClassVar

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger

from callbacks.drawing.base import Drawing, Drawn
from callbacks.recorder import is_rehearsal
from records.metrics_file import read_table
from records.recorded import check_recorded
from records.result_files import read_result


class LearningCurves(Drawing):
    """Draw loss, accuracy, learning rate and throughput of the run's training.

    They come from metrics.csv in the run's folder. A training of one epoch has no curves.

    Args:
        fit: draw at the end of `fit`; else when the run is tested in its folder
    """

    subject: ClassVar[str] = "learning curves"

    def __init__(self, fit: bool = False) -> None:
        self.fit = fit

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, if asked to."""
        if self.fit:
            self._draw(trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, if the run was trained in this folder."""
        self._draw(trainer)

    def _draw(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero or is_rehearsal(trainer):
            return
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                # it keeps rows back
                logger.save()
        if (Path(trainer.default_root_dir) / "metrics.csv").is_file():
            self._save(trainer, self.draw(Path(trainer.default_root_dir)))

    def draw(self, run: Path) -> Drawn:
        """Yield the figure.

        Args:
            run: the run's folder
        """
        from figures.learning_curves import learning_curves, series_of

        result, path = read_result(run / "result.json"), run / "metrics.csv"
        check_recorded(path, result, "copy it again from where it is whole", may_grow=True)
        columns, rows = read_table(path, "copy it again from where it is whole")
        curves = series_of([dict(zip(columns, row, strict=True)) for row in rows])
        if max((len(epochs) for name, (epochs, _) in curves.items() if name.endswith("/loss")), default=0) < 2:
            # one point is no curve
            return
        yield "fit_learning_curves", learning_curves(curves, result.get("fit", {}).get("best_epoch"), run.name)
