"""Commands and functions in processes of their own, forked from one that has imported what is slow to import."""

import importlib
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.cells import warm, warm_server
from pipelines.main import main
from tests.helpers.disk import no_wait_for_the_disk

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = REPOSITORY / "train.py"
# what a command imports when it needs it
LAZY = ["sklearn.datasets", "torch.utils.tensorboard", "matplotlib.figure", "matplotlib.backends.backend_agg"]


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Args:
        returncode: its exit status; minus the number of the signal that killed it
        stdout: what it printed
        stderr: what it printed as errors
    """

    returncode: int
    stdout: str
    stderr: str


class Started:
    """A process of its own, with files for what it prints.

    Args:
        function: what it runs
        args: of the function
        environment: variables beside those of this process
        new_session: whether it leads a process group of its own
    """

    def __init__(
        self,
        function: Callable[..., object],
        *args: object,
        environment: dict[str, str] | None = None,
        new_session: bool = False,
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.files = [Path(self.folder.name) / name for name in ("stdout", "stderr")]
        variables = {**os.environ, **(environment or {})}
        self.process = warm_context().Process(
            target=_run, args=(function, args, Path.cwd(), variables, self.files, new_session)
        )
        self.process.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self.process.pid is not None
        return self.process.pid

    def join(self, seconds: float = 300) -> None:
        """Wait for its end, or for some seconds."""
        self.process.join(seconds)

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        self.process.kill()
        self.process.join()

    def ended(self, seconds: float = 300) -> Ended:
        """Wait for its end, and return how it ended; one that takes longer is killed."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.kill()
        stdout, stderr = (path.read_text() if path.is_file() else "" for path in self.files)
        self.folder.cleanup()
        assert self.process.exitcode is not None
        return Ended(self.process.exitcode, stdout, stderr)


def start(*args: object, environment: dict[str, str] | None = None, new_session: bool = False) -> Started:
    """Start a command, as `python train.py` does, in this process's folder."""
    words = [str(arg) for arg in args]
    return Started(in_main, words, environment=environment, new_session=new_session)


def start_cells(*args: object) -> Started:
    """Start a command with cells; the process that forks them is forked too, and need not import."""
    return Started(_with_cells, [str(arg) for arg in args])


def run_command(*args: object) -> Ended:
    """Run a command, as `python train.py` does, in this process's folder."""
    return start(*args).ended()


def run_all(*commands: tuple[object, ...]) -> list[int]:
    """Run commands one after the other, each in a process of its own, and return their exit statuses."""
    return [run_command(*command).returncode for command in commands]


def ranks(function: Callable[..., object], *args: object) -> list[Ended]:
    """Run a function in two processes that are told what torchrun tells the two ranks of a job."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": port, "GROUP_RANK": "0"}
    job |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    both = [
        Started(function, *args, environment={**job, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in (0, 1)
    ]
    return [one.ended() for one in both]


def run_ranks(*args: object) -> Ended:
    """Run a command on two processes, and return how the first one ended.

    Lightning's launcher would start the second one from nothing; tests of the launcher itself use `run_command`.
    """
    first, second = ranks(in_main, [str(arg) for arg in args])
    assert first.returncode or second.returncode == 0, second.stdout + second.stderr
    return first


def warm_context() -> multiprocessing.context.ForkServerContext:
    """Processes of `multiprocessing` that are forked from one that has imported what is slow to import."""
    # the server does not know the path of its own
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    context = multiprocessing.get_context("forkserver")
    commands = ["pipelines.cli.image_cli", "pipelines.stack.command", "pipelines.stack.second_stage"]
    context.set_forkserver_preload([*commands, "timm", *LAZY, "tests.helpers.warm", "tests.helpers.frozen"])
    return context


def _run(function, args, folder, environment, files, new_session):
    if new_session:
        os.setsid()
    # a shell starts what runs in its background with Ctrl-C ignored, and the tests may run there
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in zip((1, 2), files, strict=True):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    torch.set_num_threads(1)
    no_wait_for_the_disk()
    function(*args)


class ForkedServer(warm.WarmServer):
    """The server of cells, as a fork of this process."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self._process = _Forked(os.fork())
        if not self._process.pid:
            # it ends when this end is closed, wherever
            self._channel.close()
            try:
                for name in warm_server.MODULES:
                    importlib.import_module(name)
                warm_server.serve(theirs)
            finally:
                os._exit(0)
        theirs.close()


class _Forked:
    def __init__(self, pid):
        self.pid, self.status = pid, None

    def poll(self):
        if self.status is None:
            self.status = os.waitpid(self.pid, os.WNOHANG)[0] or None
        return self.status

    def wait(self):
        os.waitpid(self.pid, 0)


def _with_cells(words):
    warm.WarmServer = ForkedServer
    in_main(words)


def in_main(words: Sequence[str]) -> None:
    """Run a command and end this process, as `python train.py` does."""
    sys.argv = [str(TRAIN), *words]
    sys.exit(main(words))
