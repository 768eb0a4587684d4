"""Copies and near-copies among images: by content key, and by a perceptual hash."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules.samples import Samples

# side of the picture that is transformed, of the corner of frequencies that is kept, and of the thumbnail
DCT_SIDE, HASH_SIDE, THUMBNAIL_SIDE = 32, 8, 16
# up to here all pairs are compared; above, pairs that agree in one of four parts of the hash
ALL_PAIRS_LIMIT = 100_000
# more images than this that agree in a part are a blank background, not copies
CROWD = 200
# above this number of pairs with similar hashes, the images are of one kind rather than copies
MOST_CANDIDATES = 20_000_000
# smaller classes than this have no mean of their own
CLASS_OF_ITS_OWN = 20


@dataclass(frozen=True)
class Looks:
    """What is kept of each image to compare it by.

    Args:
        bits: perceptual hash, bool, shape `(sample, 64)`
        thumbnails: uint8, shape `(sample, channel * 16 * 16)`
        labels: class of each sample, int64, shape `(sample,)`
        means: mean thumbnail of each class, shape `(class, channel * 16 * 16)`
    """

    bits: Tensor
    thumbnails: Tensor
    labels: Tensor
    means: Tensor


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that look alike.

    Args:
        indices: of both images, the smaller one first, int64, shape `(pair, 2)`
        correlations: of their thumbnails, shape `(pair,)`, highest first
        complete: whether all pairs were compared that could be alike
    """

    indices: NDArray[np.int64]
    correlations: NDArray[np.float32]
    complete: bool


def same_content(keys: NDArray[np.int64]) -> list[list[int]]:
    """Group samples with the same content key.

    Args:
        keys: shape `(sample,)`

    Returns:
        the indices of each group of two or more, in order of their first

    Example:
        >>> same_content(np.array([5, 7, 5, 8, 7, 5]))
        [[0, 2, 5], [1, 4]]
    """
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order[:1]] - 1))
    groups = [group.tolist() for group in np.split(order, starts[1:]) if len(group) > 1]
    return sorted(groups)


def look_at(parts: Sequence[Samples], chunk: int = 512) -> Looks:
    """Compute the perceptual hash and a thumbnail of each image.

    The hash has a bit for each of the 64 lowest frequencies of the grey image: whether its cosine coefficient is above
    their median (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions").

    Args:
        parts: the images, of one size, one part after the other
        chunk: images taken at once
    """
    place = torch.arange(DCT_SIDE)
    basis = torch.cos(torch.pi / DCT_SIDE * (place + 0.5) * place[:HASH_SIDE, None])
    bits, thumbnails = [], []
    for part, rows in ((samples, rows) for samples in parts for rows in samples.rows.split(chunk)):
        images = part.source.gather(rows).float()
        thumbnail = nn.functional.interpolate(images, (THUMBNAIL_SIDE,) * 2, mode="bilinear", antialias=True)
        thumbnails.append(thumbnail.round_().to(torch.uint8).flatten(1))
        grey = nn.functional.interpolate(images.mean(1, True), (DCT_SIDE,) * 2, mode="bilinear", antialias=True)
        coefficients = (basis @ grey[:, 0] @ basis.T).flatten(1)
        bits.append(coefficients > coefficients.median(1, keepdim=True).values)
    together, labels = torch.cat(thumbnails), torch.cat([samples.labels for samples in parts])
    return Looks(torch.cat(bits), together, labels, _class_means(together, labels))


def _class_means(thumbnails: Tensor, labels: Tensor) -> Tensor:
    overall = thumbnails.float().mean(0)
    members = [thumbnails[labels == label] for label in range(int(labels.max()) + 1)]
    return torch.stack([m.float().mean(0) if len(m) >= CLASS_OF_ITS_OWN else overall for m in members])


def near_duplicates(looks: Looks, max_distance: int = 10, min_correlation: float = 0.9) -> Pairs:
    """Find pairs of images that look alike.

    What all images of a class have in common, such as the outline of a shoe, counts for nothing: thumbnails are also
    compared without the mean of their classes. Above 100,000 images only pairs are compared whose hashes agree in one
    of four parts, as those of a distance of up to 3 do; and where very many images are alike, such as the frames of a
    film, not all pairs are.

    Args:
        looks: of all images
        max_distance: bits of the hash in which they may differ
        min_correlation: least correlation of their thumbnails, with and without the means, in [-1, 1]
    """
    found = [np.empty((0, 2), dtype=np.int64)]
    correlations = [np.empty(0, dtype=np.float32)]
    complete, compared = len(looks.bits) <= ALL_PAIRS_LIMIT, 0
    batches = _all_candidates if complete else _candidates_by_part
    for candidates in batches(looks.bits, max_distance):
        compared += len(candidates)
        if compared > MOST_CANDIDATES:
            complete = False
            break
        for pairs in candidates.split(100_000):
            alike = _correlation(looks, pairs)
            kept = alike >= min_correlation
            found.append(pairs[kept].numpy())
            correlations.append(alike[kept].numpy())
    indices, values = np.concatenate(found), np.concatenate(correlations)
    indices, first = np.unique(indices, axis=0, return_index=True)
    order = np.argsort(-values[first], kind="stable")
    return Pairs(indices[order], values[first][order], complete)


def _all_candidates(bits: Tensor, max_distance: int):  # type: ignore[no-untyped-def]
    signs = bits.float() * 2 - 1
    least = bits.shape[1] - 2 * max_distance
    for start in range(0, len(bits), 2000):
        # a product of signs counts the bits that agree less those that differ
        agreement = signs[start : start + 2000] @ signs[start:].T
        pairs = (agreement >= least).nonzero()
        yield pairs[pairs[:, 0] < pairs[:, 1]] + start


def _candidates_by_part(bits: Tensor, max_distance: int):  # type: ignore[no-untyped-def]
    for part in bits.split(16, 1):
        codes = (part.long() << torch.arange(16)).sum(1).numpy()
        pairs = []
        for group in same_content(codes):
            if len(group) <= CROWD:
                members = torch.tensor(group)
                pairs.append(torch.combinations(members))
        if pairs:
            together = torch.cat(pairs)
            yield together[(bits[together[:, 0]] != bits[together[:, 1]]).sum(1) <= max_distance]


def _correlation(looks: Looks, pairs: Tensor) -> Tensor:
    """Return the smaller of the correlations of whole thumbnails and of what differs from the class, `(pair,)`."""
    left, right = (looks.thumbnails[pairs[:, side]].float() for side in (0, 1))
    whole = _pearson(left, right)
    # the same for both, so that copies with different labels still agree
    mean = looks.means[looks.labels[pairs]].mean(1)
    return torch.minimum(whole, _pearson(left - mean, right - mean))


def _pearson(left: Tensor, right: Tensor) -> Tensor:
    left, right = left - left.mean(1, keepdim=True), right - right.mean(1, keepdim=True)
    # images of one colour have no structure to compare
    return (left * right).sum(1) / (left.norm(dim=1) * right.norm(dim=1)).clamp(min=1e-6)
