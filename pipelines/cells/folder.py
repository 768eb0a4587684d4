"""The folder of an experiment: one command works in it at a time, and a rerun continues what is there."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.cells.cell import Cell
from pipelines.cells.job import CellFiles, stop_file
from records import run_dir
from records.folders import take_back
from records.json_files import to_json
from records.locks import alone, together
from records.whole_file import write_whole

# named after the first command that had cells; all of them share it
LOCK = "stack.lock"
# what is in the folder of the cells before there is any
UNUSED = (LOCK, "stack.owner", "stop", "planned")


class CellError(ValueError):
    """Cells failed, or cannot be continued."""


def open_folder(root: Path | str, experiment: str, fresh: bool = False) -> tuple[Path, list[Path]]:
    """Choose the folder of an experiment, and make it where it must be a new one.

    Args:
        root: of all experiments
        experiment: its name
        fresh: whether it must be a new one, whose name then gets a number where the folder exists

    Returns:
        the folder, and what was made, the folders above first
    """
    if fresh:
        made = run_dir.claim(Path(root), experiment)
        return made[-1], made
    return Path(root) / experiment, []


def planned_folder(root: Path | str, experiment: str, fresh: bool = False) -> Path:
    """Return the folder that `open_folder` would choose now."""
    return run_dir.unclaimed(Path(root), experiment) if fresh else Path(root) / experiment


@contextlib.contextmanager
def locked(folder: Path, work: str, made: Sequence[Path] = (), shared: bool = False) -> Iterator[None]:
    """Keep other commands with cells out of a folder; a plan that is refused before any cell leaves no folder.

    Args:
        folder: the experiment's
        work: what is done in it, for the messages of other commands, such as `stacked`
        made: what this command has made of it, see `open_folder`
        shared: whether other commands that share it may do the same work in it

    Raises:
        BusyError: another one works in it
    """
    own = folder / "cells"
    made = [*made, *run_dir.make_folder(own)]
    way_out = "stop it, or choose another folder by --experiment"
    keep_out = together if shared else alone
    with keep_out(own / LOCK, f"{folder}/", work, way_out):
        try:
            # left by a command that was stopped
            stop_file(folder).unlink(missing_ok=True)
            yield
        finally:
            # inside the lock, before another command can enter the folder
            take_back(made, lambda file: file.name in UNUSED)


def note_planned(folder: Path, names: Sequence[str]) -> None:
    """Write down which cells a command is to run, for those who ask how it stands.

    Args:
        folder: the experiment's
        names: of the cells, the finished ones too
    """
    with write_whole(planned_file(folder)) as partial:
        partial.write_text(to_json({"cells": list(names)}))


def planned_file(folder: Path) -> Path:
    """Return where `note_planned` writes."""
    return folder / "cells" / "planned"


def check_unchanged(folder: Path, cells: Sequence[Cell], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to continue cells that were trained with other settings.

    Args:
        folder: the experiment's
        cells: those that are planned
        settings: all that each is configured with, by the cells' names

    Raises:
        CellError: one was; the message names what changed
    """
    for cell in cells:
        if why := CellFiles(folder, cell.name).refusal(settings[cell.name]):
            raise CellError(why)
