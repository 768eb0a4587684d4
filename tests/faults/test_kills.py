"""`kill -9` at any moment: the same command goes on, and ends at the weights, numbers and rows of a run left alone."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipelines.cells.job import TRAIN
from tests.helpers.faults import LONG
from tests.helpers.safe import different
from tests.helpers.signals import REPOSITORY, _main

FITS, STACKS = (120, 30) if LONG else (5, 1)
FIT = (
    "fit", "--data", "Digits", "--data.subsample", "0.2", "--data.augmentation", "[crop]", "--data.sampler", "balanced",
    "--model", "MLP", "--model.hidden", "[16]", "--model.dropout", "0.3", "--trainer.max_epochs", "4",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false",
    "--last_checkpoint.every_n_train_steps", "2", "--run.experiment", "kills", "--run.name",
)  # fmt: skip
PLAN = {
    "logit_cache": "cache",
    "options": {"data": "Digits", "data.stack_fraction": 0.3, "trainer.accelerator": "cpu"},
    "members": [
        {"name": "linear", "options": {"model": "Linear"}, "epochs": 2},
        {"name": "mlp", "options": {"model": "MLP", "model.hidden": [8]}, "epochs": 2},
    ],
    "heads": ["MeanHead"],
}
# metrics that say how long something took
CLOCK = "speed/"


def start(args):
    """Start a command in a process forked from one that has imported what is slow to import."""
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.cli.image_cli", "timm", "tests.helpers.signals"])
    process = context.Process(target=_main, args=([str(word) for word in args],))
    process.start()
    return process


def ended(process):
    process.join(300)
    return process.exitcode


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
        assert ended(start((*FIT, "warm"))) == 0
        begun = time.monotonic()
        assert ended(start((*FIT, "whole"))) == 0
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
        process = start(command)
        process.join(random.uniform(0, seconds))
        process.kill()
        process.join()
        if (run / "checkpoints/last.ckpt").is_file():
            command = (*FIT, run.name, "--ckpt_path", run)
        else:
            # nothing was saved, and a new run of this name would be the second
            shutil.rmtree(run, ignore_errors=True)
    assert ended(start(command)) == 0
    assert different(expected, left(run)) == []


def stack(folder, *, killed_after=None):
    """Run a stack, or kill it after some seconds; cells outlive it as they do on a terminal that is closed."""
    command = [sys.executable, str(TRAIN), "stack", "--config", "plan.yaml", "--root", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = process.communicate(timeout=killed_after or 300)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
    return process.returncode, said


@pytest.fixture(scope="module")
def whole_stack(tmp_path_factory):
    """The folder of a plan, the numbers of its stack that nobody stopped, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("stacks")
    (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    before = Path.cwd()
    os.chdir(folder)
    try:
        begun = time.monotonic()
        status, said = stack("whole")
        assert status == 0, said
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
    stack(root, killed_after=np.random.default_rng(number).uniform(0.2, 1) * seconds)
    status, said = stack(root)
    assert status == 0, said
    assert different(expected, stacked(folder / root)) == []
