"""Where the cells of a stack run: on this machine, or as jobs of a cluster."""

import os
import shlex
import shutil
import signal
import sys
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar, Literal

from common.machine import core_count, visible_gpus
from common.ranges import check_ranges
from pipelines.cells import die_with_parent
from pipelines.cells.process import SLOT
from records.versions import REPOSITORY


class CellExecutor(ABC):
    """Options of what runs the cells; `open` makes the `concurrent.futures.Executor`."""

    # whether that is on other machines, which have what the members need, such as GPUs
    elsewhere: ClassVar[bool] = False
    # an option of each: whether cells are forked from a process that has imported what they need
    warm: bool

    @abstractmethod
    def open(self, folder: Path, count: int) -> Executor:
        """Start what runs the cells.

        Args:
            folder: the experiment's, which all workers must see
            count: how many cells are to run
        """

    @abstractmethod
    def close(self, pool: Executor) -> None:
        """End what `open` has started, with all that waits in it.

        Args:
            pool: what `open` returned
        """

    @abstractmethod
    def slots(self, count: int) -> int:
        """Return how many cells run at once at most.

        Args:
            count: how many cells are to run
        """


@dataclass(eq=False)
class LocalExecutor(CellExecutor):
    """Run cells as processes of this machine.

    Args:
        jobs: cells that run at once; null runs `cells_per_gpu` on each GPU, or one on each core where there is no GPU
        cells_per_gpu: small cells may share a GPU
        threads: threads of each cell; null divides the cores evenly among the cells
        warm: fork cells from one process that has imported torch and this project, where that is possible (Linux)
    """

    jobs: int | None = None
    cells_per_gpu: int = 1
    threads: int | None = None
    warm: bool = True

    def __post_init__(self) -> None:
        check_ranges("--executor", self, dict.fromkeys(("jobs", "cells_per_gpu", "threads"), "[1, inf)"))

    def slots(self, count: int) -> int:
        """Return how many cells run at once: as many as fit."""
        fit = self.jobs or len(visible_gpus()) * self.cells_per_gpu or max(1, core_count() // (self.threads or 1))
        return max(1, min(fit, count))

    def environments(self, count: int) -> list[dict[str, str]]:
        """Return what each of the cells that run at once sees of the machine, as variables of its process.

        Args:
            count: how many cells are to run
        """
        jobs, gpus = self.slots(count), visible_gpus()
        environments: list[dict[str, str]] = [{} for _ in range(jobs)]
        # one cell alone uses all cores; a number of the user's own stands
        threads = self.threads or (core_count() // jobs if jobs > 1 and "OMP_NUM_THREADS" not in os.environ else None)
        for number, environment in enumerate(environments):
            if threads is not None:
                environment["OMP_NUM_THREADS"] = str(max(1, threads))
            if gpus:
                environment["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        return environments

    def open(self, folder: Path, count: int) -> Executor:
        """Start threads, each of which waits for one process at a time."""
        slots: SimpleQueue[dict[str, str]] = SimpleQueue()
        for environment in self.environments(count):
            slots.put(environment)
        return ThreadPoolExecutor(slots.qsize(), "cell", initializer=_take_slot, initargs=(slots,))

    def close(self, pool: Executor) -> None:
        """Wait for what runs; what waits never starts."""
        pool.shutdown(cancel_futures=True)


def _take_slot(slots: "SimpleQueue[dict[str, str]]") -> None:
    SLOT.environment = slots.get_nowait()


@dataclass(eq=False)
class ParslExecutor(CellExecutor):
    """Run cells in jobs of a SLURM cluster, by Parsl (the extra `cluster`).

    A block is one job of `nodes_per_block` nodes, on each of which `cells_per_node` cells run at once. Blocks are asked
    for as long as cells wait, up to `max_blocks`, and are given back when there is nothing left to do. The command
    itself stays on the node where it was started and only waits: the second stage runs as one more job.

    Args:
        provider: slurm, or local for the same without a cluster
        partition: of the cluster; null leaves it to the cluster
        account: the account that the time is charged to
        walltime: of a block, as HH:MM:SS. A cell that it cuts off continues in the next block, as a retry
        max_blocks: blocks at once
        nodes_per_block: nodes of a block
        cells_per_node: cells that run on a node at once
        cores_per_cell: cores of each
        gpus_per_node: GPUs asked for on each node; its cells are dealt out to them
        mem_per_node: memory asked for on each node, in GB; null leaves it to the cluster
        exclusive: ask for nodes that are shared with no other job
        scheduler_options: further lines for the job's script, such as "#SBATCH --constraint=a100"
        worker_init: shell commands before the workers start, such as "module load cuda"
        warm: each worker forks its cells from one process that has imported torch and this project
    """

    elsewhere: ClassVar[bool] = True
    provider: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    account: str | None = None
    walltime: str = "04:00:00"
    max_blocks: int = 4
    nodes_per_block: int = 1
    cells_per_node: int = 1
    cores_per_cell: int = 4
    gpus_per_node: int = 0
    mem_per_node: int | None = None
    exclusive: bool = False
    scheduler_options: str = ""
    worker_init: str = ""
    warm: bool = True

    def __post_init__(self) -> None:
        counts = ("max_blocks", "nodes_per_block", "cells_per_node", "cores_per_cell", "mem_per_node")
        check_ranges("--executor", self, {**dict.fromkeys(counts, "[1, inf)"), "gpus_per_node": "[0, inf)"})
        if 0 < self.cells_per_node < self.gpus_per_node:
            raise ValueError(
                f"--executor.cells_per_node {self.cells_per_node} would leave some of --executor.gpus_per_node "
                f"{self.gpus_per_node} idle: a cell gets one GPU"
            )
        if self.provider == "local" and self.nodes_per_block > 1:
            raise ValueError("--executor.provider local has one node: leave out --executor.nodes_per_block")

    def slots(self, count: int) -> int:
        """Return how many cells run at once when all blocks run."""
        return min(count, self.max_blocks * self.nodes_per_block * self.cells_per_node)

    def open(self, folder: Path, count: int) -> Executor:
        """Start Parsl; its own files go into the experiment's folder.

        Raises:
            ValueError: Parsl is not installed, or there is no SLURM here
        """
        if self.provider == "slurm" and shutil.which("sbatch") is None:
            raise ValueError(
                "executor ParslExecutor with provider slurm needs sbatch: start it on a login node of the cluster"
            )
        try:
            from parsl import Config
            from parsl.concurrent import ParslPoolExecutor
            from parsl.executors import HighThroughputExecutor
        except ImportError as error:
            raise ValueError(
                f"executor ParslExecutor needs the extra cluster: pip install 'francesinha[cluster]' ({error})"
            ) from error
        gpus = [str(number % self.gpus_per_node) for number in range(self.cells_per_node)] if self.gpus_per_node else []
        workers = HighThroughputExecutor(
            label="cells",
            provider=self._provider(),
            cores_per_worker=self.cores_per_cell,
            max_workers_per_node=self.cells_per_node,
            available_accelerators=gpus,
            interchange_launch_cmd=[
                sys.executable,
                die_with_parent.__file__,
                sys.executable,
                _script("interchange.py"),
            ],
            # logs of the workers, beside Parsl's own
            worker_logdir_root=str((folder / "parsl").absolute()),
        )
        config = Config(executors=[workers], run_dir=str(folder / "parsl"), exit_mode="skip")
        with _without_ctrl_c():
            return ParslPoolExecutor(config)

    def _provider(self) -> Any:
        from parsl.launchers import SingleNodeLauncher, SrunLauncher
        from parsl.providers import LocalProvider, SlurmProvider

        # a worker finds this code, and the Python that it runs on
        lines = (
            self.worker_init,
            f"cd {shlex.quote(str(Path.cwd()))}",
            f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
            f"export PYTHONPATH={shlex.quote(str(REPOSITORY))}:$PYTHONPATH",
            f"export OMP_NUM_THREADS={self.cores_per_cell}",
        )
        worker_init = "\n".join(line for line in lines if line)
        if self.provider == "local":
            return LocalProvider(init_blocks=1, max_blocks=self.max_blocks, worker_init=worker_init)
        return SlurmProvider(
            partition=self.partition,
            account=self.account,
            walltime=self.walltime,
            nodes_per_block=self.nodes_per_block,
            max_blocks=self.max_blocks,
            cores_per_node=self.cells_per_node * self.cores_per_cell,
            mem_per_node=self.mem_per_node,
            gpus_per_node=self.gpus_per_node or None,
            exclusive=self.exclusive,
            scheduler_options=self.scheduler_options,
            worker_init=worker_init,
            launcher=SrunLauncher() if self.nodes_per_block > 1 else SingleNodeLauncher(),
        )

    def close(self, pool: Executor) -> None:
        """Give the blocks back."""
        # it would wait for cells whose block has not started yet
        pool.shutdown(wait=False)


def _script(name: str) -> str:
    beside = Path(sys.executable).parent
    return shutil.which(name, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}") or name


class _without_ctrl_c:  # noqa: N801
    """Start processes that Ctrl-C leaves alone: they carry the cells' answers while those stop."""

    def __enter__(self) -> None:
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __exit__(self, *error: object) -> None:
        if self.main:
            signal.signal(signal.SIGINT, self.earlier)
