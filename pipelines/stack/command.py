"""`python train.py stack`: train members, stack them on held-out samples, and test once."""

import shlex
import signal
import threading
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser
from rich.console import Console

from common import class_paths
from common.jsonargparse_seam import TYPED_OPTIONS, use_project_yaml
from common.ranges import OptionError
from common.settings import dotted
from common.stopped import StoppedError
from ensembling.heads.base import HEAD_OPTION
from pipelines.cells import executors
from pipelines.cells.cell import Cell
from pipelines.cells.executors import CellExecutor
from pipelines.cells.folder import CellError, check_unchanged, locked, open_folder, planned_folder
from pipelines.cells.job import CellFiles, CellJob, Outcome, run_command
from pipelines.cells.queue import run_queue
from pipelines.cells.watch import CellTable
from pipelines.cli.config_files import check_configs
from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.stack.plan import StackPlan

if TYPE_CHECKING:
    from pipelines.stack.plan_check import Checked
    from pipelines.stack.second_stage import WritePage

# how a command line names one of the plan's options
OPTIONS = "--options."


def parse(args: list[str]) -> StackPlan:
    """Read a plan from a command line.

    Args:
        args: the command line after `stack`

    Raises:
        UsageError: it asks for what does not exist
    """
    use_project_yaml()
    check_configs(args)
    args, typed = take_options(args)
    parser = ArgumentParser(
        prog="train.py stack",
        description=__doc__,
        exit_on_error=False,
        allow_abbrev=False,
        parser_mode=TYPED_OPTIONS,
    )
    parser.add_argument("--config", action="config", help="A plan such as configs/stack/digits.yaml.")
    parser.add_class_arguments(StackPlan)
    try:
        parsed = parser.parse_args(args)
    except ArgumentError as error:
        # slow to import: it knows the classes of all options
        from pipelines.cli.class_errors import offer

        offer("executor", CellExecutor, executors)
        raise UsageError(explain_parsing(str(error), parser, args)) from error
    try:
        options = vars(parser.instantiate(parsed))
    except OptionError as error:
        if not error.option.startswith(HEAD_OPTION):
            raise
        raise UsageError(f"--heads: {error.option.rpartition('.')[2]} {error.reason}") from error
    options["options"] = dotted(options["options"]) | typed
    return StackPlan(**{name: value for name, value in options.items() if name != "config"})


def take_options(args: list[str]) -> tuple[list[str], dict[str, str]]:
    """Take out of a command line what it sets of the plan's `options`.

    The parser would put `--options.data.fold` into a mapping `data`, in place of the data that the plan names.

    Args:
        args: the command line

    Returns:
        what is left, and the options by name, as typed

    Raises:
        UsageError: one has no value

    Example:
        >>> take_options(["--options.data.fold", "1", "--seed", "2"])
        (['--seed', '2'], {'data.fold': '1'})
    """
    rest: list[str] = []
    options: dict[str, str] = {}
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if not option.startswith(OPTIONS):
            rest.append(word)
            continue
        value = value if equals else next(words, "--")
        if not equals and value.startswith("--"):
            raise UsageError(f"{option} needs a value")
        options[option.removeprefix(OPTIONS)] = value
    return rest, options


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

    settings = checked.settings
    # looked at first: one that is not done yet is compared once more, when its process has it for itself
    done = {cell.name for cell in cells if CellFiles(folder, cell.name).is_done}
    check_unchanged(folder, cells, settings)
    refuse_unknown_weights(plan, settings)
    jobs = [
        CellJob(
            cell.name,
            folder.absolute(),
            tuple(cell.command(folder)),
            settings[cell.name],
            Path.cwd(),
            # a cell must not outlive its cluster job
            die_with_parent=plan.executor.elsewhere,
        )
        for cell in cells
        if cell.name not in done
    ]
    if jobs:
        # checked now, which takes a second, rather than after all training
        data = checked.parser.build(data=checked.configs[cells[0].name].data).data
        refuse_changed_cells(folder, cells, data, plan.allow_changed)
        check_samples(plan, data)
        console.print(visible_gain(plan, data, folder), soft_wrap=True, highlight=False)
    told = f", {len(cells) - len(jobs)} of them done" if len(jobs) < len(cells) else ""
    times = f", {plan.repeats} trainings" if plan.repeats > 1 else ""
    said = f"{len(plan.members)} members{times}, {len(cells)} cells{told}: {folder}/"
    console.print(said, soft_wrap=True, highlight=False)
    with CellTable(console, folder, cells, settings, plan.executor.slots(len(jobs))) as shown:
        outcomes = run_queue(jobs, plan.executor, plan.retries, folder, shown)
    refuse_failures(outcomes)


def refuse_failures(outcomes: list[Outcome]) -> None:
    """Name the cells that have not been finished.

    Args:
        outcomes: how the cells ended

    Raises:
        CellError: some failed
    """
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    stopped = [outcome.name for outcome in outcomes if outcome.status == "stopped"]
    if not failed and not stopped:
        return
    messages = [outcome.message for outcome in failed]
    if stopped:
        messages.append(f"stopped, though not by this command: {', '.join(stopped)}")
    count = len(failed) + len(stopped)
    raise CellError(
        "\n\n".join([*messages, f"{count} of {len(outcomes)} cells failed; run the same command again to continue"])
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


def stop(number: int, frame: FrameType | None) -> None:
    """End this process and its cells after a signal."""
    raise StoppedError(number)


def print_resume(console: Console, args: list[str], folder: Path) -> None:
    """Say how to continue a stack that was stopped.

    Args:
        console: where to print
        args: the command line after `stack`
        folder: the experiment's
    """
    command = shlex.join(["python", "train.py", "stack", *args, *class_paths.options()])
    console.print(f"\nstopped; finished cells are kept, and the others continue from what they have saved in {folder}/")
    console.print(f"continue:  {command}", soft_wrap=True, highlight=False, markup=False)


def main(args: list[str], write_page: "WritePage | None" = None) -> int:
    """Run `python train.py stack`.

    Args:
        args: the command line after `stack`
        write_page: writes the report's page; None writes none

    Returns:
        the exit status
    """
    plan, console = parse(args), Console()
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
    if threading.current_thread() is threading.main_thread():
        # without this, cells would outlive this process
        signal.signal(signal.SIGTERM, stop)
    folder, made = open_folder(plan.root, plan.experiment, plan.fresh)
    again = without_fresh(args, folder) if plan.fresh else args
    try:
        with locked(folder, made):
            run_cells(plan, checked, folder, console, cells)
            if not plan.executor.elsewhere:
                from pipelines.stack.second_stage import second_stage

                return second_stage(plan, folder, console, write_page, repeats)
        # the job locks the folder itself
        stack_elsewhere(plan, again, folder, console)
    except (KeyboardInterrupt, StoppedError):
        print_resume(console, again, folder)
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


def without_fresh(args: list[str], folder: Path) -> list[str]:
    """Let a command continue in the folder that it has made, instead of making another one.

    Args:
        args: the command line after `stack`
        folder: what it has made
    """
    # later options win over earlier ones
    return [*args, "--fresh", "false", "--experiment", folder.name]
