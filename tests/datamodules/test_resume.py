"""A run killed within an epoch and resumed ends as if it had not stopped."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from callbacks import RandomState
from datamodules import ImageFolder, Streamed
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.shards import write
from tests.helpers.training import trainer


class KilledError(Exception):
    pass


class Watch(Callback):
    """Note each batch's ids, and stop as a kill would: nothing is saved any more."""

    def __init__(self, stop_after=None):
        self.ids, self.images, self.stop_after = [], [], stop_after

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.ids.append(batch["id"].tolist())
        self.images.append(batch["image"].clone())

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        # checkpoints are saved after all other callbacks have seen a batch
        if len(self.ids) == self.stop_after:
            raise KilledError


def run(data, folder, stop_after=None, ckpt_path=None, save_every=1, **options):
    torch.manual_seed(7)
    # dropout is on, because its masks must be the same too
    model = MLP(data_info=data.info, dropout=0.3, **options)
    watch = Watch(stop_after)
    saver = ModelCheckpoint(folder, "last", every_n_train_steps=save_every, enable_version_counter=False)
    fitting = trainer(folder, max_epochs=3, callbacks=[RandomState(), saver, watch])
    try:
        fitting.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    except KilledError:
        assert stop_after is not None
    return model, watch, fitting


def in_memory(root, workers):
    return Blobs(count=70, batch_size=16, augmentation=("crop", "flip"), sampler="balanced", num_workers=workers)


def on_disk(root, workers):
    # 65 training images: the last batch is a small one
    return ImageFolder(
        root=str(root), batch_size=8, cache="none", num_workers=workers, cache_dir=str(root / "cache"),
        augmentation=("resized_crop", "flip"),
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("make", [in_memory, on_disk])
@pytest.mark.parametrize("stop_after", [2, 4, 9])
def test_resume__within_an_epoch(make, workers, stop_after, image_folder, tmp_path):
    whole, watched, fitted = run(make(image_folder, workers), tmp_path / "whole")
    batches = len(watched.ids) // 3
    assert batches > 3
    _, before, _ = run(make(image_folder, workers), tmp_path / "killed", stop_after)
    # the rest of the process is another one
    torch.manual_seed(99)
    resumed, after, refitted = run(
        make(image_folder, workers), tmp_path / "killed", ckpt_path=tmp_path / "killed/last.ckpt"
    )
    assert before.ids + after.ids == watched.ids
    assert all(torch.equal(a, b) for a, b in zip(before.images + after.images, watched.images, strict=True))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert fitted.callback_metrics == refitted.callback_metrics


@pytest.mark.parametrize("stop_after", [2, 13])
def test_resume__within_an_epoch_of_shards(stop_after, tmp_path):
    # fetched, with less room than they take
    _, shards = write(tmp_path, per_class=24)
    size = (shards / "train/chunk-0-0.bin").stat().st_size

    def data(cache, workers):
        room = {"cache_gb": 6.5 * size / 1e9, "cache_dir": str(tmp_path / cache), "val_fraction": 0.0}
        return Streamed(root=f"local:{shards}", batch_size=8, mixed_shards=3, num_workers=workers, **room)

    whole, watched, _ = run(data("one", 0), tmp_path / "whole")
    assert len(watched.ids) == 3 * 9
    assert watched.ids[:9] != watched.ids[9:18]
    _, before, _ = run(data("two", 0), tmp_path / "killed", stop_after)
    torch.manual_seed(99)
    # on another node, with other threads
    resumed, after, _ = run(data("three", 2), tmp_path / "killed", ckpt_path=tmp_path / "killed/last.ckpt")
    assert before.ids + after.ids == watched.ids
    assert all(torch.equal(a, b) for a, b in zip(before.images + after.images, watched.images, strict=True))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_resume__within_an_epoch_of_shards_in_another_order_is_refused(tmp_path):
    _, shards = write(tmp_path, per_class=24)
    options = {"root": str(shards), "batch_size": 8}
    run(Streamed(**options, mixed_shards=3), tmp_path, 2)
    with pytest.raises(
        ValueError, match="--data.sampler, --data.mixed_shards, --data.streams .* and --seed_everything"
    ):
        run(Streamed(**options, mixed_shards=2), tmp_path, ckpt_path=tmp_path / "last.ckpt")


def test_resume__a_checkpoint_some_batches_old(tmp_path):
    _, watched, _ = run(in_memory(None, 0), tmp_path / "whole")
    # saved after 3 and 6 batches of 4 each epoch, killed after 7
    _, before, _ = run(in_memory(None, 0), tmp_path / "killed", 7, save_every=3)
    _, after, _ = run(in_memory(None, 0), tmp_path / "killed", ckpt_path=tmp_path / "killed/last.ckpt")
    assert before.ids[:6] + after.ids == watched.ids


def test_resume__other_batches_within_an_epoch_are_refused(tmp_path):
    run(in_memory(None, 0), tmp_path, 2)
    for options in ({"batch_size": 8}, {"sampler": "none"}, {"split_seed": 5}):
        other = Blobs(**{"count": 70, "batch_size": 16, "sampler": "balanced", **options})
        with pytest.raises(ValueError, match="saved within an epoch, after 2 of 4 batches, of other"):
            run(other, tmp_path, ckpt_path=tmp_path / "last.ckpt")


def test_resume__other_batches_after_a_whole_epoch_are_not(tmp_path):
    data = in_memory(None, 0)
    saver = ModelCheckpoint(tmp_path, "last", enable_version_counter=False)
    trainer(tmp_path, max_epochs=1, callbacks=[saver]).fit(MLP(data_info=data.info), datamodule=data)
    _, after, _ = run(Blobs(count=70, batch_size=8), tmp_path, ckpt_path=tmp_path / "last.ckpt")
    assert len(after.ids) == 2 * 8


def test_resume__a_checkpoint_saved_within_a_step_keeps_its_batch(tmp_path):
    _, watched, _ = run(in_memory(None, 0), tmp_path / "whole")

    class FailingError(MLP):
        def training_step(self, batch, batch_idx):
            if self.global_step == 2:
                raise RuntimeError("out of memory")
            return super().training_step(batch, batch_idx)

    data = in_memory(None, 0)
    torch.manual_seed(7)
    model = FailingError(data_info=data.info, hidden=[8])
    saver = ModelCheckpoint(tmp_path, "last", save_on_exception=True, enable_version_counter=False)
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer(tmp_path, max_epochs=3, callbacks=[saver, Watch()]).fit(model, datamodule=data)
    (saved,) = tmp_path.glob("*.ckpt")
    _, after, _ = run(in_memory(None, 0), tmp_path, ckpt_path=saved, hidden=[8])
    assert after.ids == watched.ids[2:]
