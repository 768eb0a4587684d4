import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.cells import process, warm, warm_server
from pipelines.cells.job import CellFiles, CellJob, run_cell, stop_file
from pipelines.cells.process import Command, run_process
from tests.helpers.warm import Started

pytestmark = pytest.mark.skipif(not warm.POSSIBLE, reason="processes are forked on Linux alone")


def command(tmp_path, *args, **options):
    return Command(args, tmp_path / "log", tmp_path, tmp_path / "stop", warm=True, **options)


def test_run_process__is_forked_from_one_that_has_imported(tmp_path):
    pids = []
    assert run_process(command(tmp_path, "--version"), pids.append).status == 0
    assert "torch" in (tmp_path / "log").read_text()
    # the program's own errors are those of a new process
    assert run_process(command(tmp_path, "fti"), pids.append).status == 2
    assert "unknown command 'fti'; did you mean fit?" in (tmp_path / "log").read_text()
    assert len(set(pids)) == 2


def test_run_process__without_a_server_is_a_new_process(tmp_path, monkeypatch):
    monkeypatch.setattr(warm, "SERVER", "no.such.module")
    monkeypatch.setattr(warm, "_server", None)
    monkeypatch.setattr(process, "TRAIN", tmp_path / "train.py")
    (tmp_path / "train.py").write_text("print('new')")
    assert run_process(command(tmp_path), lambda pid: None).status == 0
    assert (tmp_path / "log").read_text() == "new\n"


def fit(folder, epochs, **options):
    quick = ("--model=Linear", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false")
    names = (f"--run.root={folder.parent}", f"--run.experiment={folder.name}", "--run.name=one")
    args = ("fit", *quick, *names, f"--trainer.max_epochs={epochs}")
    return CellJob("one", folder, args, {"epochs": epochs}, folder.parent, warm=True, **options)


def test_run_cell__is_stopped_gently_and_gone_on_with(tmp_path, monkeypatch):
    job = fit(tmp_path / "x", 100_000)
    files = CellFiles(job.folder, "one")

    class Stopped:
        """Asks all cells to stop once this one has trained for an epoch."""

        def exists(self):
            if (files.run.folder / "metrics.csv").is_file():
                stop_file(job.folder).touch()
            return stop_file(job.folder).is_file()

    real = process.run_process
    monkeypatch.setattr(process, "POLL", 0.05)
    monkeypatch.setattr(
        "pipelines.cells.job.run_process",
        lambda command, started: real(Command(**{**vars(command), "stop": Stopped()}), started),
    )
    outcome = run_cell(job)
    assert (outcome.status, files.read()["status"]) == ("stopped", "stopped"), outcome.message
    assert files.run.resumable
    stop_file(job.folder).unlink()
    monkeypatch.setattr("pipelines.cells.job.run_process", real)
    # the lock went with the process, and what was saved is gone on with
    assert "--ckpt_path" not in files.read()["command"]
    assert run_cell(CellJob(**{**vars(job), "time_limit": 1.0})).status == "failed"
    assert "--ckpt_path" in files.read()["command"]


def test_run_process__a_killed_one_says_so(tmp_path):
    def kill(pid):
        os.kill(pid, signal.SIGKILL)

    assert run_process(command(tmp_path, "fit", "--trainer.max_epochs", "100000"), kill).status == -9


def end_with_an_idle_thread():
    pool = ThreadPoolExecutor(1)
    pool.submit(int).result()
    warm_server._end(7)


def test_end__does_not_wait_for_threads_that_wait_for_work():
    assert Started(end_with_an_idle_thread).ended(60).returncode == 7
