"""Processes of cells, forked from one that has imported torch and this project once: that takes seconds of each cell.

The server is a process of its own, started by the first cell, or earlier by `prepare`. It computes nothing and touches
no GPU, so its forks are as good as new processes; and it ends with the process that uses it, while its forks go on.
Workers on other machines import this module: it must not import what is slow to import.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from records.versions import REPOSITORY

SERVER = "pipelines.cells.warm_server"
# other systems cannot fork what has loaded their graphics libraries, or cannot fork at all
POSSIBLE = sys.platform == "linux"


class WarmServerError(RuntimeError):
    """The process that starts cells has ended."""


class WarmProcess:
    """A process that the server has forked, with the methods of `subprocess.Popen` that cells need.

    Args:
        reply: where the server tells its number, then its exit status

    Raises:
        WarmServerError: the server ended before it had forked it
    """

    def __init__(self, reply: socket.socket) -> None:
        self._reply = reply
        self._status: int | None = None
        self.pid = self._hear()

    def _hear(self) -> int:
        told = self._reply.recv(64)
        if not told:
            raise WarmServerError("the process that starts cells has ended: the cell may go on, and is waited for")
        return int(told)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status, minus the number of the signal that killed it.

        Args:
            timeout: seconds to wait

        Raises:
            subprocess.TimeoutExpired: it goes on
            WarmServerError: the server has ended, and nobody knows
        """
        if self._status is None:
            self._reply.settimeout(timeout)
            try:
                self._status = self._hear()
            except TimeoutError:
                raise subprocess.TimeoutExpired("cell", timeout or 0.0) from None
            self._reply.close()
        return self._status

    def poll(self) -> int | None:
        """Return its exit status; None while it goes on."""
        try:
            return self.wait(0.001)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Ask it to save its state and end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        # it may have ended meanwhile
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class WarmServer:
    """The process that imports, and forks cells; it is used by all threads of this process."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        with theirs:
            # -P: as for `python train.py`, no folder comes before this project's
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", SERVER, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            )

    @property
    def is_alive(self) -> bool:
        """Whether it can fork."""
        return self._process.poll() is None

    def start(
        self,
        args: Sequence[str],
        log: int,
        cwd: Path,
        environment: Mapping[str, str],
        die_with_parent: bool = False,
        kept: Sequence[int] = (),
    ) -> WarmProcess:
        """Fork a process.

        Args:
            args: the command line of train.py
            log: open file that takes what it prints
            cwd: its folder
            environment: its variables
            die_with_parent: end it, gently, with the server
            kept: open files that it keeps for as long as it lives

        Raises:
            OSError: the server cannot be asked
            WarmServerError: it has ended
        """
        request = {
            "args": list(args),
            "cwd": str(cwd.absolute()),
            "environment": dict(environment),
            "die_with_parent": die_with_parent,
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, self._lock:
                socket.send_fds(self._channel, [json.dumps(request).encode()], [theirs.fileno(), log, *kept])
            return WarmProcess(ours)
        except BaseException:
            ours.close()
            raise

    def close(self) -> None:
        """End it; what it has forked goes on."""
        self._channel.close()
        self._process.wait()


_server: WarmServer | None = None
_lock = threading.Lock()


def prepare() -> WarmServer | None:
    """Return the server of this process, started if need be; None where there can be none.

    Called early, it imports while this process does other things.
    """
    global _server
    with _lock:
        if POSSIBLE and (_server is None or not _server.is_alive):
            _server = WarmServer()
        return _server
