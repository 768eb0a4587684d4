"""`python train.py stack`: train members, stack them on held-out samples, and test once."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from common import class_paths
from common.ranges import OptionError
from common.stopped import StoppedError
from ensembling.heads.base import HEAD_OPTION
from pipelines.cells.cell import Cell
from pipelines.cells.command import end_cells_with_us, prepare_cells, print_resume, refuse_failures, without_fresh
from pipelines.cells.folder import CellError, check_unchanged, locked, note_planned, open_folder, planned_folder
from pipelines.cells.job import CellFiles, CellJob, Outcome, run_command
from pipelines.cells.plan_parser import plan_options
from pipelines.cells.queue import run_queue
from pipelines.cells.settings import WEIGHTS_DIGEST
from pipelines.cells.watch import CellTable
from pipelines.cli.errors import UsageError
from pipelines.stack.plan import StackPlan

if TYPE_CHECKING:
    from pipelines.stack.plan_check import Checked
    from pipelines.stack.second_stage import WritePage


def parse(args: list[str]) -> StackPlan:
    """Read a plan from a command line.

    Args:
        args: the command line after `stack`

    Raises:
        UsageError: it asks for what does not exist
    """
    try:
        return StackPlan(**plan_options(StackPlan, "stack", __doc__, "configs/stack/digits.yaml", args))
    except OptionError as error:
        if not error.option.startswith(HEAD_OPTION):
            raise
        raise UsageError(f"--heads: {error.option.rpartition('.')[2]} {error.reason}") from error


def run_cells(plan: StackPlan, checked: "Checked", folder: Path, console: Console, cells: Sequence[Cell]) -> None:
    """Train all cells that are not finished.

    Args:
        plan: what to run
        checked: the settings of its cells
        folder: the experiment's
        console: where to report
        cells: of the plan and of its repeats

    Raises:
        CellError: cells failed; the others have been finished
    """
    from pipelines.stack.data import refuse_changed_cells, refuse_unknown_weights
    from pipelines.stack.plan_check import check_samples
    from pipelines.stack.power import visible_gain

    # looked at first: one that is not done yet is compared once more, when its process has it for itself
    done = {cell.name for cell in cells if CellFiles(folder, cell.name).is_done}
    left = [cell for cell in cells if cell.name not in done]
    settings = with_starts(folder, cells, checked)
    check_unchanged(folder, cells, settings)
    refuse_unknown_weights(plan, settings)
    if left:
        # checked now, which takes a second, rather than after all training
        data = checked.parser.build(data=checked.configs[cells[0].name].data).data
        refuse_changed_cells(folder, cells, data, plan.allow_changed)
        check_samples(plan, data)
        console.print(visible_gain(plan, data, folder), soft_wrap=True, highlight=False)
    told = f", {len(cells) - len(left)} of them done" if len(left) < len(cells) else ""
    times = f", {plan.repeats} trainings" if plan.repeats > 1 else ""
    said = f"{len(plan.members)} members{times}, {len(cells)} cells{told}: {folder}/"
    console.print(said, soft_wrap=True, highlight=False)
    note_planned(folder, [cell.name for cell in cells])
    outcomes = list[Outcome]()
    with CellTable(console, folder, cells, settings, plan.executor.slots(len(left))) as shown:
        for wave in waves(left):
            ready = [cell for cell in wave if is_ready(folder, cell)]
            outcomes += [not_started(cell) for cell in wave if cell not in ready]
            settings |= with_starts(folder, ready, checked)
            jobs = [job_of(plan, cell, folder, settings[cell.name]) for cell in ready]
            outcomes += run_queue(jobs, plan.executor, plan.retries, folder, shown)
    refuse_failures(outcomes)


def waves(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Put cells in order: first those that start from no other of them, then those that start from these, and so on.

    Args:
        cells: to be trained
    """
    left, found = list(cells), list[list[Cell]]()
    while left:
        names = {cell.name for cell in left}
        found.append([cell for cell in left if cell.starts_from not in names])
        left = [cell for cell in left if cell.starts_from in names]
    return found


def is_ready(folder: Path, cell: Cell) -> bool:
    """Tell whether a cell may be trained: whether the one that it starts from is finished, if there is one."""
    return cell.starts_from is None or CellFiles(folder, cell.starts_from).is_done


def not_started(cell: Cell) -> Outcome:
    """Say that a cell was not trained, because the one that it starts from was not finished."""
    return Outcome(cell.name, "failed", 0.0, f"{cell.name} was not trained: {cell.starts_from} is not finished")


def with_starts(folder: Path, cells: Sequence[Cell], checked: "Checked") -> dict[str, dict[str, Any]]:
    """Return the settings of cells, with the content of the weights that they start from where it is known.

    Args:
        folder: the experiment's
        cells: some of the plan's
        checked: the settings of its cells
    """
    settings = {cell.name: checked.settings[cell.name] for cell in cells}
    for cell in cells:
        if cell.starts_from is not None and is_ready(folder, cell):
            weights = CellFiles(folder, cell.starts_from).run.weights
            settings[cell.name] = settings[cell.name] | {WEIGHTS_DIGEST: checked.digest(weights)}
    return settings


def job_of(plan: StackPlan, cell: Cell, folder: Path, settings: dict[str, Any]) -> CellJob:
    """Make the job that trains a cell.

    Args:
        plan: says where it runs
        cell: of the plan
        folder: the experiment's
        settings: all that it is configured with
    """
    return CellJob(
        cell.name,
        folder.absolute(),
        tuple(cell.command(folder)),
        settings,
        Path.cwd(),
        # a cell must not outlive its cluster job
        die_with_parent=plan.executor.elsewhere,
        warm=plan.executor.warm,
    )


def keep_earlier_splits(plan: StackPlan) -> None:
    """Let an experiment that an earlier version began go on with the splits that it has.

    Args:
        plan: whose options are changed, unless they say how splits are drawn
    """
    if plan.fresh or any(
        "data.split_version" in options for options in (plan.options, *(m.options for m in plan.members))
    ):
        return
    folder = planned_folder(plan.root, plan.experiment)
    begun = [CellFiles(folder, cell.name).read().get("settings", {}) for cell in plan.cells]
    if any("data.split_seed" in settings and "data.split_version" not in settings for settings in begun):
        plan.options["data.split_version"] = 1


def check_elsewhere(args: list[str]) -> tuple[Path, list[str]]:
    """Check a command line that is to run on another machine; no image is read.

    Args:
        args: the command line after `stack`

    Returns:
        the experiment's folder, and the command line that works in it

    Raises:
        ValueError: it is wrong
    """
    plan = parse(args)
    from pipelines.stack.plan_check import check

    keep_earlier_splits(plan)
    check(plan, here=False)
    folder = planned_folder(plan.root, plan.experiment, plan.fresh)
    return folder, without_fresh(args, folder) if plan.fresh else args


class Planner:
    """Names the members' runs of several stacks, for a study that trains each once."""

    def __init__(self) -> None:
        from pipelines.cells.fit_parser import FitParser

        self.parser = FitParser()
        # the runs that stacks share are looked at once
        self.parser.parse = remembering(self.parser.parse)  # type: ignore[method-assign, assignment]
        self.parser.plain = remembering(self.parser.plain)  # type: ignore[method-assign, assignment]
        self.first = True

    def __call__(self, args: list[str], here: bool = True) -> tuple[list[Cell], dict[str, dict[str, Any]]]:
        """Check a stack, and name its members' runs.

        Args:
            args: the command line after `stack`
            here: whether they run on this machine

        Returns:
            the runs, and all that each is configured with, by their names

        Raises:
            ValueError: the command line is wrong; the first one's samples are looked at, too
        """
        from pipelines.stack.plan_check import check, check_samples

        plan = parse(args)
        checked = check(plan, here, self.parser)
        if self.first:
            check_samples(plan, checked.parser.build(data=checked.configs[plan.cells[0].name].data).data)
        self.first = False
        return plan.cells, checked.settings


def remembering(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a parser return what it has returned for the same before.

    Args:
        call: its method, of one argument
    """
    known: dict[str, Any] = {}

    def remembered(given: Any) -> Any:
        key = repr(given)
        if key not in known:
            known[key] = call(given)
        return copy.deepcopy(known[key])

    return remembered


def main(args: list[str], write_page: "WritePage | None" = None) -> int:
    """Run `python train.py stack`.

    Args:
        args: the command line after `stack`
        write_page: writes the report's page; None writes none

    Returns:
        the exit status
    """
    plan, console = parse(args), Console()
    prepare_cells(plan.executor, plan.dry_run)
    # slow to import, and not needed for help or a wrong option
    from engine.gpu_check import stop_probing_for_gpus
    from pipelines.stack.plan_check import check
    from pipelines.stack.repeats import repeated_plans

    stop_probing_for_gpus()
    keep_earlier_splits(plan)
    checked = check(plan)
    repeats = repeated_plans(plan, checked)
    for repeat in repeats:
        checked.add(check(repeat))
    cells = [cell for each in (plan, *repeats) for cell in each.cells]
    if plan.dry_run:
        from pipelines.stack.dry_run import print_costs

        # refuses what the command itself would refuse
        folder = planned_folder(plan.root, plan.experiment, plan.fresh)
        check_unchanged(folder, cells, checked.settings)
        print_costs(console, plan, checked, folder)
        return 0
    end_cells_with_us()
    folder, made = open_folder(plan.root, plan.experiment, plan.fresh)
    again = without_fresh(args, folder) if plan.fresh else args
    try:
        with locked(folder, "stacked", made, shared=plan.study):
            run_cells(plan, checked, folder, console, cells)
            if not plan.executor.elsewhere:
                from pipelines.stack.second_stage import second_stage

                return second_stage(plan, folder, console, write_page, repeats)
        # the job locks the folder itself
        stack_elsewhere(plan, again, folder, console)
    except (KeyboardInterrupt, StoppedError) as error:
        print_resume(console, "stack", again, folder, error)
        raise
    return 0


def stack_elsewhere(plan: StackPlan, args: list[str], folder: Path, console: Console) -> None:
    """Run the second stage where the cells ran, as a job that finds them finished; then show what it printed.

    Args:
        plan: all of whose cells are finished
        args: the command line after `stack`, which continues in the folder
        folder: the experiment's
        console: where to report

    Raises:
        CellError: it failed
    """
    command = ("stack", *args, "--executor", "LocalExecutor", *class_paths.options())
    job = CellJob(plan.stack_name, folder.absolute(), command, cwd=Path.cwd(), die_with_parent=True)
    log = CellFiles(folder, job.name).log
    before = log.stat().st_size if log.is_file() else 0
    console.print(f"members' logits and heads: one more job, {log}", soft_wrap=True, highlight=False)
    (outcome,) = run_queue([job], plan.executor, 0, folder, lambda news: None, run_command)
    if outcome.status != "done":
        raise CellError(
            outcome.message or f"{job.name} was stopped, though not by this command; run it again to continue"
        )
    console.out(log.read_bytes()[before:].decode(errors="replace"), highlight=False)
