import lightning.pytorch as pl
import pytest
import torch

from datamodules.device_memory import DeviceMemory
from datamodules.loaders import BatchLoader
from datamodules.samplers import EpochSampler, Shuffled
from lightning_modules import MLP
from tests.helpers.data import Blobs
from tests.helpers.training import trainer

CPU = torch.device("cpu")


def in_trainer(data, device=CPU):
    data.trainer = type("Trainer", (), {"global_rank": 0, "world_size": 1})()
    data.trainer.strategy = type("Strategy", (), {"root_device": device})()
    return data


def same(left, right):
    return all(torch.equal(left[name].cpu(), right[name].cpu()) for name in right) and left.keys() == right.keys()


def test_hold__serves_the_same_batches():
    samples = Blobs().samples("train")
    sampler = EpochSampler(Shuffled(len(samples)), 8, 0, 0, 1)
    held = DeviceMemory().hold(samples, CPU)
    pairs = zip(BatchLoader(samples, sampler, held), BatchLoader(samples, sampler), strict=True)
    assert all(same(left, right) for left, right in pairs)


def test_hold__splits_share_one_copy(monkeypatch):
    data, memory = Blobs(val_fraction=0.2), DeviceMemory()
    copies = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device: copies.append(tensor) or tensor)
    train, val = (memory.hold(data.samples(split), CPU) for split in ("train", "val"))
    assert train.source.tensor is val.source.tensor
    assert sum(copied.ndim == 4 for copied in copies) == 1
    # the splits' own columns are apart
    assert not torch.equal(train.ids[: len(val)], val.ids)


def test_hold__while_validating_leaves_tensors_that_training_can_use():
    samples = Blobs().samples("train")
    with torch.inference_mode():
        held = DeviceMemory().hold(samples, CPU)
    assert not held.labels.is_inference()
    assert not held.source.tensor.is_inference()


def test_auto__leaves_a_cpu_as_it_was():
    loader = in_trainer(Blobs()).train_dataloader()
    assert loader.held is loader.samples


def test_auto__holds_what_is_small_beside_the_free_memory(monkeypatch):
    data, gpu = Blobs(), torch.device("cuda")
    source = data.samples("train").source
    memory = DeviceMemory()
    for share, fits in ((3.9, False), (4.1, True)):
        free = int(share * source.tensor.nbytes)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 10 * free))
        assert memory.has_room(source, gpu) is fits


def test_true__same_weights_as_false(tmp_path):
    weights = []
    for on_device in (True, False):
        pl.seed_everything(0)
        data = Blobs(on_device=on_device, augmentation=("crop",), cutmix=1.0, val_fraction=0.2)
        model = MLP(data_info=data.info, hidden=[8])
        trainer(tmp_path, max_epochs=2).fit(model, datamodule=data)
        weights.append(model.head.weight.detach())
    assert torch.equal(*weights)


def test_true__needs_decoded_images_to_train_on():
    data = in_trainer(Blobs(on_device=True))
    files = data.samples("test").with_source(object())
    # files are predicted on all the same
    assert data.loader(files).held is files
    data.splits["train"] = data.samples("train").with_source(object())
    with pytest.raises(ValueError, match="--data.on_device true needs images that are decoded once: set --data.cache"):
        data.train_dataloader()


def test_true__conflicts_with_an_augmentation_by_class():
    with pytest.raises(ValueError, match="--data.on_device true and --data.strong_classes exclude each other"):
        Blobs(on_device=True, strong_classes=("left",), strong_augmentation=("flip",))
    loader = in_trainer(Blobs(strong_classes=("left",), strong_augmentation=("flip",))).train_dataloader()
    assert loader.held is loader.samples


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu__auto_serves_the_same_batches_from_its_memory():
    data = in_trainer(Blobs(), torch.device("cuda"))
    loader = data.train_dataloader()
    batches = list(loader)
    assert all(column.device.type == "cuda" for batch in batches for column in batch.values())
    on_host = BatchLoader(loader.samples, loader.sampler)
    assert all(same(left, right) for left, right in zip(batches, on_host, strict=True))
