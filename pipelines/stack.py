"""`python train.py stack`: train members, stack them on held-out samples, and test once."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentError
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from jsonargparse import ArgumentParser
from rich.console import Console

from callbacks import StoppedError
from pipelines import run_dir, table
from pipelines.errors import UsageError, explain_parsing
from pipelines.run_dir import RunDir

TRAIN = Path(__file__).resolve().parent.parent / "train.py"


@dataclass
class Cell:
    """One ordinary `train.py fit`.

    Args:
        name: of its run
        fragments: config files, later ones win
        options: what this cell sets beyond its fragments, by the names of the command line, such as model.dropout
    """

    name: str
    fragments: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class StackPlan:
    """Members and the meta-model over them.

    Args:
        members: the bases; each trains in a process and folder of its own
        stack: the meta-model; its bases are filled in
        experiment: folder of the runs; a second one of the same name gets -2, -3, ...
        root: folder of all experiments
        fragments: config files of every member and of the stack
        options: what every member and the stack set beyond their fragments, by the names of the command line
        jobs: members trained at once
    """

    members: list[Cell]
    stack: Cell
    experiment: str = "stack"
    root: str = "runs"
    fragments: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    jobs: int = 1

    def __post_init__(self) -> None:
        names = [cell.name for cell in (*self.members, self.stack)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two cells are named {repeated[0]!r}: names are folders and must differ")
        if not self.members:
            raise ValueError("members must name at least one cell")
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, not {self.jobs}")
        # checks the names
        for name in (self.experiment, *names):
            run_dir.RunOptions(self.root, name, name)


# variables by which a launcher tells a process its place among others
LAUNCHED = re.compile(
    rf"SLURM_|TORCHELASTIC_|MASTER_|(LOCAL_|GROUP_|NODE_)?RANK$|(LOCAL_)?WORLD_SIZE$|{run_dir.ENVIRONMENT_VARIABLE}"
)


# processes of the cells, which threads wait for
RUNNING: list[subprocess.Popen[bytes]] = []


class CellError(ValueError):
    """A cell's process failed."""


def command(plan: StackPlan, cell: Cell, folder: Path) -> list[str]:
    """Return the command line that runs a cell.

    Args:
        plan: brings what all cells share
        cell: the cell
        folder: the experiment's folder
    """
    args = ["fit"]
    for fragment in (*plan.fragments, *cell.fragments):
        args += ["--config", fragment]
    for name, value in {**plan.options, **cell.options}.items():
        # JSON is YAML: the command line reads lists and null from it
        args.append(f"--{name}={value if isinstance(value, str) else json.dumps(value)}")
    return [*args, "--run.root", str(folder.parent), "--run.experiment", folder.name, "--run.name", cell.name]


def run_process(args: list[str], log: Path, threads: int | None) -> float:
    """Run a cell's process and keep what it prints.

    Args:
        args: the command line
        log: where its output goes
        threads: that it may use for computing; None leaves the choice to torch

    Returns:
        its seconds

    Raises:
        CellError: it failed; the message holds the end of its log
    """
    # a cell is a job of its own, also where this one was started by a cluster's launcher
    environment = {name: value for name, value in os.environ.items() if not LAUNCHED.match(name)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    args = [sys.executable, str(TRAIN), *args]
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(args, stdout=file, stderr=subprocess.STDOUT, env=environment)
        RUNNING.append(process)
        try:
            status = process.wait()
        except (KeyboardInterrupt, StoppedError):
            process.terminate()
            process.wait()
            raise
        finally:
            RUNNING.remove(process)
    if status:
        tail = "\n".join(log.read_text().strip().splitlines()[-5:])
        raise CellError(f"{log.stem} failed; the end of {log}:\n{tail}")
    return time.monotonic() - start


def run_plan(plan: StackPlan, console: Console) -> RunDir:
    """Train the members, then the stack over their best checkpoints, and test it.

    Args:
        plan: what to run
        console: where to report

    Returns:
        the stack's run folder

    Raises:
        CellError: a cell failed; the others have been finished
    """
    folder = run_dir.claim(Path(plan.root), plan.experiment)
    console.print(f"{len(plan.members)} members, then the stack: {folder}/", soft_wrap=True)
    # members that train at once share the cores; one alone uses them all
    threads = max(1, (os.cpu_count() or 1) // plan.jobs) if plan.jobs > 1 else None
    failures: list[CellError] = []
    with ThreadPoolExecutor(plan.jobs) as pool:
        futures = submit_members(plan, folder, pool, threads)
        try:
            for future in as_completed(futures):
                failures += report(console, folder, futures[future], future)
        except (KeyboardInterrupt, StoppedError):
            # the others must not start
            pool.shutdown(wait=False, cancel_futures=True)
            # those that run may have got the signal too; they save their state once
            for process in list(RUNNING):
                process.terminate()
            raise
    if failures:
        raise failures[0]
    bases = [str(folder / member.name) for member in plan.members]
    stack = Cell(
        plan.stack.name, plan.stack.fragments, {"model": "StackingModule", "model.bases": bases, **plan.stack.options}
    )
    run_process(command(plan, stack, folder), folder / "logs" / f"{stack.name}.log", None)
    run = RunDir(folder / stack.name)
    # the same precision and devices as the fit; the model and data come from the checkpoint too
    test = ["test", *command(plan, stack, folder)[1:], "--ckpt_path", str(run.weights)]
    run_process(test, folder / "logs" / f"{stack.name}-test.log", None)
    return run


def report(console: Console, folder: Path, name: str, future: Future[float]) -> list[CellError]:
    """Print how a member ended; return its error, if it failed."""
    try:
        seconds = future.result()
    except CellError as error:
        console.print(f"[red]{name} failed[/]")
        return [error]
    result = json.loads(RunDir(folder / name).result.read_text())
    console.print(f"{name}: val/accuracy {result['val']['accuracy']:.4f}, {seconds:.0f} s")
    return []


def submit_members(plan: StackPlan, folder: Path, pool: Executor, threads: int | None) -> dict[Future[float], str]:
    """Hand every member to an executor; returns each future with its member's name."""
    return {
        pool.submit(
            run_process, command(plan, member, folder), folder / "logs" / f"{member.name}.log", threads
        ): member.name
        for member in plan.members
    }


def stop(number: int, frame: FrameType | None) -> None:
    """End this process and its cells after a signal."""
    raise StoppedError(number)


def main(args: list[str]) -> int:
    """Run `python train.py stack`.

    Args:
        args: the command line after `stack`

    Returns:
        the exit status
    """
    parser = ArgumentParser(prog="train.py stack", description=__doc__, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="A plan such as configs/stack/digits.yaml.")
    parser.add_class_arguments(StackPlan)
    try:
        parsed = parser.parse_args(args)
    except ArgumentError as error:
        raise UsageError(explain_parsing(str(error), parser)) from error
    options = vars(parser.instantiate(parsed))
    plan = StackPlan(**{name: value for name, value in options.items() if name != "config"})
    if threading.current_thread() is threading.main_thread():
        # as it stands, cells would outlive this process
        signal.signal(signal.SIGTERM, stop)
    console = Console()
    run = run_plan(plan, console)
    result = json.loads(run.result.read_text())
    console.print()
    console.print(table.stack_table(result))
    table.print_leakage(console, result)
    console.print(f"the stack's run: {run.folder}/", soft_wrap=True)
    console.print(f"watch all runs:  tensorboard --logdir {run.folder.parent}", soft_wrap=True)
    return 0
