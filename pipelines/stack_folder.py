"""The folder of a stack: one command at a time, and a rerun that goes on with what is there."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from datamodules.whole_file import naming
from pipelines import run_dir
from pipelines.cells import CellFiles, stop_file
from pipelines.plan import Cell, StackPlan

# settings that change nothing in what is trained
FREE = (
    "run",
    "ckpt_path",
    "config",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.log_every_n_steps",
    "progress_bar",
    "model_summary",
    "last_checkpoint",
    "data.num_workers",
)
# changes that are named before the rest is left out
SHOWN = 4


class CellError(ValueError):
    """Cells failed, or cannot be gone on with."""


def open_folder(plan: StackPlan) -> Path:
    """Make the folder of an experiment, or find it.

    Args:
        plan: what is to run
    """
    if plan.fresh:
        return run_dir.claim(Path(plan.root), plan.experiment)
    folder = Path(plan.root) / plan.experiment
    run_dir.make_folder(folder)
    return folder


def planned_folder(plan: StackPlan) -> Path:
    """Return the folder that `open_folder` would make or find now."""
    root = Path(plan.root)
    return run_dir.unclaimed(root, plan.experiment) if plan.fresh else root / plan.experiment


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other stack commands out of a folder.

    Args:
        folder: the experiment's

    Raises:
        ValueError: another one works in it
    """
    own = folder / "cells"
    run_dir.make_folder(own)
    lock, owner = FileLock(own / "stack.lock"), own / "stack.owner"
    with naming(own / "stack.lock"):
        (own / "stack.lock").touch()
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = owner.read_text().strip() if owner.is_file() else "another process"
        raise ValueError(
            f"{who} is at work in {folder}/: wait for it, stop it, or choose another folder by --experiment"
        ) from error
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        # of a command that was stopped
        stop_file(folder).unlink(missing_ok=True)
        yield
    finally:
        owner.unlink(missing_ok=True)
        if [*own.iterdir()] == [own / "stack.lock"]:
            # a plan that was refused before any cell leaves no folder, unless it holds something else
            with contextlib.suppress(OSError):
                (own / "stack.lock").unlink()
                own.rmdir()
                folder.rmdir()
                folder.parent.rmdir()
        lock.release()


def check_unchanged(folder: Path, cells: Sequence[Cell], settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to go on with cells that were trained with other settings.

    Args:
        folder: the experiment's
        cells: those that are planned
        settings: all that each is configured with, by the cells' names

    Raises:
        CellError: one was; the message names what changed
    """
    for cell in cells:
        files = CellFiles(folder, cell.name)
        record = files.read()
        if not files.run.folder.exists():
            # never started, or thrown away by the user
            continue
        if not record:
            raise CellError(
                f"{files.run.folder}/ is there, but was not made by a stack: choose another folder by --experiment, or "
                f"rename member {cell.member!r}"
            )
        if not (files.run.resumable or files.run.weights.is_file()):
            # nothing is lost by another start
            continue
        changes = changed(record["settings"], settings[cell.name])
        if changes:
            more = f", and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
            raise CellError(
                f"cell {cell.name!r} was trained with other settings: {'; '.join(changes[:SHOWN])}{more}. Train all "
                f"members anew in another folder by --experiment OTHER or --fresh true, or this cell alone by deleting "
                f"{files.run.folder}/"
            )


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the settings that differ and matter for what is trained.

    Args:
        before: settings of an earlier run
        now: settings of the next; those that only one of both has come from another version of a class

    Example:
        >>> changed({"trainer.max_epochs": 2, "data.fold": 0}, {"trainer.max_epochs": 3, "data.fold": 0})
        ['trainer.max_epochs was 2, is 3']
    """
    return [
        f"{name} was {before[name]}, is {now[name]}"
        for name in before
        if name in now and before[name] != now[name] and not name.startswith(FREE)
    ]
