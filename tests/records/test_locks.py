import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from types import SimpleNamespace

import filelock
import pytest

from records import locks
from records.locks import BusyError, alone, claimed, one_at_a_time, together
from records.versions import REPOSITORY


def held_by_another(path, work="trained"):
    """Hold a lock in another process; return it once it does."""
    code = (
        "import sys, time; from pathlib import Path; from records.locks import alone\n"
        f"with alone(Path({str(path)!r}), 'run a', {work!r}, 'or stop it'): print('in', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout.readline() == "in\n"
    return process


def take(path, **options):
    with alone(path, "run a", "trained", "or stop it", **options):
        return path.with_suffix(".owner").read_text()


def test_alone__the_second_is_told_who_is_at_work_until_that_one_is_killed(tmp_path):
    path = tmp_path / ".run.lock"
    other = held_by_another(path)
    try:
        with pytest.raises(BusyError) as raised:
            take(path)
        told = str(raised.value)
        assert told.startswith(f"run a is being trained by process {other.pid} on host ")
        assert told.endswith(": wait for it, or stop it")
    finally:
        other.kill()
        other.wait()
    # what it had left to say is no hindrance
    assert path.with_suffix(".owner").is_file()
    assert f"process {os.getpid()} on host" in take(path)
    assert not path.with_suffix(".owner").exists()


def ends_when_waited_for(monkeypatch, lock):
    """Let go of a lock as soon as another waits for it."""
    stack = ExitStack()
    stack.enter_context(lock)
    waited = SimpleNamespace(sleep=lambda seconds: stack.close(), monotonic=time.monotonic)
    monkeypatch.setattr(locks, "time", waited)
    return stack


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that forks")
def test_alone__a_killed_process_frees_it_though_its_workers_live_on(tmp_path):
    """As workers that load data do for some seconds."""
    path = tmp_path / ".run.lock"
    code = (
        "import os, time; from pathlib import Path; from records.locks import alone\n"
        f"with alone(Path({str(path)!r}), 'run a', 'trained', 'or stop it'):\n"
        "    if not os.fork(): print(os.getpid(), flush=True)\n"
        "    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    worker = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        os.kill(worker, 0)
        assert "trained by" in take(path)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_alone__short_works_are_waited_for(tmp_path, monkeypatch, capsys):
    path = tmp_path / ".run.lock"
    with ends_when_waited_for(monkeypatch, alone(path, "run a", "tested", "or stop it")):
        with pytest.raises(BusyError, match="is being tested by"):
            take(path)
        assert "trained by" in take(path, short_works=("tested",))
    assert capsys.readouterr().err.count("run a is being tested by process") == 1


def test_alone__a_job_that_was_started_again_waits_for_the_lost_one(tmp_path, monkeypatch):
    path = tmp_path / ".run.lock"
    with ends_when_waited_for(monkeypatch, alone(path, "run a", "trained", "or stop it")):
        assert "trained by" in take(path, patience=1000.0)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EROFS])
def test_locks__a_file_system_without_them_is_told_and_goes_on(number, tmp_path, monkeypatch):
    def refuse(self, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    path, told = tmp_path / ".run.lock", r".run.lock cannot be locked \(.*\): run one process at a time there"
    for lock in (alone(path, "run a", "trained", "or stop it"), one_at_a_time(path)):
        with pytest.warns(UserWarning, match=told), lock:
            pass
    assert not list(tmp_path.iterdir())


def test_one_at_a_time__waits(tmp_path, monkeypatch):
    path = tmp_path / ".lock"
    waited, stack = [], ExitStack()
    stack.enter_context(one_at_a_time(path))

    def end(seconds):
        waited.append(seconds)
        stack.close()

    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=end))
    with one_at_a_time(path):
        assert waited == [locks.POLL]


def test_together__keeps_out_those_who_work_alone(tmp_path):
    path = tmp_path / "work.lock"
    busy = pytest.raises(BusyError, match=r"x/ is being searched by process \d+ on host .*: wait for it, stop it")
    with together(path, "x/", "searched", "stop it"), together(path, "x/", "searched", "stop it"), busy:  # noqa: SIM117
        with alone(path, "x/", "swept", "stop it"):
            pass
    assert not path.with_suffix(".owner").exists()
    busy = pytest.raises(BusyError, match="x/ is being swept by process")
    with alone(path, "x/", "swept", "stop it"), busy, together(path, "x/", "searched", "stop it"):
        pass


def test_together__the_last_one_tells_that_nobody_is_there(tmp_path):
    path = tmp_path / "work.lock"
    with together(path, "x/", "searched", "stop it"):
        with together(path, "x/", "searched", "stop it"):
            pass
        assert path.with_suffix(".owner").exists()


def test_claimed__by_one_until_it_is_released(tmp_path):
    first = claimed(tmp_path / "a.lock")
    assert claimed(tmp_path / "a.lock") is None
    first.release()
    assert claimed(tmp_path / "a.lock") is not None
