"""`kill -9` at any moment: the same command goes on, and ends at the weights, numbers and rows of a run left alone."""

import csv
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.helpers.faults import LONG
from tests.helpers.safe import different
from tests.helpers.warm import run_all, run_command, start

FITS, STACKS = (120, 30) if LONG else (5, 1)
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
        done = run_command(*stack("whole"))
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
    process = start(*stack(root))
    process.join(np.random.default_rng(number).uniform(0.2, 1) * seconds)
    process.kill()
    done = run_command(*stack(root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert different(expected, stacked(folder / root)) == []
