"""Runs whose folder was moved or copied."""

import shutil

import pytest
import torch

from records.run_dir import RunDir
from tests.helpers.cli import run

FIT = ("fit", "--data", "tests.helpers.data.Blobs", "--model", "MLP", "--model.hidden", "[8]", "--run.experiment", "x")
# no epoch is better than the first
STILL = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.0", "--trainer.max_epochs")


@pytest.mark.parametrize("kept", [True, False])
def test_moved__the_best_epoch_so_far_stays_the_best(kept, tmp_path):
    assert run(*FIT, *STILL, "1", root=tmp_path) == 0
    moved = RunDir(tmp_path / "y/other")
    shutil.copytree(tmp_path / "x/mlp", moved.folder)
    if not kept:
        # only the state was copied: the next epoch is the best that is there
        moved.best.unlink()
    assert run("fit", "--allow", "tests", "--ckpt_path", moved.folder, "--trainer.max_epochs", "2") == 0
    best = torch.load(moved.best, weights_only=True)
    assert best["epoch"] == (0 if kept else 1)
    assert torch.load(moved.last, weights_only=True)["epoch"] == 1
