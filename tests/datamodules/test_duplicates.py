import numpy as np
import pytest
import torch

from datamodules import duplicates
from datamodules.duplicates import look_at, near_duplicates, same_content
from datamodules.samples import Samples, TensorSource
from tests.helpers.data import random_images


def samples(images):
    numbers = torch.arange(len(images))
    return Samples(TensorSource(images), numbers, numbers % 2, numbers, numbers, [str(n) for n in numbers.tolist()])


def pictures(count, channels=3, size=32, seed=0):
    """Different images with coarse structure, as photos have."""
    coarse = random_images(count, channels, 6, seed).float()
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255).to(torch.uint8)


def changed(image):
    """Brighter, with less contrast and noise: what another export of a photo looks like."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)) * 4
    return (image.float() * 0.9 + 20 + noise).clamp(0, 255).to(torch.uint8)


def test_same_content__groups_in_order():
    assert same_content(np.array([3, 1, 3, 2, 1, 3])) == [[0, 2, 5], [1, 4]]
    assert same_content(np.array([1, 2, 3])) == []


@pytest.mark.parametrize("limit", [100, 1])
@pytest.mark.parametrize("channels", [1, 3])
def test_near_duplicates__changed_copies_are_found_and_nothing_else(channels, limit, monkeypatch):
    monkeypatch.setattr(duplicates, "ALL_PAIRS_LIMIT", limit)
    images = pictures(60, channels)
    copies = torch.stack([changed(image) for image in images[:5]])
    pairs = near_duplicates(look_at([samples(torch.cat([images, copies]))]))
    found = {tuple(pair) for pair in pairs.indices.tolist()}
    # a search by parts of the hash misses a copy that differs in all four of them
    assert found <= {(number, 60 + number) for number in range(5)}
    assert len(found) == 5 if limit == 100 else len(found) >= 1
    assert (pairs.correlations >= 0.9).all()
    assert (np.diff(pairs.correlations) <= 0).all()


def test_near_duplicates__do_not_depend_on_chunks():
    images = pictures(30)
    left, right = (look_at([samples(images)], chunk) for chunk in (7, 100))
    assert torch.equal(left.bits, right.bits)


def test_near_duplicates__blank_images_are_not_alike():
    blank = torch.zeros(4, 1, 8, 8, dtype=torch.uint8) + torch.arange(4).byte().view(4, 1, 1, 1)
    assert len(near_duplicates(look_at([samples(blank)])).indices) == 0


def test_near_duplicates__what_a_class_has_in_common_counts_for_nothing():
    # every image is the same outline with little of its own
    outline = pictures(1).float()
    own = torch.randn(80, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 25
    images = (outline + torch.nn.functional.interpolate(own, (32, 32), mode="bilinear")).clamp(0, 255).byte()
    images[70] = changed(images[7])
    pairs = near_duplicates(look_at([samples(images)]), max_distance=20)
    assert pairs.indices.tolist() == [[7, 70]]


def test_near_duplicates__labels_need_not_agree():
    images = pictures(60)
    images[1] = changed(images[0])
    looks = look_at([samples(images)])
    assert looks.labels[:2].tolist() == [0, 1]
    assert near_duplicates(looks).indices.tolist() == [[0, 1]]


@pytest.mark.parametrize("limit", [1000, 1])
def test_near_duplicates__says_when_not_all_were_compared(limit, monkeypatch):
    monkeypatch.setattr(duplicates, "ALL_PAIRS_LIMIT", limit)
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 50)
    alike = near_duplicates(look_at([samples(pictures(1).expand(40, 3, 32, 32))]))
    assert not alike.complete
    if limit > 1:
        assert near_duplicates(look_at([samples(pictures(10))])).complete
