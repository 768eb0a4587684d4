"""Each operation against torchvision's on the same image."""

import math

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from datamodules.augmentation.auto_augment import (
    OPERATIONS,
    apply_operations,
    rand_augment,
    random_affine,
    random_color,
    trivial_augment,
)
from tests.helpers.data import random_images


def smooth_images(batch=4, channels=3, size=24, seed=0):
    """Images with structure and a narrow range, so that contrast operations have something to do."""
    coarse = random_images(batch, channels, 6, seed).float()
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return (40 + fine * 0.6).to(torch.uint8)


REFERENCE = {
    "Identity": lambda x, m: x,
    "ShearX": lambda x, m: functional.affine(x, 0.0, [0, 0], 1.0, [math.degrees(math.atan(m)), 0.0], center=[0, 0]),
    "ShearY": lambda x, m: functional.affine(x, 0.0, [0, 0], 1.0, [0.0, math.degrees(math.atan(m))], center=[0, 0]),
    "TranslateX": lambda x, m: functional.affine(x, 0.0, [int(m), 0], 1.0, [0.0, 0.0]),
    "TranslateY": lambda x, m: functional.affine(x, 0.0, [0, int(m)], 1.0, [0.0, 0.0]),
    "Rotate": lambda x, m: functional.rotate(x, m),
    "Brightness": lambda x, m: functional.adjust_brightness(x, 1 + m),
    "Color": lambda x, m: functional.adjust_saturation(x, 1 + m),
    "Contrast": lambda x, m: functional.adjust_contrast(x, 1 + m),
    "Sharpness": lambda x, m: functional.adjust_sharpness(x, 1 + m),
    "Posterize": lambda x, m: functional.posterize(x, int(m)),
    "Solarize": lambda x, m: functional.solarize(x, m),
    "AutoContrast": lambda x, m: functional.autocontrast(x),
    "Equalize": lambda x, m: functional.equalize(x),
}
STRENGTHS = {
    "ShearX": (-0.6, 0.33),
    "ShearY": (-0.6, 0.33),
    "TranslateX": (-7.4, 5.2),
    "TranslateY": (-7.4, 5.2),
    "Rotate": (-100.0, 31.0),
    "Posterize": (2.0, 6.0),
    "Solarize": (100.5, 17.0),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations__match_torchvision_on_each_image(name, channels):
    images = smooth_images(channels=channels)
    low, high = STRENGTHS.get(name, (-0.7, 0.8))
    magnitude = torch.tensor([low, high, high, low])
    changed = apply_operations(images, torch.full((4,), OPERATIONS.index(name)), magnitude)
    expected = torch.stack([REFERENCE[name](x, m) for x, m in zip(images, magnitude.tolist(), strict=True)])
    difference = (changed.int() - expected.int()).abs()
    # turned and sheared coordinates that fall between two pixels may be rounded to either
    assert (difference > 1).float().mean() < 0.02
    if name != "Identity":
        assert not torch.equal(changed, images) or (name == "Color" and channels == 1)


def test_operations__each_image_gets_its_own():
    images = smooth_images(len(OPERATIONS))
    chosen, magnitude = torch.arange(len(OPERATIONS)), torch.tensor([STRENGTHS.get(n, (0.5,))[0] for n in OPERATIONS])
    together = apply_operations(images, chosen, magnitude)
    for number in range(len(OPERATIONS)):
        row = slice(number, number + 1)
        assert torch.equal(together[row], apply_operations(images[row], chosen[row], magnitude[row]))


def test_trivial_augment__changes_as_often_and_as_much_as_torchvision():
    images = smooth_images(700)
    ours = trivial_augment(images, torch.Generator().manual_seed(0)).float()
    torch.manual_seed(0)
    transform = v2.TrivialAugmentWide(fill=0)
    theirs = torch.stack([transform(image) for image in images]).float()
    unchanged = [(x == images).flatten(1).all(1).float().mean().item() for x in (ours, theirs)]
    # a little over 1 of 14, because some operations can have no effect
    assert unchanged[0] == pytest.approx(unchanged[1], abs=0.05)
    change = [(x - images).abs().mean().item() for x in (ours, theirs)]
    assert change[0] == pytest.approx(change[1], rel=0.15)


def test_rand_augment__changes_as_much_as_torchvision():
    images = smooth_images(500)
    ours = rand_augment(images, generator=torch.Generator().manual_seed(0)).float()
    torch.manual_seed(0)
    transform = v2.RandAugment(fill=0)
    theirs = torch.stack([transform(image) for image in images]).float()
    change = [(x - images).abs().mean().item() for x in (ours, theirs)]
    assert change[0] == pytest.approx(change[1], rel=0.15)


@pytest.mark.parametrize("function", [trivial_augment, rand_augment, random_color, random_affine])
def test_augmentations__come_from_the_generator_alone(function):
    images = smooth_images(16)
    first, second, third = (function(images, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert first.dtype == torch.uint8
    assert first.shape == images.shape


def test_random_color__keeps_grey_pictures_grey():
    grey = smooth_images(8, 1).expand(-1, 3, -1, -1)
    changed = random_color(grey, generator=torch.Generator().manual_seed(0)).int()
    assert (changed - changed[:, :1]).abs().max() <= 1


def test_random_affine__the_centre_stays_near_the_centre():
    images = torch.zeros(64, 1, 33, 33, dtype=torch.uint8)
    images[:, :, 14:19, 14:19] = 255
    moved = random_affine(images, generator=torch.Generator().manual_seed(0)).float()
    mass = moved.sum((1, 2, 3))
    place = torch.arange(33.0)
    x = (moved.sum((1, 2)) * place).sum(1) / mass - 16
    assert x.abs().max() <= 3.5
    assert x.std() > 1
    assert (mass / (25 * 255)).max() < 1.3


def test_random_affine__does_nothing_without_strength():
    images = smooth_images(4)
    assert torch.equal(random_affine(images, 0.0, 0.0, (1.0, 1.0)), images)
