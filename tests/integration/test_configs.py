"""Every shipped config parses, builds what it names, and watches a metric that exists."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import Namespace

import datamodules
from ensembling.heads.fitting import head_from_plain, head_plain
from lightning_modules import SmallCNN
from measures.names import mode_of
from pipelines.cells.executors import ParslExecutor
from pipelines.cells.fit_parser import FitParser
from pipelines.cli.image_cli import ImageCLI
from pipelines.cli.parsed_cli import DEFAULTS
from pipelines.distill import command as distill
from pipelines.stack import command
from pipelines.stack.command import Planner
from pipelines.stack.plan_check import check
from pipelines.submit.words import is_of_cluster, read_options
from pipelines.sweep import command as sweep
from pipelines.sweep.check import check_cells
from pipelines.sweep.plan import Study
from pipelines.sweep.search.command import examples
from pipelines.sweep.stacks import plan_bases
from tests.helpers.data import Blobs, blobs, data_info
from tests.helpers.training import trainer

CONFIGS = DEFAULTS.parent
FRAGMENTS = {
    kind: sorted((CONFIGS / kind).glob("*.yaml"))
    for kind in ("data", "model", "trainer", "head", "stack", "sweep", "distill", "cluster", "table")
}


def name(path: Path) -> str:
    return path.stem


class ParsedOnly(ImageCLI):
    """Stop before anything is built."""

    def instantiate_classes(self):
        self.parsed = self.config[self.config.subcommand]

    def _run_subcommand(self, subcommand):
        pass


def parse(*args):
    return ParsedOnly(["fit", *map(str, args)]).parsed


def test_fragments__are_all_known():
    listed = {path for paths in FRAGMENTS.values() for path in paths} | {DEFAULTS}
    assert listed == set(CONFIGS.rglob("*.yaml"))


@pytest.mark.parametrize("path", FRAGMENTS["model"], ids=name)
def test_model(path):
    cli = ParsedOnly(["fit", "--config", str(path)])
    config = cli.parsed.model
    config.init_args.data_info = Namespace(data_info().plain())
    model = cli._parser("fit").instantiate(Namespace(model=config)).model
    optimizer = model.optimizer([p for p in model.parameters() if p.requires_grad])
    assert optimizer.param_groups[0]["lr"] > 0
    assert model.schedule.build(optimizer, 10)["scheduler"].get_last_lr()[0] > 0
    assert model.criterion(torch.zeros(2, 10), torch.tensor([0, 1])) > 0


@pytest.mark.parametrize("path", FRAGMENTS["data"], ids=name)
def test_data(path):
    parsed = parse("--config", path)
    getattr(datamodules, parsed.data.class_path.rpartition(".")[2])(**parsed.data.init_args.as_dict())


@pytest.mark.parametrize("path", FRAGMENTS["table"], ids=name)
def test_table(path, tmp_path):
    from tests.helpers.cli import run

    assert run("fit", "--config", path, "--data.rows", 200, "--trainer.max_epochs", 1, root=tmp_path) == 0


@pytest.mark.parametrize("path", FRAGMENTS["trainer"], ids=name)
def test_trainer(path):
    changed = yaml.safe_load(path.read_text())["trainer"]
    parser = FitParser()
    config = parser.parse(["--config", str(path)])
    # as config.yaml keeps it
    saved = parser.plain(config)["trainer"]
    assert all(holds(saved[key], value) for key, value in changed.items())
    parser.build(trainer=config.trainer)


def holds(parsed, written):
    """Tell whether what was parsed is what was written, with defaults beside it."""
    if isinstance(written, dict):
        return all(holds(parsed[key], value) for key, value in written.items())
    if isinstance(written, list):
        return len(parsed) == len(written) and all(map(holds, parsed, written))
    return parsed == written


def test_gradual_unfreezing__trains_the_backbone_in_the_end(tmp_path):
    from tests.helpers.cli import run

    args = ("--model", "MLP", "--model.hidden", "[16]", "--model.schedule", "null", "--data.val_fraction", "0.2")
    fragment = ("--config", CONFIGS / "trainer/gradual_unfreezing.yaml")
    states = {}
    for epochs in (5, 6):
        options = (*args, *fragment, "--trainer.max_epochs", epochs, "--run.name", f"epochs{epochs}")
        assert run("fit", *options, root=tmp_path) == 0
        path = tmp_path / f"digits/epochs{epochs}/checkpoints/last.ckpt"
        states[epochs] = torch.load(path, weights_only=True)["state_dict"]
    weight, statistics = "backbone.1.weight", "backbone.2.running_mean"
    assert not torch.equal(states[5][weight], states[6][weight])
    assert torch.equal(states[6][statistics], torch.zeros(16))
    # the saved config runs by itself
    assert run("fit", "--config", tmp_path / "digits/epochs5/config.yaml", "--trainer.max_epochs", 1) == 0


@pytest.mark.parametrize("path", FRAGMENTS["stack"], ids=name)
def test_stack(path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    # some are for a machine with a GPU
    plan = command.parse(["--config", str(path), "--dry_run", "true"])
    # its members' command lines are right, and fit its mode
    assert set(check(plan).settings) == {cell.name for cell in plan.cells}


@pytest.mark.parametrize("path", FRAGMENTS["sweep"], ids=name)
def test_sweep(path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    plan = sweep.parse(["--config", str(path), "--dry_run", "true"])
    if plan.stack is not None:
        assert plan_bases(Study.of(plan), Planner()).cells
    elif plan.search is not None:
        cells = [cell for trial in examples(plan) for cell in trial.cells]
        assert len(check_cells(cells, plan, FitParser())) == len(cells)
    else:
        assert sweep.planned(plan, FitParser()).cells


@pytest.mark.parametrize("path", FRAGMENTS["distill"], ids=name)
def test_distill(path, monkeypatch, tmp_path):
    monkeypatch.chdir(CONFIGS.parent)
    # its stack is trained by another plan
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/stack.ckpt").touch()
    plan = distill.parse(["--config", str(path), "--stack", str(tmp_path)])
    cells, settings, _ = distill.planned(plan)
    assert set(settings) == {cell.name for cell in cells}


@pytest.mark.parametrize("path", FRAGMENTS["head"], ids=name)
def test_head(path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    plan = command.parse(["--config", "configs/stack/digits.yaml", "--config", str(path)])
    assert [head_plain(head) for head in plan.heads] == [head_plain(head_from_plain(head_plain(h))) for h in plan.heads]
    assert len(plan.named_heads()) == 2 + len(plan.heads)


@pytest.mark.parametrize("path", FRAGMENTS["cluster"], ids=name)
def test_cluster(path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    if path.stem != "slurm":
        assert is_of_cluster(str(path))
        assert read_options(["--config", str(path)]).time
        return
    plan = command.parse(["--config", "configs/stack/digits.yaml", "--config", str(path)])
    assert isinstance(plan.executor, ParslExecutor)


@pytest.mark.parametrize("path", [DEFAULTS, *FRAGMENTS["model"]], ids=name)
def test_monitor__exists_and_has_the_right_mode(path, tmp_path):
    parsed = parse("--config", path)
    monitor, mode = parsed.best_checkpoint.monitor, parsed.best_checkpoint.mode
    data = Blobs()
    fitting = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    fitting.fit(SmallCNN(data_info=data.info), datamodule=data)
    assert monitor in fitting.callback_metrics
    assert mode == mode_of(monitor)


def test_fragments__compose_and_later_ones_win():
    parsed = parse(
        "--config",
        CONFIGS / "data/cifar10.yaml",
        "--config",
        CONFIGS / "model/resnet18.yaml",
        "--trainer.precision",
        "bf16-mixed",
        "--trainer.devices",
        "2",
    )
    assert parsed.model.class_path == "lightning_modules.ResNet"
    assert parsed.model.init_args.optimizer.class_path == "torch.optim.SGD"
    assert parsed.data.class_path == "datamodules.CIFAR10"
    assert parsed.trainer.precision == "bf16-mixed"
    assert parsed.trainer.devices == "2"
    # a default, from the file that is loaded without being named
    assert parsed.trainer.use_distributed_sampler is False


def test_npz_fragment__trains(tmp_path):
    from tests.helpers.cli import run

    parts = {}
    for split in ("train", "val", "test"):
        parts[f"x_{split}"], parts[f"y_{split}"] = blobs(24, 16, 3)
    np.savez(tmp_path / "data.npz", **parts)
    args = ("--config", CONFIGS / "data/npz.yaml", "--data.path", tmp_path / "data.npz", "--trainer.max_epochs", "1")
    assert run("fit", *args, root=tmp_path) == 0
