"""What nothing may do while it reads a file: write elsewhere, start a process, reach the network, run on and on."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# events of Python's audit hooks, with the places of the paths among their arguments
WRITES = {
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.mkdir": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
}
PROCESSES = (
    *("subprocess.Popen", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.forkpty"),
    *("pty.spawn", "os.startfile"),
)
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TookTooLongError(BaseException):
    """Something ran longer than its limit; not an Exception, so that nothing takes it for a mistake in a file."""


class _Watch:
    """The folder that may be written to now, and what was done that must not be."""

    folder: Path | None = None
    programs: tuple[str, ...] = ()
    done: list[str]

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.folder is None:
            return
        if event == "subprocess.Popen" and str(arguments[0]) in self.programs:
            return
        if event in PROCESSES or event in NETWORK:
            self.done.append(f"{event} {arguments}"[:300])
        elif event in WRITES:
            for place in WRITES[event]:
                self._note(event, arguments[place])
        elif event == "open":
            path, mode, flags = arguments
            writes = set(mode) & set("wax+") if isinstance(mode, str) else isinstance(flags, int) and flags & WRITING
            if writes:
                self._note(event, path)

    def _note(self, event: str, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            found = Path(os.path.realpath(os.fsdecode(path)))
            if found != Path(os.devnull) and not found.is_relative_to(self.folder or found):
                self.done.append(f"{event} {found}")


_WATCH = _Watch()
# a hook cannot be taken away again
sys.addaudithook(_WATCH.hear)


@contextmanager
def confined(folder: Path, seconds: float, programs: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Watch what is done in a block.

    Args:
        folder: below which files may be written
        seconds: after which the block is ended by a TookTooLongError
        programs: that may be started

    Yields:
        what was done that must not be, filled as it happens
    """

    def end(*_: object) -> None:
        raise TookTooLongError(f"ran for more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    _WATCH.done, _WATCH.programs = [], programs
    _WATCH.folder = Path(os.path.realpath(folder))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield _WATCH.done
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        _WATCH.folder = None
