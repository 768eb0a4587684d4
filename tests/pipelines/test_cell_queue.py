import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from callbacks import StoppedError
from pipelines import cell_queue
from pipelines.cell_queue import run_queue
from pipelines.cells import CellJob, Outcome, stop_file
from pipelines.executors import CellExecutor


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


@pytest.mark.parametrize("error", [KeyboardInterrupt, lambda: StoppedError(15)])
def test_run_queue__a_signal_stops_all(tmp_path, monkeypatch, error):
    started, ended = threading.Event(), []

    def run(job):
        started.set()
        while not stop_file(tmp_path).exists():
            started.wait(0.01)
        ended.append(job.name)
        return Outcome(job.name, "stopped")

    def report(news):
        started.wait(10)
        raise error()

    monkeypatch.setattr(cell_queue, "run_cell", run)
    monkeypatch.setattr(cell_queue, "REFRESH", 0.05)
    with pytest.raises((KeyboardInterrupt, StoppedError)):
        run_queue(jobs(tmp_path, "a", "b", "c"), _Threads(), 1, tmp_path, report)
    # the third never began
    assert set(ended) <= {"a", "b"}


def test_run_queue__waits_for_cells_elsewhere_though_nothing_can_be_cancelled(tmp_path, monkeypatch):
    class Elsewhere(Future):
        def cancel(self):
            raise NotImplementedError

    class Remote(_Threads):
        def open(self, folder, count):
            remote = Executor()
            remote.submit = lambda function, job: Elsewhere()
            return remote

        def close(self, pool):
            pass

    one, two = jobs(tmp_path, "running", "queued")
    looks = []

    class Files:
        def __init__(self, folder, name):
            self.name = name

        def read(self):
            looks.append(self.name)
            return {"status": "running" if self.name == "running" and looks.count("running") < 4 else "stopped"}

    def report(news):
        raise KeyboardInterrupt

    monkeypatch.setattr(cell_queue, "CellFiles", Files)
    monkeypatch.setattr(cell_queue, "REFRESH", 0.01)
    with pytest.raises(KeyboardInterrupt):
        run_queue([one, two], Remote(), 1, tmp_path, report)
    assert looks.count("running") == 4
    assert stop_file(tmp_path).exists()
