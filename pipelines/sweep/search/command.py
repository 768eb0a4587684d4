"""The search of `python train.py sweep`: trials are drawn, trained and compared, and the best one is kept."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from common import class_paths
from common.stopped import StoppedError
from measures.names import mode_of
from pipelines.cells.cell import Cell
from pipelines.cells.command import end_cells_with_us, print_resume, refuse_failures, without_fresh
from pipelines.cells.fit_parser import FitParser
from pipelines.cells.folder import locked, note_planned, open_folder, planned_folder
from pipelines.cells.job import Outcome
from pipelines.cells.queue import run_feed, run_queue
from pipelines.cells.settings import DEFAULT, OTHERS
from pipelines.cells.watch import CellTable
from pipelines.cli.checks import follow_model
from pipelines.sweep.axes import Value
from pipelines.sweep.check import check_cells
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.search.best import FILE, best_cells, refit_cell, refit_job, write_best
from pipelines.sweep.search.found import counts_of, print_search, search_file
from pipelines.sweep.search.head import Head
from pipelines.sweep.search.limits import Scales
from pipelines.sweep.search.study import SearchStudy, cell_name, drawn_of, import_optuna, name_of, spoken
from pipelines.sweep.search.trials import TrialCells
from pipelines.sweep.states import refuse_changed, states_of

WritePage = Callable[[Path, Path, Literal["test", "val"], Console], Path]
# what a search may not change while it goes on; trials may be added
FIXED = ("metric", "max_parameters", "max_ms_per_image")


def examples(plan: SweepPlan) -> list[TrialCells]:
    """Name as few trials as hold each choice and both ends of each space.

    Args:
        plan: of a search
    """
    assert plan.search is not None
    spaces = plan.search.all_spaces
    ends = [[space.value(drawn) for drawn in space.ends()] for space in spaces]
    count = max(map(len, ends))
    rows: list[list[Value]] = [[values[number % len(values)] for values in ends] for number in range(count)]
    return [TrialCells.of(plan, "-".join(value.label for value in row), row) for row in rows]


def look(plan: SweepPlan, scales: Scales, here: bool = True) -> tuple[str, int]:
    """Parse the command lines of a search before anything runs, and look for a validation split.

    Args:
        plan: of the search
        scales: builds the data
        here: whether the command runs on this machine

    Returns:
        the metric by which trials are compared, and how many epochs one is trained for at most

    Raises:
        ValueError: a command line is wrong, or nothing is held out for validation
    """
    assert plan.search is not None
    configs = check_cells([trial.cells[0] for trial in examples(plan)], plan, scales.parser, here)
    for config in configs:
        follow_model(config)
    monitors = dict.fromkeys(str(config.best_checkpoint.monitor) for config in configs)
    if plan.search.metric is None and len(monitors) > 1:
        raise ValueError(
            f"trials keep their best epoch by different metrics ({', '.join(monitors)}): set search.metric"
        )
    if not len(scales.data(configs[0]).samples("val")):
        raise ValueError(
            "a search compares trials on validation, and no sample is held out for it: set data.val_fraction, or folds"
        )
    return plan.search.metric or next(iter(monitors)), max(int(config.trainer.max_epochs or -1) for config in configs)


def fixed_of(plan: SweepPlan) -> dict[str, Any]:
    """Return what must stay as it is while a search goes on, flat."""
    search = plan.search
    assert search is not None
    # a further space, or one that is left out, is a change too
    found = {OTHERS: DEFAULT} | {f"search.{name}": getattr(search, name) for name in FIXED}
    found |= {f"search.spaces.{space.name}": space.plain() for space in search.all_spaces}
    return found | {"repeats": {axis.name: [value.label for value in axis.values] for axis in plan.all_axes()}}


def search(plan: SweepPlan, args: Sequence[str], console: Console, write_page: WritePage | None) -> int:
    """Run a search.

    Args:
        plan: with a search
        args: the command line after `sweep`
        console: where to report
        write_page: writes the report's page; None writes none

    Returns:
        the exit status
    """
    assert plan.search is not None
    import_optuna()
    scales = Scales(FitParser(), plan.search.limits())
    metric, epochs = look(plan, scales)
    maximize = mode_of(metric) == "max"
    if plan.dry_run or plan.list_cells:
        folder = planned_folder(plan.root, plan.experiment, plan.fresh)
        there = SearchStudy(folder, plan.search, maximize, epochs) if SearchStudy.exists(folder) else None
        print_planned(plan, console, folder, metric, there)
        return 0
    end_cells_with_us()
    folder, made = open_folder(plan.root, plan.experiment, plan.fresh)
    again = without_fresh(args, folder) if plan.fresh else args
    try:
        with locked(folder, "searched", made, shared=True):
            study = SearchStudy(folder, plan.search, maximize, epochs)
            study.begin(fixed_of(plan))
            refuse_changed_trials(plan, study, folder)
            failures = run_trials(plan, study, folder, metric, scales, console)
            end(plan, study, folder, metric, scales, console, args, write_page)
            refuse_failures(failures)
    except (KeyboardInterrupt, StoppedError) as error:
        print_resume(console, "sweep", again, folder, error)
        raise
    return 0


def refuse_changed_trials(plan: SweepPlan, study: SearchStudy, folder: Path) -> None:
    """Refuse to go on where trials were trained with other settings.

    Args:
        plan: of the search
        study: its trials
        folder: the experiment's

    Raises:
        CellError: some were
    """
    for trial in study.trials():
        if len(trial.params) == len(study.options.all_spaces):
            cells = cells_of(plan, study, trial)
            refuse_changed(states_of(cells.cells, folder, cells.settings, "fit"))


def cells_of(plan: SweepPlan, study: SearchStudy, trial: Any) -> TrialCells:
    """Name the cells of a trial.

    Args:
        plan: of the search
        study: its trials
        trial: Optuna's
    """
    values = [space.value(trial.params[space.name]) for space in study.options.all_spaces]
    return TrialCells.of(plan, name_of(trial), values)


def run_trials(
    plan: SweepPlan, study: SearchStudy, folder: Path, metric: str, scales: Scales, console: Console
) -> list[Outcome]:
    """Run trials until all have ended, those of other processes too.

    Args:
        plan: of the search
        study: its trials
        folder: the experiment's
        metric: by which they are compared
        scales: weighs their models
        console: where to report

    Returns:
        those that failed here
    """
    head = Head(plan, study, folder, metric, scales, console)
    said = (
        f"{study.options.wanted:,} trials ({study.options.spoken()}), {len(study.trials()):,} of them begun: {folder}/"
    )
    console.print(said, soft_wrap=True, highlight=False)
    first = examples(plan)[0].cells
    names = [cell_name(number) for number in range(study.options.wanted)]
    note_planned(folder, [name + cell.name.removeprefix(cell.member) for name in names for cell in first])
    try:
        with head.shown:
            run_feed(head.feed, plan.executor, head.most, plan.retries, folder, head)
    finally:
        head.close()
    return head.failures


def end(
    plan: SweepPlan,
    study: SearchStudy,
    folder: Path,
    metric: str,
    scales: Scales,
    console: Console,
    args: Sequence[str],
    write_page: WritePage | None,
) -> None:
    """Keep the best trial, refit it if the plan says so, and report.

    Args:
        plan: of the search
        study: all of whose trials have ended
        folder: the experiment's
        metric: by which they are compared
        scales: builds the data of the best
        console: where to report
        args: the command line after `sweep`
        write_page: writes the report's page; None writes none
    """
    found = search_file(plan, study, metric, importances=True)
    best, outcomes, names = found.best_trial, list[Outcome](), list[str]()
    if best is not None:
        drawn = next(drawn_of(trial) for trial in study.trials() if trial.number == best.number)
        trial, names = best_cells(plan, best, drawn)
        command = shlex.join(["python", "train.py", "sweep", *args, *class_paths.options()])
        comments = (f"the best of {len(found.trials)} trials, {best.name}: {metric} {best.value:.4f}", f"by {command}")
        write_best(folder / FILE, scales.parser, trial.cells[0], names, comments)
        found = replace(found, fragment=FILE)
        if study.options.refit:
            cell, said = refit_cell(trial, max(1, best.best_epoch or 1), scales)
            console.print(f"{cell.name}: {best.name} once more, {said}", soft_wrap=True, highlight=False)
            outcomes = refit(plan, cell, folder, console)
            found = replace(found, refit=cell.name)
    found.write(folder)
    print_search(console, found, plan.experiment)
    if best is not None:
        console.print(f"the best: {folder / FILE}", soft_wrap=True, highlight=False, markup=False)
        console.print(f"next:  {next_command(plan, folder, names)}", soft_wrap=True, highlight=False, markup=False)
    if plan.page and write_page is not None and found.trials:
        tested = plan.split == "test" and any(outcome.status == "done" for outcome in outcomes)
        page = write_page(folder, folder / "report", "test" if tested else "val", console)
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
    refuse_failures(outcomes)


def refit(plan: SweepPlan, cell: Cell, folder: Path, console: Console) -> list[Outcome]:
    """Train the best trial's values once more, and test once; a process that comes later waits for that.

    Args:
        plan: of the search
        cell: of the refit
        folder: the experiment's
        console: where to report
    """
    job = refit_job(cell, plan, folder)
    with CellTable(console, folder, [cell], {cell.name: job.settings}, 1) as shown:
        return run_queue([job], plan.executor, plan.retries, folder, shown)


def next_command(plan: SweepPlan, folder: Path, names: Sequence[str]) -> str:
    """Return the `fit` that trains with the best values.

    Args:
        plan: of the search
        folder: the experiment's
        names: of the options in the fragment, which the command line must not set
    """
    options = {name: value for name, value in plan.options.items() if name not in names}
    shared = Cell("best", "best", (*plan.fragments, str(folder / FILE)), options)
    return shlex.join(["python", "train.py", "fit", *shared.settings, *class_paths.options()])


def print_planned(plan: SweepPlan, console: Console, folder: Path, metric: str, study: SearchStudy | None) -> None:
    """Print how a search stands; start nothing.

    Args:
        plan: of the search
        console: where to print
        folder: the experiment's
        metric: by which trials are compared
        study: its trials; None where there are none yet
    """
    options = plan.search
    assert options is not None
    found = None if study is None else search_file(plan, study, metric)
    if plan.list_cells:
        lines = [f"{trial.state:10} {trial.name}" for trial in (found.trials if found else [])]
        console.out("\n".join(lines), highlight=False)
        return
    for space in options.all_spaces:
        console.print(f"{space.name}: {space.spoken()}", soft_wrap=True, highlight=False, markup=False)
    limits = f", at most {spoken(options.limits())}" if options.limits() else ""
    told = f"{options.wanted:,} trials by {metric} ({options.spoken()}{limits})"
    stands = f": {counts_of(found)}" if found is not None else ""
    console.print(
        f"{told}{stands}; {plan.executor.slots(options.wanted)} at once: {folder}/", soft_wrap=True, highlight=False
    )
