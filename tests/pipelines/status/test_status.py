import json
import os
import socket
import subprocess
import sys

import pytest

from pipelines.cells.folder import note_planned
from pipelines.cells.job import CellFiles
from pipelines.main import main
from pipelines.status.experiment import look_at
from pipelines.status.standing import standing_of
from records.ended import Ended, note_end
from records.job_file import JobFile
from records.json_files import to_json
from records.owners import SILENT, owner_text
from records.run_dir import RunDir
from tests.helpers.slurm import stand_in

METRICS = "epoch,step,val/accuracy\n0,9,0.5\n1,19,0.75\n"


def make_run(folder, **files):
    """A run of 5 epochs, two of which are done."""
    run = RunDir(folder)
    run.checkpoints.mkdir(parents=True)
    run.last.touch()
    run.config.write_text("trainer: {max_epochs: 5}\nbest_checkpoint: {monitor: val/accuracy}\n")
    run.metrics.write_text(METRICS)
    for name, text in files.items():
        getattr(run, name).write_text(text)
    return run


def result(**entries):
    return to_json({"fit": {"epochs": 5, "monitor": "val/accuracy"}, "val": {"accuracy": 0.9}, **entries})


@pytest.fixture
def gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def silent(path, seconds=SILENT + 60):
    stamp = path.stat().st_mtime - seconds
    os.utime(path, (stamp, stamp))


def shown(row):
    return row.state, row.epoch, row.metric


def test_run__done_running_and_lost(tmp_path, gone):
    assert shown(standing_of(make_run(tmp_path / "a", result=result()), None)) == ("done", "5", "val/accuracy 0.9000")
    run = make_run(tmp_path / "b", owner=owner_text("trained"))
    row = standing_of(run, None)
    assert shown(row) == ("running", "2/5", "val/accuracy 0.7500")
    assert f"process {os.getpid()} on host {socket.gethostname()}" in row.note
    silent(run.owner)
    assert standing_of(run, None).state == "silent"
    # killed: its process is gone, here or on a machine that says nothing
    run.owner.write_text(f"trained by process {gone} on host {socket.gethostname()}\n")
    row = standing_of(run, None)
    assert row.state == "lost"
    assert f"continue by --ckpt_path {run.folder}" in row.note
    run.owner.write_text(f"trained by process {gone} on host elsewhere\n")
    assert standing_of(run, None).state == "running"
    silent(run.owner)
    row = standing_of(run, None)
    assert row.state == "lost"
    assert "elsewhere is gone, silent for 4 min" in row.note


def test_run__one_that_is_only_evaluated_is_done(tmp_path):
    run = make_run(tmp_path / "a", result=result(), owner=owner_text("evaluated"))
    assert standing_of(run, None).state == "done"
    run.owner.write_text(owner_text("trained"))
    assert standing_of(run, None).state == "running"


def test_run__failed_and_stopped_with_the_reason(tmp_path):
    run = make_run(tmp_path / "a", result=result())
    note_end(run.folder, Ended("failed", "out of memory on cuda:0"))
    row = standing_of(run, None)
    assert (row.state, row.note, row.epoch) == ("failed", "out of memory on cuda:0", "2/5")
    note_end(run.folder, Ended("refused", "no such strategy"))
    row = standing_of(run, None)
    assert (row.state, row.note, row.epoch) == ("done", "the last command was refused: no such strategy", "5")


def test_run__damaged_is_told(tmp_path):
    run = make_run(tmp_path / "a", result=result().replace("0.9", "0.8"))
    row = standing_of(run, None)
    assert row.state == "damaged"
    assert "result.json" in row.note


def test_run__queued_as_slurm_says(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    JobFile("7", ["python", "train.py", "fit"], "slurm-7.log").write(folder)
    for queue, state, note in (
        (None, "queued", "cannot be asked from this machine"),
        ({"7": ("PENDING", "Priority")}, "queued", "job 7: pending, Priority"),
        ({"7": ("RUNNING", "None")}, "running", "job 7 begins"),
        ({}, "failed", "job 7 has left the queue without a result: no"),
    ):
        row = standing_of(RunDir(folder), queue)
        assert row.state == state
        assert note in row.note
    (folder / "slurm-7.log").write_text("one\nslurmstepd: error: Detected 1 oom_kill event\n\n")
    assert standing_of(RunDir(folder), {}).note.endswith("slurmstepd: error: Detected 1 oom_kill event")
    assert standing_of(RunDir(folder), None).state == "running"
    silent(folder / "slurm-7.log")
    row = standing_of(RunDir(folder), None)
    assert row.state == "lost"
    assert "has begun, and says nothing for 4 min: slurmstepd" in row.note
    # stopped at its time limit, and queued again
    note_end(folder, Ended("stopped", "stopped by SIGUSR1"))
    assert standing_of(RunDir(folder), {"7": ("PENDING", "BeginTime")}).state == "queued"
    assert standing_of(RunDir(folder), {}).note == "stopped by SIGUSR1"


def cell(folder, name, status, **record):
    settings = {"trainer.max_epochs": 5, "best_checkpoint.monitor": "val/accuracy"}
    files = CellFiles(folder, name)
    files.write({"status": status, "seconds": 1.0, "started": 1.0, "settings": settings, **record})
    return files


def test_cells__each_state(tmp_path, gone):
    here = socket.gethostname()
    note_planned(tmp_path, ["done", "run", "lost", "bad", "stop", "wait"])
    make_run(tmp_path / "done", result=result())
    cell(tmp_path, "done", "done")
    make_run(tmp_path / "run", owner=owner_text("trained"))
    cell(tmp_path, "run", "running", host=here, pid=os.getpid())
    make_run(tmp_path / "lost")
    cell(tmp_path, "lost", "running", host=here, pid=gone)
    cell(tmp_path, "bad", "failed", why="bad failed; the end of its log:\nfirst\nerror: loss is nan\n")
    cell(tmp_path, "stop", "stopped")
    make_run(tmp_path / "alone", result=result())
    found = look_at(tmp_path, None)
    assert [(row.name, row.state) for row in found.rows] == [
        ("done", "done"), ("run", "running"), ("lost", "lost"), ("bad", "failed"), ("stop", "stopped"),
        ("wait", "queued"), ("alone", "done"),
    ]  # fmt: skip
    rows = {row.name: row for row in found.rows}
    assert shown(rows["run"]) == ("running", "2/5", "val/accuracy 0.7500")
    assert rows["bad"].note == "error: loss is nan"
    assert found.notes == ["no command works in it"]


def test_cells__a_silent_machine(tmp_path):
    run = make_run(tmp_path / "a", owner="trained by process 1 on host elsewhere\n")
    files = cell(tmp_path, "a", "running", host="elsewhere", pid=1)
    assert look_at(tmp_path, None).rows[0].state == "running"
    for path in (run.owner, run.metrics, files.record):
        silent(path)
    row = look_at(tmp_path, None).rows[0]
    assert row.state == "lost"
    assert "process 1 on host elsewhere is gone, silent for 4 min" in row.note


def test_status__prints_all_experiments(tmp_path, capsys, monkeypatch):
    stand_in(tmp_path, monkeypatch, squeue="echo '9|PENDING|Resources'")
    root = tmp_path / "runs"
    make_run(root / "one/a", result=result())
    (root / "two/logs").mkdir(parents=True)
    JobFile("9", ["python", "train.py", "stack"], "logs/slurm-9.log").write(root / "two")
    for number in range(60):
        make_run(root / f"many/run{number:02}", result=result())
    make_run(root / "many/worse", owner=owner_text("trained"))
    assert main(["status", str(root)]) == 0
    said = capsys.readouterr().out
    assert "1 run: 1 done" in said
    assert f"{root}/two/: no run has begun" in said
    assert "queued, job 9: pending, Resources" in said
    assert "61 runs: 60 done, 1 running" in said
    assert "worse" in said
    assert "and 23 more" in said
    assert main(["status", str(root / "one/a")]) == 0
    assert main(["status", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert json.loads((root / "one/a/result.json").read_text())["val"] == {"accuracy": 0.9}
