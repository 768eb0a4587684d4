"""Runs that are killed, stopped or told to go on end as if nothing had happened."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.safe import different
from tests.helpers.warm import run_all, run_command

# 6 steps an epoch, with dropout, augmentation and a sampler that draws
ARGS = (
    "fit", "--data", "tests.helpers.data.Blobs", "--data.count", "110", "--data.augmentation", "[crop, flip]",
    "--data.sampler", "balanced", "--model", "MLP", "--model.hidden", "[16]", "--model.dropout", "0.3",
    "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--trainer.num_sanity_val_steps", "0",
    "--last_checkpoint.every_n_train_steps", "2", "--run.experiment", "safe", "--run.name",
)  # fmt: skip


def signal_at(**moment):
    args = ["--trainer.callbacks", "tests.helpers.signals.SignalAt"]
    for name, value in moment.items():
        args += [f"--trainer.callbacks.{name}", str(value)]
    return args


def state(folder, name):
    """All that the last checkpoint holds of the run itself, and what it reports."""
    checkpoint = torch.load(folder / f"runs/safe/{name}/checkpoints/last.ckpt", weights_only=True)
    result = json.loads((folder / f"runs/safe/{name}/result.json").read_text())
    random = checkpoint["callbacks"]["RandomState"]
    kept = {name: checkpoint[name] for name in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")}
    return {**kept, "random": random, "val": result["val"], "last": result["fit"]["last"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("safe")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run_all((*ARGS, "whole")) == [0]
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "moment", [{"step": 9}, {"validation": 1}, {"save": 3}, {"save": 4}, {"save": 5}], ids=lambda m: str(m)
)
def test_kill__the_resumed_run_ends_at_the_same_bits(here, moment, request):
    name = request.node.callspec.id.translate(str.maketrans("", "", "{}': "))
    run = here / "runs/safe" / name
    assert run_all((*ARGS, name, *signal_at(**moment))) == [-9]
    torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    if "save" in moment:
        assert list((run / "checkpoints").glob(".*ckpt*"))
    assert run_all((*ARGS, name, "--ckpt_path", run)) == [0]
    assert different(state(here, "whole"), state(here, name)) == []
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_signal__is_obeyed_at_the_end_of_the_step(here, name, status):
    run = here / "runs/safe" / name
    # the signal comes in the middle of a step, after which nothing would be saved otherwise
    done = run_command(*ARGS, name, *signal_at(name=name, step=10))
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "stopping after this batch" in done.stderr
    assert (
        f"continue:  python train.py fit --config runs/safe/{name}/config.yaml --ckpt_path runs/safe/{name}"
        in done.stdout
    )
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 11
    assert run_all((*ARGS, name, "--ckpt_path", run)) == [0]
    assert different(state(here, "whole"), state(here, name)) == []


def test_signal__in_the_last_step_of_an_epoch_waits_for_its_validation(here):
    run = here / "runs/safe/end"
    assert run_all((*ARGS, "end", *signal_at(name="SIGTERM", step=5))) == [143]
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 6
    assert run_all((*ARGS, "end", "--ckpt_path", run)) == [0]
    assert different(state(here, "whole"), state(here, "end")) == []


def test_signal__gathered_gradients_are_not_lost(here):
    args = (*ARGS[:-3], "--trainer.accumulate_grad_batches", "3", "--run.experiment", "safe", "--run.name")
    codes = run_all((*args, "gathered"), (*args, "stopped", *signal_at(name="SIGTERM", step=2)))
    assert codes == [0, 143]
    assert run_all((*args, "stopped", "--ckpt_path", here / "runs/safe/stopped")) == [0]
    assert different(state(here, "gathered"), state(here, "stopped")) == []


def points(run):
    """What TensorBoard draws of the loss and the metric."""
    events = EventAccumulator(str(run)).Reload()
    return [(event.step, event.value) for name in ("train/loss", "val/accuracy") for event in events.Scalars(name)]


def rows(run):
    return [row for row in csv.DictReader((run / "metrics.csv").read_text().splitlines()) if row["val/accuracy"]]


def job_of_slurm(folder, monkeypatch):
    """Take this process for one of a job; return a file that names those that were asked to be queued again."""
    queued, programs = folder / "queued", folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> "{queued}"\n')
    (programs / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    for name, value in (("JOB_ID", 7), ("STEP_ID", 0), ("NTASKS", 1), ("JOB_NAME", "train"), ("NODELIST", "here")):
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    return queued


def test_requeue__twice_ends_at_the_same_bits(here, monkeypatch):
    queued, run = job_of_slurm(here, monkeypatch), here / "runs/safe/requeued"
    for count, (step, status) in enumerate([(3, 138), (10, 138), (None, 0)]):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(count))
        moment = {} if step is None else signal_at(name="SIGUSR1", step=step)
        done = run_command(*ARGS, "requeued", *moment)
        assert done.returncode == status, done.stdout + done.stderr
        assert ("job 7 is queued again" in done.stdout) is bool(status)
    assert queued.read_text().split() == ["requeue", "7"] * 2
    assert different(state(here, "whole"), state(here, "requeued")) == []
    assert rows(run) == rows(here / "runs/safe/whole")
    assert points(run) == points(here / "runs/safe/whole")
    assert [*here.glob("runs/safe/*-2"), *run.glob("hpc_ckpt_*")] == []


def test_requeue__state_of_another_run_is_left_alone(here, monkeypatch):
    job_of_slurm(here, monkeypatch)
    run = here / "runs/safe/alien"
    run.mkdir()
    shutil.copy(here / "runs/safe/whole/checkpoints/last.ckpt", run / "hpc_ckpt_1.ckpt")
    # a folder of the same name is not taken, and that of a job is the job's own
    assert run_all((*ARGS, "alien", *signal_at(name="SIGTERM", step=2))) == [143]
    assert torch.load(here / "runs/safe/alien-2/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


def test_seed__twice_gives_the_same_and_another_gives_another(here):
    assert run_all((*ARGS, "again"), (*ARGS, "other", "--seed_everything", "1")) == [0, 0]
    assert different(state(here, "whole"), state(here, "again")) == []
    assert {"state_dict", "optimizer_states", "last"} <= set(different(state(here, "whole"), state(here, "other")))


DDP = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


def test_ddp__a_signal_to_one_process_stops_all_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_command(*ARGS, "ddp", *DDP, "--trainer.max_epochs", "2000", *signal_at(name="SIGTERM", step=9, rank=1))
    assert done.returncode == 143, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("continue:") == 1
    assert torch.load("runs/safe/ddp/checkpoints/last.ckpt", weights_only=True)["global_step"] >= 10


def test_ddp__a_loss_that_is_not_finite_on_one_process_stops_all_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = [arg if arg != "MLP" else "tests.helpers.signals._BrokenOnSecond" for arg in ARGS]
    done = run_command(*args, "nan", *DDP)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("error: loss is") == 1
    assert "at step 8 (epoch 1, batch 2), ids " in done.stderr
    assert "the last good checkpoint is runs/safe/nan/checkpoints/last.ckpt (epoch 1)" in done.stderr
    saved = torch.load("runs/safe/nan/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 8
