"""One cell: a `train.py fit` in a process and folder of its own, perhaps tested after it, which a rerun continues.

Workers on other machines import this module: it must not import what is slow to import.
"""

import fcntl
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.cells import process
from pipelines.cells.process import Command, Ended, run_process, tail
from pipelines.cells.settings import changed, named
from records.damaged import DamagedFileError
from records.fields import check_fields
from records.json_files import read_json, to_json
from records.run_dir import RunDir
from records.whole_file import write_whole

# what a process ends with after Ctrl-C
INTERRUPTED = (130, -2)
KILLED = -9

# what a record of a cell holds
RECORD = {"status": str, "started?": float, "seconds?": float, "settings?": {}, "why?": str}


@dataclass(frozen=True)
class CellFiles:
    """Paths of one cell inside an experiment's folder.

    Args:
        folder: the experiment's
        name: of the cell
        proof: what result.json holds once it is done: fit, or the split that it is tested on
    """

    folder: Path
    name: str
    proof: str = "fit"

    @property
    def run(self) -> RunDir:
        """Folder of its run."""
        return RunDir(self.folder / self.name)

    @property
    def record(self) -> Path:
        """What is known of the cell: status, settings, seconds."""
        return self.folder / "cells" / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        """File that is locked as long as the cell's process lives."""
        return self.folder / "cells" / f"{self.name}.lock"

    @property
    def log(self) -> Path:
        """What its process prints."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def stop(self) -> Path:
        """File whose presence asks this cell alone to stop."""
        return self.folder / "cells" / f"{self.name}.stop"

    @property
    def way_out(self) -> str:
        """What to do where a file of it is damaged."""
        return f"copy it again, or remove {self.record} and {self.run.folder}/: the same command then trains it anew"

    def read(self) -> dict[str, Any]:
        """Return its record; empty if it has never been started."""
        if not self.record.is_file():
            return {}
        record = read_json(self.record, self.way_out)
        check_fields(record, RECORD, self.record, self.way_out)
        return record

    def write(self, record: dict[str, Any]) -> None:
        """Write its record whole, then rename it into place."""
        with write_whole(self.record) as partial:
            partial.write_text(to_json(record))

    @property
    def is_done(self) -> bool:
        """Whether it is trained to its end."""
        return self.run.weights.is_file() and self.is_done_by(self.read())

    def is_done_by(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a cell with weights is trained to its end.

        Args:
            record: what is known of it
        """
        status, proof = record.get("status"), record.get("proof", "fit")
        # a process that was lost on its way out has written its result; so has one that was asked for more
        return (status == "done" and self.proof in ("fit", proof)) or (
            status in ("done", "running") and self.has_result
        )

    @property
    def has_result(self) -> bool:
        """Whether its processes have written all that they end with."""
        return self.holds("fit") and self.holds(self.proof)

    def holds(self, entry: str) -> bool:
        """Tell whether result.json holds an entry, such as fit or test."""
        return self.run.result.is_file() and entry in self.result()

    def result(self) -> dict[str, Any]:
        """Return what its run has written of itself."""
        return read_json(self.run.result, self.way_out)

    def refusal(self, settings: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> str:
        """Say why the cell cannot be continued; nothing if it can.

        Args:
            settings: all that it is to be trained with
            record: what is known of it; None reads it
        """
        folder, record = self.run.folder, self.read() if record is None else record
        if not folder.exists():
            # never started, or thrown away by the user
            return ""
        if not record:
            return (
                f"{folder}/ is there, but is not a cell of this experiment: choose another folder by --experiment, or "
                f"rename one of them"
            )
        if not (self.run.resumable or self.run.weights.is_file()):
            # nothing is lost by another start
            return ""
        check_fields(record, {"settings": {}, "seconds": float}, self.record, self.way_out)
        changes = changed(record["settings"], settings)
        if not changes:
            return ""
        return (
            f"cell {self.name!r} was trained with other settings: {named(changes)}. Train all of them anew in another "
            f"folder by --experiment OTHER or --fresh true, or this cell alone by deleting {folder}/"
        )

    def refusal_of_the_living(self, settings: Mapping[str, Any]) -> str:
        """Say why a cell that a process still trains need not be waited for; nothing if it must be.

        Args:
            settings: all that it is to be trained with
        """
        record = self.read()
        changes = changed(record.get("settings", {}), settings)
        if not changes:
            return ""
        who = f"process {record['pid']} on host {record['host']}" if "pid" in record else "another process"
        return (
            f"cell {self.name!r} is being trained with other settings by {who}, which outlived its command: "
            f"{named(changes)}. Stop that process and delete {self.run.folder}/, or choose another folder by "
            f"--experiment OTHER or --fresh true"
        )


@dataclass(frozen=True)
class CellJob:
    """What a worker needs to know to run a cell.

    Args:
        name: of the cell
        folder: the experiment's
        args: the command line of train.py
        settings: all that the run is configured with, flat, by the names of the command line
        cwd: where the command line's relative paths begin
        die_with_parent: end its process with the worker, saving its state; otherwise it goes on where only the worker
            was killed
        then: the command line that evaluates it once it is trained; empty evaluates nothing
        proof: what result.json holds once it is done, see `CellFiles`
        time_limit: seconds after which one of its processes is taken for one that hangs, and ended; None never does
        warm: fork its processes from one that has imported what they need, where that is possible
        stops_alone: whether a file of its own asks it to stop, and not that of all cells of the experiment
    """

    name: str
    folder: Path
    args: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    cwd: Path = Path()
    die_with_parent: bool = False
    then: tuple[str, ...] = ()
    proof: str = "fit"
    time_limit: float | None = None
    warm: bool = False
    stops_alone: bool = False

    @property
    def files(self) -> CellFiles:
        """Its paths."""
        return CellFiles(self.folder, self.name, self.proof)

    @property
    def stop(self) -> Path:
        """File whose presence asks it to stop, on whichever machine."""
        return self.files.stop if self.stops_alone else stop_file(self.folder)


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Args:
        name: of the cell
        status: done; failed; or stopped, which a rerun continues
        seconds: of all its processes so far
        message: why it failed
    """

    name: str
    status: Literal["done", "failed", "stopped"]
    seconds: float = 0.0
    message: str = ""


def stop_file(folder: Path) -> Path:
    """Return the file whose presence asks all running cells of an experiment to stop, on whichever machine."""
    return folder / "cells" / "stop"


def is_running(record: Mapping[str, Any], earlier: float | None) -> bool:
    """Tell whether a cell's newest process runs.

    Args:
        record: of the cell
        earlier: when its process before that was started: one that was lost, with its node perhaps, has left "running"
    """
    return record.get("status") == "running" and record.get("started") != earlier


def run_cell(job: CellJob) -> Outcome:
    """Train a cell to its end, from where an earlier process left it.

    Args:
        job: the cell

    Returns:
        how it ended; an error in its process is reported, not raised
    """
    files = job.files
    files.log.parent.mkdir(parents=True, exist_ok=True)
    files.lock.parent.mkdir(parents=True, exist_ok=True)
    with files.lock.open("a") as lock:
        # a process that outlived its command is still training: two must not train in one folder
        while not _locked(lock.fileno()):
            if job.stop.exists():
                return Outcome(job.name, "stopped")
            if why := files.refusal_of_the_living(job.settings):
                return Outcome(job.name, "failed", 0.0, why)
            time.sleep(process.POLL)
        record = files.read()
        # only under the lock is it certain which settings it was trained with
        if why := files.refusal(job.settings):
            return Outcome(job.name, "failed", record.get("seconds", 0.0), why)
        if files.is_done:
            if record["status"] != "done":
                # lost on its way out, it was not timed
                fit = files.result()["fit"]
                record |= {"status": "done", "seconds": fit.get("seconds", record["seconds"]), "proof": job.proof}
                files.write(record)
            return Outcome(job.name, "done", record["seconds"])
        if job.stop.exists():
            return Outcome(job.name, "stopped", record.get("seconds", 0.0))
        return _train(job, files, record, lock.fileno())


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # a file system without locks
        return True
    return True


def _train(job: CellJob, files: CellFiles, record: dict[str, Any], lock: int) -> Outcome:
    run = files.run
    # trained already where a process was lost, or stopped, before it was tested
    trained = bool(job.then) and run.weights.is_file() and files.holds("fit")
    args = list(job.args)
    if run.resumable:
        args += ["--ckpt_path", str(run.folder)]
    elif record and run.folder.exists():
        # killed before anything was saved; with its folder there, the run would get another name
        shutil.rmtree(run.folder)
    before = record.get("seconds", 0.0) if run.resumable else 0.0
    start = time.monotonic()
    record = {
        "cell": job.name,
        "status": "running",
        "command": ["python", "train.py", *args],
        "settings": job.settings,
        "seconds": before,
        "attempts": record.get("attempts", 0) + 1,
        "host": socket.gethostname(),
        "started": time.time(),
    }
    # written before the start: the settings must be known even if the cell outlives this process
    files.write(record)
    ended = Ended(0)
    for words in ([] if trained else [args]) + ([list(job.then)] if job.then else []):
        # the process keeps the lock for as long as it lives
        ended = _run(words, job, record, (lock,))
        if ended.status or job.stop.exists():
            break
    seconds = round(before + time.monotonic() - start, 3)
    record |= {"seconds": seconds, "exit_status": ended.status, "finished": time.time()}
    was_stopped = ended.status in INTERRUPTED or job.stop.exists()
    outcome = _outcome(job, ended, was_stopped and not ended.too_long, seconds)
    # what other machines are told of it
    more = {"done": {"proof": job.proof}, "failed": {"why": outcome.message}}.get(outcome.status, {})
    files.write({**record, "status": outcome.status, **more})
    return outcome


def _outcome(job: CellJob, ended: Ended, was_stopped: bool, seconds: float) -> Outcome:
    files, why = job.files, ""
    try:
        whole = files.run.weights.is_file() and (files.has_result if job.then or was_stopped else True)
    except DamagedFileError as error:
        # it was just written: the next attempt tests it again
        whole, why = False, str(error)
    if whole and (ended.status == 0 or was_stopped):
        return Outcome(job.name, "done", seconds)
    if was_stopped:
        return Outcome(job.name, "stopped", seconds)
    if not why and ended.status == 0:
        why = "it has left no checkpoint: is trainer.enable_checkpointing false?"
        if files.run.weights.is_file():
            why = f"{files.run.result} holds no {job.proof}"
    return Outcome(job.name, "failed", seconds, _failure(job, ended, why))


def _failure(job: CellJob, ended: Ended, why: str) -> str:
    """Say why a process failed, in a first line, and what it printed last."""
    log = job.files.log
    if why:
        return f"{job.name} failed; the end of {log}:\n{why}"
    reason = "failed"
    if ended.too_long:
        reason = f"failed: it ran for longer than time_limit {job.time_limit:g} s, and was ended"
    elif ended.status == KILLED:
        reason = "failed: it was killed from outside (SIGKILL), as the system does where memory runs out"
    return f"{job.name} {reason}; the end of {log}:\n{tail(log)}"


def run_command(job: CellJob) -> Outcome:
    """Run a command that is not a fit; it always starts anew.

    Args:
        job: its name is that of the record and of the log, beside those of the cells

    Returns:
        how it ended
    """
    files = job.files
    files.log.parent.mkdir(parents=True, exist_ok=True)
    if job.stop.exists():
        return Outcome(job.name, "stopped")
    record = {"cell": job.name, "status": "running", "host": socket.gethostname(), "started": time.time()}
    start = time.monotonic()
    ended = _run(job.args, job, record)
    status = ended.status
    seconds = round(time.monotonic() - start, 3)
    if status == 0:
        outcome = Outcome(job.name, "done", seconds)
    elif status in INTERRUPTED or job.stop.exists():
        outcome = Outcome(job.name, "stopped", seconds)
    else:
        outcome = Outcome(job.name, "failed", seconds, _failure(job, ended, ""))
    more = {"why": outcome.message} if outcome.status == "failed" else {}
    files.write({**record, "status": outcome.status, "seconds": seconds, **more})
    return outcome


def _run(args: Sequence[str], job: CellJob, record: dict[str, Any], kept: tuple[int, ...] = ()) -> Ended:
    files = job.files

    def started(pid: int) -> None:
        record["pid"] = pid
        files.write(record)

    command = Command(args, files.log, job.cwd, job.stop, job.time_limit, job.die_with_parent, job.warm, kept)
    return run_process(command, started)
