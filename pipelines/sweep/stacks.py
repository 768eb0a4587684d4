"""A study whose cells are stacks: each run of a member is trained once, and its logits are computed once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from common import class_paths
from common.few import count_of, few
from common.settings import flat
from lightning_modules.checkpoint_io import file_sha256
from pipelines.cells.cell import Cell
from pipelines.cells.command import refuse_failures
from pipelines.cells.folder import check_unchanged, note_planned
from pipelines.cells.job import CellFiles, CellJob, Outcome
from pipelines.cells.queue import run_feed, run_queue
from pipelines.cells.settings import given_settings
from pipelines.cells.watch import CellTable
from pipelines.cli.errors import explain
from pipelines.sweep.check import read_fragment
from pipelines.sweep.plan import Study, SweepPlan
from pipelines.sweep.states import State

# names the members' runs of a stack's command line, which run on this machine or not, and what each is configured with
PlanStack = Callable[[list[str], bool], tuple[list[Cell], dict[str, dict[str, Any]]]]


@dataclass
class Bases:
    """The runs of members that stacks share.

    Args:
        cells: by name
        settings: that each is configured with
        of: names of the runs of each stack, by its name
    """

    cells: dict[str, Cell] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    of: dict[str, list[str]] = field(default_factory=dict)


def plan_bases(study: Study, plan_stack: PlanStack, here: bool = True) -> Bases:
    """Check the command line of each stack, and name the members' runs.

    Args:
        study: its cells are stacks
        plan_stack: reads a command line of `stack`
        here: whether the command runs on this machine

    Raises:
        ValueError: some are wrong; the message names the stacks
    """
    bases, plan = Bases(), study.plan
    here = here and not (plan.executor.elsewhere or plan.dry_run or plan.list_cells)
    faults: dict[str, list[str]] = {}
    cause: Exception | None = None
    for cell in study.cells:
        try:
            cells, settings = plan_stack(stack_args(cell, plan), here)
        except Exception as error:
            faults.setdefault(explain(error), []).append(cell.name)
            cause = cause or error
            continue
        bases.cells |= {base.name: base for base in cells}
        bases.settings |= settings
        bases.of[cell.name] = [base.name for base in cells]
    if faults:
        told = [f"{text} ({count_of(len(names), 'stack')}, such as {few(names, 2)})" for text, names in faults.items()]
        raise ValueError("; ".join(told)) from cause
    return bases


def stack_args(cell: Cell, plan: SweepPlan) -> list[str]:
    """Return the command line of a stack, after `stack`.

    Args:
        cell: of the study
        plan: of the study
    """
    place = [f"--root={plan.root}", f"--experiment={plan.experiment}", f"--stack_name={cell.name}"]
    # it trains nothing itself
    shared = ["--study=true", "--page=false", "--executor=LocalExecutor", "--executor.warm=false"]
    return ["--config", str(plan.stack), *cell.settings, *place, *shared]


def stack_settings(cells: Sequence[Cell], plan: SweepPlan) -> dict[str, dict[str, Any]]:
    """Name what each stack is given, by its name: its plan's content, and its own options.

    Args:
        cells: of the study
        plan: of the study
    """
    read = cache(read_fragment)
    names = [str(plan.stack)]
    return {
        cell.name: given_settings([*map(read, (*names, *cell.fragments))], flat(cell.options), cache(file_sha256))
        for cell in cells
    }


def train_bases(study: Study, bases: Bases, folder: Path, console: Console) -> None:
    """Train the members' runs that the chosen stacks need, each once.

    Args:
        study: its cells are stacks
        bases: the members' runs
        folder: the experiment's
        console: where to report

    Raises:
        CellError: some failed, or were trained with other settings
    """
    plan = study.plan
    names = dict.fromkeys(name for cell in study.chosen for name in bases.of[cell.name])
    cells = [bases.cells[name] for name in names]
    check_unchanged(folder, cells, bases.settings)
    left = [cell for cell in cells if not CellFiles(folder, cell.name).is_done]
    jobs = [job_of(cell.name, cell.command(folder), bases.settings[cell.name], plan, folder) for cell in left]
    said = f"{count_of(len(study.chosen), 'stack')} over {count_of(len(cells), 'run')} of members"
    console.print(f"{said}, {len(cells) - len(left)} of them done: {folder}/", soft_wrap=True, highlight=False)
    note_planned(folder, [*bases.cells, *(cell.name for cell in study.cells)])
    with CellTable(console, folder, cells, bases.settings, plan.executor.slots(len(jobs))) as shown:
        refuse_failures(run_queue(jobs, plan.executor, plan.retries, folder, shown))


def run_stacks(
    study: Study, folder: Path, console: Console, settings: Mapping[str, Mapping[str, Any]], states: Mapping[str, State]
) -> list[Outcome]:
    """Fit and test the chosen stacks that are not done, one after the other: each reads the logits of those before it.

    Args:
        study: its cells are stacks
        folder: the experiment's
        console: where to report
        settings: that each stack is given
        states: of all stacks
    """
    plan = study.plan
    damaged = [cell for cell in study.chosen if states[cell.name].word == "damaged"]
    refused = [
        Outcome(cell.name, "failed", 0.0, f"{cell.name} was not run: {states[cell.name].why}") for cell in damaged
    ]
    waiting = [cell for cell in study.chosen if states[cell.name].word not in ("done", "damaged")]
    jobs = [
        job_of(cell.name, ["stack", *stack_args(cell, plan), *class_paths.options()], settings[cell.name], plan, folder)
        for cell in waiting
    ]
    running: set[str] = set()

    def feed(room: int) -> list[CellJob] | None:
        if running:
            return []
        if not jobs:
            return None
        running.add(jobs[0].name)
        return [jobs.pop(0)]

    with CellTable(console, folder, waiting, settings, 1) as shown:

        def report(news: Sequence[tuple[Outcome, bool]]) -> None:
            running.difference_update(outcome.name for outcome, again in news if not again)
            shown(news)

        outcomes = run_feed(feed, plan.executor, max(1, len(jobs)), plan.retries, folder, report)
    return refused + list(outcomes.values())


def job_of(
    name: str,
    args: Sequence[str],
    settings: Mapping[str, Any],
    plan: SweepPlan,
    folder: Path,
) -> CellJob:
    """Return what a worker needs to know to run a member, or a stack."""
    return CellJob(
        name,
        folder.absolute(),
        tuple(args),
        dict(settings),
        Path.cwd(),
        die_with_parent=plan.executor.elsewhere,
        proof="test" if args[0] == "stack" else "fit",
        time_limit=plan.time_limit,
        warm=plan.executor.warm,
    )
