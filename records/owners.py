"""Who works in a folder: the process that holds its lock, and whether it still lives, as seen from any machine."""

import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

# a process that works touches its file this often, and counts as silent after this long, in seconds
BEAT, SILENT = 20.0, 180.0
SAID = re.compile(r"(\w+) by process (\d+) on host (\S+)")


@dataclass(frozen=True)
class Owner:
    """A process that works in a folder, or did when it was lost.

    Args:
        work: what it does: trained, evaluated, stacked, swept or distilled
        process: its number
        host: its machine
        silent: seconds since its last sign of life
    """

    work: str
    process: int
    host: str
    silent: float

    @property
    def is_here(self) -> bool:
        """Whether this machine could see it."""
        return self.host == socket.gethostname()

    @property
    def is_gone(self) -> bool:
        """Whether it lives no more: it is not among this machine's processes, or has given no sign of life."""
        return not is_alive(self.process) if self.is_here else self.silent > SILENT

    @property
    def told(self) -> str:
        """Name it."""
        return f"process {self.process} on host {self.host}"


def owner_text(work: str) -> str:
    """Say that this process works somewhere, as `read_owner` reads it.

    Args:
        work: what it does there
    """
    return f"{work} by process {os.getpid()} on host {socket.gethostname()}\n"


def read_owner(path: Path) -> Owner | None:
    """Read who works in a folder.

    Args:
        path: of the file beside the lock

    Returns:
        None where nobody does
    """
    try:
        found = SAID.match(path.read_text(errors="replace"))
        silent = time.time() - path.stat().st_mtime
    except OSError:
        return None
    return None if found is None else Owner(found[1], int(found[2]), found[3], max(0.0, silent))


def is_alive(process: int) -> bool:
    """Tell whether a process of this machine lives."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # another user's
        return True
    try:
        # what has ended and was not waited for
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True
