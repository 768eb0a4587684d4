"""Cells of a stack, handed to an executor: retried where they fail, stopped gently, and watched."""

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path

from common.stopped import StoppedError
from common.system_errors import reason_of, way_out
from pipelines.cells.executors import CellExecutor
from pipelines.cells.job import CellFiles, CellJob, Outcome, is_running, run_cell
from records.damaged import DamagedFileError

# the table is drawn at most this often, in seconds
REFRESH = 0.5

# called with the cells that have just ended for good or are tried again; with none, to look at those that run
Report = Callable[[Sequence[tuple[Outcome, bool]]], None]
# called with how many cells there is room for; names cells to run now, or none so far, or None: no more will come
Feed = Callable[[int], Sequence[CellJob] | None]


@dataclass(frozen=True)
class Attempt:
    """A cell that was handed to the executor.

    Args:
        job: the cell
        earlier: when its last process before this attempt was started
    """

    job: CellJob
    earlier: float | None

    @classmethod
    def of(cls, job: CellJob) -> "Attempt":
        """Remember how it stands before it is handed over."""
        return cls(job, CellFiles(job.folder, job.name).read().get("started"))

    @property
    def is_running(self) -> bool:
        """Whether it has begun, on whichever machine."""
        return is_running(CellFiles(self.job.folder, self.job.name).read(), self.earlier)


def run_queue(
    jobs: Sequence[CellJob],
    executor: CellExecutor,
    retries: int,
    folder: Path,
    report: Report,
    run: Callable[[CellJob], Outcome] | None = None,
) -> list[Outcome]:
    """Run cells until each is done, or has failed once more than it is retried.

    Args:
        jobs: the cells
        executor: where they run
        retries: how often a cell that failed is started again
        folder: the experiment's
        report: called for each cell that ends, with whether it is tried again; and called twice a second
        run: what a worker calls with each of them; None is `run_cell`

    Returns:
        how each cell ended, in the order of the cells

    Raises:
        KeyboardInterrupt: after Ctrl-C; the cells have saved their state
        StoppedError: after SIGTERM; likewise
    """
    if not jobs:
        return []
    left = [jobs]
    ended = run_feed(
        lambda room: left.pop() if left else None, executor, len(jobs), retries, folder, report, run or run_cell
    )
    return [ended[job.name] for job in jobs]


def run_feed(
    feed: Feed,
    executor: CellExecutor,
    count: int,
    retries: int,
    folder: Path,
    report: Report,
    run: Callable[[CellJob], Outcome] = run_cell,
) -> dict[str, Outcome]:
    """Run cells that are named one after the other; see `run_queue`.

    Args:
        feed: names the next ones
        executor: where they run
        count: how many cells there are at most
        retries: how often a cell that failed is started again
        folder: the experiment's
        report: called for each cell that ends, and twice a second
        run: what a worker calls with each of them

    Returns:
        how each cell ended, by name
    """
    ended: dict[str, Outcome] = {}
    handed: list[CellJob] = []
    pool = executor.open(folder, count)
    try:
        _run(pool, feed, executor.slots(count), retries, report, ended, handed, run)
    except (KeyboardInterrupt, StoppedError):
        for stop in {job.stop for job in handed}:
            stop.touch()
        raise
    finally:
        executor.close(pool)
    return ended


def _run(
    pool: Executor,
    feed: Feed,
    slots: int,
    retries: int,
    report: Report,
    ended: dict[str, Outcome],
    handed: list[CellJob],
    run: Callable[[CellJob], Outcome],
) -> None:
    left: dict[str, int] = {}
    pending: dict[Future[Outcome], Attempt] = {}

    def submit(job: CellJob) -> None:
        attempt = Attempt.of(job)
        handed.append(job)
        pending[pool.submit(run, job)] = attempt

    more = True
    try:
        while more or pending:
            if more and len(pending) < slots:
                jobs = feed(slots - len(pending))
                more = jobs is not None
                for job in jobs or ():
                    left[job.name] = retries
                    submit(job)
            finished, _ = wait(pending, timeout=REFRESH, return_when=FIRST_COMPLETED)
            if more and not pending:
                # the next ones are named later
                time.sleep(REFRESH)
            news = []
            for future in finished:
                job = pending.pop(future).job
                outcome = _outcome(future, job)
                again = outcome.status == "failed" and left[job.name] > 0
                if again:
                    left[job.name] -= 1
                    submit(job)
                else:
                    ended[job.name] = outcome
                news.append((outcome, again))
            report(news)
    except (KeyboardInterrupt, StoppedError):
        _stop(pending)
        raise


def _outcome(future: Future[Outcome], job: CellJob) -> Outcome:
    try:
        return future.result()
    except Exception as error:
        # a file of it is damaged, or the worker was lost, with its node perhaps
        told = f"{type(error).__name__}: {error}"
        if isinstance(error, DamagedFileError):
            told = str(error)
        elif isinstance(error, OSError) and (way := way_out(error)):
            told = f"{f'{error.filename}: ' if error.filename else ''}{reason_of(error)}; {way}"
        return Outcome(job.name, "failed", 0.0, f"{job.name} failed: {told}")


def _stop(pending: dict[Future[Outcome], Attempt]) -> None:
    """Ask running cells to save and stop; wait for them, on whichever machine they are, but for none that is queued."""
    # first, so that none starts in the place of one that stops
    for future in pending:
        # what has started cannot be cancelled; nor can anything with Parsl, whose cells see the file when they start
        with contextlib.suppress(NotImplementedError):
            future.cancel()
    for attempt in pending.values():
        attempt.job.stop.touch()
    waited = {future for future, attempt in pending.items() if attempt.is_running}
    while waited:
        _, waited = wait(waited, timeout=REFRESH, return_when=FIRST_COMPLETED)
        waited = {future for future in waited if pending[future].is_running}
