"""`kill -9` at any moment: the same command goes on, and ends at the weights, numbers and rows of a run left alone."""

import contextlib
import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from records import launched
from tests.helpers.faults import LONG
from tests.helpers.safe import different
from tests.helpers.warm import run_all, start, start_cells

FITS, STACKS, SWEEPS, JOBS = (120, 30, 100, 100) if LONG else (5, 1, 1, 1)
FIT = (
    "fit", "--data", "Digits", "--data.subsample", "0.2", "--data.augmentation", "[crop]", "--data.sampler", "balanced",
    "--model", "MLP", "--model.hidden", "[16]", "--model.dropout", "0.3", "--trainer.max_epochs", "4",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false",
    "--last_checkpoint.every_n_train_steps", "2", "--run.experiment", "kills", "--run.name",
)  # fmt: skip
PLAN = {
    "logit_cache": "cache",
    "page": False,
    "options": {"data": "Digits", "data.stack_fraction": 0.3, "trainer.accelerator": "cpu"},
    "members": [
        {"name": "linear", "options": {"model": "Linear"}, "epochs": 2},
        {"name": "mlp", "options": {"model": "MLP", "model.hidden": [8]}, "epochs": 2},
    ],
    "heads": ["MeanHead"],
}
SWEEP = {
    "experiment": "w",
    "page": False,
    "options": {
        "data": "Digits", "data.subsample": 0.2, "model": "MLP", "model.dropout": 0.3, "trainer.accelerator": "cpu",
        "figures.draw": False, "trainer.max_epochs": 3, "last_checkpoint.every_n_train_steps": 2,
    },
    "split": "val",
    "axes": {"model.hidden": [[8], [16]]},
    "seeds": [0, 1],
}  # fmt: skip
# metrics that say how long something took
CLOCK = "speed/"


def left(run):
    """What a finished run leaves that does not depend on the clock."""
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    result = json.loads((run / "result.json").read_text())
    with (run / "metrics.csv").open() as file:
        rows = [
            {name: value for name, value in row.items() if not name.startswith(CLOCK)} for row in csv.DictReader(file)
        ]
    return {
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"],
        "val": result["val"],
        "last": {name: value for name, value in result["fit"]["last"].items() if not name.startswith(CLOCK)},
        "rows": rows,
        "partial files": [str(path.relative_to(run)) for path in run.rglob(".*")],
        "runs": sorted(path.name for path in run.parent.iterdir() if path.name.startswith(run.name)) == [run.name],
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nobody stopped, what it left, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("kills")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run_all((*FIT, "warm")) == [0]
        begun = time.monotonic()
        assert run_all((*FIT, "whole")) == [0]
        seconds = time.monotonic() - begun
    finally:
        os.chdir(before)
    return folder, left(folder / "runs/kills/whole"), seconds


@pytest.mark.parametrize("number", range(FITS))
def test_kill__a_fit_ends_as_if_nothing_had_happened(number, whole, monkeypatch):
    folder, expected, seconds = whole
    monkeypatch.chdir(folder)
    random = np.random.default_rng(number)
    run = folder / f"runs/kills/killed{number}x"
    command = (*FIT, run.name)
    # at times the run that goes on is killed too
    for _ in range(1 + number % 2):
        process = start(*command)
        process.join(random.uniform(0, seconds))
        process.kill()
        if (run / "checkpoints/last.ckpt").is_file():
            command = (*FIT, run.name, "--ckpt_path", run)
        else:
            # nothing was saved, and a new run of this name would be the second
            shutil.rmtree(run, ignore_errors=True)
    assert run_all(command) == [0]
    assert different(expected, left(run)) == []


def stack(folder):
    return ("stack", "--config", "plan.yaml", "--root", folder)


@pytest.fixture(scope="module")
def whole_stack(tmp_path_factory):
    """The folder of a plan, the numbers of its stack that nobody stopped, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("stacks")
    (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    before = Path.cwd()
    os.chdir(folder)
    try:
        begun = time.monotonic()
        done = start_cells(*stack("whole")).ended()
        assert done.returncode == 0, done.stdout + done.stderr
        seconds = time.monotonic() - begun
    finally:
        os.chdir(before)
    return folder, stacked(folder / "whole"), seconds


def stacked(root):
    result = json.loads((root / "stack/stack/result.json").read_text())
    return {"test": result["test"], "val": result["val"], "kept": result["kept"]}


@pytest.mark.parametrize("number", range(STACKS))
def test_kill__a_stack_ends_as_if_nothing_had_happened(number, whole_stack, monkeypatch):
    folder, expected, seconds = whole_stack
    monkeypatch.chdir(folder)
    root = f"killed{number}"
    # cells outlive it, as they do on a terminal that is closed
    process = start_cells(*stack(root))
    process.join(np.random.default_rng(number).uniform(0.2, 1) * seconds)
    process.kill()
    done = start_cells(*stack(root)).ended()
    assert done.returncode == 0, done.stdout + done.stderr
    assert different(expected, stacked(folder / root)) == []


@pytest.mark.parametrize("number", range(JOBS))
def test_kill__a_job_that_is_queued_again_ends_as_if_nothing_had_happened(number, whole, monkeypatch):
    folder, expected, seconds = whole
    monkeypatch.chdir(folder)
    random = np.random.default_rng([1, number])
    run = folder / f"runs/kills/job{number}x"
    # what SLURM, and the script that `submit` writes, tell the process; `make test-cluster` kills jobs of a real SLURM
    job = {"JOB_ID": 7, "STEP_ID": 0, "NTASKS": 1, "JOB_NAME": "train", "NODELIST": "here"}
    environment = {f"SLURM_{name}": str(value) for name, value in job.items()} | {launched.JOB_FOLDER: str(run)}
    command, kills = (*FIT, run.name), 1 + number % 3
    for count in range(kills):
        process = start(*command, environment=environment | {"SLURM_RESTART_COUNT": str(count)})
        process.join(random.uniform(0, seconds))
        process.kill()
    done = start(*command, environment=environment | {"SLURM_RESTART_COUNT": str(kills)}).ended()
    assert done.returncode == 0, done.stdout + done.stderr
    assert different(expected, left(run)) == []


def sweep(root):
    return ("sweep", "--config", "sweep.yaml", "--root", root)


def swept(root):
    """What the cells of a finished sweep leave that does not depend on the clock."""
    return {path.parent.name: left(path.parent) for path in sorted((root / "w").glob("*/result.json"))}


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory):
    """The folder of a plan, what its cells left where nobody stopped them, and the seconds that they took."""
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    with contextlib.chdir(folder):
        begun = time.monotonic()
        done = start_cells(*sweep("whole")).ended()
        assert done.returncode == 0, done.stdout + done.stderr
        seconds = time.monotonic() - begun
    expected = swept(folder / "whole")
    assert len(expected) == 4
    return folder, expected, seconds


def cell_processes(root):
    """The numbers of the cells' processes that run, as their records say."""
    records = (json.loads(path.read_text()) for path in (root / "w/cells").glob("*.json"))
    return [record["pid"] for record in records if record["status"] == "running" and "pid" in record]


@pytest.mark.parametrize("number", range(SWEEPS))
def test_kill__a_sweep_ends_as_if_nothing_had_happened(number, whole_sweep, monkeypatch):
    folder, expected, seconds = whole_sweep
    monkeypatch.chdir(folder)
    random, root = np.random.default_rng([2, number]), f"killed{number}"
    process = start_cells(*sweep(root))
    process.join(random.uniform(0.1, 1) * seconds)
    if number % 3 == 2:
        # a cell alone, which the command starts again
        for cell in cell_processes(folder / root)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(cell, signal.SIGKILL)
        process.join(random.uniform(0, 0.5) * seconds)
    process.kill()
    done = start_cells(*sweep(root)).ended()
    assert done.returncode == 0, done.stdout + done.stderr
    assert different(expected, swept(folder / root)) == []
    shutil.rmtree(folder / root)
