"""Files written whole, then renamed: a process that is killed, or a full disk, leaves the one before."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield where to write a file, and rename it into place once it is whole.

    Args:
        path: of the file; its folder is made if need be

    Yields:
        a path beside it

    Raises:
        OSError: it could not be written; the message names it, and an earlier file of that path is whole
    """
    partial = partial_path(path)
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.touch()
            # as the umask has it: safetensors puts in its place a file that nobody but its owner may read
            mode = stat.S_IMODE(partial.stat().st_mode)
            yield partial
            partial.chmod(mode)
            partial.replace(path)
    finally:
        # also after Ctrl-C; what cannot be removed must not hide why
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the error of a write to it: that of a full disk does not say which file it was.

    Args:
        path: of the file

    Raises:
        OSError: it could not be written
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path} could not be written: {getattr(error, 'strerror', None) or error}") from error


def partial_path(path: Path) -> Path:
    """Return where this process writes a file before it is renamed into place."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
