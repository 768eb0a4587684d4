"""One of two processes that train together is killed: the other ends with the cause, and does not wait for it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from records.ended import read_end
from tests.helpers.faults import LONG, PYTHON_WORDS
from tests.helpers.warm import in_main, ranks

FIT = (
    "fit", "--data", "tests.helpers.data.Blobs", "--data.count", "110", "--model", "MLP", "--model.hidden", "[16]",
    "--model.dropout", "0.3", "--trainer.max_epochs", "3", "--trainer.accelerator", "cpu",
    "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--allow", "tests",
    "--last_checkpoint.every_n_train_steps", "2", "--run.experiment", "e", "--run.name",
)  # fmt: skip
BOTH = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
DEATHS = 20 if LONG else 1


def dies(rank, step):
    moment = ("--trainer.callbacks.name", "SIGKILL", "--trainer.callbacks.step", step, "--trainer.callbacks.rank", rank)
    return ("--trainer.callbacks", "tests.helpers.signals.SignalAt", *map(str, moment))


@pytest.mark.parametrize("number", range(DEATHS))
def test_rank__that_is_killed_ends_the_job_with_its_cause(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(number)
    # the second process first, which the other must outlive long enough to say so
    killed, step = (number + 1) % 2, int(random.integers(9)) if number else 8
    ended = ranks(in_main, (*FIT, "both", *BOTH, *dies(killed, step)))
    assert ended[killed].returncode == -9
    other = ended[1 - killed]
    assert other.returncode == 2, other.stdout + other.stderr
    assert "error: another process of this job has ended" in other.stderr
    assert "--ckpt_path" in other.stderr
    assert not PYTHON_WORDS.search(other.stderr), other.stderr
    run = Path("runs/e/both")
    if killed:
        assert "another process of this job has ended" in read_end(run).why
    if (run / "checkpoints/last.ckpt").is_file():
        # what was saved is whole
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)
