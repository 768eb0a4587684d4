"""A process of a cell: started with what its slot sees of the machine, watched, and ended gently or at its time limit.

Workers on other machines import this module: it must not import what is slow to import.
"""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipelines.cells import die_with_parent, warm
from pipelines.cells.warm import WarmProcess, WarmServerError
from records.launched import JOB_FOLDER
from records.run_dir import ENVIRONMENT_VARIABLE
from records.versions import REPOSITORY

TRAIN = REPOSITORY / "train.py"
# variables by which a launcher tells a process its place among others; not the one that tells where SLURM itself is
LAUNCHED = re.compile(
    r"SLURM_(?!CONF$)|PMIX?_|TORCHELASTIC_|MASTER_|(LOCAL_|GROUP_|NODE_)?RANK$|(LOCAL_)?WORLD_SIZE$"
    rf"|{ENVIRONMENT_VARIABLE}|{JOB_FOLDER}"
)
# how often a running cell looks whether it is to stop, in seconds
POLL = 0.5
# lines of its log that tell why it failed
TAIL = 8
# seconds that a process which has reached its time limit has to save its state
GRACE = 30.0

# how a cell's process was started
Process = subprocess.Popen[bytes] | WarmProcess

# what a thread's own cells see of the machine, such as one GPU
SLOT = threading.local()


@dataclass(frozen=True)
class Command:
    """A command line of `train.py`, and how its process is run.

    Args:
        args: the command line
        log: file that what it prints is appended to
        cwd: where the command line's relative paths begin
        stop: file whose presence asks it to stop
        time_limit: seconds after which it is ended; None never does
        die_with_parent: end it with this process
        warm: fork it from a process that has imported what it needs, where that is possible
        kept: open files that it keeps for as long as it lives, such as a lock
    """

    args: Sequence[str]
    log: Path
    cwd: Path
    stop: Path
    time_limit: float | None = None
    die_with_parent: bool = False
    warm: bool = False
    kept: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        status: its exit status; minus the number of the signal that killed it
        too_long: whether it was ended because it had reached its time limit
    """

    status: int
    too_long: bool = False


def run_process(command: Command, started: Callable[[int], None]) -> Ended:
    """Run a process to its end, or until all are asked to stop, or to its time limit.

    Args:
        command: what it runs
        started: called with its number
    """
    with command.log.open("a") as log, contextlib.ExitStack() as stack:
        process = _start(command, log)
        stack.callback(_end, process)
        started(process.pid)
        return _wait(process, command)


def _start(command: Command, log: TextIO) -> Process:
    if command.warm and (server := warm.prepare()) is not None:
        # one that has just ended is no reason not to run the cell
        with contextlib.suppress(WarmServerError, OSError):
            return server.start(
                command.args, log.fileno(), command.cwd, environment(), command.die_with_parent, command.kept
            )
    args = [sys.executable, str(TRAIN), *command.args]
    if command.die_with_parent:
        args = [sys.executable, die_with_parent.__file__, *args]
    return subprocess.Popen(
        args, stdout=log, stderr=subprocess.STDOUT, cwd=command.cwd, env=environment(), pass_fds=command.kept
    )


def environment() -> dict[str, str]:
    """Return the variables of a cell: it is a job of its own, also where a cluster's launcher started this process."""
    inherited = {name: value for name, value in os.environ.items() if not LAUNCHED.match(name)}
    return {**inherited, **getattr(SLOT, "environment", {})}


def _wait(process: Process, command: Command) -> Ended:
    asked = too_long = False
    start = time.monotonic()
    while True:
        try:
            return Ended(process.wait(POLL), too_long)
        except subprocess.TimeoutExpired:
            late = time.monotonic() - start - (command.time_limit or float("inf"))
            if not asked and (late > 0 or command.stop.exists()):
                # it saves its state first
                process.terminate()
                asked, too_long = True, late > 0
            elif late > GRACE:
                # it does not even hear the signal
                process.kill()
                too_long = True


def _end(process: Process) -> None:
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
