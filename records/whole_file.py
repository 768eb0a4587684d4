"""Files written whole, then renamed: a process that is killed, or a full disk, leaves the one before."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from common.system_errors import reason_of
from records.partial_files import partial_folder, partial_path, remove_abandoned

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield where to write a file, and rename it into place once it is whole.

    What processes of this machine that were killed have left of the same file is removed.

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
            remove_abandoned(path)
            partial.touch()
            # keeps the mode that the umask gives: safetensors replaces the file by one that only its owner may read
            mode = stat.S_IMODE(partial.stat().st_mode)
            yield partial
            partial.chmod(mode)
            partial.replace(path)
    finally:
        # removed also after Ctrl-C; a failure to remove it must not hide the first error
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
        raise OSError(f"{path} could not be written: {reason_of(error)}") from error


def save_tensors(partial: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file to where `write_whole` has said.

    Args:
        partial: what `write_whole` yields
        tensors: contiguous, by name
        metadata: what the file says of itself
    """
    # slow to import, and most files are no tensors
    from safetensors.torch import save_file

    # safetensors goes by a temporary file whose name says nothing of the process: a killed one would leave it for good
    folder = partial_folder(partial)
    folder.mkdir(exist_ok=True)
    try:
        save_file(dict(tensors), folder / partial.name, dict(metadata) if metadata else None)
        (folder / partial.name).replace(partial)
    finally:
        shutil.rmtree(folder)


def sync_folder(folder: Path) -> None:
    """Make sure that a renamed file is found under its new name after a power cut."""
    # a few file systems cannot do it for a folder
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def shown(path: Path) -> Path:
    """Shorten a path to what a person at the prompt would type."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
