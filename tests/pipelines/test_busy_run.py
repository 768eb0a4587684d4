"""Commands that meet another process in a run's folder, and commands that are refused before they begin."""

import errno
import json
import os
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch

from callbacks import ResumableCSVLogger
from pipelines.cli import image_cli, parsed_cli
from pipelines.cli.held_run import hold
from pipelines.status.standing import standing_of
from records import locks
from records.result_files import read_result, write_json
from records.run_dir import RunDir
from tests.helpers.cli import result, run

FIT = ("fit", "--data", "tests.helpers.data.Blobs", "--model", "MLP", "--model.hidden", "[8]", "--run.experiment", "x")
# a checkpoint names a class of the tests
ON = ("--allow", "tests", "--ckpt_path")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one epoch."""
    root = tmp_path_factory.mktemp("runs")
    assert run(*FIT, "--trainer.max_epochs", "1", root=root) == 0
    return RunDir(root / "x/mlp")


def content(folder):
    # who holds the run, and how the last command ended, is all that a refused command writes
    notes = (".run.owner", ".run.ended")
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name not in notes}


@pytest.mark.parametrize("command", ["fit", "test", "validate", "predict"])
def test_busy__a_run_that_is_being_trained_is_left_alone(command, trained, capsys):
    before = content(trained.folder)
    with hold(trained, "trained"):
        assert run(command, *ON, trained.folder) == 2
    told = capsys.readouterr().err
    assert f"run {trained.folder} is being trained by process {os.getpid()} on host " in told
    assert "wait for it, " in told
    way_out = f"--ckpt_path {trained.last}" if command == "fit" else "--run.name NAME"
    assert way_out in told
    assert content(trained.folder) == before


def test_busy__the_ways_out_work(trained, tmp_path):
    with hold(trained, "trained"):
        assert run("test", *ON, trained.folder, "--run.name", "elsewhere", root=tmp_path) == 0
        assert run(*FIT, *ON, trained.last, "--trainer.max_epochs", "2", root=tmp_path) == 0
        # nor does a rehearsal ask
        assert run("fit", *ON, trained.folder, "--trainer.fast_dev_run", "true") == 0
    assert result(tmp_path, "x", "elsewhere")["test"]
    assert result(tmp_path, "x")["fit"]["epochs"] == 2


def test_busy__an_evaluation_is_waited_for_and_none_is_lost(trained, monkeypatch, capsys):
    with ExitStack() as other:
        other.enter_context(hold(trained, "evaluated"))

        def end(seconds):
            write_json(trained.result, read_result(trained.result) | {"of_another": 1})
            other.close()

        monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=end, monotonic=time.monotonic))
        assert run("test", *ON, trained.folder) == 0
    assert "is being evaluated by process" in capsys.readouterr().err
    assert {"of_another", "test", "fit"} <= json.loads(trained.result.read_text()).keys()


def test_busy__a_checkpoint_that_was_written_meanwhile_is_not_gone_on_with(trained, monkeypatch, capsys):
    read = parsed_cli.read_checkpoint

    def late(path, mapped):
        checkpoint = read(path, mapped)
        shutil.copyfile(path, path.with_name("other"))
        path.with_name("other").replace(path)
        return checkpoint

    monkeypatch.setattr(parsed_cli, "read_checkpoint", late)
    assert run("fit", *ON, trained.folder) == 2
    assert "another process has written" in capsys.readouterr().err


def test_busy__a_run_that_has_ended_lets_others_in(trained):
    assert not trained.lock.with_suffix(".owner").exists()
    for _ in range(2):
        assert run("validate", *ON, trained.folder) == 0


def refuse_full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Interrupts(pl.Callback):
    """Ctrl-C while the run is set up."""

    def setup(self, trainer, pl_module, stage):
        raise KeyboardInterrupt


class Fails(pl.Callback):
    """An error right before the first step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        raise ValueError("of the user's own")


HERE = "tests.pipelines.test_busy_run"


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (("--trainer.strategy", "nonsense"), 2),
        (("--trainer.precision", "8-true"), 2),
        (("--trainer.num_nodes", "-1"), 2),
        (("--trainer.max_steps", "-7"), 2),
        (("--trainer.limit_train_batches", "-3"), 2),
        ((f"--trainer.callbacks+={HERE}.Interrupts",), 130),
        ((f"--trainer.callbacks+={HERE}.Fails", "--figures.batch", "true"), 2),
    ],
)
def test_refused__no_folder_is_left(args, status, tmp_path):
    assert run(*FIT, "--trainer.max_epochs", "1", *args, root=tmp_path / "runs") == status
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("above", ["runs", "runs/x", "runs/x/mlp"])
def test_refused__what_was_there_stays(above, tmp_path):
    (tmp_path / above).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    assert run(*FIT, "--trainer.strategy", "nonsense", root=tmp_path / "runs") == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "touch"), (ResumableCSVLogger, "__init__"), (image_cli, "use_lean_loop")]
)
def test_refused__a_full_disk_before_the_first_step(owner, name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(owner, name, refuse_full)
    assert run(*FIT, "--trainer.max_epochs", "1", root=tmp_path / "runs") == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_refused__evaluations_elsewhere(command, trained, tmp_path, capsys):
    args = (*ON, trained.folder, "--run.name", "elsewhere", "--trainer.strategy", "nonsense")
    assert run(command, *args, root=tmp_path / "runs") == 2
    assert "nonsense" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_refused__a_run_that_is_gone_on_with_stays(trained):
    before = content(trained.folder)
    assert run("fit", *ON, trained.folder, "--trainer.strategy", "nonsense") == 2
    assert {path for path in content(trained.folder) if "config" not in path.name} == {
        path for path in before if "config" not in path.name
    }
    assert torch.load(trained.last, weights_only=True)["global_step"]
    row = standing_of(trained, None)
    assert row.state == "done"
    assert "the last command was refused: " in row.note
    assert "nonsense" in row.note
    assert run("fit", *ON, trained.folder, f"--trainer.callbacks+={HERE}.Interrupts") == 130
    assert standing_of(trained, None).state == "done"
