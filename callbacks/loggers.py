"""A CSV logger that keeps what a resumed run logged before."""

import csv
from pathlib import Path

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger

from datamodules.whole_file import write_whole


class ResumableCSVLogger(CSVLogger):
    """Write metrics to `metrics.csv` in a run's folder, after the rows that are there already.

    Lightning's own deletes them.

    Args:
        folder: the run's folder
    """

    def __init__(self, folder: str) -> None:
        super().__init__(save_dir=folder, name="", version="", flush_logs_every_n_steps=100)

    @property
    @rank_zero_experiment
    def experiment(self) -> _ExperimentWriter:
        """The writer of the file, opened at first use."""
        if self._experiment is None:
            path = Path(self.log_dir) / "metrics.csv"
            earlier = path.read_text() if path.is_file() else ""
            writer = super().experiment
            if earlier:
                with write_whole(path) as partial:
                    partial.write_text(earlier)
                writer.metrics_keys = next(csv.reader(earlier.splitlines()))
            self._experiment = writer
        return self._experiment
