import pytest
import torch

from datamodules.transforms import AUGMENTATIONS, augment, random_crop, random_cutout
from tests.helpers.data import random_images


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_random_crop__each_image_is_a_window_of_its_padded_self():
    images = random_images(64, 2, 6)
    cropped = random_crop(images, 2, generator=generator())
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    shifts = set()
    for before, after in zip(padded, cropped, strict=True):
        fits = [(y, x) for y in range(5) for x in range(5) if torch.equal(before[:, y : y + 6, x : x + 6], after)]
        assert fits
        shifts.add(fits[0])
    # randomness of its own for every sample
    assert len(shifts) > 10


def test_random_crop__shifts_are_uniform():
    image = torch.zeros(1, 1, 5, 5, dtype=torch.uint8)
    image[0, 0, 2, 2] = 1
    cropped = random_crop(image.expand(20_000, 1, 5, 5), 2, generator=generator())
    places = cropped.flatten(1).argmax(1).bincount(minlength=25)
    assert (places - 800).abs().max() < 150


def test_random_crop__mirrors_about_half():
    images = random_images(1000, 2, 4)
    flipped = random_crop(images, 0, flip=True, generator=generator())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 420 < int(mirrored.sum()) < 580


def test_random_crop__mirrors_the_window_it_cut():
    images = random_images(64, 1, 6)
    with_flip = random_crop(images, 2, flip=True, generator=generator())
    without = random_crop(images, 2, generator=generator())
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(-1)) for a, b in zip(with_flip, without, strict=True))


def test_random_cutout__blanks_one_square_at_most():
    images = torch.full((500, 3, 8, 8), 9, dtype=torch.uint8)
    cut = random_cutout(images, 4, generator())
    holes = (cut == 0).all(1)
    assert ((cut == 0).any(1) == holes).all()
    sizes = holes.flatten(1).sum(1)
    assert sizes.max() == 16
    assert sizes.min() >= 4
    # a hole is a rectangle: rows times columns
    assert torch.equal(sizes, holes.any(1).sum(1) * holes.any(2).sum(1))


@pytest.mark.parametrize("preset", AUGMENTATIONS)
def test_augment__keeps_shape_and_type(preset):
    images = random_images(5, 3, 16)
    augmented = augment(images, preset, generator())
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    assert torch.equal(augmented, images) == (preset == "none")
    assert torch.equal(augmented, augment(images, preset, generator()))
