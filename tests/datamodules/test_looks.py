from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from datamodules.looks import FLIPS, NO_LOOK, array_looks, looks_of


def photo(seed, size=64):
    """A smooth picture, as photos are."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    noise = rng.integers(0, 20, (size, size, 3))
    return (np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)) * 0.9 + noise).astype(np.uint8)


def distance(one, other):
    """Bits that differ, whichever way round the pictures are."""
    left, right = (looks_of(image[None]).view(np.uint64)[0] for image in (one, other))
    return min(int(np.bitwise_count(left ^ right ^ flip)) for flip in FLIPS)


def jpeg(image, quality):
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def retouched(image):
    image = image.copy()
    image[20, 30] = 255 - image[20, 30]
    return image


@pytest.mark.parametrize(
    "change",
    [
        retouched,
        np.fliplr,
        np.flipud,
        lambda image: np.rot90(image, 2),
        lambda image: np.asarray(Image.fromarray(image).resize((48, 48))),
        lambda image: np.asarray(Image.fromarray(image).convert("L")),
        lambda image: jpeg(image, 40),
        lambda image: image[1:, 1:],
    ],
)
def test_looks__stay_nearly_the_same(change):
    distances = [distance(photo(seed), change(photo(seed))) for seed in range(20)]
    assert np.mean(np.array(distances) <= 8) >= 0.8


def test_looks__of_other_pictures_differ():
    looks = looks_of(np.stack([photo(seed) for seed in range(60)])).view(np.uint64)
    apart = np.min([np.bitwise_count(looks[:, None] ^ looks ^ flip) for flip in FLIPS], axis=0)
    np.fill_diagonal(apart, 64)
    assert apart.min() > 12


@pytest.mark.parametrize(
    "image",
    [
        np.full((32, 32, 3), 130, dtype=np.uint8),
        np.random.default_rng(0).integers(130, 133, (32, 32, 3), dtype=np.uint8),
        photo(0)[:15],
        np.kron(np.eye(2, dtype=np.uint8) * 255, np.ones((16, 16), dtype=np.uint8)),
        np.tile(np.linspace(0, 255, 32).astype(np.uint8), (32, 1)),
    ],
)
def test_looks__of_flat_tiny_and_simple_pictures_are_none(image):
    assert looks_of(image[None]).tolist() == [NO_LOOK]


def test_array_looks__are_those_of_each_image():
    images = np.stack([photo(seed, 20) for seed in range(5)])
    assert array_looks(images, chunk=2).tolist() == [int(looks_of(image[None])[0]) for image in images]
    assert array_looks(images[:0]).tolist() == []
