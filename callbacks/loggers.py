"""Loggers: a CSV file that keeps what a resumed run logged before, and TensorBoard's events."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
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


class EventLogger(TensorBoardLogger):
    """TensorBoard's events with one point of `epoch` a step.

    Validation, training and speed are logged at the same step, each with the number of the epoch, and TensorBoard
    smooths points on top of each other into a zigzag.

    Args:
        folder: the run's folder
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)
        self._epoch_at: int | None = None

    @rank_zero_only
    def cut(self, step: int) -> None:
        """Let TensorBoard leave out what an earlier process logged after the state that a run resumes from.

        It would draw these points twice, with a line back in between.

        Args:
            step: the first that is not in that state
        """
        if step:
            # imported late, as the logger itself does
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog

            # what a SummaryWriter does where it is made with a purge_step
            writer = self.experiment.file_writer
            assert writer is not None
            writer.add_event(Event(step=step, file_version="brain.Event:2"))
            writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics; the epoch of a step only once."""
        if "epoch" in metrics and step is not None:
            if step == self._epoch_at:
                metrics = {name: value for name, value in metrics.items() if name != "epoch"}
            self._epoch_at = step
        super().log_metrics(metrics, step)
