"""Checkpoints that --ckpt_path names: which options win, and what is resumed."""

import csv
import json
from pathlib import Path

import pytest
import torch

from pipelines.cli.named_checkpoint import experiment_beside, given_checkpoint
from records.run_dir import RunOptions
from tests.helpers.cli import MLP, config, result, run


def test_given_checkpoint__the_last_one_wins():
    assert given_checkpoint(["fit", "--ckpt_path", "last"]) == "last"
    assert given_checkpoint(["fit", "--ckpt_path=a.ckpt", "--ckpt_path", "b.ckpt"]) == "b.ckpt"
    assert given_checkpoint(["fit"]) is None


def test_fit__resumes_in_the_same_folder(tmp_path):
    run("fit", *MLP, root=tmp_path)
    assert run("fit", *MLP, "--ckpt_path", "last", "--trainer.max_epochs", "4", root=tmp_path) == 0
    assert not (tmp_path / "digits/mlp-2").exists()
    assert result(tmp_path)["fit"]["epochs"] == 4
    with (tmp_path / "digits/mlp/metrics.csv").open() as file:
        epochs = {row["epoch"] for row in csv.DictReader(file) if row["val/accuracy"]}
    assert epochs == {"0", "1", "2", "3"}
    # what it was first asked for is kept
    assert config(tmp_path, file="config.1.yaml")["trainer"]["max_epochs"] == 2


def test_precedence__command_line_beats_config_beats_checkpoint(tmp_path):
    trained = ("--data.batch_size", "32", "--data.val_fraction", "0.2", "--model.dropout", "0.5")
    run("fit", *MLP, *trained, "--model.optimizer.lr", "0.02", root=tmp_path)
    checkpoint = tmp_path / "digits/mlp/checkpoints/last.ckpt"
    fragment = tmp_path / "fragment.yaml"
    fragment.write_text("data: {init_args: {batch_size: 40}}\nmodel: {init_args: {dropout: 0.1}}\n")
    # the config stands last, and must lose to the command line all the same
    args = ("--model.dropout", "0.2", "--trainer.max_epochs", "3", "--config", fragment)
    assert run("fit", "--ckpt_path", checkpoint, *args, "--run.name", "more", root=tmp_path) == 0
    # epochs of the first run do not count as this one's best
    assert result(tmp_path, name="more")["fit"]["best_epoch"] == 2
    resolved = config(tmp_path, name="more")
    assert resolved["model"]["init_args"]["dropout"] == 0.2
    assert resolved["data"]["init_args"]["batch_size"] == 40
    assert resolved["data"]["init_args"]["val_fraction"] == 0.2
    assert resolved["model"]["init_args"]["hidden"] == [16]
    assert resolved["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.02


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("optimizer.lr", "0.5"),
        ("optimizer.weight_decay", "0.5"),
        ("optimizer", "SGD"),
        ("schedule", "Plateau"),
        ("schedule.warmup", "0.3"),
        ("backbone_lr_factor", "0.1"),
        ("freeze", "backbone"),
    ],
)
def test_resume__with_another_optimizer_is_refused(tmp_path, capsys, option, value):
    run("fit", *MLP, root=tmp_path)
    before = config(tmp_path)
    args = ("--ckpt_path", tmp_path / "digits/mlp", "--trainer.max_epochs", "3", f"--model.{option}", value)
    assert run("fit", *args, root=tmp_path) == 2
    message = capsys.readouterr().err
    assert f"--model.{option.partition('.')[0]}: a resumed run continues with the optimizer" in message
    assert f"--model.weights {tmp_path / 'digits/mlp/checkpoints/last.ckpt'}" in message
    assert config(tmp_path) == before


def test_resume__with_the_same_optimizer_given_again(tmp_path):
    options = ("--model.optimizer", "SGD", "--model.optimizer.lr", "0.01", "--model.schedule", "Constant")
    run("fit", *MLP, *options, root=tmp_path)
    args = ("--ckpt_path", "last", "--trainer.max_epochs", "3")
    assert run("fit", *MLP, *options, *args, root=tmp_path) == 0
    assert result(tmp_path)["fit"]["epochs"] == 3


def test_resume__a_run_by_its_folder(tmp_path):
    run("fit", *MLP, root=tmp_path)
    run("fit", *MLP, root=tmp_path)
    first = tmp_path / "digits/mlp"
    args = ("--config", first / "config.yaml", "--ckpt_path", first, "--trainer.max_epochs", "3")
    assert run("fit", *args, quick=False) == 0
    assert result(tmp_path)["fit"]["epochs"] == 3
    assert result(tmp_path, name="mlp-2")["fit"]["epochs"] == 2


def test_val_fraction_0__a_resumed_fit_puts_the_earlier_test_aside(tmp_path):
    assert run("fit", *MLP, "--data.val_fraction", "0", root=tmp_path) == 0
    checkpoint = tmp_path / "digits/mlp"
    assert run("test", "--ckpt_path", checkpoint) == 0
    tested = result(tmp_path)
    # nothing is left to be trained: the weights are still those that were tested
    assert run("fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", "2", root=tmp_path) == 0
    assert result(tmp_path)["test"] == tested["test"]
    assert run("fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", "4", root=tmp_path) == 0
    assert result(tmp_path)["fit"]["epochs"] == 4
    assert "test" not in result(tmp_path)
    assert "evaluations" not in result(tmp_path)
    assert not (checkpoint / "predictions.safetensors").exists()
    kept = [json.loads(path.read_text()) for path in checkpoint.glob("result.*.json")]
    assert tested["test"] in [earlier.get("test") for earlier in kept]


def test_weights__are_needed_for_the_first_fit_alone(tmp_path, capsys):
    assert run("fit", *MLP, "--run.name", "first", root=tmp_path) == 0
    weights = tmp_path / "digits/first/checkpoints/last.ckpt"
    start = ("--model.weights", weights, "--model.freeze", "backbone", "--run.name", "second")
    assert run("fit", *MLP, *start, root=tmp_path) == 0
    weights.rename(tmp_path / "elsewhere")
    path = tmp_path / "digits/second/checkpoints/last.ckpt"
    assert run("test", "--ckpt_path", path) == 0
    assert "test" in result(tmp_path, name="second")
    # the same options with --ckpt_path last continue a run that was cut off
    assert run("fit", *MLP, *start, "--ckpt_path", "last", "--trainer.max_epochs", "3", root=tmp_path) == 0
    assert result(tmp_path, name="second")["fit"]["epochs"] == 3
    # the saved config still says where the run started from
    assert config(tmp_path, name="second")["model"]["init_args"]["weights"] == str(weights)
    first, second = (torch.load(p, weights_only=True)["state_dict"] for p in (tmp_path / "elsewhere", path))
    assert torch.equal(first["backbone.1.weight"], second["backbone.1.weight"])
    assert not torch.equal(first["head.weight"], second["head.weight"])
    capsys.readouterr()
    assert run("fit", *MLP, *start, root=tmp_path) == 2
    assert f"error: --model.weights {weights}: there is no such file" in capsys.readouterr().err


def test_test__under_another_name_stays_in_the_experiment(tmp_path):
    run("fit", *MLP, "--run.experiment", "study", root=tmp_path)
    checkpoint = tmp_path / "study/mlp/checkpoints/best.ckpt"
    assert run("test", "--ckpt_path", checkpoint, "--run.name", "again") == 0
    assert "test" in result(tmp_path, "study", "again")
    assert "test" not in result(tmp_path, "study")


def test_experiment_beside__what_is_named_is_heeded():
    checkpoint = Path("there/study/mlp/checkpoints/best.ckpt")
    assert experiment_beside([], RunOptions(), checkpoint) == Path("there/study")
    assert experiment_beside([], RunOptions(experiment="x"), checkpoint) == Path("there/x")
    assert experiment_beside([], RunOptions(root="here"), checkpoint) == Path("here/study")
    assert experiment_beside(["--run.root=runs"], RunOptions(), checkpoint) == Path("runs/study")
    assert experiment_beside([], RunOptions(), Path("moved.ckpt")) is None
