"""How the last process of a run, or of a job, ended, where that was not at its goal."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from records.damaged import DamagedFileError
from records.fields import check_fields
from records.json_files import read_json, to_json
from records.whole_file import write_whole

NAME = ".run.ended"
Status = Literal["failed", "stopped", "refused"]
STATUSES: dict[str, Status] = {status: status for status in get_args(Status)}
FIELDS = {"status": str, "why": str}


@dataclass(frozen=True)
class Ended:
    """How it ended.

    Args:
        status: failed, stopped by a signal, or refused, which changed nothing in a run that was finished before
        why: in a line or two
    """

    status: Status
    why: str


def note_end(folder: Path, ended: Ended) -> None:
    """Write down how a process ended that worked in a folder; one that is gone by now needs no note.

    Args:
        folder: of a run, or of an experiment
        ended: how
    """
    earlier = read_end(folder)
    if ended.status == "stopped" and earlier is not None and earlier.status == "failed":
        # the processes of a job are stopped because one of them failed
        return
    if folder.is_dir():
        # a full disk must not hide the error itself
        with suppress(OSError), write_whole(folder / NAME) as partial:
            partial.write_text(to_json(vars(ended)))


def forget_end(folder: Path) -> None:
    """Remove the note: another process goes on there."""
    with suppress(OSError):
        (folder / NAME).unlink(missing_ok=True)


def read_end(folder: Path) -> Ended | None:
    """Read the note; None where there is none that can be read."""
    path = folder / NAME
    try:
        found = read_json(path, "remove it")
        check_fields(found, FIELDS, path, "remove it")
    except (OSError, DamagedFileError):
        return None
    return Ended(STATUSES.get(found["status"], "failed"), found["why"])
