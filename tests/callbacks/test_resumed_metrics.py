"""A run that is killed at any moment and goes on logs each row once, and ends with the metrics of one that was not."""

import csv
import json
import shutil

import torch
from lightning.pytorch.callbacks import LearningRateMonitor

from callbacks import LastCheckpoint, RandomState, ResumableCSVLogger, RunRecorder
from lightning_modules import MLP
from lightning_modules.checkpoint_io import WholeFileIO
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


class Snapshots(LastCheckpoint):
    """Copy the run's folder as a process that is killed right then would leave it.

    Args:
        run: the run's folder
        copies: where to put them; None takes none
    """

    def __init__(self, run, copies=None):
        super().__init__(every_n_train_steps=3)
        self.run, self.copies = run, copies
        self.dirpath = str(run / "checkpoints")

    def take(self, moment):
        if self.copies is not None:
            number = len(list(self.copies.iterdir())) if self.copies.is_dir() else 0
            shutil.copytree(self.run, self.copies / f"{number:02} {moment}")

    def _save_checkpoint(self, trainer, filepath):
        self.take("before a state is saved")
        super()._save_checkpoint(trainer, filepath)
        self.take("after a state is saved")

    def on_validation_end(self, trainer, pl_module):
        self.take("validated")

    def on_train_epoch_end(self, trainer, pl_module):
        self.take("epoch ends")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.global_step in (1, 5):
            # between two saves, with rows in the file that the next process logs again
            for logger in trainer.loggers:
                logger.save()
            self.take("within an epoch")

    def on_train_end(self, trainer, pl_module):
        self.take("trained")


def fit(run, copies=None, go_on=False):
    """Fit two epochs of 4 batches; return the rows of metrics.csv, and what result.json says of the end."""
    torch.manual_seed(0)
    data = Blobs(count=70, batch_size=16)
    recorder = RunRecorder(run / "result.json", run / "predictions.safetensors", {}, {}, "val/accuracy", "max")
    callbacks = [recorder, RandomState(), LearningRateMonitor("step"), Snapshots(run, copies)]
    logger = ResumableCSVLogger(str(run))
    fitting = trainer(run, callbacks=callbacks, logger=logger, log_every_n_steps=1, num_sanity_val_steps=0)
    fitting.strategy.checkpoint_io = WholeFileIO()
    last = run / "checkpoints/last.ckpt"
    fitting.fit(
        MLP(data_info=data.info, hidden=[8]), datamodule=data, ckpt_path=last if go_on and last.is_file() else None
    )
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((run / "result.json").read_text())["fit"]["last"]


def test_kill__no_row_is_lost_or_twice_there_whenever_it_comes(tmp_path):
    run, copies = tmp_path / "run", tmp_path / "copies"
    run.mkdir()
    whole, last = fit(run, copies)
    assert len(whole) == 12
    assert {"val/accuracy", "train/accuracy"} <= last.keys()
    moments = sorted(copies.iterdir())
    assert len(moments) == 15
    for moment in moments:
        shutil.rmtree(run)
        shutil.copytree(moment, run)
        rows, ended = fit(run, go_on=True)
        assert rows == whole, moment.name
        assert ended == last, moment.name
