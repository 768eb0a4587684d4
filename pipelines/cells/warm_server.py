"""The process that forks cells: it imports what is slow to import, and then computes nothing.

It is started as `python -m pipelines.cells.warm_server NUMBER`, where the number is that of an open socket.
"""

import contextlib
import importlib
import json
import logging
import os
import random
import selectors
import signal
import socket
import sys
import threading
import traceback
from typing import Any

from common.threads_seam import end_thread_pools
from pipelines.cells.die_with_parent import die_with_parent

# what a fit and a test import, sooner or later
MAIN = "pipelines.main"
MODULES = (
    MAIN,
    "pipelines.cli.image_cli",
    "pipelines.cli.after_run",
    "pipelines.cli.predicted",
    "lightning.pytorch.loggers.tensorboard",
    "torch.utils.tensorboard",
    "timm",
    "sklearn.datasets",
)
# a request, and the files that come with it
BYTES, FILES = 1_000_000, 16


def serve(channel: socket.socket) -> None:
    """Fork a process for each request, until the one that asks has ended.

    Args:
        channel: brings requests, each with where to tell the number and exit status, a log, and files to keep
    """
    replies: dict[int, socket.socket] = {}
    ended, woken = socket.socketpair()
    ended.setblocking(False)
    woken.setblocking(False)
    # a signal wakes the loop below
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    # Ctrl-C and SIGTERM reach the cells too; this process must tell how they end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if ended in ready:
                with contextlib.suppress(BlockingIOError):
                    ended.recv(4096)
                _tell_ends(replies)
            if channel in ready:
                request, files, *_ = socket.recv_fds(channel, BYTES, FILES)
                if not request:
                    return
                reply = socket.socket(fileno=files[0])
                pid = os.fork()
                if not pid:
                    selector.close()
                    for other in (channel, ended, woken, reply, *replies.values()):
                        other.close()
                    _become(json.loads(request), files[1], files[2:])
                for number in files[1:]:
                    os.close(number)
                replies[pid] = reply
                # who asks may have been killed
                with contextlib.suppress(OSError):
                    reply.send(str(pid).encode())


def _tell_ends(replies: dict[int, socket.socket]) -> None:
    for pid in list(replies):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            with replies.pop(pid) as reply, contextlib.suppress(OSError):
                reply.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], log: int, kept: list[int]) -> None:
    """Run a command line of train.py in this fork, and end it."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request["die_with_parent"]:
            die_with_parent()
        for number in (1, 2):
            os.dup2(log, number)
        os.close(log)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        status = _run(request["args"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        _end(status)


def _run(args: list[str]) -> int:
    import numpy as np
    import torch

    # a new process would have other ones
    random.seed()
    np.random.seed()
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(threads):
        # the library has read the variable of the server
        torch.set_num_threads(int(threads))
    sys.argv = ["train.py", *args]
    # above this package, so it is known by its name alone, as the program is that it stands for
    return int(sys.modules[MAIN].main(args))


def _end(status: int) -> None:
    """End this fork without what the server would do at its end, but not before its own threads have ended."""
    end_thread_pools()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def main(number: int) -> None:
    """Import, then serve.

    Args:
        number: of the socket
    """
    for name in MODULES:
        importlib.import_module(name)
    if sys.modules["torch"].cuda.is_initialized():
        # no fork could use the GPU: each cell starts a process of its own
        return
    serve(socket.socket(fileno=number))


if __name__ == "__main__":
    main(int(sys.argv[1]))
    # what waits for other threads at the end of a process has nothing to wait for
    os._exit(0)
