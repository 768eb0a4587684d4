"""`python train.py submit`: write a command's script for SLURM, and hand it to sbatch."""

import itertools
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from common import class_paths, slurm
from common.few import count_of
from pipelines.cells.process import environment
from pipelines.cli.errors import UsageError
from pipelines.submit.options import ClusterOptions
from pipelines.submit.script import TASK, Job
from pipelines.submit.words import divide, read_options
from records import run_dir
from records.folders import take_back
from records.job_file import JobFile
from records.whole_file import write_whole

# checks the command line of a command with cells; returns its folder, and a command line that continues in it
CheckCells = Callable[[str, list[str]], tuple[Path, list[str]]]


def main(args: list[str], check_cells: CheckCells) -> int:
    """Run `python train.py submit`.

    Args:
        args: the command line after `submit`
        check_cells: checks the command line of stack, sweep and distill

    Returns:
        the exit status

    Raises:
        UsageError: an option or the command is wrong; nothing is submitted then
    """
    own, command, theirs = divide(args)
    options = read_options(own)
    check_array(options, theirs)
    job = job_of_fit(options, theirs) if command == "fit" else job_of_cells(options, command, theirs, check_cells)
    console = Console()
    if options.dry_run:
        console.out(job.text(), end="", highlight=False)
        return 0
    submit(job, console)
    return 0


def check_array(options: ClusterOptions, args: Sequence[str]) -> None:
    """Refuse an array whose tasks would all do the same, and a task's number without an array.

    Raises:
        UsageError: it is one of these
    """
    named = any(TASK in word for word in args)
    for word, following in itertools.pairwise([*args, ""]):
        name, equals, value = word.partition("=")
        if name.startswith("--run.") and TASK in (value if equals else following):
            raise UsageError(f"{name} with {TASK}: the run of each task has the task's number in its name anyway")
    if options.array is not None and not named:
        raise UsageError(
            f"--array {options.array} would run the same command in each task: use the task's number in it, such as "
            f"--seed_everything {TASK}"
        )
    if named and options.array is None:
        raise UsageError(f"{TASK} is the number of an array's task: add --array, such as --array 0-9")


def job_of_fit(options: ClusterOptions, args: list[str]) -> Job:
    """Check a fit, and choose the folder of its run.

    Args:
        options: of the job
        args: the command line after `fit`

    Raises:
        ValueError: the command line is wrong, or contradicts the job
    """
    # slow to import, and not needed for help or a wrong option
    from pipelines.submit.fits import check_fit

    if options.array is None:
        asked, continues, added = check_fit(args, options)
        words = [*args, *added, *class_paths.options()]
        if continues:
            return Job(options, "fit", words, asked)
        return Job(options, "fit", words, run_dir.unclaimed(asked.parent, asked.name), asked=asked)
    tasks = options.tasks
    for task in dict.fromkeys((tasks[-1], tasks[0])):
        asked, continues, added = check_fit([word.replace(TASK, str(task)) for word in args], options)
        if continues:
            raise UsageError("--array and --ckpt_path of a run's folder: all tasks would continue the same run")
    job = Job(options, "fit", [*args, *added, *class_paths.options()], asked, asked)
    job = Job(options, "fit", [*args, *added, *class_paths.options()], job.folders[0], asked)
    if there := [folder for folder in job.folders if folder.exists()]:
        raise UsageError(f"{there[0]}/ is there already: name the runs of the array by --run.name NAME")
    return job


def job_of_cells(options: ClusterOptions, command: str, args: list[str], check_cells: CheckCells) -> Job:
    """Check a command with cells, and choose its folder.

    Args:
        options: of the job
        command: such as stack
        args: the command line after it
        check_cells: checks it

    Raises:
        ValueError: the command line is wrong, or contradicts the job
    """
    for name, value, most in (
        ("nodes", options.nodes, 1),
        ("processes", options.processes or 1, 1),
        ("array", options.array, None),
    ):
        if value != most:
            raise UsageError(
                f"--{name} {value} and {command}: the command itself is one process on one node, and its cells share "
                f"the node; for cells on several nodes add --config configs/cluster/slurm.yaml to the command"
            )
    folder, again = check_cells(command, args)
    return Job(options, command, [*again, *class_paths.options()], folder)


def submit(job: Job, console: Console) -> None:
    """Write the script and hand it to SLURM.

    Args:
        job: what to run
        console: where to say so

    Raises:
        UsageError: there is no SLURM here, or it refuses the job; nothing is left then
    """
    refuse_second(job)
    made: list[list[Path]] = []
    try:
        if job.asked is not None:
            # another one may have taken the name since
            made.append(run_dir.claim(job.asked.parent, job.asked.name))
            job = replace(job, folder=made[0][-1])
        for folder in job.folders:
            # two arrays of one name must not share folders
            made.append(run_dir.make_folder(folder, exist_ok=job.stem is None))
            run_dir.make_folder(folder / Path(job.log).parent)
        with write_whole(job.script) as partial:
            # names of files as the shell will read them, whatever this terminal's encoding
            partial.write_bytes(os.fsencode(job.text()))
        number = sbatch(job.script)
    except BaseException:
        for folders in reversed(made):
            take_back(folders, lambda file: file == job.script)
        raise
    tasks = job.options.tasks
    ids = [f"{number}_{task}" for task in tasks] if tasks else [number]
    command = ["python", "train.py", job.command, *job.args]
    for folder, each in zip(job.folders, ids, strict=True):
        JobFile(each, command, job.log_of(each)).write(folder)
    place = f"{job.stem}-*/ ({count_of(len(tasks), 'run')})" if tasks else f"{job.folder}/"
    above = job.folder.parent if job.command == "fit" else job.folder
    console.print(f"submitted job {number}: {place}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"log:       {job.folder / job.log_of(ids[0])}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"status:    python train.py status {above}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"cancel:    scancel {number}", soft_wrap=True, highlight=False, markup=False)


def refuse_second(job: Job) -> None:
    """Refuse a second job for a folder that one works in, or is going to.

    Raises:
        UsageError: there is one
    """
    before = JobFile.read(job.folder) if job.asked is None else None
    state = (slurm.queued() or {}).get(before.job) if before is not None else None
    if before is not None and state is not None:
        raise UsageError(
            f"{job.folder}/ has job {before.job} in the queue ({state[0].lower()}): wait for it, "
            f"or scancel {before.job}"
        )


def sbatch(script: Path) -> str:
    """Hand a script to SLURM; return the job's id.

    Raises:
        UsageError: there is no SLURM here, or it refuses the job
    """
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(script)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment(),
        )
    except FileNotFoundError as error:
        raise UsageError(
            "there is no sbatch here: submit on a login node of the cluster, or look at the script by --dry_run"
        ) from error
    if done.returncode != 0:
        raise UsageError(f"sbatch refuses the job: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout.strip().partition(";")[0]
