"""A module beside a run is not executed because a file names it."""

import json
import re
import sys

import fsspec
import pytest
import torch
import yaml

from common.class_paths import take_options
from ensembling.heads.fitting import LogisticHead, head_plain
from lightning_modules.checkpoint_io import file_sha256
from lightning_modules.member_logits import load_frozen
from lightning_modules.stacked_classifier import wrapped
from pipelines.stack.command import parse
from pipelines.stack.plan_check import check
from tests.helpers.cli import run

NOTES = """
from pathlib import Path

from lightning.pytorch.callbacks import Callback
from torch.optim import SGD

from datamodules import Digits
from lightning_modules import MLP

Path({marker!r}).touch()


class Net(MLP):
    pass


class Data(Digits):
    pass


class Watch(Callback):
    pass


class Steps(SGD):
    pass


def hook(*args):
    pass
"""


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """The mark that a hostile module beside the run leaves when it is imported."""
    (tmp_path / "notes.py").write_text(NOTES.format(marker=str(tmp_path / "ran")))
    monkeypatch.chdir(tmp_path)
    # `python -m` and PYTHONPATH=. put the folder on the path too
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "ran"
    sys.modules.pop("notes", None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    assert run(*FIT, "--run.name", "mlp", root=root) == 0
    return root / "digits/mlp"


FIT = (
    "fit",
    "--model",
    "MLP",
    "--model.hidden",
    "[4]",
    "--trainer.max_epochs",
    "1",
    "--trainer.limit_train_batches",
    "2",
)


def refused(capsys, ran, *where):
    text = capsys.readouterr().err
    assert not ran.exists()
    assert "error: " in text
    assert "--allow notes" in text or "no model is built from it" in text
    said = text.partition("error: ")[2].strip()
    assert len(said.splitlines()) == 1
    for part in where:
        assert part in said


CONFIGS = [
    {"model": {"class_path": "notes.Net"}},
    {"model": "notes.Net"},
    {"data": {"class_path": "notes.Data"}},
    {"model": {"class_path": "MLP", "init_args": {"optimizer": {"class_path": "notes.Steps"}}}},
    {"model": {"class_path": "MLP", "init_args": {"optimizer": "notes.Steps"}}},
    {"model": {"class_path": "MLP", "init_args": {"loss": {"class_path": "notes.Loss"}}}},
    {"model": {"class_path": "MLP", "init_args": {"schedule": {"class_path": "notes.Schedule"}}}},
    {"model": {"class_path": "StackingModule", "init_args": {"meta_model": {"class_path": "notes.Head"}}}},
    {"trainer": {"callbacks": [{"class_path": "notes.Watch"}]}},
    {"trainer": {"callbacks": {"class_path": "notes.Watch"}}},
    {"trainer": {"callbacks": "notes.Watch"}},
    {"trainer": {"callbacks": {"class_path": "LambdaCallback", "init_args": {"on_fit_start": "notes.hook"}}}},
    {"trainer": {"callbacks": {"class_path": "LambdaCallback", "init_args": {"on_fit_start": "os.system"}}}},
    {"trainer": {"callbacks": {"class_path": "LambdaCallback", "init_args": {"on_fit_start": "torch.os.system"}}}},
    {"trainer": {"logger": {"class_path": "notes.Logger"}}},
    {"trainer": {"logger": [{"class_path": "notes.Logger"}]}},
    {"trainer": {"plugins": {"class_path": "notes.Plugin"}}},
    {"trainer": {"plugins": ["notes.Plugin"]}},
    {"trainer": {"strategy": {"class_path": "notes.Strategy"}}},
    {"trainer": {"profiler": {"class_path": "notes.Profiler"}}},
    {"trainer": {"accelerator": {"class_path": "notes.Accelerator"}}},
]


@pytest.mark.parametrize("content", CONFIGS, ids=json.dumps)
def test_config__names_what_is_not_imported(content, ran, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(content))
    assert run("fit", "--config", "a.yaml", root=tmp_path / "runs") == 2
    refused(capsys, ran, "a.yaml")
    assert not (tmp_path / "runs").exists()


def test_config__a_value_that_may_be_anything_is_left_as_it_is(ran, tmp_path):
    logger = {"class_path": "CSVLogger", "init_args": {"save_dir": "x", "version": {"class_path": "notes.Net"}}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    run("fit", "--config", "a.yaml", root=tmp_path / "runs")
    assert not ran.exists()


@pytest.mark.parametrize("command", ["inspect", "tune"])
def test_config__of_other_commands(command, ran, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("data: {class_path: notes.Data}\n")
    assert run(command, "--config", "a.yaml", root=tmp_path / "runs", quick=False) == 2
    refused(capsys, ran, "--data", "notes.Data")


@pytest.mark.parametrize("command", ["fit", "stack", "inspect"])
def test_config__a_url_is_not_fetched(command, capsys):
    # fsspec's own file system, which would be found
    with fsspec.open("memory://a.yaml", "w") as file:
        file.write("seed: 1\n")
    for url in ("https://example.invalid/a.yaml", "memory://a.yaml"):
        assert run(command, "--config", url, quick=False) == 2
        expected = f"config file '{url}' does not exist; a config is a file of this machine: download it before"
        assert expected in capsys.readouterr().err


PLANS = [
    {"members": [{"name": "a", "options": {"model": {"class_path": "notes.Net"}}}]},
    {"members": [{"name": "a", "options": {"model": "notes.Net"}}]},
    {"members": [{"name": "a", "options": {"model.optimizer": {"class_path": "notes.Steps"}}}]},
    {"members": [{"name": "a", "options": {"trainer": {"callbacks": [{"class_path": "notes.Watch"}]}}}]},
    {"members": [{"name": "a"}], "options": {"data": {"class_path": "notes.Data"}}},
    {"members": [{"name": "a", "fragments": ["f.yaml"]}]},
    {"members": [{"name": "a"}], "heads": [{"class_path": "notes.Head"}]},
    {"members": [{"name": "a"}], "heads": ["notes.Head"]},
    {"members": [{"name": "a"}], "executor": {"class_path": "notes.Executor"}},
    {"members": [{"name": "a"}], "executor": {"class_path": "subprocess.Popen", "init_args": {"args": "ls"}}},
]


@pytest.mark.parametrize("plan", PLANS, ids=json.dumps)
def test_plan__names_what_is_not_imported(plan, ran, tmp_path, capsys):
    (tmp_path / "f.yaml").write_text("model: {class_path: notes.Net}\n")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"root": "runs", **plan}))
    assert run("stack", "--config", "plan.yaml", quick=False) == 2
    refused(capsys, ran)
    assert not (tmp_path / "runs").exists()


def poison(run_folder, target, *places):
    """Copy a run's checkpoint with other names of classes in it."""
    content = torch.load(run_folder / "checkpoints/best.ckpt", weights_only=True)
    for path, name in places:
        part = content
        *above, last = path.split("/")
        for key in above:
            part = part[key]
        part[last] = name
    torch.save(content, target)
    return target


ARCHITECTURE = ("architecture/class_path", "notes.Net")
CHECKPOINTS = [
    [("config/model/class_path", "notes.Net")],
    [("config/data/class_path", "notes.Data")],
    [("config/model/init_args/optimizer/class_path", "notes.Steps")],
    [("config/model/init_args/loss/class_path", "notes.Loss")],
    [ARCHITECTURE, ("config", {})],
    [("architecture/class_path", "os.system"), ("config", {})],
]


@pytest.mark.parametrize("places", CHECKPOINTS, ids=str)
def test_checkpoint__names_what_is_not_imported(places, trained, ran, tmp_path, capsys):
    path = poison(trained, tmp_path / "evil.ckpt", *places)
    for command in ("test", "predict", "fit"):
        assert run(command, "--ckpt_path", path, root=tmp_path / "runs") == 2
        refused(capsys, ran, "evil.ckpt")
    assert not (tmp_path / "runs").exists()


def test_checkpoint__of_a_base(trained, ran, tmp_path):
    path = poison(trained, tmp_path / "evil.ckpt", ARCHITECTURE)
    with pytest.raises(ValueError, match=r"evil.ckpt: notes.Net is not imported, .* add --allow notes"):
        load_frozen(path, file_sha256(path))
    assert not ran.exists()


def test_checkpoint__of_weights_needs_no_class(trained, ran, tmp_path):
    path = poison(trained, tmp_path / "evil.ckpt", ARCHITECTURE, ("config/model/class_path", "notes.Net"))
    assert run(*FIT, "--model.weights", path, root=tmp_path / "runs") == 0
    assert not ran.exists()


@pytest.mark.parametrize("part", ["base", "head"])
def test_checkpoint__of_a_whole_stack(part, trained, ran, tmp_path, capsys):
    content = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    base, head = content["architecture"], head_plain(LogisticHead())
    (base if part == "base" else head)["class_path"] = "notes.Net"
    options = {
        "data_info": base["init_args"]["data_info"],
        "members": [{"name": "a", "models": [wrapped(base)]}],
        "meta_model": wrapped(head),
        "normalized": False,
        "temperature": 1.0,
        "tta": "none",
        "thresholds": None,
    }
    content["architecture"] = {
        "class_path": "lightning_modules.stacked_classifier.StackedClassifier",
        "init_args": options,
    }
    content["config"] = {"data": content["config"]["data"]}
    torch.save(content, tmp_path / "stack.ckpt")
    assert run("test", "--ckpt_path", "stack.ckpt", root=tmp_path / "runs") == 2
    refused(capsys, ran, "notes.Net")


def test_typed__a_class_of_ones_own_works_and_its_files_need_allow(ran, tmp_path, capsys):
    words = ("fit", "--model", "notes.Net", "--model.hidden", "[4]", "--trainer.max_epochs", "1")
    assert run(*words, "--trainer.callbacks+=notes.Watch", root=tmp_path / "runs") == 0
    assert ran.exists()
    folder = tmp_path / "runs/digits/net"
    # the next command is told whole, with whatever this one allowed
    assert re.search(r"best\.ckpt --allow \S*\bnotes\b", " ".join(capsys.readouterr().out.split()))
    for command in (("fit", "--config", folder / "config.yaml"), ("test", "--ckpt_path", folder)):
        assert run(*command, root=tmp_path / "runs") == 2
        assert "notes.Net is not imported, because a file names it" in (said := capsys.readouterr().err)
        assert "add --allow notes if you trust it" in said
        assert run(*command, "--allow", "notes", root=tmp_path / "runs") == 0
    # typed again, it needs no more
    assert run("test", "--model", "notes.Net", "--ckpt_path", folder, root=tmp_path / "runs") == 0


def test_allow__reaches_the_cells_of_a_stack(ran, tmp_path):
    plan = {"members": [{"name": name, "options": {"model": "notes.Net"}} for name in ("a", "b")], "mode": "val"}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    parsed = parse(take_options(["--config", "plan.yaml", "--allow", "notes"]))
    check(parsed)
    for cell in parsed.cells:
        assert cell.command(tmp_path)[-2:] == ["--allow", "notes"]


def test_typed__a_member_of_a_stack_reaches_its_cells(ran, tmp_path):
    members = "[{name: a, options: {model: notes.Net}}, {name: b}]"
    parsed = parse(take_options(["--members", members, "--mode", "val"]))
    check(parsed)
    assert parsed.cells[1].command(tmp_path)[-2:] == ["--allow", "notes"]
