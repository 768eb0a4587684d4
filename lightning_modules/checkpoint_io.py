"""Checkpoints written whole, then renamed (a killed process leaves the one before), and read with all bytes checked."""

import hashlib
import os
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from common.lightning_seam import is_local
from lightning_modules.checkpoint_fields import OF_LIGHTNING, check_checkpoint
from records.archive import ArchiveError, check_archive
from records.damaged import damaged
from records.fields import check_fields
from records.partial_files import partial_path, remove_abandoned
from records.whole_file import shown, sync_folder

# the first byte of torch's files before version 1.6, which have no checksums
LEGACY = b"\x80"
# how torch names what it does not load because it could run code
UNSAFE = re.compile(
    r"nsupported (?:global|GLOBAL|class):?(?: GLOBAL)? ([\w.]+)|function ([\w.]+)|but got <class '([\w.]+)'"
)


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
        if storage_options is not None or not is_local(path):
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
            raise OSError(f"checkpoint {shown(final)} could not be written: {reason}; {kept}") from cause or error
        finally:
            # removed also after Ctrl-C
            partial.unlink(missing_ok=True)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint onto the CPU; Lightning resumes and evaluates by it.

        Args:
            path: of the file; one on a remote store is left to Lightning
            args: what Lightning says of the device and of what may be loaded, which is always the same here
            kwargs: likewise

        Raises:
            DamagedFileError: a byte was changed, or a field is missing
        """
        if not is_local(path):
            return super().load_checkpoint(path, *args, **kwargs)
        checkpoint = read_archive(Path(path))
        check_checkpoint(checkpoint, path, way_out(Path(path)))
        check_fields(checkpoint, OF_LIGHTNING, path, way_out(Path(path)))
        return checkpoint


def read_archive(path: Path, mapped: bool = False, digest: str | None = None) -> Any:
    """Load what `torch.save` wrote, with every byte of it checked, and without running code from it.

    Args:
        path: the file
        mapped: read tensors only when they are looked at, from a file that must then not change
        digest: `file_sha256` of a file that was checked before, which this one must be; None checks it by its checksums

    Raises:
        DamagedFileError: a byte was changed, or some are missing
        ValueError: it holds more than can be loaded safely, or is not the file that it was
    """
    legacy = is_legacy(path)
    try:
        if digest is None and not legacy:
            check_archive(path)
    except ArchiveError as error:
        raise damaged(path, str(error), way_out(path)) from None
    try:
        with warnings.catch_warnings():
            # torch warns of other pickle protocols; whether they load is seen anyway
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and not legacy)
    except Exception as error:
        # whatever a changed byte leads to; torch's own words advise to run what is in the file
        raise refusal(path, error) from error
    # compared after reading, because another process may have put a new file there
    if digest is not None and file_sha256(path) != digest:
        raise ValueError(f"{path} was written anew while it was read: wait until its run has ended, and try again")
    return content


def file_sha256(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_legacy(path: Path) -> bool:
    """Tell whether a file is a pickle, as torch wrote before its files had checksums."""
    with path.open("rb") as file:
        return file.read(1) == LEGACY


def refusal(path: Path, error: Exception) -> ValueError:
    """Put into our words why torch does not load a file."""
    if unsafe := UNSAFE.search(str(error)):
        name = next(filter(None, unsafe.groups()))
        return ValueError(
            f"{path} is unsafe: besides tensors it holds {name}, which could run code; save tensors and plain types "
            f"alone, such as model.state_dict()"
        )
    return damaged(path, "torch cannot make tensors of its content", way_out(path))


def way_out(path: Path) -> str:
    """Say what to do with a checkpoint that is damaged.

    Args:
        path: of the checkpoint
    """
    last, best = path.with_name("last.ckpt"), path.with_name("best.ckpt")
    if path.name.startswith("hpc_ckpt_"):
        return "remove it, and the run continues from its last.ckpt, or begins anew"
    if path.name == "stack.ckpt":
        return "run the same stack command again, which finds its members trained, or copy it again"
    other = {last: best, best: last}.get(path)
    if other is not None and other.is_file():
        return f"copy it again from where it is whole, use {shown(other)} beside it, or train again"
    return "copy it again from where it is whole, or make it anew"
