"""A stack that is stopped half-way goes on where it was."""

import csv
import json
import os
import signal
import time

import torch

from pipelines.cells.job import CellFiles
from pipelines.main import main
from tests.helpers.warm import start

EPOCHS = 100


def leaves_nobody(group):
    """Tell whether a group of processes is empty soon."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def stopped_by(name, tmp_path):
    """Send a signal to a stack whose first cell is done; return its arguments, its output and both cells."""
    shared = {"data.stack_fraction": 0.2, "trainer.enable_progress_bar": False, "trainer.accelerator": "cpu"}
    members = [
        {"name": "short", "options": {"model": "Linear"}, "epochs": 1},
        {"name": "long", "options": {"model": "Linear"}, "epochs": EPOCHS},
    ]
    plan = tmp_path / "plan.yaml"
    executor = {"class_path": "LocalExecutor", "init_args": {"jobs": 2}}
    plan.write_text(json.dumps({"members": members, "options": shared, "executor": executor}))
    args = ["stack", "--config", str(plan), "--root", str(tmp_path)]
    short, long = (CellFiles(tmp_path / "stack", member["name"]) for member in members)
    # its own group: Ctrl-C goes to all of one
    process = start(*args, new_session=True)
    try:
        deadline = time.monotonic() + 200
        while not (long.run.last.is_file() and short.is_done) and time.monotonic() < deadline:
            time.sleep(0.1)
        if name == "SIGINT":
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(process.pid, signal.SIGTERM)
        done = process.ended(100)
    finally:
        if process.process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
    assert done.returncode == 128 + signal.Signals[name]
    assert "Traceback" not in done.stderr
    # the process that forked the cells has to notice that it is not needed any more
    assert leaves_nobody(process.pid)
    return args, done.stdout, short, long


def check_gentle(args, output, short, long):
    """Both cells are in a state that a rerun can go on with, and it is said how."""
    assert f"continue:  python train.py {' '.join(args)}" in output
    assert "stopping after this batch" in long.log.read_text()
    assert (short.read()["status"], long.read()["status"]) == ("done", "stopped")
    assert torch.load(long.run.last, weights_only=True)["epoch"] < EPOCHS - 1


def test_stack__sigterm_stops_the_cells_gently(tmp_path):
    check_gentle(*stopped_by("SIGTERM", tmp_path))


def test_stack__after_ctrl_c_a_rerun_goes_on(tmp_path, monkeypatch):
    args, output, short, long = stopped_by("SIGINT", tmp_path)
    check_gentle(args, output, short, long)
    called = []
    monkeypatch.setattr("pipelines.stack.second_stage.second_stage", lambda *parts: called.append(parts) or 0)
    assert main(args) == 0
    assert len(called) == 1
    assert [(files.read()["status"], files.read()["attempts"]) for files in (short, long)] == [("done", 1), ("done", 2)]
    # each epoch was validated once, in one and the same folder
    with (long.run.folder / "metrics.csv").open() as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file) if row["val/accuracy"]]
    assert epochs == list(range(EPOCHS))
    assert not (tmp_path / "stack/long-2").exists()
