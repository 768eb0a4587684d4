"""Checkpoints written whole, then renamed: a process that is killed leaves the one before."""

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.cloud_io import _is_local_file_protocol
from lightning.pytorch.plugins.io import TorchCheckpointIO

from common.partial_files import partial_path, remove_abandoned


class WholeFileIO(TorchCheckpointIO):
    """Write a checkpoint beside its place, make sure that it is on the disk, and rename it into place.

    Lightning's own goes by a temporary file in the system's folder, holds the whole checkpoint in memory once more, and
    copies the file into place where the two are different file systems: killed meanwhile, it leaves half a checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save a checkpoint.

        Args:
            checkpoint: its content
            path: of the file; one on a remote store is left to Lightning
            storage_options: must be None

        Raises:
            OSError: it could not be written; an earlier file of that path is whole
        """
        if storage_options is not None or not _is_local_file_protocol(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(final)
        partial = partial_path(final)
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(final)
            sync_folder(final.parent)
        except (OSError, RuntimeError) as error:
            # torch reports a file that it could not finish as an error of its own
            cause = error if isinstance(error, OSError) else error.__context__
            if isinstance(cause, KeyboardInterrupt):
                raise cause from None
            if not isinstance(cause, OSError) and not re.search(r"PytorchStreamWriter|inline_container", str(error)):
                raise
            reason = cause.strerror if isinstance(cause, OSError) else str(error).splitlines()[0]
            kept = "the one saved before is whole" if final.is_file() else "none was saved before"
            raise OSError(f"checkpoint {shown(final)} could not be written: {reason}; {kept}") from error
        finally:
            # also after Ctrl-C
            partial.unlink(missing_ok=True)


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
