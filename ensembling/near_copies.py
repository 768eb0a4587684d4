"""Near-copies of images that a model was fitted on, found by perceptual hash, without the images themselves."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.looks import FLIPS, NO_LOOK

# bits in which the hashes of copies differ: a changed pixel, another size or another compression change few
SURELY, PERHAPS = 5, 8
# a copy has few like it: where the next ones are as near as this, the images are of one kind
APART, FARTHER_APART = 11, 12
# hashes that may be that near: the copy, and others of the same picture
COPIES = 3
# cropping by a pixel changes more bits, as chance does for 1 or 2 images of 100: so many of 100 are no chance
SHARE, AT_LEAST = 0.05, 3
# hashes compared at once, and in all: 10,000 with 50,000 take seconds
CHUNK, MOST_COMPARED = 1 << 22, 2_000_000_000


def probable_copies(looks: Tensor, seen: Tensor) -> Tensor:
    """Tell which images are probably copies of images that a model has seen, flipped ones too.

    Args:
        looks: perceptual hash of each image, int64, shape `(sample,)`
        seen: hashes of the images that the model has seen, int64, shape `(other,)`

    Returns:
        bool, shape `(sample,)`; where there are very many, some of the images are compared alone
    """
    found = torch.zeros(len(looks), dtype=torch.bool)
    known = torch.nonzero(looks != NO_LOOK)[:, 0]
    if not len(known) or not len(seen):
        return found
    step = -(-len(known) * len(seen) // MOST_COMPARED)
    known = known[::step]
    closest, others = _nearest(looks[known].numpy().view(np.uint64), seen.numpy().view(np.uint64))
    surely = (closest <= SURELY) & (others >= APART)
    perhaps = (closest <= PERHAPS) & (others >= FARTHER_APART)
    many = perhaps.sum() >= max(AT_LEAST, SHARE * len(known))
    found[known] = torch.from_numpy(surely | perhaps if many else surely)
    return found


def _nearest(looks: NDArray[np.uint64], seen: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return how many bits lie between each hash and the nearest one, and the nearest but `COPIES`, in any flip."""
    nearest = []
    rows = max(1, CHUNK // len(seen))
    for start in range(0, len(looks), rows):
        part = looks[start : start + rows, None]
        apart = np.bitwise_count(part ^ seen)
        for flip in FLIPS[1:]:
            np.minimum(apart, np.bitwise_count((part ^ flip) ^ seen), out=apart)
        # few hashes at all are no crowd
        least = apart if len(seen) > COPIES else np.pad(apart, ((0, 0), (0, COPIES)), constant_values=64)
        nearest.append(np.partition(least, COPIES, axis=1)[:, : COPIES + 1].copy())
    together = np.concatenate(nearest)
    return together.min(1), together.max(1)
