"""What commands with cells have in common: how they are stopped and gone on with, and what they say of failures."""

import shlex
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from common import class_paths
from common.slurm import ANNOUNCED, requeue
from common.stopped import StoppedError
from pipelines.cells import warm
from pipelines.cells.executors import CellExecutor
from pipelines.cells.folder import CellError
from pipelines.cells.job import Outcome
from records.launched import slurm_job


def end_cells_with_us() -> None:
    """Let SIGTERM end the cells too: they would outlive this process."""
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, _stop)
    if slurm_job() is not None:
        # the end of the job's time
        signal.signal(signal.SIGUSR1, _stop)
        if ANNOUNCED.number:
            raise StoppedError(ANNOUNCED.number)


def prepare_cells(executor: CellExecutor, dry_run: bool) -> None:
    """Let the process that cells are forked from import while this one looks at the plan.

    Args:
        executor: where cells run; those of other machines have their own
        dry_run: whether none is run
    """
    if executor.warm and not executor.elsewhere and not dry_run:
        warm.prepare()


def _stop(number: int, frame: FrameType | None) -> None:
    raise StoppedError(number)


def print_resume(
    console: Console, command: str, args: Sequence[str], folder: Path, error: KeyboardInterrupt | StoppedError
) -> None:
    """Say how to continue what was stopped; a job whose time is over asks to be queued again.

    Args:
        console: where to print
        command: such as stack
        args: the command line after it
        folder: the experiment's
        error: what stopped it
    """
    job = slurm_job()
    if isinstance(error, StoppedError) and error.number == signal.SIGUSR1 and job is not None:
        # SLURM then ends the job, which ends by itself
        earlier = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        refused = requeue(job)
        if not refused:
            console.print(f"\nstopped; job {job} is queued again, and continues in {folder}/", highlight=False)
            return
        signal.signal(signal.SIGTERM, earlier)
        console.print(f"SLURM does not queue job {job} again: {refused}", highlight=False, markup=False)
    again = shlex.join(["python", "train.py", command, *args, *class_paths.options()])
    console.print(f"\nstopped; finished cells are kept, and the others continue from what they have saved in {folder}/")
    console.print(f"continue:  {again}", soft_wrap=True, highlight=False, markup=False)


def without_fresh(args: Sequence[str], folder: Path) -> list[str]:
    """Let a command continue in the folder that it has made, instead of making another one.

    Args:
        args: the command line after the command
        folder: what it has made
    """
    # later options win over earlier ones
    return [*args, "--fresh", "false", "--experiment", folder.name]


def refuse_failures(outcomes: Sequence[Outcome]) -> None:
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
