"""Studies that `sweep` ran: their cells put together by the values of their axes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from measures.influence import METRICS
from measures.intervals import Interval, measure, numbered
from measures.names import LOWER_IS_BETTER
from measures.regression import regression_intervals
from measures.repeats import corrected_interval, corrected_p, gain_over_repeats, holm
from pipelines.report.comparison import RANKED_LOGITS, ComparedRun, marked, score
from pipelines.report.runs import FoundRun, Missing
from records.damaged import DamagedFileError
from records.study_file import StudyFile

# p-values, corrected for how many comparisons were made, below which two lines are told apart
ALPHA = 0.05
# metrics that may be below 0; those of which less is better may be above 1
BELOW_0 = frozenset({"quadratic_kappa", "r2"})
# the values of a cell's axes
Labels = tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A metric of a line of a study.

    Args:
        mean: over its repeats, or of all predictions pooled
        spread: standard deviation between repeats; None of one
        low: of the 95 % interval; None where there is none
        high: likewise
    """

    mean: float
    spread: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(eq=False)
class Line:
    """Cells that differ in their seed, fold or source alone.

    Args:
        labels: the values of the other axes
        planned: how many cells there are to be
        runs: those with a result, by their values of the axes that repeat
        pooled: metrics of all parts pooled, by the values of the other axes that repeat
        notes: why predictions could not be pooled
    """

    labels: Labels
    planned: int = 0
    runs: dict[Labels, ComparedRun] = field(default_factory=dict)
    pooled: dict[Labels, dict[str, Interval]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its values, and what is never left out beside the numbers of its runs."""
        return marked(", ".join(self.labels) or "all cells", list(self.runs.values()))

    @property
    def leaks(self) -> bool:
        """Whether numbers of it look better than they are."""
        return any(run.leaks for run in self.runs.values())

    def values(self, metric: str) -> dict[Labels, float]:
        """Return a metric of each run that has it."""
        found = {key: run.value(metric) for key, run in self.runs.items()}
        return {key: value for key, value in found.items() if value is not None}


@dataclass(eq=False)
class FoundStudy:
    """A study as its folder shows it.

    Args:
        folder: the experiment's
        file: what was planned
        runs: of its cells that have a result, by name
    """

    folder: Path
    file: StudyFile
    runs: dict[str, ComparedRun]

    @property
    def by(self) -> str:
        """The metric that sorts."""
        return self.file.metrics[0]

    @property
    def missing(self) -> list[str]:
        """Names of the cells that have no result."""
        return [name for name in self.file.cells if name not in self.runs]

    @cached_property
    def own_axes(self) -> list[str]:
        """The axes along which settings differ, and not repeats."""
        return [axis for axis in self.file.axes if axis not in self.file.repeats]

    @cached_property
    def lines(self) -> list[Line]:
        """All lines, the best first, and those without a result last."""
        found: dict[Labels, Line] = {}
        for name in self.file.cells:
            labels = self.file.labels(name)
            own = tuple(labels[axis] for axis in self.own_axes)
            line = found.setdefault(own, Line(own))
            line.planned += 1
            if name in self.runs:
                line.runs[tuple(labels[axis] for axis in self.file.repeats)] = self.runs[name]
        if self.file.pooled is not None:
            for line in found.values():
                self._pool(line, self.file.repeats.index(self.file.pooled))

        def worth(line: Line) -> float:
            figure = self.figure(line, self.by)
            return score(None if figure is None else figure.mean, self.by)

        return sorted(found.values(), key=worth)

    def figure(self, line: Line, metric: str) -> Figure | None:
        """Return a metric of a line; None where it has none.

        Args:
            line: of the study
            metric: its name
        """
        if self.file.pooled is not None:
            return _pooled_figure(line, metric)
        values = list(line.values(metric).values())
        if not values:
            return None
        if len(values) == 1:
            only = next(run.metrics[metric] for run in line.runs.values() if run.value(metric) is not None)
            return Figure(values[0], None, only["low"], only["high"])
        low, high = corrected_interval(values, self.file.held_share or 0.0)
        low = low if metric in BELOW_0 else max(low, 0.0)
        high = high if metric in LOWER_IS_BETTER else min(high, 1.0)
        return Figure(float(np.mean(values)), float(np.std(values, ddof=1)), low, high)

    def _pool(self, line: Line, place: int) -> None:
        """Pool the predictions of all parts of a data set, for each seed."""
        parts = len(self.file.axes[self.file.repeats[place]])
        groups: dict[Labels, list[ComparedRun]] = {}
        for key, run in line.runs.items():
            groups.setdefault((*key[:place], *key[place + 1 :]), []).append(run)
        for key, runs in groups.items():
            if len(runs) < parts:
                # a data set of which parts are missing is another one
                line.notes.append(f"{parts - len(runs)} of {parts} parts have no result")
                continue
            try:
                line.pooled[key] = pooled_metrics(runs, self.file.split, self.file.metrics)
            except ValueError as error:
                line.notes.append(str(error))


def pooled_values(runs: Sequence[ComparedRun], split: str, metrics: Sequence[str]) -> dict[str, Interval]:
    """Compute metrics of the predicted numbers of all parts together; see `pooled_metrics`."""
    parts = [part for run in runs if (part := run.run.values(split)) is not None]
    if len(parts) < len(runs):
        raise ValueError(f"{len(runs) - len(parts)} of {len(runs)} parts have no predictions to pool")
    ids, values, predictions = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("ids", "values", "predictions")
    )
    if twice := len(ids) - len(ids.unique()):
        raise ValueError(f"{twice:,} samples were tested in two parts: nothing is pooled")
    known = [part.groups for part in parts if part.groups is not None]
    groups = torch.cat(known) if len(known) == len(parts) else None
    found = regression_intervals(predictions, values, groups)
    return {name: interval for name, interval in found.items() if name in metrics}


def _pooled_figure(line: Line, metric: str) -> Figure | None:
    found = [each[metric] for each in line.pooled.values() if each.get(metric, {}).get("value") is not None]
    if not found:
        return None
    values = [float(each["value"] or 0.0) for each in found]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    ends = [(each["low"], each["high"]) for each in found]
    known = [(low, high) for low, high in ends if low is not None and high is not None]
    low, high = map(float, np.mean(known, axis=0)) if known else (None, None)
    return Figure(float(np.mean(values)), spread, low, high)


def pooled_metrics(runs: Sequence[ComparedRun], split: str, metrics: Sequence[str]) -> dict[str, Interval]:
    """Compute metrics of the predictions of all parts together.

    Args:
        runs: each tested on another part of the data
        split: which is reported on
        metrics: to compute; those of METRICS

    Raises:
        ValueError: a run has no predictions, or a sample was tested twice; the message names it
    """
    if all("mse" in run.metrics for run in runs):
        return pooled_values(runs, split, metrics)
    found = [(run, run.run.predictions(split)) for run in runs]
    if lacking := [run.run.label for run, predictions in found if predictions is None]:
        raise ValueError(f"{lacking[0]} has no predictions to pool")
    parts = [predictions for _, predictions in found if predictions is not None]
    ids = torch.cat([part.ids for part in parts])
    if twice := len(ids) - len(ids.unique()):
        raise ValueError(f"{twice:,} samples were tested in two parts: nothing is pooled")
    logits, labels = torch.cat([part.logits for part in parts]), torch.cat([part.labels for part in parts])
    groups = None
    if all(part.groups is not None for part in parts):
        groups = torch.cat([part.groups for part in parts if part.groups is not None])
    names = [name for name in metrics if name in METRICS and (name != "auroc" or logits.numel() <= RANKED_LOGITS)]
    measured = measure({"": logits}, labels, names, groups)
    return {name: measured.metric("", name) for name in names}


@dataclass(frozen=True)
class Pair:
    """A line compared with the best one, over the repeats that both have.

    Args:
        line: the other one
        repeats: how many both have
        gain: mean of its metric less the best one's
        low: of the 95 % interval of this comparison alone; None where there is none
        high: likewise
        p: of the corrected resampled t-test, corrected for all comparisons; None where there is none
        told: whether the two are told apart
    """

    line: Line
    repeats: int
    gain: float
    low: float | None
    high: float | None
    p: float | None
    told: bool


def pairs_of(study: FoundStudy) -> tuple[list[Pair], int]:
    """Compare each line with the best one, and count the comparisons among all lines, of which that is a choice.

    Args:
        study: with two lines at least that have a result

    Returns:
        in the order of the lines, and how many comparisons the p-values are corrected for
    """
    lines = [line for line in study.lines if line.runs and not line.leaks]
    if len(lines) < 2:
        return [], 0
    best, others = lines[0], lines[1:]
    # the best one was found by looking at all of them
    count = len(lines) * (len(lines) - 1) // 2
    share = study.file.held_share or 0.0
    gains = []
    for line in others:
        ours, theirs = line.values(study.by), best.values(study.by)
        gains.append([ours[key] - theirs[key] for key in ours if key in theirs])
    known = [number for number, each in enumerate(gains) if len(each) > 1]
    corrected = holm([corrected_p(gains[number], share) for number in known], count)
    p_values = dict(zip(known, corrected, strict=True))
    pairs = []
    for number, (line, each) in enumerate(zip(others, gains, strict=True)):
        if not each:
            continue
        low, high = interval_of(study, line, best, each)
        p = p_values.get(number)
        told = p is not None and p < ALPHA and (low is None or high is None or low > 0 or high < 0)
        pairs.append(Pair(line, len(each), float(np.mean(each)), low, high, p, told))
    return pairs, count


def interval_of(
    study: FoundStudy, line: Line, best: Line, gains: Sequence[float]
) -> tuple[float, float] | tuple[None, None]:
    """Return the interval of a mean gain: for other trainings and images where all were tested on the same ones.

    Args:
        study: of the lines
        line: one of them
        best: another one
        gains: of each repeat that both have
    """
    if len(gains) < 2:
        return None, None
    pairs = [(line.runs[key], best.runs[key]) for key in line.runs if key in best.runs]
    known = [(one.right, two.right) for one, two in pairs if one.right is not None and two.right is not None]
    rows = [one.astype(float) - two for one, two in known]
    same = len({run.key for pair in pairs for run in pair}) == 1 and len(rows) == len(pairs)
    if study.by == "accuracy" and study.file.held_share is None and same and rows[0].size > 1:
        unit = numbered(pairs[0][0].groups)
        gain = gain_over_repeats(np.stack(rows), unit, largest=1.0)
        if gain.low is not None and gain.high is not None:
            return gain.low, gain.high
    return corrected_interval(gains, study.file.held_share or 0.0)


def find_studies(
    runs: Sequence[FoundRun], planned: Sequence[Missing], compared: Mapping[int, ComparedRun], split: str
) -> tuple[list[FoundStudy], list[str]]:
    """Find the studies that runs belong to.

    Args:
        runs: all that were found
        planned: runs that were planned and have no folder
        compared: those with a result, by the identity of what was found
        split: which is reported on

    Returns:
        studies that were measured on this split, and what is to be said of others
    """
    folders: dict[Path, list[FoundRun]] = {}
    for run in runs:
        folders.setdefault(run.files.folder.resolve().parent, []).append(run)
    for missing in planned:
        folders.setdefault(missing.folder.resolve().parent, [])
    found, notes = [], []
    for folder, own in folders.items():
        try:
            file = StudyFile.read(folder)
        except DamagedFileError as error:
            notes.append(str(error))
            continue
        if file is None or not file.metrics:
            continue
        if file.split != split:
            notes.append(f"The study {folder.name} is measured on {file.split}: report it with --split {file.split}.")
            continue
        cells = {run.files.folder.resolve().name: compared.get(id(run)) for run in own}
        named = {name: run for name, run in cells.items() if run is not None and name in file.cells}
        found.append(FoundStudy(folder, file, named))
    return found, notes
