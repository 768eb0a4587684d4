"""A run's folder, which one process at a time writes into."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from common.stopped import StoppedError
from pipelines.cli.errors import UsageError, explain
from records.damaged import DamagedFileError
from records.ended import Ended, forget_end, note_end
from records.folders import take_back
from records.json_files import read_json
from records.launched import is_first_process, was_restarted
from records.locks import alone
from records.run_dir import DATA_FILE, RunDir, choose

# what each command does with a run, as the error of other commands on this folder names it
WORKS = {"fit": "trained", "validate": "evaluated", "test": "evaluated", "predict": "evaluated"}
# files that a run has from its start, beside TensorBoard's
UNUSED = ("config.yaml", "hparams.yaml", DATA_FILE, ".run.lock", ".run.owner", ".run.job", ".run.ended")
# work on a run that takes only a moment: a second process waits for it
SHORT_WORKS = ("evaluated", "stacked")
# seconds for which a job that was started again waits for the locks of its lost node
PATIENCE = 120.0


def is_unused(path: Path) -> bool:
    """Tell whether a file of a run's folder is there before the run has logged, saved or evaluated anything."""
    if path.name in UNUSED or path.name.startswith("events.out.tfevents") or path.parent.name == "figures":
        return True
    return path.name == "metrics.csv" and _holds_first_rates_alone(path)


def _holds_first_rates_alone(path: Path) -> bool:
    # the learning rates of the first step are logged before it is taken
    names, *rows = [*csv.reader(path.read_text(errors="replace").splitlines())] or [[]]
    return len(rows) <= 1 and all(name in {"epoch", "step"} or name.startswith("lr-") for name in names)


@contextmanager
def new_run(folder: Path, name: str, work: str = "") -> Iterator[RunDir]:
    """Choose the folder of a new run; one that was refused before it began leaves none, and no folder above it.

    Args:
        folder: the experiment's
        name: of the run
        work: what is done with it, such as `trained`, which keeps other processes out; empty for what takes a moment

    Yields:
        the run
    """
    run = choose(folder, name)
    with hold(run, work) if work else nullcontext():
        try:
            yield run
        except BaseException:
            # before another process can come
            take_back(run.made, is_unused)
            raise
        take_back(run.made, lambda file: False)


@contextmanager
def hold(run: RunDir, work: str) -> Iterator[None]:
    """Keep other processes from writing into a run's folder; of those that train together, the first one does.

    Args:
        run: the run
        work: what is done with it: trained, evaluated or stacked

    Raises:
        BusyError: another process writes into it, and will for long
        UsageError: nobody can write into it
    """
    if not is_first_process():
        yield
        return
    way_out = "or keep the results in a run of their own by --run.name NAME"
    if work == "stacked":
        way_out = "and run the same command again"
    elif work == "trained":
        of_its_state = f" with --ckpt_path {run.last}" if run.last.is_file() else ""
        way_out = f"stop it, or start a run of its own{of_its_state}"
    if run.folder.is_dir() and not os.access(run.folder, os.W_OK):
        # before hours of work on what could not be kept
        named = f" from {run.last}" if work == "trained" and run.last.is_file() else ""
        raise UsageError(
            f"{run.folder}/ cannot be written to: choose another folder by --run.root FOLDER, where a run of its own "
            f"begins{named}"
        )
    patience = PATIENCE if was_restarted() else 0.0
    noted = noting_end(run) if work == "trained" else nullcontext()
    with alone(run.lock, f"run {run.folder}", work, way_out, SHORT_WORKS, patience), noted:
        yield


@contextmanager
def noting_end(run: RunDir) -> Iterator[None]:
    """Write down why training ended, where that was not at its goal.

    Args:
        run: that is trained
    """
    forget_end(run.folder)
    state, finished = stamp(run.last), is_finished(run)

    def stays_finished() -> bool:
        return finished and stamp(run.last) == state

    try:
        yield
    except (KeyboardInterrupt, SystemExit, StoppedError) as error:
        if not stays_finished():
            note_end(run.folder, Ended("stopped", str(error) or "interrupted"))
        raise
    except BaseException as error:
        # a finished run stays one after a command that was mistyped
        note_end(run.folder, Ended("refused" if stays_finished() else "failed", explain(error)))
        raise


def is_finished(run: RunDir) -> bool:
    """Tell whether a run has been trained to its end at some time."""
    try:
        return run.result.is_file() and "fit" in read_json(run.result, "train it anew")
    except DamagedFileError:
        return False


def stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written anew; nothing where there is none."""
    if not path.is_file():
        return ()
    status = path.stat()
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def refuse_stale(path: Path, before: tuple[int, ...]) -> None:
    """Refuse what was read from a file before its run was locked, if the file was written anew since.

    Args:
        path: of the file
        before: its stamp before it was read

    Raises:
        UsageError: it was
    """
    if stamp(path) != before:
        raise UsageError(f"another process has written {path} while this one read it: run the same command again")
