"""Processes beside each other: one of those that train together is killed, or two work in one folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from records.ended import read_end
from tests.helpers.faults import LONG, PYTHON_WORDS
from tests.helpers.safe import different
from tests.helpers.warm import in_main, ranks, run_command, start

FIT = (
    "fit", "--data", "tests.helpers.data.Blobs", "--data.count", "110", "--model", "MLP", "--model.hidden", "[16]",
    "--model.dropout", "0.3", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu",
    "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--allow", "tests",
    "--last_checkpoint.every_n_train_steps", "2", "--run.experiment", "e", "--run.name",
)  # fmt: skip
BOTH = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
DEATHS, PAIRS = (20, 20) if LONG else (1, 1)


def dies(rank, step):
    moment = ("--trainer.callbacks.name", "SIGKILL", "--trainer.callbacks.step", step, "--trainer.callbacks.rank", rank)
    return ("--trainer.callbacks", "tests.helpers.signals.SignalAt", *map(str, moment))


@pytest.mark.parametrize("number", range(DEATHS))
def test_rank__that_is_killed_ends_the_job_with_its_cause(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(number)
    # the second process first, which the other must outlive long enough to say so
    killed, step = (number + 1) % 2, int(random.integers(9)) if number else 8
    ended = ranks(in_main, (*FIT, "both", *BOTH, *dies(killed, step)))
    assert ended[killed].returncode == -9
    other = ended[1 - killed]
    assert other.returncode == 2, other.stdout + other.stderr
    assert "error: another process of this job has ended" in other.stderr
    assert "--ckpt_path" in other.stderr
    assert not PYTHON_WORDS.search(other.stderr), other.stderr
    run = Path("runs/e/both")
    if killed:
        assert "another process of this job has ended" in read_end(run).why
    if (run / "checkpoints/last.ckpt").is_file():
        # what was saved is whole
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)


def left(name):
    run = Path("runs/e") / name
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    result = json.loads((run / "result.json").read_text())
    return {"weights": saved["state_dict"], "optimizer": saved["optimizer_states"], "val": result["val"]}


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The folder of a run of one epoch, and what it ends with where one process continues it."""
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = run_command(*FIT, "half", "--trainer.max_epochs", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.copytree("runs/e/half", "runs/e/whole")
        done = run_command(*FIT, "whole", "--ckpt_path", "runs/e/whole")
        assert done.returncode == 0, done.stdout + done.stderr
        return folder, left("whole")


@pytest.mark.parametrize("number", range(PAIRS))
def test_pair__that_continues_one_run_ends_as_one_would(number, halves, monkeypatch):
    folder, expected = halves
    monkeypatch.chdir(folder)
    run = Path(f"runs/e/pair{number}")
    shutil.copytree("runs/e/half", run)
    command = (*FIT, run.name, "--ckpt_path", run)
    first = start(*command)
    first.join(float(np.random.default_rng(number).uniform(0, 1)))
    second = start(*command)
    ended = [first.ended(), second.ended()]
    assert sorted(one.returncode for one in ended)[0] == 0, [one.stderr for one in ended]
    for one in ended:
        # who comes second is refused, or finds a finished run
        refused = "is being trained by process" in one.stderr or "has written" in one.stderr
        assert one.returncode == 0 or refused, one.stderr
        assert not PYTHON_WORDS.search(one.stderr), one.stderr
    assert different(expected, left(run.name)) == []
