"""One cell of a stack: a `train.py fit` in a process and folder of its own, which a rerun continues.

Workers on other machines import this module: it must not import what is slow to import.
"""

import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.cells import die_with_parent
from pipelines.cells.settings import changed, named
from records.fields import check_fields
from records.json_files import read_json, to_json
from records.partial_files import partial_path, remove_abandoned
from records.run_dir import ENVIRONMENT_VARIABLE, RunDir
from records.versions import REPOSITORY

TRAIN = REPOSITORY / "train.py"
# variables by which a launcher tells a process its place among others
LAUNCHED = re.compile(
    rf"SLURM_|PMIX?_|TORCHELASTIC_|MASTER_|(LOCAL_|GROUP_|NODE_)?RANK$|(LOCAL_)?WORLD_SIZE$|{ENVIRONMENT_VARIABLE}"
)
# how often a running cell looks whether it is to stop, in seconds
POLL = 0.5
# lines of its log that tell why a cell failed
TAIL = 8
# what a process ends with after Ctrl-C
INTERRUPTED = (130, -2)

# what a record of a cell holds
RECORD = {"status": str, "started?": float, "seconds?": float, "settings?": {}}

# what a thread's own cells see of the machine, such as one GPU
SLOT = threading.local()


@dataclass(frozen=True)
class CellFiles:
    """Paths of one cell inside an experiment's folder.

    Args:
        folder: the experiment's
        name: of the cell
    """

    folder: Path
    name: str

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
        self.record.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self.record)
        partial = partial_path(self.record)
        partial.write_text(to_json(record))
        partial.replace(self.record)

    @property
    def is_done(self) -> bool:
        """Whether it is trained to its end."""
        if not self.run.weights.is_file():
            return False
        record = self.read()
        # a process that was lost on its way out has written its result
        return record.get("status") == "done" or (record.get("status") == "running" and self.has_result)

    @property
    def has_result(self) -> bool:
        """Whether its process has written what a whole fit ends with."""
        return self.run.result.is_file() and "fit" in self.result()

    def result(self) -> dict[str, Any]:
        """Return what its run has written of itself."""
        return read_json(self.run.result, self.way_out)

    def refusal(self, settings: Mapping[str, Any]) -> str:
        """Say why the cell cannot be continued; nothing if it can.

        Args:
            settings: all that it is to be trained with
        """
        folder, record = self.run.folder, self.read()
        if not folder.exists():
            # never started, or thrown away by the user
            return ""
        if not record:
            return (
                f"{folder}/ is there, but was not made by a stack: choose another folder by --experiment, or rename "
                f"the member"
            )
        if not (self.run.resumable or self.run.weights.is_file()):
            # nothing is lost by another start
            return ""
        check_fields(record, {"settings": {}, "seconds": float}, self.record, self.way_out)
        changes = changed(record["settings"], settings)
        if not changes:
            return ""
        return (
            f"cell {self.name!r} was trained with other settings: {named(changes)}. Train all members anew in another "
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
            f"cell {self.name!r} is being trained with other settings by {who}, which outlived its stack: "
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
    """

    name: str
    folder: Path
    args: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    cwd: Path = Path()
    die_with_parent: bool = False


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
    files = CellFiles(job.folder, job.name)
    files.log.parent.mkdir(parents=True, exist_ok=True)
    files.lock.parent.mkdir(parents=True, exist_ok=True)
    with files.lock.open("a") as lock:
        # a process that outlived its stack is still training: two must not train in one folder
        while not _locked(lock.fileno()):
            if stop_file(job.folder).exists():
                return Outcome(job.name, "stopped")
            if why := files.refusal_of_the_living(job.settings):
                return Outcome(job.name, "failed", 0.0, why)
            time.sleep(POLL)
        record = files.read()
        # only under the lock is it certain which settings it was trained with
        if why := files.refusal(job.settings):
            return Outcome(job.name, "failed", record.get("seconds", 0.0), why)
        if files.is_done:
            if record["status"] != "done":
                # lost on its way out, it was not timed
                fit = files.result()["fit"]
                record |= {"status": "done", "seconds": fit.get("seconds", record["seconds"])}
                files.write(record)
            return Outcome(job.name, "done", record["seconds"])
        if stop_file(job.folder).exists():
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
    args = [sys.executable, str(TRAIN), *job.args]
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
        "command": ["python", "train.py", *args[2:]],
        "settings": job.settings,
        "seconds": before,
        "attempts": record.get("attempts", 0) + 1,
        "host": socket.gethostname(),
        "started": time.time(),
    }
    # written before the start: the settings must be known even if the cell outlives this process
    files.write(record)
    # the process keeps the lock for as long as it lives
    status = _run(args, job, files, record, (lock,))
    seconds = round(before + time.monotonic() - start, 3)
    record |= {"seconds": seconds, "exit_status": status, "finished": time.time()}
    was_stopped = status in INTERRUPTED or (status != 0 and stop_file(job.folder).exists())
    if run.weights.is_file() and (status == 0 or (was_stopped and files.has_result)):
        outcome = Outcome(job.name, "done", seconds)
    elif was_stopped:
        outcome = Outcome(job.name, "stopped", seconds)
    else:
        said = tail(files.log) if status else "it has left no checkpoint: is trainer.enable_checkpointing false?"
        outcome = Outcome(job.name, "failed", seconds, f"{job.name} failed; the end of {files.log}:\n{said}")
    files.write({**record, "status": outcome.status})
    return outcome


def run_command(job: CellJob) -> Outcome:
    """Run a command that is not a fit; it always starts anew.

    Args:
        job: its name is that of the record and of the log, beside those of the cells

    Returns:
        how it ended
    """
    files = CellFiles(job.folder, job.name)
    files.log.parent.mkdir(parents=True, exist_ok=True)
    if stop_file(job.folder).exists():
        return Outcome(job.name, "stopped")
    record = {"cell": job.name, "status": "running", "host": socket.gethostname(), "started": time.time()}
    start = time.monotonic()
    status = _run([sys.executable, str(TRAIN), *job.args], job, files, record)
    seconds = round(time.monotonic() - start, 3)
    if status == 0:
        outcome = Outcome(job.name, "done", seconds)
    elif status in INTERRUPTED or stop_file(job.folder).exists():
        outcome = Outcome(job.name, "stopped", seconds)
    else:
        outcome = Outcome(job.name, "failed", seconds, f"{job.name} failed; the end of {files.log}:\n{tail(files.log)}")
    files.write({**record, "status": outcome.status, "seconds": seconds})
    return outcome


def _run(args: list[str], job: CellJob, files: CellFiles, record: dict[str, Any], kept: tuple[int, ...] = ()) -> int:
    """Run a process to its end, or until all are asked to stop; return its exit status."""
    if job.die_with_parent:
        args = [sys.executable, die_with_parent.__file__, *args]
    with files.log.open("a") as log, contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            args, stdout=log, stderr=subprocess.STDOUT, cwd=job.cwd, env=_environment(), pass_fds=kept
        )
        stack.callback(_end, process)
        record["pid"] = process.pid
        files.write(record)
        return _wait(process, job.folder)


def _environment() -> dict[str, str]:
    # a cell is a job of its own, also where this process was started by a cluster's launcher
    inherited = {name: value for name, value in os.environ.items() if not LAUNCHED.match(name)}
    return {**inherited, **getattr(SLOT, "environment", {})}


def _wait(process: subprocess.Popen[bytes], folder: Path) -> int:
    asked = False
    while True:
        try:
            return process.wait(POLL)
        except subprocess.TimeoutExpired:
            if not asked and stop_file(folder).exists():
                # it saves its state first
                process.terminate()
                asked = True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait()


def tail(path: Path, lines: int = TAIL) -> str:
    """Return the last lines of a log.

    Args:
        path: the log
        lines: how many
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 10_000))
        text = file.read().decode(errors="replace")
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-lines:])
