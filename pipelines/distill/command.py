"""`python train.py distill`: train a student on what a stack says, and compare it with itself alone and the stack."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from common.settings import flat
from common.stopped import StoppedError
from pipelines.cells.cell import Cell
from pipelines.cells.command import end_cells_with_us, print_resume, refuse_failures, without_fresh
from pipelines.cells.folder import check_unchanged, locked, note_planned, open_folder, planned_folder
from pipelines.cells.job import CellFiles, CellJob
from pipelines.cells.plan_parser import plan_options
from pipelines.cells.queue import run_queue
from pipelines.cells.settings import check_texts, with_digest
from pipelines.cells.tested import drawn, test_command
from pipelines.cells.watch import CellTable
from pipelines.distill.plan import DistillPlan

if TYPE_CHECKING:
    from datamodules import DataModule

# makes the page of a report of a folder, in another
WritePage = Callable[[Path, Path], Path]


def parse(args: list[str]) -> DistillPlan:
    """Read a plan from a command line.

    Args:
        args: the command line after `distill`

    Raises:
        UsageError: it asks for what does not exist
    """
    return DistillPlan(**plan_options(DistillPlan, "distill", __doc__, "configs/distill/digits.yaml", args))


def planned(plan: DistillPlan, here: bool = True) -> tuple[list[Cell], dict[str, dict[str, Any]], "DataModule"]:
    """Name the cells and what each is configured with, and build the student's data.

    Args:
        plan: whose stack is finished
        here: whether the command runs on this machine

    Raises:
        ValueError: a command line is wrong
    """
    from lightning_modules.checkpoint_io import file_sha256
    from pipelines.cells.fit_parser import FitParser
    from pipelines.cli.option_checks import check_seed, check_trainer

    cells, parser, digest = plan.cells(file_sha256(plan.teacher.stack)), FitParser(), cache(file_sha256)
    settings = {}
    for cell in cells:
        config = parser.parse(cell.settings)
        check_seed(config.seed_everything)
        check_trainer(config.trainer, "fit", here=here and not plan.executor.elsewhere)
        settings[cell.name] = with_digest(flat(parser.plain(config)), digest)
        check_texts(plan.options, settings[cell.name])
    data: DataModule = parser.build(data=config.data).data
    return cells, settings, data


def check_data(plan: DistillPlan, data: "DataModule") -> None:
    """Refuse a student of other data than the stack's before it is trained.

    Args:
        plan: names the stack
        data: the student's

    Raises:
        ValueError: the test samples are others, or training images are not known to the stack
    """
    from callbacks.soft_targets import held_out_logits
    from records.result_files import read_result

    teacher = plan.teacher
    result = read_result(teacher.result)
    if result.get("fingerprints", {}).get("test") != data.fingerprint("test"):
        raise ValueError(
            f"the student's test samples are not those of {teacher.folder}: give it the data of the stack's plan in "
            f"fragments and options"
        )
    if not plan.augmented:
        if result.get("mode") != "oof":
            raise ValueError(
                f"{teacher.folder} was trained in mode {result.get('mode')}: each training image needs a prediction of "
                f"models that had not seen it, so stack in mode oof, or let the whole stack teach by --augmented true"
            )
        held_out_logits(teacher.stack, data.samples("train").ids)


def run_cells(
    plan: DistillPlan, cells: Sequence[Cell], settings: Mapping[str, dict[str, Any]], folder: Path, console: Console
) -> None:
    """Train and test all cells that are not finished.

    Args:
        plan: of the cells
        cells: students alone and distilled
        settings: all that each is configured with
        folder: the experiment's
        console: where to report

    Raises:
        CellError: some failed; the others have been finished
    """
    check_unchanged(folder, cells, settings)
    jobs = [
        CellJob(
            cell.name,
            folder.absolute(),
            (*cell.command(folder), *drawn(cell.options)),
            settings[cell.name],
            Path.cwd(),
            die_with_parent=plan.executor.elsewhere,
            warm=plan.executor.warm,
            then=test_command(cell, folder, cell.options),
            proof="test",
        )
        for cell in cells
        if not CellFiles(folder, cell.name, "test").is_done
    ]
    tell_done(cells, folder, console)
    note_planned(folder, [cell.name for cell in cells])
    with CellTable(console, folder, list(cells), settings, plan.executor.slots(len(jobs))) as shown:
        refuse_failures(run_queue(jobs, plan.executor, plan.retries, folder, shown))


def tell_done(cells: Sequence[Cell], folder: Path, console: Console) -> None:
    """Print how many cells are finished.

    Args:
        cells: students alone and distilled
        folder: the experiment's
        console: where to print
    """
    done = sum(CellFiles(folder, cell.name, "test").is_done for cell in cells)
    console.print(f"{len(cells)} cells, {done} of them done: {folder}/", soft_wrap=True, highlight=False)


def check_elsewhere(args: list[str]) -> tuple[Path, list[str]]:
    """Check a command line that is to run on another machine; no image is read.

    Args:
        args: the command line after `distill`

    Returns:
        the experiment's folder, and the command line that works in it

    Raises:
        ValueError: it is wrong
    """
    plan = parse(args)
    planned(plan, here=False)
    folder = planned_folder(plan.root, plan.experiment, plan.fresh)
    return folder, without_fresh(args, folder) if plan.fresh else args


def main(args: list[str], write_page: WritePage | None = None) -> int:
    """Run `python train.py distill`.

    Args:
        args: the command line after `distill`
        write_page: writes the report's page; None writes none

    Returns:
        the exit status
    """
    plan, console = parse(args), Console()
    # slow to import, and not needed for help or a wrong option
    from engine.gpu_check import stop_probing_for_gpus
    from pipelines.distill.comparison import compare
    from pipelines.distill.printed import print_comparison, write_comparison

    stop_probing_for_gpus()
    cells, settings, data = planned(plan)
    check_data(plan, data)
    if plan.dry_run:
        folder = planned_folder(plan.root, plan.experiment, plan.fresh)
        check_unchanged(folder, cells, settings)
        tell_done(cells, folder, console)
        return 0
    end_cells_with_us()
    folder, made = open_folder(plan.root, plan.experiment, plan.fresh)
    again = without_fresh(args, folder) if plan.fresh else args
    try:
        with locked(folder, "distilled", made):
            run_cells(plan, cells, settings, folder, console)
            comparison = compare(plan, cells, folder, data)
            print_comparison(console, comparison)
            for path in write_comparison(folder, comparison):
                console.print(f"written: {path}", soft_wrap=True, highlight=False)
            if plan.page and write_page is not None:
                console.print(f"report: {write_page(folder, folder / 'report')}", soft_wrap=True, highlight=False)
    except (KeyboardInterrupt, StoppedError) as error:
        print_resume(console, "distill", again, folder, error)
        raise
    return 0
