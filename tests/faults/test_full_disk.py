"""No room, at every kind of write: the file is named with a way out, and nothing that was there is lost.

The long version fills a small disk that it mounts. The short one needs no right to mount: the system refuses to let a
file grow beyond a limit, in the same system calls as a full disk.
"""

import contextlib
import gc
import json
import logging
import resource
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.helpers.faults import LONG, copy_of, run
from tests.helpers.machine import CannotError, emptied, fill, limit, room, small_disk
from tests.helpers.slurm import stand_in

pytestmark = pytest.mark.usefixtures("blank_figures")
TIMES = 25
QUICK = (
    "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu",
)  # fmt: skip
OPTIONS = {"data": "Digits", "data.subsample": 0.3, "trainer.accelerator": "cpu", "trainer.max_epochs": 1}
STACK = {
    "experiment": "s",
    "page": False,
    "heads": ["MeanHead"],
    "logit_cache": "disk/cache",
    "options": OPTIONS | {"data.stack_fraction": 0.3},
    "members": [
        {"name": "a", "options": {"model": "Linear"}},
        {"name": "b", "options": {"model": "MLP", "model.hidden": [8]}},
    ],
}
SWEEP = {"experiment": "w", "page": False, "options": OPTIONS | {"model": "MLP"}, "axes": {"model.hidden": [[8], [16]]}}
REASONS = ("No space left on device", "File too large")
# beside the whole files: locks, and notes of how a process ended
HIDDEN = (".run.lock", ".run.ended", ".report.lock", ".ledger", ".cache")


def fit(name, *args):
    return (
        "fit", "--data", "Digits", "--data.subsample", "0.2", "--model", "MLP", "--model.hidden", "[8]",
        "--trainer.max_epochs", "2", "--run.root", "disk/runs", "--run.experiment", "e", "--run.name", name, *QUICK,
        *args,
    )  # fmt: skip


def weights(name):
    def read():
        saved = torch.load(f"disk/runs/e/{name}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        return {key: tensor.tolist() for key, tensor in saved.items()}, entry("val", f"e/{name}")()

    return read


def entry(split, run_folder="e/a"):
    return lambda: json.loads(Path(f"disk/runs/{run_folder}/result.json").read_text())[split]


def text(path):
    return lambda: Path(path).read_text()


@dataclass(frozen=True)
class Writer:
    """A command that writes.

    Args:
        command: its command line
        numbers: reads what it leaves
    """

    command: tuple[str, ...]
    numbers: Callable[[], object]


RUN = ("--ckpt_path", "disk/runs/e/a", *QUICK)
WRITERS = {
    "fit": Writer(fit("new"), weights("new")),
    "resumed fit": Writer((*fit("a"), "--trainer.max_epochs", "3", "--ckpt_path", "disk/runs/e/a"), weights("a")),
    "test": Writer(("test", *RUN), entry("test")),
    "validate": Writer(("validate", *RUN, "--figures.draw", "false"), entry("val")),
    "predict": Writer(("predict", *RUN), text("disk/runs/e/a/predicted.csv")),
    "report": Writer(("report", "disk/runs", "--out", "disk/page"), text("disk/page/comparison.csv")),
    "inspect": Writer(
        ("inspect", "--data", "Digits", "--run.root", "disk/i"),
        lambda: json.loads(next(Path("disk/i").rglob("inspect.json")).read_text())["images"],
    ),
    "export": Writer(
        ("export", "--ckpt_path", "disk/runs/e/a"), lambda: Path("disk/runs/e/a/export/model.onnx").stat().st_size
    ),
    "submit": Writer(("submit", *fit("sent")), text("disk/runs/e/sent/job.sh")),
    "stack": Writer(("stack", "--config", "stack.yaml", "--root", "disk/runs"), entry("test", "s/stack")),
    "sweep": Writer(
        ("sweep", "--config", "sweep.yaml", "--root", "disk/runs"),
        lambda: [entry("val", f"w/{name}")() for name in ("hidden8", "hidden16")],
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a trained run, and plans beside it."""
    root = tmp_path_factory.mktemp("full") / "world"
    root.mkdir()
    (root / "stack.yaml").write_text(yaml.safe_dump(STACK))
    (root / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    with contextlib.chdir(root):
        outcome = run(*fit("a"))
    assert outcome.status == 0, outcome.said
    return root


def wrong(outcome):
    """What is wrong with how a command ended that met no room."""
    if outcome.in_python_words or "Errno" in outcome.said:
        return [f"Python's words: {outcome.said[-600:]}"]
    if outcome.status == 0:
        return []
    errors = [line for line in outcome.said.splitlines() if line.startswith("error: ")]
    told = " ".join(errors) if errors else outcome.said
    missing = [] if any(reason in outcome.said for reason in REASONS) else ["the reason"]
    missing += [] if "disk/" in told else ["the file"]
    missing += [] if "make room" in outcome.said or "ulimit" in outcome.said else ["the way out"]
    return [f"{', '.join(missing)} not told: {outcome.said[-600:]}"] if missing else []


def again(name, command):
    """Run a command again, as a person would who has made room: a run that has saved something goes on."""
    if name == "fit":
        folder = Path("disk/runs/e/new")
        if (folder / "checkpoints/last.ckpt").is_file():
            return run(*command, "--ckpt_path", folder)
        shutil.rmtree(folder, ignore_errors=True)
    return run(*command)


def faults(name, right):
    """What is wrong with what a command leaves once there is room."""
    writer = WRITERS[name]
    outcome = again(name, writer.command)
    if outcome.status:
        return [f"it does not go on: {outcome.said[-600:]}"]
    found = [] if writer.numbers() == right else ["other numbers"]
    partial = [str(path) for path in Path("disk").rglob(".*") if path.name not in HIDDEN]
    return found + [f"left behind: {partial}"] * bool(partial)


@pytest.mark.parametrize(
    ("name", "size"),
    [("fit", 0), ("fit", 30_000), ("validate", 4_000), ("report", 0), ("report", 4_000), ("submit", 0)],
)
def test_no_file_may_grow(name, size, world, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, sbatch="echo 7")
    # what the test runner keeps of standard error may not grow either
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with contextlib.chdir(copy_of(world, tmp_path / "work")):
        with limit(resource.RLIMIT_FSIZE, size):
            outcome = run(*WRITERS[name].command)
        assert wrong(outcome) == []
        # a file of the limit's size at most
        assert outcome.status == 2 or size
        assert outcome.status == 0 or "ulimit -f" in outcome.said
        assert again(name, WRITERS[name].command).status == 0
        WRITERS[name].numbers()


@pytest.mark.skipif(not LONG, reason="runs by make faults")
@pytest.mark.parametrize("name", WRITERS)
def test_full_disk__at_every_kind_of_write(name, world, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, sbatch="echo 7")
    if name == "export":
        pytest.importorskip("onnx")
    command, found = WRITERS[name].command, []
    for path in world.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    try:
        with small_disk(tmp_path / "disk") as disk:

            def begin():
                # a map of a file that was removed holds its room
                gc.collect()
                shutil.copytree(world / "disk", emptied(disk), dirs_exist_ok=True)

            begin()
            before = room(disk)
            assert (outcome := run(*command)).status == 0, outcome.said
            need, right = before - room(disk), WRITERS[name].numbers()
            for number in range(TIMES):
                begin()
                leave = int(random.uniform(0, need))
                ballast = fill(disk, leave)
                outcome = run(*command)
                ballast.unlink()
                found += [f"{number}, {leave} of {need} bytes left: {text}" for text in wrong(outcome)]
                found += [f"{number}, {leave} of {need} bytes left: {text}" for text in faults(name, right)]
    except CannotError as error:
        pytest.skip(str(error))
    assert found == []
