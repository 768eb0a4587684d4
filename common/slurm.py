"""SLURM's announcement of a job's end, and how a job asks to be queued again."""

import os
import signal
import subprocess
import threading
from types import FrameType

# seconds that SLURM's controller has to answer
PATIENCE = 60


class Announcement:
    """Whether SLURM has announced the end of this job's time; kept from the first moment of a process.

    Without a handler the signal would end a process that still imports or reads its data.

    Attributes:
        number: of the signal; 0 before it came
    """

    def __init__(self) -> None:
        self.number = 0

    def listen(self) -> None:
        """Take the signal from now on, if this is a process of a job."""
        if "SLURM_JOB_ID" in os.environ and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number


ANNOUNCED = Announcement()


def queued() -> dict[str, tuple[str, str]] | None:
    """Return state and reason of this user's jobs in SLURM's queue, by their ids; None where SLURM cannot be asked."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    rows = (line.strip().split("|") for line in done.stdout.splitlines() if line.count("|") == 2)
    return {job: (state, reason) for job, state, reason in rows}


def requeue(job: str) -> str:
    """Ask SLURM to stop a job and put it into its queue again.

    Args:
        job: its id

    Returns:
        why that did not work; empty if it did
    """
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"scontrol: {getattr(error, 'strerror', None) or f'no answer after {PATIENCE} s'}"
    return "" if done.returncode == 0 else " ".join((done.stderr or done.stdout).split())
