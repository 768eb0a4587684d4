import numpy as np
import pytest
import torch

from datamodules.dataset import array_dataset, channel_statistics, resize
from tests.helpers.data import blobs, random_images


def test_channel_statistics__a_constant_channel_is_not_divided_by_zero():
    data = array_dataset({s: (np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4)) for s in ("train", "test")}, ["a"], None)
    assert channel_statistics(data.train) == ([0.0], [1.0], (2, 2))


def test_resize__matches_torchvision():
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = random_images(3, 3, 20)
    reference = functional.resize(images, [12, 12], antialias=True)
    assert (resize(images, 12).int() - reference.int()).abs().max() <= 1
    assert resize(images, 20) is images


def test_array_dataset__keys_know_copies_across_splits():
    images, labels = blobs(6)
    data = array_dataset({"train": (images, labels), "test": (images[:2], labels[:2])}, list("abc"), 8)
    assert torch.equal(data.train.keys[:2], data.test.keys)
    assert not set(data.train.ids.tolist()) & set(data.test.ids.tolist())
