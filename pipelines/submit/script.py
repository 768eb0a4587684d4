"""The script that `sbatch` takes."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.cells import process
from pipelines.submit.options import ClusterOptions
from records.job_file import SCRIPT
from records.launched import JOB_FOLDER

# stands for the number of an array's task in a command line
TASK = "{task}"


@dataclass(frozen=True)
class Job:
    """A command, and where it runs.

    Args:
        options: what it asks for
        command: such as fit
        args: its command line after the command
        folder: of the run or the experiment; of an array, the folder of the first task
        stem: of an array, the folder's path without the task's number
        asked: the folder that a new run asks for, whose name gets a number where it exists; None where a folder is
            shared or continued
        cwd: where the command line's relative paths begin
        python: that runs it
    """

    options: ClusterOptions
    command: str
    args: Sequence[str]
    folder: Path
    stem: Path | None = None
    asked: Path | None = None
    cwd: Path = field(default_factory=Path.cwd)
    python: str = sys.executable

    @property
    def digits(self) -> int:
        """Of the largest task's number: folders of hundreds of tasks sort well."""
        return len(str(max(self.options.tasks, default=0)))

    @property
    def folders(self) -> list[Path]:
        """The folder of each task; one without an array."""
        if self.stem is None:
            return [self.folder]
        return [Path(f"{self.stem}-{task:0{self.digits}}") for task in self.options.tasks]

    @property
    def log(self) -> str:
        """What it prints, relative to the folder, as sbatch names it; stacks and studies keep their logs together."""
        name = "slurm-%A_%a.log" if self.stem is not None else "slurm-%j.log"
        return name if self.command == "fit" else f"logs/{name}"

    @property
    def script(self) -> Path:
        """Where the script is kept."""
        return self.folder / SCRIPT

    def log_of(self, job: str) -> str:
        """Return the log of a job or of a task of an array, relative to its folder."""
        number, _, task = job.partition("_")
        return self.log.replace("%j", job).replace("%A", number).replace("%a", task)

    def text(self) -> str:
        """Return the script."""
        lines = [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in self._asked_for()),
            "",
            *([self.options.setup.strip()] if self.options.setup.strip() else []),
            f"export {JOB_FOLDER}={self._folder_in_shell()}",
            *self._run(),
        ]
        return "\n".join(lines) + "\n"

    def _asked_for(self) -> list[str]:
        options, fits = self.options, self.command == "fit"
        folder = self.folder if self.stem is None else Path(f"{self.stem}-%{self.digits}a")
        log = str(folder.absolute() / self.log)
        run = self.folder if self.stem is None else self.stem
        name = f"{run.parent.name}/{run.name}" if fits else run.name
        if self.stem is None:
            # a percent sign of the user's own
            log = str(folder.absolute()).replace("%", "%%") + "/" + self.log
        asked = [
            f"--job-name={quoted(name)}",
            f"--output={quoted(log)}",
            "--open-mode=append",
            f"--chdir={quoted(str(self.cwd))}",
            f"--nodes={options.nodes}",
            f"--ntasks-per-node={options.processes_per_node}",
            f"--cpus-per-task={options.cpus}",
            *([f"--gpus-per-node={options.gpus}"] if options.gpus else []),
            *([f"--mem={options.memory}"] if options.memory else []),
            f"--time={options.time}",
            *([f"--partition={options.partition}"] if options.partition else []),
            *([f"--account={options.account}"] if options.account else []),
            *([f"--array={options.array}"] if options.array else []),
        ]
        if options.requeue:
            # a fit is told in all its processes; other commands stop their cells themselves
            asked += [f"--signal={'' if fits else 'B:'}SIGUSR1@{options.signal_seconds}", "--requeue"]
        else:
            asked.append("--no-requeue")
        return [*asked, *options.sbatch]

    def _folder_in_shell(self) -> str:
        if self.stem is None:
            return shlex.quote(str(self.folder.absolute()))
        number = f'$(printf "%0{self.digits}d" "$SLURM_ARRAY_TASK_ID")'
        return f"{shlex.quote(str(self.stem.absolute()))}-{number}"

    def _run(self) -> list[str]:
        words = " ".join(in_shell(word) for word in [self.python, str(process.TRAIN), self.command, *self.args])
        if self.command != "fit":
            # takes the place of the shell, so that it gets the signals
            return [f"exec {words}"]
        cores = self.options.cpus
        return [
            f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{cores}}}"',
            # a process that dies ends the others, which would wait for it
            f"exec srun --kill-on-bad-exit=1 --cpus-per-task={cores} {words}",
        ]


def quoted(text: str) -> str:
    """Quote a value for a line of #SBATCH, if it needs that.

    Example:
        >>> quoted("/runs/a"), quoted("/my runs/a")
        ('/runs/a', '"/my runs/a"')
    """
    plain = text.replace("%", "").replace("/", "").replace(".", "").replace("-", "").replace("_", "").isalnum()
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def in_shell(word: str) -> str:
    """Quote a word for the shell; the number of a task is put in where the job runs.

    Example:
        >>> in_shell("--seed_everything={task}"), in_shell("[a, b]")
        ('--seed_everything="${SLURM_ARRAY_TASK_ID}"', "'[a, b]'")
    """
    variable = '"${SLURM_ARRAY_TASK_ID}"'
    return variable.join(shlex.quote(part) if part else "" for part in word.split(TASK)) or "''"
