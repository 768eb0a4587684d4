"""Options of `python train.py submit`: what a job asks the cluster for."""

import re
from dataclasses import dataclass, field, fields

from common.ranges import OptionError, check_range

# minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, days-hours:minutes:seconds
TIME = re.compile(r"(?:(\d+)-(\d+)(?::(\d+)(?::(\d+))?)?|(\d+)(?::(\d+)(?::(\d+))?)?)")
MEMORY = re.compile(r"[1-9]\d*[KMGT]?")
TASKS = re.compile(r"(\d+(?:-\d+(?::\d+)?)?(?:,\d+(?:-\d+(?::\d+)?)?)*)(?:%(\d+))?")
# tasks that SLURM takes in an array, unless the cluster says otherwise
MOST_TASKS = 1000
# what `sbatch` calls the options that have a name here, or that the script needs
OWN = {
    "--nodes": "nodes", "-N": "nodes", "--gpus-per-node": "gpus", "--gpus": "gpus", "-G": "gpus", "--gres": "gpus",
    "--ntasks-per-node": "processes", "--ntasks": "processes", "-n": "processes", "--cpus-per-task": "cpus",
    "-c": "cpus", "--mem": "memory", "--time": "time", "-t": "time", "--partition": "partition", "-p": "partition",
    "--account": "account", "-A": "account", "--array": "array", "-a": "array", "--requeue": "requeue",
    "--no-requeue": "requeue", "--signal": "signal_seconds",
}  # fmt: skip


@dataclass
class ClusterOptions:
    """What a job asks for, whichever command it runs.

    Args:
        nodes: machines of the job; stack, sweep and distill run on one
        gpus: GPUs of each node
        processes: processes of each node that train together; null starts one for each GPU, or one
        cpus: cores of each process; stack, sweep and distill divide them among their cells
        memory: of each node, such as 64G; null leaves it to the cluster
        time: limit of the job, as HH:MM:SS or D-HH:MM:SS
        partition: of the cluster; null leaves it to the cluster
        account: that the time is charged to
        array: numbers of tasks, such as 0-9 or 0-99%8 (eight at once); in the command, {task} stands for the number
        requeue: at the time limit, save and queue the job again; it then continues. Lost nodes requeue it, too
        signal_seconds: how long before the time limit the run is told to save
        setup: shell commands before the run, such as "module load cuda"
        sbatch: further options of sbatch, such as ["--constraint=a100"]
        dry_run: print the script, write nothing and submit nothing
    """

    nodes: int = 1
    gpus: int = 0
    processes: int | None = None
    cpus: int = 4
    memory: str | None = None
    time: str = "04:00:00"
    partition: str | None = None
    account: str | None = None
    array: str | None = None
    requeue: bool = True
    signal_seconds: int = 90
    setup: str = ""
    sbatch: list[str] = field(default_factory=list)
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name, interval in (
            ("nodes", "[1, inf)"),
            ("gpus", "[0, inf)"),
            ("processes", "[1, inf)"),
            ("cpus", "[1, inf)"),
            ("signal_seconds", "[1, 65535]"),
        ):
            check_range(f"--{name}", getattr(self, name), interval)
        if self.memory is not None and not MEMORY.fullmatch(self.memory):
            raise OptionError("--memory", f"takes a size such as 64G or 500M, not {self.memory!r}")
        for name in ("partition", "account"):
            if re.search(r"\s", getattr(self, name) or ""):
                raise OptionError(f"--{name}", f"takes one name, not {getattr(self, name)!r}")
        if self.requeue and self.seconds <= self.signal_seconds:
            raise OptionError(
                "--time", f"{self.time} leaves no time before --signal_seconds {self.signal_seconds}: raise the first"
            )
        if self.gpus and self.processes not in (None, self.gpus):
            raise OptionError(
                "--processes", f"{self.processes} and --gpus {self.gpus}: each process has one GPU; leave out the first"
            )
        self._check_sbatch()
        if self.array is not None:
            self.tasks  # noqa: B018

    def _check_sbatch(self) -> None:
        for option in self.sbatch:
            name = re.split(r"[\s=]", option)[0]
            if not option.startswith("-") or "\n" in option:
                raise OptionError("--sbatch", f'takes options of sbatch, such as ["--constraint=a100"], not {option!r}')
            if name in OWN:
                raise OptionError("--sbatch", f"{option} and --{OWN[name]}: give it by --{OWN[name]} alone")
            if name in ("--output", "-o", "--error", "-e", "--chdir", "-D", "--open-mode"):
                raise OptionError("--sbatch", f"{option}: logs go into the run's folder, which --run.name chooses")

    @property
    def seconds(self) -> int:
        """The time limit.

        Raises:
            OptionError: it is no time
        """
        found = TIME.fullmatch(self.time.strip())
        if found is None:
            raise OptionError("--time", f"takes a time as HH:MM:SS or D-HH:MM:SS, not {self.time!r}")
        days, *rest = (int(part or 0) for part in found.groups())
        if found[1] is not None:
            hours, minutes, seconds = rest[:3]
        elif found[7] is not None:
            hours, minutes, seconds = rest[3:]
        else:
            # without hours the first number is minutes
            hours, (minutes, seconds) = 0, rest[3:5]
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def processes_per_node(self) -> int:
        """Processes that train together on a node."""
        return self.processes or self.gpus or 1

    @property
    def all_processes(self) -> int:
        """Processes that train together."""
        return self.nodes * self.processes_per_node

    @property
    def tasks(self) -> list[int]:
        """The numbers of the array's tasks; empty without an array.

        Raises:
            OptionError: it is no array
        """
        if self.array is None:
            return []
        found = TASKS.fullmatch(self.array.replace(" ", ""))
        numbers: set[int] = set()
        for part in found[1].split(",") if found else ():
            first, _, rest = part.partition("-")
            last, _, step = rest.partition(":")
            numbers |= set(range(int(first), int(last or first) + 1, int(step or 1) or 1))
        if not numbers or (found is not None and found[2] == "0"):
            raise OptionError("--array", f"takes numbers such as 0-9, 1,3,5 or 0-99%8, not {self.array!r}")
        if len(numbers) > MOST_TASKS:
            raise OptionError("--array", f"{self.array} has {len(numbers):,} tasks: at most {MOST_TASKS:,} at once")
        return sorted(numbers)


NAMES = tuple(each.name for each in fields(ClusterOptions))
