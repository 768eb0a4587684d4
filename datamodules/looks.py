"""Perceptual hashes: 64 bits that stay nearly the same when a picture is resized, compressed anew or retouched."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# the 64 lowest frequencies but for the mean: (down, across)
FREQUENCIES = sorted(
    ((down, across) for down in range(12) for across in range(12) if down + across), key=lambda f: (sum(f), max(f), f)
)[:64]
COUNT = 1 + max(max(frequency) for frequency in FREQUENCIES)
WEIGHTS = np.uint64(1) << np.arange(64, dtype=np.uint64)
# rows and columns that are looked at in a picture that has twice as many
ENOUGH = 128
# what RGB weighs in grey, as Pillow converts it
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# smaller pictures have as many pixels as the hash has bits, and many of one kind have the same one
LEAST_SIDE = 16
# a picture without contrast (grey levels), with fewer frequencies that stand out, or with less than this many bits of
# information in a pixel's grey, as one of two colours has, has no look of its own
LEAST_CONTRAST, LEAST_FREQUENCIES, STANDS_OUT, LEAST_ENTROPY = 2.0, 32, 0.02, 1.01
# levels of grey that the information is counted over, in about so many rows and columns
LEVELS, LOOKED_AT = 16, 16
# the look of a picture that has none
NO_LOOK = 0


def _mask(odd_down: bool, odd_across: bool) -> np.uint64:
    """Return the bits that turn round when a picture is mirrored: odd cosines change their signs."""
    odd = [(down % 2 and odd_down) ^ (across % 2 and odd_across) for down, across in FREQUENCIES]
    return np.uint64(WEIGHTS[np.array(odd, dtype=bool)].sum())


# what a hash is changed by when its picture is left, mirrored, turned upside down, or both
FLIPS = tuple(_mask(down, across) for down in (False, True) for across in (False, True))


def looks_of(images: NDArray[np.generic]) -> NDArray[np.int64]:
    """Hash how pictures look: a bit says whether a cosine of one of the 64 lowest frequencies is in it upright.

    Args:
        images: of one size, shape `(sample, height, width)`, or `(sample, height, width, channel)`

    Returns:
        the hashes, `NO_LOOK` for a picture that is tiny, flat or of a simple shape, shape `(sample,)`
    """
    height, width = images.shape[1:3]
    if min(height, width) < LEAST_SIDE or not len(images):
        return np.full(len(images), NO_LOOK, dtype=np.int64)
    # the lowest frequencies of a large picture are known from a part of its pixels
    images = images[:, :: max(1, height // ENOUGH), :: max(1, width // ENOUGH)]
    height, width = images.shape[1:3]
    grey = images.astype(np.float32)
    if grey.ndim == 4:
        grey = grey[..., 0] if grey.shape[3] == 1 else sum(grey[..., number] * LUMA[number] for number in range(3))
    cosines = _cosines(height) @ grey @ _cosines(width).T
    found = cosines[:, [down for down, _ in FREQUENCIES], [across for _, across in FREQUENCIES]]
    size = np.abs(found)
    stands_out = (size > STANDS_OUT * size.max(1, keepdims=True)).sum(1)
    plain = (2 * np.sqrt((found**2).sum(1)) < LEAST_CONTRAST) | (stands_out < LEAST_FREQUENCIES)
    plain |= _entropy(grey[:, :: height // LOOKED_AT, :: width // LOOKED_AT]) < LEAST_ENTROPY
    hashes = ((found > 0) * WEIGHTS).sum(1, dtype=np.uint64).view(np.int64)
    return np.where(plain, NO_LOOK, hashes)


def array_looks(images: NDArray[np.uint8], chunk: int = 512) -> Tensor:
    """Hash how images in memory look.

    Args:
        images: shape `(sample, height, width, channel)`
        chunk: images taken at once

    Returns:
        int64, shape `(sample,)`
    """
    parts = [images[start : start + chunk] for start in range(0, len(images), chunk)]
    return torch.from_numpy(np.concatenate([np.empty(0, dtype=np.int64), *map(looks_of, parts)]))


def _entropy(grey: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the bits of information in the grey of a pixel, of each picture, from its darkest to its brightest."""
    rows = grey.reshape(len(grey), -1)
    low, span = rows.min(1, keepdims=True), np.ptp(rows, axis=1, keepdims=True)
    levels = ((rows - low) * (LEVELS - 0.01) / np.maximum(span, 1e-6)).astype(np.int64)
    places = (levels + LEVELS * np.arange(len(rows))[:, None]).ravel()
    share = np.bincount(places, minlength=LEVELS * len(rows)).reshape(-1, LEVELS) / rows.shape[1]
    return -(share * np.log2(np.maximum(share, 1e-12))).sum(1)


@lru_cache(maxsize=256)
def _cosines(size: int) -> NDArray[np.float32]:
    place = (np.arange(size) + 0.5) / size
    return (np.cos(np.pi * np.arange(COUNT)[:, None] * place) / size).astype(np.float32)
