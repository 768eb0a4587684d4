import threading

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.files.decode import FileSource
from datamodules.loaders import BatchLoader
from datamodules.samplers import EpochSampler, InOrder, Shuffled
from datamodules.samples import Samples, TensorSource
from tests.helpers.data import random_images


def samples(source):
    numbers = torch.arange(len(source))
    return Samples(source, numbers, numbers % 3, numbers + 100, numbers, [str(n) for n in numbers.tolist()])


def files(tmp_path, images, workers):
    names = [f"{number}.png" for number in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(np.asarray(image.permute(1, 2, 0))).save(tmp_path / name)
    return FileSource(tmp_path, names, (8, 8), 3, workers)


def test_loader__a_batch_is_a_dict_of_tensors():
    loader = BatchLoader(samples(TensorSource(random_images(10, 3, 8))), EpochSampler(Shuffled(10), 4, 0, 0, 1))
    batch = next(iter(loader))
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "image": (4, 3, 8, 8),
        "label": (4,),
        "id": (4,),
    }
    assert batch["image"].dtype == torch.uint8
    assert torch.equal(batch["label"], (batch["id"] - 100) % 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_loader__files_and_memory_give_the_same_batches(tmp_path, workers):
    images = random_images(11, 3, 8)
    sampler = EpochSampler(Shuffled(11), 4, 5, 0, 1)
    from_files = list(BatchLoader(samples(files(tmp_path, images, workers)), sampler))
    from_memory = list(BatchLoader(samples(TensorSource(images)), sampler))
    assert len(from_files) == len(from_memory) == 3
    for left, right in zip(from_files, from_memory, strict=True):
        assert all(torch.equal(left[name], right[name]) for name in right)


def test_loader__stopping_early_leaves_nothing_running(tmp_path):
    loader = BatchLoader(samples(files(tmp_path, random_images(11, 3, 8), 2)), EpochSampler(InOrder(11), 4, 0, 0, 1))
    for batch in loader:
        assert len(batch["id"]) == 4
        break
    assert len(list(loader)) == len(loader)


def test_loader__the_last_batch_leaves_no_thread_that_waits():
    source = TensorSource(random_images(10, 3, 8), in_memory=False)
    batches = iter(BatchLoader(samples(source), EpochSampler(InOrder(10), 4, 0, 0, 1)))
    # as a training loop that knows how many there are
    assert [len(next(batches)["id"]) for _ in range(3)] == [4, 4, 2]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("batch_")]


def test_loader__a_broken_file_stops_the_epoch(tmp_path):
    source = files(tmp_path, random_images(6, 3, 8), 2)
    source.path(4).write_bytes(b"")
    with pytest.raises(ValueError, match="4.png cannot be read"):
        list(BatchLoader(samples(source), EpochSampler(InOrder(6), 2, 0, 0, 1)))
