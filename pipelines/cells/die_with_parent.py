"""Start a program that gets SIGTERM when the process that started it ends, even if that was killed.

Parsl's interchange would outlive a killed command, and workers would wait for it and hold their blocks until the
walltime ends; without it, they give them back after Parsl's two minutes. Cells would outlive a worker, and run on a
node that the job no longer has.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Let this process get SIGTERM when the one that started it ends; that stays in force for a program it becomes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main(args: list[str]) -> None:
    """Become another program.

    Args:
        args: its path and arguments
    """
    die_with_parent()
    os.execv(args[0], args)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
