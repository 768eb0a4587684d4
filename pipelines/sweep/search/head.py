"""A process that works on a search: it takes trials, runs their cells, and says how they ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipelines.cells.job import CellFiles, CellJob, Outcome
from pipelines.cells.watch import CellTable
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.search.found import search_file
from pipelines.sweep.search.limits import Scales, beyond
from pipelines.sweep.search.study import CELL, COSTS, OVER, SAME, WHY, SearchStudy, Taken
from pipelines.sweep.search.trials import Curves, TrialCells, reached

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(eq=False)
class RunningTrial:
    """A trial whose cells run.

    Args:
        taken: from the study
        cells: its own
        curves: what they have logged
        ended: how they ended, by name
        pruned: whether it was asked to end early
        costs: of its model; empty without limits
        twins: trials that have drawn the same values since
    """

    taken: Taken
    cells: TrialCells
    curves: Curves
    ended: dict[str, Outcome] = field(default_factory=dict)
    pruned: bool = False
    costs: dict[str, Any] = field(default_factory=dict)
    twins: list[Taken] = field(default_factory=list)


class Head:
    """Feeds cells of trials to an executor, ends trials early, and tells the study what they have reached.

    Args:
        plan: of the search
        study: its trials
        folder: the experiment's
        metric: by which trials are compared
        scales: weighs their models
        console: where to report
    """

    def __init__(
        self, plan: SweepPlan, study: SearchStudy, folder: Path, metric: str, scales: Scales, console: Console
    ) -> None:
        assert plan.search is not None
        self.plan, self.options, self.study, self.folder = plan, plan.search, study, folder
        self.metric, self.scales, self.console = metric, scales, console
        self.shown = CellTable(console, folder, [], {}, plan.executor.slots(self.most))
        self.running: dict[str, RunningTrial] = {}
        self.failures: list[Outcome] = []

    @property
    def most(self) -> int:
        """How many cells there are at most."""
        repeats = 1
        for axis in self.plan.all_axes():
            repeats *= len(axis.values)
        return self.options.wanted * repeats

    def feed(self, room: int) -> Sequence[CellJob] | None:
        """Take as many trials as there is room for; see `Feed`.

        Args:
            room: cells that can be started
        """
        jobs: list[CellJob] = []
        while len(jobs) < room:
            taken = self.study.take()
            if taken is None:
                break
            jobs += self._begin(taken)
        return jobs or (None if not self.running and self.study.is_over() else [])

    def _begin(self, taken: Taken) -> Sequence[CellJob]:
        """Return the cells of a trial; none of one that need not be trained."""
        values = [space.value(taken.drawn[space.name]) for space in self.options.all_spaces]
        drawn = ", ".join(
            f"{space.name} {value.label}" for space, value in zip(self.options.all_spaces, values, strict=True)
        )
        said = f"{taken.name}{' (left by another process)' if taken.again else ''}: {drawn}"
        if (earlier := self._equal(taken)) is not None:
            self._say(f"{said}: not trained, trial {earlier.number} had the same values")
            self._copy(taken, earlier)
            return []
        if running := next((trial for trial in self.running.values() if trial.taken.drawn == taken.drawn), None):
            self._say(f"{said}: not trained, {running.taken.name} has the same values")
            running.twins.append(taken)
            return []
        cells = TrialCells.of(self.plan, taken.name, values)
        trial = RunningTrial(taken, cells, Curves(self.folder, cells.cells, self.metric))
        if limits := self.options.limits():
            trial.costs = taken.trial.user_attrs.get(COSTS) or self.scales.costs(cells.cells[0])
            over, why = beyond(trial.costs, limits)
            if why:
                self._say(f"{said}: not trained, {why}")
                self.study.tell(taken, "PRUNED", {OVER: over, COSTS: trial.costs, WHY: why})
                return []
            # the same numbers after a stop
            self.study.note(taken, {COSTS: trial.costs})
        self._say(said)
        for cell in cells.cells:
            # left by a process that was stopped
            CellFiles(self.folder, cell.name).stop.unlink(missing_ok=True)
            self.shown.add(cell, cells.settings[cell.name])
        self.running |= {cell.name: trial for cell in cells.cells}
        return cells.jobs(self.plan, self.folder)

    def _equal(self, taken: Taken) -> "FrozenTrial | None":
        """Return an earlier trial of the same values, if one has ended: the same training gives the same."""
        for trial in self.study.trials():
            if (
                trial.number < taken.number
                and trial.state.name in ("COMPLETE", "PRUNED")
                and trial.params == taken.drawn
            ):
                return trial
        return None

    def _copy(self, taken: Taken, earlier: "FrozenTrial") -> None:
        """End a trial as an earlier one of the same values."""
        facts = {name: fact for name, fact in earlier.user_attrs.items() if name != CELL}
        self.study.report(taken, earlier.intermediate_values)
        self.study.tell(taken, earlier.state.name, {**facts, SAME: earlier.number}, earlier.value)

    def __call__(self, news: Sequence[tuple[Outcome, bool]]) -> None:
        """Take in how cells ended, tell the study, and look at the others; see `Report`."""
        self.shown(news)
        for outcome, again in news:
            if again:
                continue
            trial = self.running.pop(outcome.name)
            trial.ended[outcome.name] = outcome
            if len(trial.ended) == len(trial.cells.cells):
                self._end(trial)
        for trial in {id(trial): trial for trial in self.running.values()}.values():
            if not trial.pruned and self.options.pruner != "none":
                self._look(trial)

    def _look(self, trial: RunningTrial) -> None:
        """End a trial early that does worse than others."""
        if self.study.report(trial.taken, trial.curves.read()):
            trial.pruned = True
            for cell in trial.cells.cells:
                CellFiles(self.folder, cell.name).stop.touch()

    def _end(self, trial: RunningTrial) -> None:
        """Tell the study how a trial ended."""
        taken, outcomes = trial.taken, list(trial.ended.values())
        failed = [outcome for outcome in outcomes if outcome.status == "failed"]
        facts: dict[str, Any] = {"seconds": round(sum(outcome.seconds for outcome in outcomes), 3)}
        curve = trial.curves.read()
        if failed:
            self.failures += failed
            facts[WHY] = failed[0].message.partition("\n")[0]
            self.study.tell(taken, "FAIL", facts)
        elif any(outcome.status == "stopped" for outcome in outcomes):
            if not trial.pruned:
                # the next process goes on with it
                for each in (taken, *trial.twins):
                    self.study.release(each)
                return
            facts |= {"epochs": max(curve, default=0)}
            self._say(f"{taken.name}: ended early after {facts['epochs']} epochs")
            self.study.tell(taken, "PRUNED", facts)
            for files in (CellFiles(self.folder, cell.name) for cell in trial.cells.cells):
                if record := files.read():
                    # nothing goes on with it
                    files.write({**record, "status": "pruned"})
        else:
            self._complete(trial, curve)
        for twin in trial.twins:
            self._copy(twin, self.study.trials()[taken.number])
        self.write()

    def _complete(self, trial: RunningTrial, curve: dict[int, float]) -> None:
        taken = trial.taken
        try:
            value, facts = reached(self.folder, trial.cells.cells, self.metric)
        except ValueError as error:
            self.failures.append(Outcome(taken.name, "failed", 0.0, f"{taken.name} failed: {error}"))
            self.study.tell(taken, "FAIL", {WHY: str(error)})
            return
        if self.options.pruner != "none":
            self.study.report(taken, curve)
        self.study.tell(taken, "COMPLETE", facts, value)

    def write(self) -> None:
        """Write down how the search stands."""
        search_file(self.plan, self.study, self.metric).write(self.folder)

    def close(self) -> None:
        """Leave the trials that run to the next process."""
        for trial in {id(trial): trial for trial in self.running.values()}.values():
            for each in (trial.taken, *trial.twins):
                self.study.release(each)

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)
