import os
import socket
import subprocess
import sys

import pytest

from records import locks
from records.ended import Ended, forget_end, note_end, read_end
from records.owners import SILENT, is_alive, owner_text, read_owner


@pytest.fixture
def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def age(path, seconds):
    stamp = path.stat().st_mtime - seconds
    os.utime(path, (stamp, stamp))


def test_owner__lives_and_is_gone(tmp_path, gone):
    path = tmp_path / "owner"
    assert read_owner(path) is None
    path.write_text(owner_text("trained"))
    found = read_owner(path)
    assert (found.work, found.process, found.is_here, found.is_gone) == ("trained", os.getpid(), True, False)
    path.write_text(f"trained by process {gone} on host {socket.gethostname()}\n")
    assert read_owner(path).is_gone
    # another machine sees only when it was touched last
    path.write_text(f"trained by process {gone} on host elsewhere\n")
    assert not read_owner(path).is_gone
    age(path, SILENT + 1)
    assert read_owner(path).is_gone
    path.write_text("something else")
    assert read_owner(path) is None


def test_alive__a_process_that_nobody_has_waited_for_is_not():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process.pid)
    process.wait()


def test_alone__gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    with locks.alone(tmp_path / "a.lock", "a", "trained", "stop it"):
        path = tmp_path / "a.owner"
        age(path, 1000)
        for _ in range(500):
            if read_owner(path).silent < 500:
                break
            subprocess.run(["sleep", "0.01"], check=True)
        assert read_owner(path).silent < 500
    assert not path.exists()


def test_end__a_failure_is_not_hidden_by_those_that_it_stopped(tmp_path):
    assert read_end(tmp_path) is None
    note_end(tmp_path, Ended("failed", "no memory"))
    note_end(tmp_path, Ended("stopped", "stopped by SIGTERM"))
    assert read_end(tmp_path) == Ended("failed", "no memory")
    forget_end(tmp_path)
    note_end(tmp_path, Ended("stopped", "stopped by SIGTERM"))
    assert read_end(tmp_path).status == "stopped"
    note_end(tmp_path / "gone", Ended("failed", "x"))
    assert not (tmp_path / "gone").exists()
