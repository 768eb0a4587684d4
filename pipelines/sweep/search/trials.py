"""The cells of trials: named, given what was drawn, and read once they have ended."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from pipelines.cells.cell import Cell
from pipelines.cells.job import CellFiles, CellJob
from pipelines.cells.tested import drawn as not_drawn
from pipelines.sweep.axes import Value
from pipelines.sweep.check import given
from pipelines.sweep.plan import SweepPlan, combinations
from records.damaged import DamagedFileError
from records.damaged_files import read_metrics


@dataclass(frozen=True)
class TrialCells:
    """The cells of a trial: one, or one for each seed and fold.

    Args:
        cells: all of them
        settings: that each is given, by the cells' names
    """

    cells: list[Cell]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: SweepPlan, name: str, values: Sequence[Value]) -> "TrialCells":
        """Name the cells of a trial.

        Args:
            plan: of the search
            name: of the trial
            values: that it has drawn
        """
        options: dict[str, Any] = dict(plan.options)
        for value in values:
            options |= value.options
        fragments = (*plan.fragments, *(fragment for value in values for fragment in value.fragments))
        # without axes, these are seeds and folds
        axes = plan.all_axes()
        cells = []
        for repeat in combinations(axes, []):
            words = [axis.word(value.label) for axis, value in zip(axes, repeat, strict=True)]
            more = {option: value for each in repeat for option, value in each.options.items()}
            cells.append(Cell("-".join([name, *words]), name, fragments, options | more))
        return cls(cells, given(cells))

    def jobs(self, plan: SweepPlan, folder: Path) -> list[CellJob]:
        """Return what workers need to know to train the cells; none is tested.

        Args:
            plan: of the search
            folder: the experiment's
        """
        return [job_of(cell, plan, folder, self.settings[cell.name]) for cell in self.cells]


def job_of(cell: Cell, plan: SweepPlan, folder: Path, settings: Mapping[str, Any]) -> CellJob:
    """Return what a worker needs to know to train a cell of a search, which is stopped by itself.

    Args:
        cell: of a trial
        plan: of the search
        folder: the experiment's
        settings: that the cell is given
    """
    return CellJob(
        cell.name,
        folder.absolute(),
        (*cell.command(folder), *not_drawn(settings)),
        dict(settings),
        Path.cwd(),
        # a cell must not outlive its cluster job
        die_with_parent=plan.executor.elsewhere,
        warm=plan.executor.warm,
        time_limit=plan.time_limit,
        stops_alone=True,
    )


class Curves:
    """What the cells of a trial have logged so far.

    Args:
        folder: the experiment's
        cells: of the trial
        metric: such as val/accuracy
    """

    def __init__(self, folder: Path, cells: Sequence[Cell], metric: str) -> None:
        self.files = [CellFiles(folder, cell.name).run.metrics for cell in cells]
        self.metric = metric
        self._stamps: list[int] = []
        self._found: dict[int, float] = {}

    def read(self) -> dict[int, float]:
        """Return the mean over all cells, by finished epochs; of epochs that one has not reached, nothing."""
        stamps = [path.stat().st_mtime_ns if path.is_file() else 0 for path in self.files]
        if stamps != self._stamps:
            try:
                curves = [logged(path, self.metric) for path in self.files]
            except DamagedFileError:
                # the last row is being written
                return self._found
            self._stamps = stamps
            reached = set(curves[0]).intersection(*curves[1:])
            self._found = {step: mean(curve[step] for curve in curves) for step in sorted(reached)}
        return self._found


def logged(path: Path, metric: str) -> dict[int, float]:
    """Return a metric that a run has logged, by finished epochs.

    Args:
        path: of its metrics.csv
        metric: its name

    Raises:
        DamagedFileError: the file is no table of numbers, or its last row is being written
    """
    epochs, values = read_metrics(path).get(metric, ([], [])) if path.is_file() else ([], [])
    return {int(epoch) + 1: value for epoch, value in zip(epochs, values, strict=True) if math.isfinite(epoch)}


def reached(folder: Path, cells: Sequence[Cell], metric: str) -> tuple[float, dict[str, Any]]:
    """Return what a finished trial has reached: the mean over its cells, each at the epoch that it keeps.

    Args:
        folder: the experiment's
        cells: of the trial
        metric: such as val/accuracy

    Returns:
        the mean, and facts of the trainings

    Raises:
        ValueError: a cell has no such number; the message names it
        DamagedFileError: its result cannot be read
    """
    values, seconds, epochs, best, parameters = [], [], [], [], []
    for cell in cells:
        result = CellFiles(folder, cell.name).result()
        value = result.get("val", {}).get(metric.removeprefix("val/"))
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{cell.name} has no {metric}: its result.json says {value}")
        fit = result["fit"]
        values.append(float(value))
        seconds.append(float(fit["seconds"]))
        epochs.append(int(fit["epochs"]))
        best.append(int(fit["best_epoch"]) + 1)
        parameters.append(result.get("parameters"))
    facts = {
        "seconds": round(sum(seconds), 3),
        "epochs": round(mean(epochs)),
        "best_epoch": round(mean(best)),
        "parameters": parameters[0],
    }
    return mean(values), facts
