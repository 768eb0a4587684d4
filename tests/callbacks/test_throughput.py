import csv
import sys
import time

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import Throughput
from common.machine import peak_memory
from lightning_modules import MLP
from tests.helpers.cli import result, run
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


class Clock:
    """Seconds that pass only where somebody takes them: what a busy machine does between is no part of a test."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """Let all that is measured here go by a clock of its own."""
    clock = Clock()
    monkeypatch.setattr("callbacks.throughput.time", clock)
    monkeypatch.setattr("datamodules.loaders.time", clock)
    monkeypatch.setattr(sys.modules[__name__], "time", clock)
    return clock


class Slow:
    """A source that takes its time."""

    def __init__(self, source, seconds):
        self.source, self.seconds = source, seconds
        self.name, self.in_memory = source.name, source.in_memory

    def __len__(self):
        return len(self.source)

    def gather(self, rows):
        time.sleep(self.seconds)
        return self.source.gather(rows)


class Step(MLP):
    """Takes its time for a training step, and for a validation step."""

    seconds = 0.0

    def training_step(self, batch, batch_idx):
        time.sleep(self.seconds)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        time.sleep(self.seconds)
        super().validation_step(batch, batch_idx)


def fitted(tmp_path, data_seconds=0.0, step_seconds=0.0, callbacks=(), **options):
    data = Blobs(count=64)
    info = data.info
    data.splits["train"] = data.splits["train"].with_source(Slow(data.splits["train"].source, data_seconds))
    model = Step(data_info=info, hidden=[4])
    model.seconds = step_seconds
    throughput = Throughput()
    fitting = trainer(tmp_path, callbacks=[throughput, *callbacks], num_sanity_val_steps=0, **options)
    fitting.fit(model, datamodule=data)
    return throughput, data


def test_data_wait__is_the_share_of_the_slow_source(tmp_path, clock):
    slow, _ = fitted(tmp_path, data_seconds=0.1)
    both, _ = fitted(tmp_path, data_seconds=0.1, step_seconds=0.1)
    busy, _ = fitted(tmp_path, step_seconds=0.1)
    assert slow.summary()["data_wait"] == pytest.approx(1)
    assert both.summary()["data_wait"] == pytest.approx(0.5)
    assert busy.summary()["data_wait"] == 0


def test_images_per_second__leaves_out_validation_and_saving(tmp_path, clock):
    class SlowSave(ModelCheckpoint):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            time.sleep(0.5)

    saving = SlowSave(tmp_path / "checkpoints", every_n_train_steps=1, save_top_k=-1)
    throughput, data = fitted(tmp_path, step_seconds=0.05, callbacks=[saving])
    steps = len(data.train_dataloader())
    assert throughput.later.seconds == pytest.approx(0.05 * steps)
    assert throughput.later.images == len(data.splits["train"])


def test_summary__first_epoch_alone_if_there_is_no_other(tmp_path):
    one, data = fitted(tmp_path, max_epochs=1)
    assert one.first.images == len(data.splits["train"])
    assert one.later.images == 0
    assert one.summary()["images_per_second"] > 0
    assert Throughput().summary() == {}


def test_resume__adds_to_what_was_before(tmp_path):
    first, data = fitted(tmp_path, callbacks=[ModelCheckpoint(tmp_path, filename="last")])
    resumed = Throughput()
    model = MLP(data_info=data.info, hidden=[4])
    fitting = trainer(tmp_path, callbacks=[resumed], max_epochs=5)
    fitting.fit(model, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    count = len(data.splits["train"])
    # two epochs before, three after; each part has a first one
    assert (first.first.images, first.later.images) == (count, count)
    assert (resumed.first.images, resumed.later.images) == (2 * count, 3 * count)
    assert resumed.later.seconds > first.later.seconds


def test_fit__numbers_are_logged_and_in_the_result(tmp_path):
    assert run("fit", "--model", "MLP", "--model.hidden", "[8]", "--trainer.max_epochs", "2", root=tmp_path) == 0
    fit = result(tmp_path)["fit"]
    assert fit["images_per_second"] > 0
    assert 0 <= fit["data_wait"] <= 1
    assert fit["peak_memory_bytes"] > 1e7
    # not among the model's metrics
    assert not any(name.startswith("speed") for name in fit["last"])
    with (tmp_path / "digits/mlp/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["speed/images_per_second"]]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert all(float(row["speed/peak_memory_gb"]) > 0.01 and row["speed/data_wait"] for row in rows)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_peak_memory__of_tensors_on_a_gpu():
    torch.cuda.reset_peak_memory_stats()
    before = peak_memory(torch.device("cuda"))
    torch.empty(10_000_000, device="cuda")
    assert peak_memory(torch.device("cuda")) >= before + 40_000_000
