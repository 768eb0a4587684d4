"""Files that are being written beside their place, and what killed processes leave of them."""

import glob
import os
import shutil
import socket
from pathlib import Path

from records.owners import is_alive


def partial_path(path: Path) -> Path:
    """Return where this process writes a file before it is renamed into place."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")


def partial_folder(partial: Path) -> Path:
    """Return where this process keeps what belongs to a file that it is writing; it is removed as that file is.

    Args:
        partial: see `partial_path`
    """
    return partial.with_name(f"{partial.name}.parts")


def remove_abandoned(path: Path) -> None:
    """Remove what processes of this machine that are no more had written of a file.

    Args:
        path: of the whole file
    """
    prefix = f".{path.name}.{socket.gethostname()}."
    for partial in path.parent.glob(f"{glob.escape(prefix)}*"):
        number = partial.name.removeprefix(prefix).partition(".")[0]
        if not number.isdecimal() or int(number) == os.getpid() or is_alive(int(number)):
            continue
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)
