"""`python train.py sweep`: run a matrix of cells that differ in options, and compare them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from common.settings import dotted
from common.stopped import StoppedError
from common.yaml_loader import load
from pipelines.cells.cell import Cell
from pipelines.cells.command import end_cells_with_us, prepare_cells, print_resume, refuse_failures, without_fresh
from pipelines.cells.folder import locked, note_planned, open_folder, planned_folder
from pipelines.cells.job import CellJob, Outcome
from pipelines.cells.options import take_options
from pipelines.cells.plan_parser import plan_options
from pipelines.cells.queue import run_queue
from pipelines.cells.tested import drawn, test_command
from pipelines.cells.watch import CellTable
from pipelines.sweep.plan import REPEATS, Study, SweepPlan
from pipelines.sweep.search.options import SearchOptions
from pipelines.sweep.states import State, counts_of, print_plan, refuse_changed, states_of
from records.study_file import StudyFile

if TYPE_CHECKING:
    from pipelines.cells.fit_parser import FitParser
    from pipelines.sweep.stacks import PlanStack

# makes the page of a report: of a folder, in another, on a split, and prints what the study found
WritePage = Callable[[Path, Path, Literal["test", "val"], Console], Path]


def parse(args: list[str]) -> SweepPlan:
    """Read a plan from a command line.

    Args:
        args: the command line after `sweep`

    Raises:
        UsageError: it asks for what does not exist
    """
    rest, only = take_options(args, "--only.")
    rest, spaces = take_options(rest, "--search.spaces.")
    options = plan_options(SweepPlan, "sweep", __doc__, "configs/sweep/imbalance_losses.yaml", rest)
    if spaces:
        # a space of the command line is another one, or takes the place of the plan's
        search = options["search"] or SearchOptions()
        read = {name: load(value) for name, value in spaces.items()}
        options["search"] = replace(search, spaces={**search.spaces, **read})
    options["only"] = dotted(options["only"]) | {name: value.split(",") for name, value in only.items()}
    return SweepPlan(**options)


def jobs_of(
    study: Study, folder: Path, cells: Sequence[Cell], settings: Mapping[str, Mapping[str, Any]]
) -> list[CellJob]:
    """Return what workers need to know to run cells.

    Args:
        study: the cells' plan
        folder: the experiment's
        cells: of the study
        settings: that each is given, by the cells' names
    """
    plan = study.plan
    jobs = []
    for cell in cells:
        given = settings[cell.name]
        jobs.append(
            CellJob(
                cell.name,
                folder.absolute(),
                (*cell.command(folder), *drawn(given)),
                dict(given),
                Path.cwd(),
                # a cell must not outlive its cluster job
                die_with_parent=plan.executor.elsewhere,
                warm=plan.executor.warm,
                then=test_command(cell, folder, given) if plan.split == "test" else (),
                proof="test" if plan.split == "test" else "fit",
                time_limit=plan.time_limit,
            )
        )
    return jobs


def run_cells(
    study: Study, folder: Path, console: Console, settings: Mapping[str, Mapping[str, Any]], states: Mapping[str, State]
) -> list[Outcome]:
    """Run the chosen cells that are not done.

    Args:
        study: its cells
        folder: the experiment's
        console: where to report
        settings: that each cell is given, by the cells' names
        states: of all its cells

    Returns:
        how they ended, those that cannot be run first
    """
    plan = study.plan
    refused = [
        Outcome(cell.name, "failed", 0.0, f"{cell.name} was not run: {states[cell.name].why}")
        for cell in study.chosen
        if states[cell.name].word == "damaged"
    ]
    left = [cell for cell in study.chosen if states[cell.name].word not in ("done", "damaged")]
    console.print(f"{len(study.cells):,} cells, {counts_of(states)}: {folder}/", soft_wrap=True, highlight=False)
    jobs = jobs_of(study, folder, left, settings)
    note_planned(folder, [cell.name for cell in study.cells])
    with CellTable(console, folder, left, settings, plan.executor.slots(len(jobs))) as shown:
        return refused + run_queue(jobs, plan.executor, plan.retries, folder, shown)


def study_file(study: Study) -> StudyFile:
    """Return what the folder says of a study."""
    plan = study.plan
    return StudyFile(
        plan.split,
        list(plan.metrics),
        {axis.name: [value.label for value in axis.values] for axis in study.axes},
        [axis.name for axis in study.axes if axis.name in REPEATS],
        {cell.name: list(study.labels[cell.name].values()) for cell in study.cells},
        plan.pooled,
        plan.held_share,
    )


def planned(plan: SweepPlan, parser: "FitParser", here: bool = True) -> Study:
    """Name all cells of a plan, and parse one of each kind.

    Args:
        plan: whose sources are read where it leaves them to the data
        parser: of command lines
        here: whether the command runs on this machine

    Raises:
        ValueError: no cell is left, or a command line is wrong
    """
    from pipelines.sweep.check import check, sources_of

    if plan.leave_one_out and not plan.sources:
        plan.sources = sources_of(plan, parser)
    study = Study.of(plan)
    check(study, parser, here)
    return study


def check_elsewhere(args: list[str], planner: "Callable[[], PlanStack]") -> tuple[Path, list[str]]:
    """Check a command line that is to run on another machine.

    Args:
        args: the command line after `sweep`
        planner: makes what reads the command lines of stacks

    Returns:
        the experiment's folder, and the command line that works in it

    Raises:
        ValueError: it is wrong
    """
    plan = parse(args)
    from pipelines.cells.fit_parser import FitParser

    if plan.search is not None:
        from pipelines.sweep.search.command import look
        from pipelines.sweep.search.limits import Scales

        look(plan, Scales(FitParser(), plan.search.limits()), here=False)
    elif plan.stack is not None:
        from pipelines.sweep.stacks import plan_bases

        plan_bases(Study.of(plan), planner(), here=False)
    else:
        planned(plan, FitParser(), here=False)
    folder = planned_folder(plan.root, plan.experiment, plan.fresh)
    return folder, without_fresh(args, folder) if plan.fresh else args


def main(args: list[str], write_page: WritePage | None = None, planner: "Callable[[], PlanStack] | None" = None) -> int:
    """Run `python train.py sweep`.

    Args:
        args: the command line after `sweep`
        write_page: writes the report's page; None writes none
        planner: makes what reads the command lines of stacks; None is enough for other cells

    Returns:
        the exit status
    """
    plan, console = parse(args), Console()
    prepare_cells(plan.executor, plan.dry_run or plan.list_cells)
    # slow to import, and not needed for help or a wrong option
    from engine.gpu_check import stop_probing_for_gpus
    from pipelines.cells.fit_parser import FitParser
    from pipelines.sweep.check import given
    from pipelines.sweep.stacks import plan_bases, run_stacks, stack_settings, train_bases

    stop_probing_for_gpus()
    if plan.search is not None:
        from pipelines.sweep.search.command import search

        return search(plan, args, console, write_page)
    bases = None
    if plan.stack is not None:
        assert planner is not None
        study = Study.of(plan)
        bases, settings = plan_bases(study, planner()), stack_settings(study.cells, plan)
    else:
        study = planned(plan, FitParser())
        settings = given(study.cells)
    proof = "test" if plan.split == "test" else "fit"
    if plan.dry_run or plan.list_cells:
        folder = planned_folder(plan.root, plan.experiment, plan.fresh)
        states = states_of(study.cells, folder, settings, proof)
        if plan.list_cells:
            lines = [f"{states[cell.name].word:10} {cell.name}" for cell in study.chosen]
            console.out("\n".join(lines), highlight=False)
        else:
            print_plan(console, study, folder, states, plan.executor.slots(len(study.chosen)))
        refuse_changed(states)
        return 0
    end_cells_with_us()
    folder, made = open_folder(plan.root, plan.experiment, plan.fresh)
    again = without_fresh(args, folder) if plan.fresh else args
    try:
        # stacks work in the folder beside this command
        with locked(folder, "swept", made, shared=bases is not None):
            states = states_of(study.cells, folder, settings, proof)
            refuse_changed(states)
            study_file(study).write(folder)
            if bases is not None:
                train_bases(study, bases, folder, console)
                outcomes = run_stacks(study, folder, console, settings, states)
            else:
                outcomes = run_cells(study, folder, console, settings, states)
            if plan.page and write_page is not None and any(outcome.status == "done" for outcome in outcomes):
                page = write_page(folder, folder / "report", plan.split, console)
                console.print(f"report: {page}", soft_wrap=True, highlight=False)
            refuse_failures(outcomes)
    except (KeyboardInterrupt, StoppedError) as error:
        print_resume(console, "sweep", again, folder, error)
        raise
    return 0
