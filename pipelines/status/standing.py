"""How one run stands, by what its folder holds: from any machine that sees the folder."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.words import duration
from common.yaml_files import YAMLFileError, read_mapping
from pipelines.cells.process import tail
from pipelines.cells.watch import last_metric
from records.damaged import DamagedFileError
from records.ended import read_end
from records.job_file import JobFile
from records.json_files import read_json
from records.owners import SILENT, Owner, read_owner
from records.run_dir import RunDir

# in the order in which they are told; a silent process may live, and a lost one does not
STATES = ("running", "silent", "lost", "failed", "damaged", "stopped", "unfinished", "queued", "pruned", "done")
# SLURM's jobs by their ids, with state and reason; None where SLURM cannot be asked
Queue = Mapping[str, tuple[str, str]] | None
MONITOR = "val/accuracy"
# works of a process that say that a run is not done yet
TRAINS = ("trained", "stacked")


@dataclass
class Standing:
    """How a run stands.

    Args:
        name: of the run
        state: one of `STATES`
        epoch: epochs that are finished, of how many
        metric: the value by which its best epoch is chosen
        note: where it runs, why it failed, or since when it says nothing
    """

    name: str
    state: str
    epoch: str = ""
    metric: str = ""
    note: str = ""


def standing_of(run: RunDir, queue: Queue, settings: Mapping[str, Any] | None = None) -> Standing:
    """Look at a run.

    Args:
        run: its folder
        queue: SLURM's jobs
        settings: all that it is configured with, flat; None reads its config

    Returns:
        how it stands; a damaged file is told, not raised
    """
    found = Standing(run.folder.name, "unfinished")
    try:
        result = read_json(run.result, "train it anew") if run.result.is_file() else {}
        found.state, found.note = state_of(run, result, queue)
    except DamagedFileError as error:
        found.state, found.note, result = "damaged", str(error), {}
    if found.state == "done":
        found.epoch, found.metric = reached(result)
    elif found.state != "queued" or run.metrics.is_file():
        found.epoch, found.metric = progress(run, configured(run) if settings is None else settings)
    return found


def state_of(run: RunDir, result: Mapping[str, Any], queue: Queue) -> tuple[str, str]:
    """Tell the state of a run, and what is to be said of it.

    Args:
        run: its folder
        result: what result.json holds
        queue: SLURM's jobs
    """
    owner = read_owner(run.owner)
    trains = owner is not None and owner.work in TRAINS
    if owner is not None and trains and not owner.is_gone:
        return living(owner)
    ended, job = read_end(run.folder), JobFile.read(run.folder)
    waiting = queue.get(job.job) if job is not None and queue is not None else None
    if job is not None and waiting is not None:
        return state_of_job(job, *waiting)
    if ended is not None and ended.status == "refused":
        return "done", f"the last command was refused: {ended.why}"
    if ended is not None:
        return ended.status, ended.why
    if owner is not None and trains:
        silence = f", silent for {duration(owner.silent)}" if not owner.is_here else ""
        return "lost", f"{owner.told} is gone{silence}; {way_on(run)}"
    if "fit" in result:
        return "done", ""
    if job is not None and not run.resumable:
        return without_word(run.folder, job, queue)
    return "unfinished", way_on(run)


def living(owner: Owner) -> tuple[str, str]:
    """Tell the state of what a process works at that is not known to be gone."""
    if owner.silent > SILENT:
        return "silent", f"no sign of life for {duration(owner.silent)} of {owner.told}"
    return "running", owner.told


def state_of_job(job: JobFile, state: str, reason: str) -> tuple[str, str]:
    """Tell the state of a run whose job is in SLURM's queue, while no process of it trains.

    Args:
        job: of the run
        state: SLURM's word
        reason: SLURM's, for waiting
    """
    if state in ("RUNNING", "CONFIGURING"):
        return "running", f"job {job.job} begins"
    because = f", {reason}" if reason not in ("", "None") else ""
    return "queued", f"job {job.job}: {state.lower()}{because}"


def without_word(folder: Path, job: JobFile, queue: Queue) -> tuple[str, str]:
    """Tell the state of a run whose job has left nothing, and is in no queue that can be asked.

    Args:
        folder: of the run
        job: that was submitted
        queue: SLURM's jobs
    """
    log = folder / job.log
    last = tail(log, 1) if log.is_file() else ""
    if queue is None and not log.is_file():
        return "queued", f"job {job.job}, submitted {duration(job.age)} ago; SLURM cannot be asked from this machine"
    if queue is None:
        silent = max(0.0, time.time() - log.stat().st_mtime)
        if silent <= SILENT:
            return "running", f"job {job.job} begins or ends"
        return "lost", f"job {job.job} has begun, and says nothing for {duration(silent)}: {last or log}"
    return "failed", f"job {job.job} has left the queue without a result: {last or f'no {log} either'}"


def way_on(run: RunDir) -> str:
    """Say how to continue a run that nobody works at."""
    if run.resumable:
        return f"continue by --ckpt_path {run.folder}"
    return "nothing was saved"


def configured(run: RunDir) -> dict[str, Any]:
    """Return the options of a run that its progress is told by, by the names of the command line."""
    try:
        config = read_mapping(run.config)
    except YAMLFileError:
        return {}
    parts = {
        name: part if isinstance(part := config.get(name), dict) else {} for name in ("trainer", "best_checkpoint")
    }
    return {
        "trainer.max_epochs": parts["trainer"].get("max_epochs"),
        "best_checkpoint.monitor": parts["best_checkpoint"].get("monitor", MONITOR),
    }


def progress(run: RunDir, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return how far a run is by its metrics.csv: epoch and metric."""
    epochs, monitor = settings.get("trainer.max_epochs"), str(settings.get("best_checkpoint.monitor", MONITOR))
    newest = None
    with contextlib.suppress(OSError):
        newest = last_metric(run.metrics, monitor)
    of = f"/{epochs}" if epochs else ""
    if newest is None:
        return (f"0{of}", "") if of else ("", "")
    return f"{newest[0]}{of}", f"{monitor} {newest[1]:.4f}"


def reached(result: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a finished run has reached: epochs, and the metric of the best one."""
    fit, val = result.get("fit"), result.get("val")
    if not isinstance(fit, dict):
        return "", ""
    monitor = str(fit.get("monitor", MONITOR))
    value = val.get(monitor.removeprefix("val/")) if isinstance(val, dict) else None
    return str(fit.get("epochs", "")), f"{monitor} {value:.4f}" if isinstance(value, float) else ""
