"""Run folders: `<root>/<experiment>/<run>/`. The only place that names paths inside them."""

import itertools
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from records import folders, launched

# the best epoch's checkpoint, and the state to resume from
BEST, LAST = "best.ckpt", "last.ckpt"
# what data the run was trained on, sample by sample
DATA_FILE = "data.safetensors"
# the process that chose the folder tells those that Lightning launches
ENVIRONMENT_VARIABLE = "FRANCESINHA_RUN_DIR"
# how long processes of a job wait for the folder that the first one makes, and how often they look, in seconds
PATIENCE, POLL = 120.0, 0.1


@dataclass
class RunOptions:
    """Where the run is kept; that of a checkpoint keeps its evaluations too, unless the command line names another.

    Args:
        root: folder of all experiments
        experiment: folder of runs that belong together; null takes the data set's name
        name: of the run; null takes the model's name. A second run of the same name gets -2, -3, ...
    """

    root: str = "runs"
    experiment: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for option in ("experiment", "name"):
            value = getattr(self, option)
            # the command line takes the last two for no name
            taken = (".", "..", "~", "null")
            if value is not None and (not value.strip() or re.search(r"[/\\\0]", value) or value.lower() in taken):
                raise ValueError(f"--run.{option} must be a plain folder name, not {value!r}")
        for option in ("root", "experiment", "name"):
            value = getattr(self, option) or ""
            if re.search(r"[\ud800-\udfff]", value):
                raise ValueError(f"--run.{option} {value!r} must be UTF-8, for TensorBoard: choose another folder")


@dataclass(frozen=True)
class RunDir:
    """Paths inside one run's folder.

    Args:
        folder: the run's folder
        made: the folders that this process has made for it, those above first
    """

    folder: Path
    made: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def config(self) -> Path:
        """The resolved configuration: it reruns the run by itself."""
        return self.folder / "config.yaml"

    @property
    def lock(self) -> Path:
        """File that is locked as long as a process writes into the folder."""
        return self.folder / ".run.lock"

    @property
    def owner(self) -> Path:
        """File that names the process which holds the lock."""
        return self.lock.with_suffix(".owner")

    @property
    def job_id(self) -> Path:
        """The id of the job whose processes share the folder."""
        return self.folder / ".run.job"

    @property
    def checkpoints(self) -> Path:
        """Folder of best.ckpt and last.ckpt."""
        return self.folder / "checkpoints"

    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        """State to resume from."""
        return self.checkpoints / "last.ckpt"

    @property
    def stack(self) -> Path:
        """A whole stack in one file."""
        return self.checkpoints / "stack.ckpt"

    @property
    def weights(self) -> Path:
        """What to evaluate: the best epoch, the last where no validation could choose, or a whole stack."""
        return next((path for path in (self.best, self.stack) if path.is_file()), self.last)

    @property
    def state(self) -> Path | None:
        """The newest state to resume from; None before there is one."""
        # in earlier versions Lightning saved one beside ours when SLURM ended the job
        saved = [*([self.last] if self.last.is_file() else []), *self.folder.glob("hpc_ckpt_*.ckpt")]
        return max(saved, key=lambda path: path.stat().st_mtime, default=None)

    @property
    def resumable(self) -> bool:
        """Whether there is a state to resume from."""
        return self.state is not None

    @property
    def result(self) -> Path:
        """Final metrics and what is needed to believe them."""
        return self.folder / "result.json"

    @property
    def predictions(self) -> Path:
        """Ids, labels and logits of each evaluated split."""
        return self.folder / "predictions.safetensors"

    @property
    def tables(self) -> tuple[Path, ...]:
        """The predictions on the test and validation splits as tables."""
        return tables_of(self.predictions)

    @property
    def logits(self) -> Path:
        """Members' logits that a stack's heads were fitted and tested on."""
        return self.folder / "logits.safetensors"

    @property
    def data(self) -> Path:
        """What data the run was trained on, sample by sample."""
        return self.folder / DATA_FILE

    @property
    def speed(self) -> Path:
        """How many ms the model takes for an image, by device and setting."""
        return self.folder / "speed.json"

    @property
    def metrics(self) -> Path:
        """What was logged, a row a step or epoch."""
        return self.folder / "metrics.csv"

    @property
    def inspection(self) -> Path:
        """What `inspect` found in the data."""
        return self.folder / "inspect.json"

    @property
    def unreadable(self) -> Path:
        """The files that `inspect` could not read, one a row."""
        return self.folder / "unreadable.csv"

    @property
    def tuned(self) -> Path:
        """Config fragment that `tune` writes."""
        return self.folder / "tune.yaml"

    @property
    def ledger(self) -> Path:
        """Folder under the root of all runs that says who looked at which test split."""
        return self.folder.absolute().parent.parent / ".ledger"

    @property
    def export_card(self) -> Path:
        """What `export` says of the files that it has made of the run's model."""
        return self.folder / "export/export.json"

    @property
    def figures(self) -> Path:
        """Folder of pictures."""
        return self.folder / "figures"

    @property
    def predicted(self) -> Path:
        """Table that `predict` writes."""
        return self.folder / "predicted.csv"


def table_of(predictions: Path, split: str) -> Path:
    """Return the table beside a predictions.safetensors that holds those on a split.

    Example:
        >>> table_of(Path("run/predictions.safetensors"), "test").name
        'predictions.csv'
    """
    return predictions.with_name("predictions.csv" if split == "test" else f"predictions_{split}.csv")


def tables_of(predictions: Path) -> tuple[Path, ...]:
    """Return the tables that may lie beside a predictions.safetensors."""
    return table_of(predictions, "test"), table_of(predictions, "val")


def projector_config(folder: Path) -> Path:
    """Return where TensorBoard looks for the embeddings of a run."""
    return folder / "projector_config.pbtxt"


def snake_case(name: str) -> str:
    """Turn a class name into a folder name.

    Example:
        >>> snake_case("SmallCNN"), snake_case("FashionMNIST"), snake_case("EfficientNet"), snake_case("ConvNeXt")
        ('small_cnn', 'fashion_mnist', 'efficientnet', 'convnext')
    """
    # the names of networks are one word
    return re.sub(r"(?<=[a-z])(?=[A-Z])(?!Net|NeXt|Xt)", "_", name).lower()


def _candidates(folder: Path, name: str) -> Iterator[Path]:
    yield folder / name
    yield from (folder / f"{name}-{number}" for number in itertools.count(2))


def claim(folder: Path, name: str) -> list[Path]:
    """Make a new folder: `name`, or the first free `name-2`, `name-3`, ...

    Two processes never get the same one, because making a folder is atomic.

    Args:
        folder: where
        name: of the folder

    Returns:
        what was made, the folders above first
    """
    above = make_folder(folder)
    for candidate in _candidates(folder, name):
        try:
            return above + make_folder(candidate, exist_ok=False)
        except FileExistsError:
            continue
    raise AssertionError("names do not run out")


def unclaimed(folder: Path, name: str) -> Path:
    """Return the folder that `claim` would make now."""
    return next(candidate for candidate in _candidates(folder, name) if not candidate.exists())


def make_folder(path: Path, exist_ok: bool = True) -> list[Path]:
    """Make a folder, and those above it.

    Args:
        path: of the folder
        exist_ok: whether it may be there already

    Returns:
        what was made, the folders above first

    Raises:
        FileExistsError: it is there, and must not be
        OSError: it cannot be made; the message names the option
    """
    try:
        return folders.make_folder(path, exist_ok)
    except OSError as error:
        if isinstance(error, FileExistsError) and not exist_ok:
            raise
        file = next((above for above in (path, *path.parents) if above.is_file()), None)
        reason = f"{file} is a file" if file else error.strerror
        raise OSError(f"the run's folder cannot be made in {path}: {reason}; choose another by --run.root") from error


def newest(folder: Path, name: str) -> RunDir | None:
    """Find the newest run of a name that has a checkpoint.

    Args:
        folder: the experiment's folder
        name: of the run, without its number
    """
    pattern = re.compile(re.escape(name) + r"(-[\w.]+)*")
    paths = folder.iterdir() if folder.is_dir() else iter(())
    runs = [RunDir(path) for path in paths if pattern.fullmatch(path.name)]
    # a run's folder also changes when it is tested; its last checkpoint does not
    trained = [(run.last.stat().st_mtime, run) for run in runs if run.last.is_file()]
    return max(trained, key=lambda pair: pair[0])[1] if trained else None


def choose(folder: Path, name: str) -> RunDir:
    """Choose the folder of a new run, the same for all of its processes.

    Processes that Lightning launches get it from the one that launched them, and those of a job that `submit` has
    written from its script. Under SLURM or torchrun all start at once: the first one makes the folder and leaves the
    job's id in it, by which the others, and a requeued job, find it.

    Args:
        folder: the experiment's
        name: of the run

    Raises:
        OSError: it cannot be made, or is not seen by this process
    """
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 and ENVIRONMENT_VARIABLE in os.environ:
        return RunDir(Path(os.environ[ENVIRONMENT_VARIABLE]))
    job, given = launched.job_id(), os.environ.get(launched.JOB_FOLDER)
    made: list[Path] = []
    if given:
        path = Path(given)
        made = make_folder(path) if launched.is_first_process() else []
    elif job is None:
        made = claim(folder, name)
        path = made[-1]
    elif launched.was_restarted() and (before := _of_job(folder, name, job)):
        path = next((run.folder for run in reversed(before) if run.resumable), before[-1].folder)
    elif launched.is_first_process():
        made = claim(folder, name)
        path = made[-1]
        RunDir(path).job_id.write_text(job)
    else:
        path = _made_by_the_first(folder, name, job)
    os.environ[ENVIRONMENT_VARIABLE] = str(path)
    return RunDir(path, tuple(made))


def _of_job(folder: Path, name: str, job: str) -> list[RunDir]:
    """Return the runs that a job has begun, the oldest first."""
    runs = []
    # listed, because a file system of a network may remember that a folder was not there
    there = set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208
    for candidate in _candidates(folder, name):
        if candidate.name not in there:
            break
        run = RunDir(candidate)
        if run.job_id.is_file() and run.job_id.read_text() == job:
            runs.append(run)
    # earlier versions put the job's id into the name
    return runs or [run for run in (RunDir(folder / f"{name}-{job}"),) if run.folder.name in there]


def _made_by_the_first(folder: Path, name: str, job: str) -> Path:
    """Wait for the folder that the first process makes; it has no checkpoint yet, as an earlier run of the job has."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := [run for run in _of_job(folder, name, job) if not run.resumable]:
            return found[-1].folder
        time.sleep(POLL)
    raise OSError(
        f"the first process of job {job} has made no folder in {folder} that this process, on "
        f"{socket.gethostname()}, sees after {PATIENCE:.0f} s: --run.root must be on a file system of all nodes"
    )


def of_checkpoint(checkpoint: Path) -> RunDir | None:
    """Return the run that a checkpoint belongs to, or None if it lies outside one."""
    path = checkpoint if len(checkpoint.parts) > 2 else checkpoint.absolute()
    return RunDir(path.parent.parent) if path.parent.name == "checkpoints" else None


def unique_names(paths: list[Path]) -> list[str]:
    """Name each base by its run folder; a number is added where names repeat."""
    names = [p.parent.parent.name if p.parent.name == "checkpoints" else p.stem for p in paths]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: number + 1].count(name)})"
        for number, name in enumerate(names)
    ]
