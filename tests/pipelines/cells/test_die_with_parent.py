import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.cells import die_with_parent

# starts a process that prints its number and sleeps, tied to itself, and waits for it
PARENT = (
    "import subprocess, sys; child = [sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); "
    f"time.sleep(60)']; subprocess.run([sys.executable, {die_with_parent.__file__!r}, *child])"
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_main__ends_with_the_process_that_started_it():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert lives(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while lives(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        assert not lives(child)
    finally:
        if lives(child):
            os.kill(child, signal.SIGKILL)


def lives(number):
    """Tell whether a process runs; one that has ended may wait for whoever collects it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
