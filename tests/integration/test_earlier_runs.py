"""Runs of earlier versions are read: their files name classes by where those were then."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from common import yaml_files
from common.class_paths import MOVED, import_class, public_name
from lightning_modules import MLP, Focal, WarmupCosine
from lightning_modules.checkpoints import load_classifier
from pipelines.cli.configured_data import build_data
from tests.helpers.cli import config, run

# no figure is looked at
pytestmark = pytest.mark.usefixtures("blank_figures")
EARLIER = Path(__file__).parent.parent / "data/earlier"


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """A stack that was trained before classes had public names."""
    shutil.copytree(EARLIER, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs/tiny"


def test_config__of_an_earlier_version_runs(experiment, tmp_path):
    saved = experiment / "mlp-fold0/config.yaml"
    assert "lightning_modules.losses.Focal" in saved.read_text()
    assert run("fit", "--config", saved, root=tmp_path / "again", quick=False) == 0
    text = (tmp_path / "again/tiny/mlp-fold0/config.yaml").read_text()
    assert "class_path: lightning_modules.Focal" in text
    assert "class_path: lightning_modules.WarmupCosine" in text
    assert config(tmp_path / "again", "tiny", "mlp-fold0")["model"]["init_args"]["hidden"] == [4]
    # the same run, so the same weights
    before, after = (
        torch.load(root / "mlp-fold0/checkpoints/best.ckpt", weights_only=True)
        for root in (experiment, tmp_path / "again/tiny")
    )
    assert before["architecture"]["class_path"] == "lightning_modules.mlp.MLP"
    assert after["architecture"]["class_path"] == "lightning_modules.MLP"
    for name, weights in before["state_dict"].items():
        # the optimizer makes much of the rounding of gradients that are almost zero
        torch.testing.assert_close(after["state_dict"][name], weights, rtol=0, atol=0.01)


def test_checkpoint__of_an_earlier_version_is_tested(experiment):
    before = json.loads((experiment / "mlp-fold0/result.json").read_text())
    assert run("test", "--ckpt_path", experiment / "mlp-fold0/checkpoints/best.ckpt") == 0
    after = json.loads((experiment / "mlp-fold0/result.json").read_text())
    assert "test" not in before
    assert after["test"]["loss"] > 0


def test_checkpoint__of_an_earlier_run_is_gone_on_with(experiment):
    assert run("fit", "--config", experiment / "mlp-fold0/config.yaml", "--ckpt_path",
               experiment / "mlp-fold0/checkpoints/best.ckpt", "--trainer.max_epochs", "2") == 0  # fmt: skip


def test_checkpoint__of_an_earlier_run_keeps_the_schedule_that_is_typed_again(experiment):
    """It names the schedule by a module of then, and the command line by its public or its whole name."""
    data = ("--data", "Npz", "--data.path", "tiny.npz", "--data.batch_size", "16")
    folds = ("--data.num_folds", "2", "--data.held_out", "stack")
    shutil.copy(experiment / "mlp-fold0/checkpoints/best.ckpt", experiment / "mlp-fold0/checkpoints/last.ckpt")
    going_on = ("--ckpt_path", experiment / "mlp-fold0", "--trainer.max_epochs", "2")
    for name in ("WarmupCosine", "lightning_modules.training.schedules.WarmupCosine"):
        words = ("fit", *data, *folds, "--model", "MLP", "--model.hidden", "[4]", "--model.schedule", name, *going_on)
        assert run(*words) == 0


def test_stack__of_an_earlier_version_is_gone_on_with(experiment, capfd):
    """One of its cells is trained anew, the others are not; the finished stack is told and tested."""
    times = {path: path.stat().st_mtime_ns for path in experiment.glob("*/checkpoints/best.ckpt")}
    shutil.rmtree(experiment / "linear-fold1")
    (experiment / "cells/linear-fold1.json").unlink()
    assert run("test", "--ckpt_path", experiment / "stack/checkpoints/stack.ckpt") == 0
    assert run("stack", "--config", "plan.yaml", quick=False) == 0
    changed = [path.parent.parent.name for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert changed == ["linear-fold1"]
    assert json.loads((experiment / "stack/result.json").read_text())["data"] == "datamodules.Npz"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("lightning_modules.mlp.MLP", MLP),
        ("lightning_modules.losses.Focal", Focal),
        ("lightning_modules.optim.WarmupCosine", WarmupCosine),
    ],
)
def test_names__of_earlier_versions(path, kind):
    assert import_class(path) is kind
    assert public_name(kind) == f"lightning_modules.{kind.__name__}"


def test_names__lead_to_modules_of_today():
    from importlib import import_module

    for package in set(MOVED.values()):
        import_module(package)


def test_stack__of_an_earlier_version_predicts_as_it_did(experiment):
    """Its head is applied to the mean over the folds."""
    model = load_classifier(experiment / "stack/checkpoints/stack.ckpt")
    assert model.normalized
    assert [len(member["models"]) for member in model.members] == [2, 2]
    data = build_data(yaml_files.read_mapping(experiment / "mlp-fold0/config.yaml")["data"])
    samples = data.samples("test")
    with torch.no_grad():
        logits = model(samples.source.gather(samples.rows))
    then = load_file(experiment / "stack/predictions.safetensors")
    assert torch.equal(then["test/id"], samples.ids)
    torch.testing.assert_close(logits.log_softmax(1), then["test/logits"].log_softmax(1), atol=1e-4, rtol=1e-4)
