import errno
import os
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from callbacks import StoppedError
from pipelines.cells import queue as cell_queue
from pipelines.cells.executors import CellExecutor
from pipelines.cells.job import CellFiles, CellJob, Outcome, stop_file
from pipelines.cells.queue import run_queue


class _Threads(CellExecutor):
    """Two threads in place of processes."""

    def slots(self, count: int) -> int:
        return 2

    def open(self, folder, count) -> Executor:
        return ThreadPoolExecutor(2)

    def close(self, pool) -> None:
        pool.shutdown()


def jobs(folder, *names):
    (folder / "cells").mkdir(exist_ok=True)
    return [CellJob(name, folder, ()) for name in names]


def queue(folder, monkeypatch, run, *names, retries=1):
    news = []
    monkeypatch.setattr(cell_queue, "run_cell", run)
    outcomes = run_queue(jobs(folder, *names), _Threads(), retries, folder, news.extend)
    return outcomes, news


def test_run_queue__a_failure_is_retried_and_the_others_go_on(tmp_path, monkeypatch):
    tries = []

    def run(job):
        tries.append(job.name)
        failed = job.name == "bad" or (job.name == "unlucky" and tries.count("unlucky") == 1)
        return Outcome(job.name, "failed" if failed else "done")

    outcomes, news = queue(tmp_path, monkeypatch, run, "bad", "good", "unlucky")
    assert [(o.name, o.status) for o in outcomes] == [("bad", "failed"), ("good", "done"), ("unlucky", "done")]
    assert sorted(tries) == ["bad", "bad", "good", "unlucky", "unlucky"]
    assert sorted(outcome.name for outcome, again in news if again) == ["bad", "unlucky"]


def test_run_queue__no_retries(tmp_path, monkeypatch):
    outcomes, news = queue(tmp_path, monkeypatch, lambda job: Outcome(job.name, "failed"), "bad", retries=0)
    assert outcomes[0].status == "failed"
    assert [again for _, again in news] == [False]


def test_run_queue__a_lost_worker_is_a_failure(tmp_path, monkeypatch):
    def run(job):
        raise ConnectionError("node n7 is gone")

    outcomes, _ = queue(tmp_path, monkeypatch, run, "one")
    assert outcomes[0].message == "one failed: ConnectionError: node n7 is gone"


def test_run_queue__a_full_disk_is_told_with_a_way_out(tmp_path, monkeypatch):
    def run(job):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "logs/a.log")

    (outcome,), _ = queue(tmp_path, monkeypatch, run, "a", retries=0)
    assert outcome.message.startswith("a failed: logs/a.log: No space left on device; make room there")


@pytest.mark.parametrize("error", [KeyboardInterrupt, lambda: StoppedError(15)])
def test_run_queue__a_signal_stops_all(tmp_path, monkeypatch, error):
    begun, ended, both = [], [], threading.Barrier(3)

    def run(job):
        begun.append(job.name)
        both.wait(10)
        while not stop_file(tmp_path).exists():
            time.sleep(0.01)
        ended.append(job.name)
        return Outcome(job.name, "stopped")

    def report(news):
        both.wait(10)
        raise error()

    monkeypatch.setattr(cell_queue, "run_cell", run)
    monkeypatch.setattr(cell_queue, "REFRESH", 0.05)
    with pytest.raises((KeyboardInterrupt, StoppedError)):
        run_queue(jobs(tmp_path, "a", "b", "c"), _Threads(), 1, tmp_path, report)
    # two at once: the third never began
    assert sorted(begun) == sorted(ended) == ["a", "b"]


class _Remote(_Threads):
    """Jobs that never end, and cannot be cancelled, as with Parsl."""

    class Elsewhere(Future):
        def cancel(self):
            raise NotImplementedError

    def open(self, folder, count):
        remote = Executor()
        remote.submit = lambda function, job: self.Elsewhere()
        return remote

    def close(self, pool):
        pass


def test_run_queue__waits_for_cells_elsewhere_though_nothing_can_be_cancelled(tmp_path, monkeypatch):
    one, two = jobs(tmp_path, "running", "queued")
    files = CellFiles(tmp_path, "running")

    def report(news):
        files.write({"status": "running", "started": 1.0})
        threading.Timer(0.2, files.write, [{"status": "stopped", "started": 1.0}]).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(cell_queue, "REFRESH", 0.01)
    with pytest.raises(KeyboardInterrupt):
        run_queue([one, two], _Remote(), 1, tmp_path, report)
    assert files.read()["status"] == "stopped"
    assert stop_file(tmp_path).exists()


@pytest.mark.parametrize("retried", [False, True])
def test_run_queue__does_not_wait_for_what_a_lost_process_has_left(retried, tmp_path, monkeypatch):
    """Its worker, or a whole command before this one, was killed; its next process waits in the cluster's queue."""
    lost = CellFiles(tmp_path, "lost")
    (job,) = jobs(tmp_path, "lost")
    remote, futures = _Remote(), []
    if not retried:
        lost.write({"status": "running", "started": 1.0})

    def submit(function, job):
        futures.append(remote.Elsewhere())
        return futures[-1]

    def report(news):
        if len(futures) == 1 and retried:
            lost.write({"status": "running", "started": 1.0})
            futures[0].set_exception(ConnectionError("node n7 is gone"))
        else:
            raise KeyboardInterrupt

    def run():
        with pytest.raises(KeyboardInterrupt):
            run_queue([job], remote, 1, tmp_path, report)

    pool = Executor()
    pool.submit = submit
    monkeypatch.setattr(remote, "open", lambda folder, count: pool)
    monkeypatch.setattr(cell_queue, "REFRESH", 0.01)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert len(futures) == 1 + retried
