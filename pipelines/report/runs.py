"""Runs for the report: find their folders, and read what each has and has not."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from torch import Tensor

from common.printable import printable
from common.spelling import nearest
from ensembling.leakage import unknown_images
from pipelines.cli.errors import UsageError
from records.damaged import DamagedFileError
from records.damaged_files import METRICS_WAY_OUT, dict_at, is_number, read_json_or_say, read_metrics, read_yaml
from records.recorded import check_recorded
from records.result_files import read_predictions
from records.run_dir import RunDir, of_checkpoint
from records.study_file import StudyFile

# folders that hold no runs, however deep
SKIPPED = frozenset({"checkpoints", "figures", "logs", "cells", "parsl", "__pycache__"})


@dataclass(frozen=True, eq=False)
class SavedPredictions:
    """What a run predicted of a split, by rising id.

    Args:
        ids: int64, shape `(sample,)`
        labels: int64, shape `(sample,)`
        logits: shape `(sample, class)`
        groups: int64, shape `(sample,)`; None where samples have none, or the file does not say
    """

    ids: Tensor
    labels: Tensor
    logits: Tensor
    groups: Tensor | None = None


@dataclass(frozen=True, eq=False)
class SavedValues:
    """What numbers a run predicted of a split.

    Args:
        ids: int64, shape `(sample,)`
        values: that are true, float64, shape `(sample,)`
        predictions: float64, shape `(sample,)`
        groups: int64, shape `(sample,)`; None where samples have none
    """

    ids: Tensor
    values: Tensor
    predictions: Tensor
    groups: Tensor | None = None


@dataclass(eq=False)
class FoundRun:
    """A run as its folder shows it.

    Args:
        files: its paths
        label: its name in the report; unique there
        result: what result.json holds; empty if there is none
        config: what config.yaml holds; empty if there is none
        state: what is missing, in words; empty if nothing is
        problems: files that cannot be read, and what does not fit together
    """

    files: RunDir
    label: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def experiment(self) -> str:
        """The folder of runs that it belongs to."""
        return printable(str(self.result.get("experiment") or self.files.folder.resolve().parent.name))

    @property
    def name(self) -> str:
        """Its own name in the experiment."""
        return printable(str(self.result.get("run") or self.files.folder.resolve().name))

    @property
    def class_names(self) -> list[str]:
        """The name of each class; empty if it does not say."""
        names = self.result.get("class_names")
        return [printable(str(name)) for name in names] if isinstance(names, list) else []

    def leaks(self, split: str) -> list[str]:
        """Return a sentence for each reason why its numbers look better than they are.

        Args:
            split: which is reported on
        """
        sentences = [str(sentence) for sentence in dict_at(self.result, "leakage").get("allowed") or []]
        overlap = dict_at(dict_at(self.result, "evaluations"), split).get("fitted_on")
        if overlap:
            sentences.append(f"the model was fitted on copies of {overlap} of the {split} samples")
        return sentences

    def marks(self, split: str) -> dict[str, str]:
        """Return the marks that are shown beside its name everywhere, with a sentence for each.

        Args:
            split: which is reported on
        """
        unknown = [str(text) for text in dict_at(self.result, "leakage").get("unknown") or []]
        files = self.result.get("unknown_images")
        if not unknown and isinstance(files, list) and files:
            unknown = [f"the model was {unknown_images(map(str, files))}"]
        changed = dict_at(dict_at(self.result, "evaluations"), split).get("data_changed")
        members = [str(text) for text in dict_at(self.result, "leakage").get("changed") or []]
        if isinstance(changed, list) and changed:
            members.append(f"the data has changed since it was trained on it: {'; '.join(map(str, changed))}")
        found = {"unknown images": "; ".join(unknown), "data changed": "; ".join(members)}
        return {mark: sentence for mark, sentence in found.items() if sentence}

    def fingerprint(self, split: str) -> str | None:
        """Return what identifies the samples of a split, if it says so."""
        evaluated = dict_at(dict_at(self.result, "evaluations"), split).get("fingerprint")
        return evaluated or dict_at(self.result, "fingerprints").get(split)

    def metrics(self, split: str) -> dict[str, float]:
        """Return the finite metrics of a split that result.json holds."""
        found = dict_at(self.result, split).items()
        return {name: float(value) for name, value in found if is_number(value) and np.isfinite(value)}

    def logged(self) -> dict[str, tuple[list[float], list[float]]]:
        """Return what it logged, as `read_metrics` does; nothing of a damaged file, which is then a problem."""
        path = self.files.metrics
        if not path.is_file():
            return {}
        try:
            check_recorded(path, self.result, METRICS_WAY_OUT, may_grow=True)
            return read_metrics(path)
        except DamagedFileError as error:
            self.problems += [str(error)] if str(error) not in self.problems else []
            return {}

    def values(self, split: str) -> SavedValues | None:
        """Read the numbers that were predicted of a split; None if there are none.

        Args:
            split: test or val

        Raises:
            ValueError: the file cannot be read, or its columns do not fit together; the message names it
        """
        path = self.files.predictions
        tensors = read_predictions(path) if path.is_file() else {}
        columns = [tensors.get(f"{split}/{name}") for name in ("id", "value", "prediction")]
        ids, values, predictions = columns
        if predictions is None:
            return None
        if ids is None or values is None or not ids.shape == values.shape == predictions.shape:
            raise ValueError(f"{path}: the columns of {split} do not fit together")
        return SavedValues(ids, values, predictions, tensors.get(f"{split}/group"))

    def predictions(self, split: str) -> SavedPredictions | None:
        """Read the predictions of a split; None if there are none.

        Args:
            split: test or val

        Raises:
            ValueError: the file cannot be read, or its columns do not fit together; the message names it
        """
        path = self.files.predictions
        if not path.is_file():
            return None
        tensors = read_predictions(path)
        if f"{split}/logits" not in tensors:
            return None
        columns = [tensors.get(f"{split}/{name}") for name in ("id", "label", "logits")]
        ids, labels, logits = columns
        groups = tensors.get(f"{split}/group")
        if (
            ids is None
            or labels is None
            or logits is None
            or logits.ndim != 2
            or not len(ids) == len(labels) == len(logits)
            or (groups is not None and groups.shape != ids.shape)
        ):
            raise ValueError(f"{path}: the columns of {split} do not fit together")
        order = ids.argsort()
        ids, labels, logits = ids[order], labels[order].long(), logits[order].float()
        if not len(ids):
            return None
        if (ids[1:] == ids[:-1]).any():
            raise ValueError(f"{path}: {split} holds the same id more than once")
        broken = int((~logits.isfinite()).any(1).sum())
        if broken:
            raise ValueError(f"{path}: {broken} of {len(ids)} {split} predictions are NaN or infinite")
        if int(labels.min()) < 0 or int(labels.max()) >= logits.shape[1]:
            raise ValueError(f"{path}: {split} has labels beyond its {logits.shape[1]} classes")
        return SavedPredictions(ids, labels, logits, None if groups is None else groups[order])


@dataclass(frozen=True)
class Missing:
    """A run without a result.

    Args:
        label: its name
        folder: where it is, or would be
        state: how far it got, in words
        val: its validation metrics, if it has any
        command: the command that continues it; empty if that is not known
    """

    label: str
    folder: Path
    state: str
    val: dict[str, float] = field(default_factory=dict)
    command: str = ""


def find_runs(paths: Sequence[Path]) -> tuple[list[FoundRun], list[Missing]]:
    """Find all runs in some folders, and those that were planned and are not there.

    Args:
        paths: run folders, folders of experiments, or folders above them

    Returns:
        runs in the order found, each folder once, and planned runs without a folder

    Raises:
        UsageError: a path is not there, or no run is in any of them
    """
    folders: dict[Path, Path] = {}
    planned: list[Missing] = []
    for path in paths:
        if not path.is_dir():
            raise UsageError(no_folder(path))
        for folder in run_folders(path, planned):
            folders.setdefault(folder.resolve(), folder)
    runs = [read_run(RunDir(folder)) for folder in folders.values()]
    planned = [run for run in planned if run.folder.resolve() not in folders]
    # a config.yaml of something else is no run
    runs = [run for run in runs if run.result or run.problems or "model" in run.config]
    if not runs and not planned:
        named = ", ".join(map(str, paths))
        raise UsageError(f"no run in {named}: a run is a folder with a config.yaml or a result.json")
    name_runs(runs)
    return runs, list({run.folder.resolve(): run for run in planned}.values())


def no_folder(path: Path) -> str:
    """Say that a path is no folder, and which one was perhaps meant."""
    if path.is_file():
        run = of_checkpoint(path)
        return f"{path} is a file: name the run's folder, {path.parent if run is None else run.folder}"
    above = path.parent
    others = [other.name for other in above.iterdir() if other.is_dir()] if above.is_dir() else []
    hint = nearest(path.name, others)
    return f"there is no folder {path}{hint}"


def run_folders(path: Path, planned: list[Missing]) -> Iterator[Path]:
    """Yield the run folders at and below a path, sorted; collect what was planned on the way."""
    for place, below, files in os.walk(path):
        folder = Path(place)
        run = RunDir(folder)
        if {run.config.name, run.result.name} & set(files):
            below.clear()
            yield folder
            continue
        planned += planned_runs(folder)
        below[:] = sorted(name for name in below if name not in SKIPPED and not name.startswith("."))


def planned_runs(folder: Path) -> list[Missing]:
    """Read which runs an experiment was to have: from its plan.yaml or study.json, and its cells' records."""
    states: dict[str, str] = {}
    plan = folder / "plan.yaml"
    if plan.is_file():
        content, problem = read_yaml(plan)
        entries = content.get("planned") or []
        for entry in entries if isinstance(entries, list | dict) else []:
            name = entry.get("name") if isinstance(entry, dict) else entry
            if isinstance(name, str | int):
                states[str(name)] = "planned, not started"
            else:
                states["plan.yaml"] = f"planned: {name!r:.80} is no name; put it in quotes"
        if problem:
            states["plan.yaml"] = problem
    try:
        study = StudyFile.read(folder)
        states |= dict.fromkeys(study.cells if study else (), "planned, not started")
    except DamagedFileError as error:
        states["study.json"] = str(error)
    for path in sorted((folder / "cells").glob("*.json")):
        record, problem = read_json_or_say(path)
        status = record.get("status")
        if problem or status is not None:
            states[path.stem] = problem or f"planned; its last state was: {status}"
    return [Missing(f"{folder.resolve().name}/{name}", folder / name, state) for name, state in states.items()]


def read_run(files: RunDir) -> FoundRun:
    """Read a run's result and config; a file that cannot be read is a problem of the run, not an error."""
    run = FoundRun(files)
    if files.result.is_file():
        run.result, problem = read_json_or_say(files.result)
        run.problems += [problem] if problem else []
    if files.config.is_file():
        run.config, problem = read_config(files.config, run.result)
        run.problems += [problem] if problem else []
    return run


def read_config(path: Path, result: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Read a run's config; return it and what is wrong with the file, if anything."""
    try:
        check_recorded(path, result, "its options are left out; copy it again, or run the fit again")
    except DamagedFileError as error:
        return {}, str(error)
    return read_yaml(path)


def name_runs(runs: Iterable[FoundRun]) -> None:
    """Give each run the shortest label that tells it from the others."""
    runs = list(runs)
    alone = len({run.experiment for run in runs}) == 1
    for run in runs:
        run.label = run.name if alone else f"{run.experiment}/{run.name}"
    counts = Counter(run.label for run in runs)
    for run in runs:
        # copies of an experiment under several roots
        run.label = printable(str(run.files.folder)) if counts[run.label] > 1 else run.label


def missing(run: FoundRun, split: str) -> Missing | None:
    """Say what a run lacks to be reported on; None if it lacks nothing.

    Args:
        run: as found
        split: which is reported on
    """
    if run.metrics(split):
        return None
    files = run.files
    fit, val = dict_at(run.result, "fit"), run.metrics("val")
    command = ""
    if not run.result and run.problems:
        state = "; ".join(run.problems)
    elif split in run.result:
        state = f"result.json holds no finite {split} metric"
    elif run.result and (fit or val):
        state = f"trained, no {split} result"
        if files.weights.is_file():
            evaluate = "test" if split == "test" else "validate"
            command = f"python train.py {evaluate} --ckpt_path {quote(str(files.weights))}"
    elif files.resumable:
        state = "started, not finished"
        command = f"python train.py fit --config {quote(str(files.config))} --ckpt_path {quote(str(files.folder))}"
    else:
        state = f"no {split} result" if run.result else "no result: never started, still in its first epoch, or failed"
    return Missing(run.label, files.folder, state, val, command)
