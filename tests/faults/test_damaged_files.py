"""One bit turned over, or a file cut off: the command says so and names the file, or its numbers are the right ones."""

import contextlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.random import Generator, default_rng

from tests.helpers.data import blobs, write_image_folder
from tests.helpers.faults import LONG, Outcome, copy_of, cut, flip, run

# no figure is read
pytestmark = pytest.mark.usefixtures("blank_figures")
FLIPS, CUTS = (80, 30) if LONG else (1, 1)
QUICK = (
    "--trainer.enable_progress_bar",
    "false",
    "--trainer.enable_model_summary",
    "false",
    "--trainer.accelerator",
    "cpu",
)
PLAN = {
    "experiment": "stack",
    "logit_cache": "cache",
    "page": False,
    "heads": ["MeanHead"],
    "options": {"data": "Digits", "data.stack_fraction": 0.3, "trainer.accelerator": "cpu"},
    "members": [
        {"name": "linear", "options": {"model": "Linear"}, "epochs": 1},
        {"name": "mlp", "options": {"model": "MLP", "model.hidden": [8]}, "epochs": 1},
    ],
}


@dataclass(frozen=True)
class Kind:
    """A kind of file, and the command that reads it.

    Args:
        file: the file, below the folder of all
        command: what reads it
        numbers: what the command leaves that depends on the file
        checked: whether a changed number in it can be told; a config that a user may edit cannot
    """

    file: str
    command: tuple[str, ...]
    numbers: Callable[[Path, Outcome], object]
    checked: bool = True


def metrics_of(run_folder: str) -> Callable[[Path, Outcome], object]:
    """The test metrics of a run."""
    return lambda root, outcome: json.loads((root / run_folder / "result.json").read_text())["test"]


def trained(run_folder: str) -> Callable[[Path, Outcome], object]:
    """The weights that a run ended with."""

    def numbers(root: Path, outcome: Outcome) -> object:
        checkpoint = torch.load(root / run_folder / "checkpoints/last.ckpt", weights_only=True)
        return {name: tensor.tolist() for name, tensor in checkpoint["state_dict"].items()}

    return numbers


def reported(root: Path, outcome: Outcome) -> object:
    """The tables of a report."""
    return [(root / "page" / name).read_text() for name in ("comparison.csv", "performance.csv")]


def fit(name: str, *args: str) -> tuple[str, ...]:
    return ("fit", "--run.root", "runs", "--run.experiment", "one", "--run.name", name, *QUICK, *args)


TEST = ("test", *QUICK, "--figures.draw", "false", "--ckpt_path")
MLP = ("--model", "MLP", "--model.hidden", "[8]")
DIGITS = ("--data", "Digits")
REPORT = ("report", "runs/one/mlp", "--out", "page")
REPORT_OF_STACK = ("report", "runs/stack", "--out", "page")
STACK = ("stack", "--config", "plan.yaml", "--root", "runs")
KINDS = {
    "best.ckpt at test": Kind(
        "runs/one/mlp/checkpoints/best.ckpt", (*TEST, "runs/one/mlp"), metrics_of("runs/one/mlp")
    ),
    "last.ckpt at a resumed fit": Kind(
        "runs/one/mlp/checkpoints/last.ckpt",
        fit("mlp", *DIGITS, *MLP, "--trainer.max_epochs", "2", "--ckpt_path", "runs/one/mlp"),
        trained("runs/one/mlp"),
    ),
    "stack.ckpt at test": Kind(
        "runs/stack/stack/checkpoints/stack.ckpt", (*TEST, "runs/stack/stack"), metrics_of("runs/stack/stack")
    ),
    "member of a StackingModule": Kind(
        "runs/stack/mlp/checkpoints/best.ckpt",
        fit(
            "head",
            *(*DIGITS, "--data.stack_fraction", "0.3", "--model", "StackingModule"),
            *("--model.bases", "[runs/stack/linear, runs/stack/mlp]", "--model.logit_cache", "null"),
        ),
        lambda root, outcome: json.loads((root / "runs/one/head/result.json").read_text())["val"],
    ),
    "member of a finished stack": Kind("runs/stack/mlp/checkpoints/best.ckpt", STACK, metrics_of("runs/stack/stack")),
    "weights to start from": Kind(
        "runs/one/mlp/checkpoints/best.ckpt",
        fit(
            "start", *DIGITS, *MLP, "--trainer.max_epochs", "1", "--model.weights", "runs/one/mlp/checkpoints/best.ckpt"
        ),
        trained("runs/one/start"),
    ),
    "state dict to start from": Kind(
        "weights.pt",
        fit("start", *DIGITS, *MLP, "--trainer.max_epochs", "1", "--model.weights", "weights.pt"),
        trained("runs/one/start"),
    ),
    "predictions in a report": Kind("runs/one/mlp/predictions.safetensors", REPORT, reported),
    "predictions at test": Kind(
        "runs/one/mlp/predictions.safetensors", (*TEST, "runs/one/mlp"), metrics_of("runs/one/mlp")
    ),
    "result.json in a report": Kind("runs/one/mlp/result.json", REPORT, reported),
    "metrics.csv in a report": Kind("runs/one/mlp/metrics.csv", REPORT, reported),
    "metrics.csv at a resumed fit": Kind(
        "runs/one/mlp/metrics.csv",
        fit("mlp", *DIGITS, *MLP, "--trainer.max_epochs", "2", "--ckpt_path", "runs/one/mlp"),
        trained("runs/one/mlp"),
    ),
    "config.yaml in a report": Kind("runs/one/mlp/config.yaml", REPORT, reported),
    "config.yaml at a fit": Kind(
        "runs/one/mlp/config.yaml",
        ("fit", "--config", "runs/one/mlp/config.yaml", *QUICK, "--trainer.max_epochs", "1"),
        lambda root, outcome: None,
        checked=False,
    ),
    "logits of a stack in a report": Kind("runs/stack/stack/logits.safetensors", REPORT_OF_STACK, reported),
    "result.json of a stack": Kind("runs/stack/stack/result.json", REPORT_OF_STACK, reported),
    "record of a cell": Kind("runs/stack/cells/mlp.json", STACK, metrics_of("runs/stack/stack")),
    "config.yaml of a member": Kind("runs/stack/mlp/config.yaml", STACK, metrics_of("runs/stack/stack")),
    "result.json of a member": Kind("runs/stack/mlp/result.json", STACK, metrics_of("runs/stack/stack")),
    "cached logits": Kind("cache/*/*.safetensors", STACK, metrics_of("runs/stack/stack")),
    "store of decoded images": Kind("runs/.cache/*/*", (*TEST, "runs/one/folder"), metrics_of("runs/one/folder")),
    "image": Kind("images/test/cat/000.png", (*TEST, "runs/one/folder"), metrics_of("runs/one/folder")),
    "npz": Kind("data.npz", (*TEST, "runs/one/npz"), metrics_of("runs/one/npz")),
    "plan": Kind("plan.yaml", (*STACK, "--dry_run", "true"), lambda root, outcome: None, checked=False),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with one file of every kind."""
    root = tmp_path_factory.mktemp("faults") / "world"
    root.mkdir()
    with contextlib.chdir(root):
        write_image_folder(root / "images")
        (images, labels), (others, truth) = blobs(60, seed=1), blobs(20, seed=2)
        np.savez(root / "data.npz", x_train=images, y_train=labels, x_test=others, y_test=truth)
        (root / "plan.yaml").write_text(yaml.safe_dump(PLAN))
        one = ("--trainer.max_epochs", "1")
        folder = ("--data", "ImageFolder", "--data.root", "images", "--data.cache", "disk", *MLP, *one)
        for command in (
            fit("mlp", *DIGITS, *MLP, *one),
            (*TEST, "runs/one/mlp"),
            fit("folder", *folder),
            (*TEST, "runs/one/folder"),
            fit("npz", "--data", "Npz", "--data.path", "data.npz", *MLP, *one),
            (*TEST, "runs/one/npz"),
            STACK,
        ):
            outcome = run(*command)
            assert outcome.status == 0, f"{command}\n{outcome.said}"
        state = torch.load("runs/one/mlp/checkpoints/best.ckpt", weights_only=True)["state_dict"]
        backbone = {name.removeprefix("backbone."): t for name, t in state.items() if name.startswith("backbone.")}
        torch.save(backbone, "weights.pt")
    return root


@pytest.fixture(scope="module")
def right(world, tmp_path_factory):
    """What each kind's command leaves where nothing is damaged."""
    done = {}

    def numbers(name):
        kind = KINDS[name]
        if kind.command not in done:
            root = copy_of(world, tmp_path_factory.mktemp("faults") / "right")
            with contextlib.chdir(root):
                outcome = run(*kind.command)
            assert outcome.status == 0, outcome.said
            done[kind.command] = root, outcome
        with contextlib.chdir(done[kind.command][0]):
            return kind.numbers(*done[kind.command])

    return numbers


def faults(kind: str, damage: Callable[[Path, Generator], str], times: int, world: Path, work: Path, right: object):
    """Damage a file of one kind some times; return what was wrong with what the command made of it."""
    wrong = []
    for number in range(times):
        random = default_rng([number, zlib.crc32(kind.encode())])
        root = copy_of(world, work)
        with contextlib.chdir(root):
            files = sorted(path for path in root.glob(KINDS[kind].file) if path.is_file())
            path = files[int(random.integers(len(files)))]
            done = damage(path, random)
            outcome = run(*KINDS[kind].command)
            told = path.name in outcome.said or path.parent.name in outcome.said
            if outcome.in_python_words:
                wrong.append(f"{done}: Python's words: {outcome.said[-300:]}")
            elif outcome.status not in (0, 2):
                wrong.append(f"{done}: exit {outcome.status}: {outcome.said[-300:]}")
            elif outcome.status == 2 and KINDS[kind].checked and not told:
                wrong.append(f"{done}: the file is not named: {outcome.said[-300:]}")
            elif outcome.status == 0 and KINDS[kind].checked and not told:
                numbers = KINDS[kind].numbers(root, outcome)
                if numbers != right:
                    wrong.append(f"{done}: other numbers without a word")
    return wrong


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("damage", "times"), [(flip, FLIPS), (cut, CUTS)], ids=["flip", "cut"])
def test_damage__is_told_or_changes_nothing(kind, damage, times, world, right, tmp_path):
    assert faults(kind, damage, times, world, tmp_path / "work", right(kind)) == []
