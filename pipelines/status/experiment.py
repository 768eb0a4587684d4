"""How an experiment stands: its runs, its cells, and the command that works in it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.words import duration
from pipelines.cells.folder import LOCK, planned_file
from pipelines.cells.job import CellFiles
from pipelines.status.standing import Queue, Standing, living, reached, standing_of, state_of_job, without_word
from records.damaged import DamagedFileError
from records.ended import read_end
from records.job_file import NAME as JOB_NAME
from records.job_file import JobFile
from records.json_files import read_json
from records.owners import SILENT, Owner, is_alive, read_owner
from records.run_dir import RunDir

# folders of an experiment that are no runs
NO_RUNS = ("cells", "logs", "parsl", "report")


@dataclass
class Experiment:
    """How an experiment stands.

    Args:
        folder: its folder
        rows: its runs and cells
        notes: what is to be said of the command that works in it
    """

    folder: Path
    rows: list[Standing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def is_run(folder: Path) -> bool:
    """Tell whether a folder is that of a run."""
    run = RunDir(folder)
    if any(path.exists() for path in (run.config, run.result, run.checkpoints, run.owner)):
        return True
    return (folder / JOB_NAME).is_file() and not (folder / "logs").is_dir()


def is_experiment(folder: Path) -> bool:
    """Tell whether a folder is that of an experiment."""
    if (folder / "cells").is_dir() or (folder / JOB_NAME).is_file():
        return True
    return any(is_run(path) for path in folders_in(folder))


def folders_in(folder: Path) -> Iterator[Path]:
    """Yield the folders in a folder by name, without hidden ones."""
    yield from sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def experiments_in(folder: Path) -> list[Path]:
    """Find the experiments that a folder holds, or is."""
    if is_experiment(folder):
        return [folder]
    return [path for path in folders_in(folder) if is_experiment(path)]


def look_at(folder: Path, queue: Queue) -> Experiment:
    """Look at an experiment.

    Args:
        folder: its folder
        queue: SLURM's jobs
    """
    found = Experiment(folder)
    cells, damaged = cells_of(folder)
    found.notes += damaged
    found.rows = [cell_standing(CellFiles(folder, name), queue) for name in cells]
    runs = [path for path in folders_in(folder) if path.name not in (*cells, *NO_RUNS) and is_run(path)]
    found.rows += [standing_of(RunDir(path), queue) for path in runs]
    found.notes += notes_of_command(folder, queue, bool(cells))
    return found


def cells_of(folder: Path) -> tuple[list[str], list[str]]:
    """Name the cells of an experiment, planned ones first, and files that are damaged."""
    names: dict[str, None] = {}
    damaged: list[str] = []
    planned = planned_file(folder)
    if planned.is_file():
        try:
            cells = read_json(planned, "start the command again").get("cells")
            names |= dict.fromkeys(map(str, cells) if isinstance(cells, list) else ())
        except DamagedFileError as error:
            damaged.append(str(error))
    begun = sorted(path.stem for path in (folder / "cells").glob("*.json")) if folder.is_dir() else []
    return list(names | dict.fromkeys(begun)), damaged


def cell_standing(files: CellFiles, queue: Queue) -> Standing:
    """Look at a cell by its record; its run tells how far it is."""
    try:
        record = files.read()
        if not record:
            return Standing(files.name, "queued")
        run = standing_of(files.run, queue, record.get("settings") or None)
        found = Standing(files.name, str(record["status"]), run.epoch, run.metric)
        if files.is_done_by(record) and (files.run.weights.is_file() or not record.get("settings")):
            found.state = "done"
            found.epoch, found.metric = reached(files.result()) if files.run.result.is_file() else ("", "")
        elif found.state == "running":
            found.state, found.note = running_cell(files, record, run)
        elif found.state == "failed":
            found.note = last_line(str(record.get("why", ""))) or f"see {files.log}"
        elif found.state == "stopped":
            found.note = "the same command continues it"
    except DamagedFileError as error:
        return Standing(files.name, "damaged", note=str(error))
    return found


def running_cell(files: CellFiles, record: dict[str, Any], run: Standing) -> tuple[str, str]:
    """Tell whether a cell that its record calls running still is.

    Args:
        files: of the cell
        record: of the cell
        run: how its run stands
    """
    owner = read_owner(files.run.owner)
    if owner is not None and not owner.is_gone:
        return living(owner)
    process, host = int(record.get("pid") or 0), str(record.get("host", "?"))
    begun = Owner("", process, host, silence_of(files))
    if begun.is_here and process and is_alive(process):
        return "running", begun.told
    if run.state == "failed":
        return "failed", run.note
    if begun.silent < SILENT and (owner is None or not owner.is_here) and not begun.is_here:
        # it imports, or ends
        return "running", f"{begun.told}, which begins or ends"
    return "lost", f"{begun.told} is gone, silent for {duration(begun.silent)}; the same command continues it"


def silence_of(files: CellFiles) -> float:
    """Return the seconds since a cell has written anything."""
    paths = (files.record, files.log, files.run.metrics, files.run.owner, files.run.result)
    return max(0.0, time.time() - max(path.stat().st_mtime for path in paths if path.is_file()))


def last_line(text: str) -> str:
    """Return the last line of a message, which says what was wrong."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def notes_of_command(folder: Path, queue: Queue, has_cells: bool) -> list[str]:
    """Say which command works in an experiment's folder, and which job it is.

    Args:
        folder: the experiment's
        queue: SLURM's jobs
        has_cells: whether commands with cells have worked in it
    """
    owner, notes = read_owner(folder / "cells" / LOCK.replace(".lock", ".owner")), []
    if owner is not None:
        notes.append(f"being {owner.work} by {owner.told}" if not owner.is_gone else f"{owner.told} is gone")
    elif has_cells:
        notes.append("no command works in it")
    try:
        job = JobFile.read(folder)
    except DamagedFileError as error:
        return [*notes, str(error)]
    if job is not None:
        waiting = queue.get(job.job) if queue is not None else None
        if waiting is not None and waiting[0] == "RUNNING":
            notes.append(f"job {job.job} runs, log {folder / job.log}")
        elif waiting is not None:
            notes.append("{}, {}".format(*state_of_job(job, *waiting)))
        elif owner is None and not has_cells:
            notes.append("{}, {}".format(*without_word(folder, job, queue)))
    if owner is None and (ended := read_end(folder)) is not None:
        notes.append(f"the last command {ended.status}: {ended.why}")
    return notes
