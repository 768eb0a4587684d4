"""A CSV logger that keeps what a resumed run logged before."""

from pathlib import Path
from typing import Any, cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from records.metrics_file import MetricsFile


class ResumableCSVLogger(CSVLogger):
    """Write metrics to `metrics.csv` in a run's folder, after the rows that are there already.

    Lightning's own logger deletes them, and a process that is killed while it writes them again leaves none.

    Args:
        folder: the run's folder
    """

    def __init__(self, folder: str) -> None:
        super().__init__(save_dir=folder, name="", version="", flush_logs_every_n_steps=100)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The file, opened at first use."""
        if self._experiment is None:
            self._experiment = cast(Any, MetricsFile(Path(self.log_dir) / "metrics.csv"))
        return self._experiment

    @rank_zero_only
    def cut(self, step: int) -> None:
        """Leave out what was logged after the state that a run resumes from; see `MetricsFile.cut`."""
        self.experiment.cut(step)
