"""Mixup and CutMix of whole batches on their device, with a draw for each image."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def mix(
    images: Tensor, targets: Tensor, num_classes: int, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image with another one of its batch.

    Mixup blends the two (Zhang et al. 2018, arXiv:1710.09412), CutMix pastes a rectangle of the other (Yun et al. 2019,
    arXiv:1905.04899). Each image keeps at least half of itself, so that its label stays the largest share of its
    target.

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        targets: class of each image, int64, shape `(batch,)`, or probabilities, shape `(batch, class)`
        num_classes: how many classes there are
        mixup: alpha of the Beta distribution of the shares; 0 blends no image
        cutmix: alpha of the Beta distribution of the areas; 0 pastes no rectangle; with `mixup`, each image is drawn
            for one of the two
        rng: of all draws, on the host, where they cost no wait for the device

    Returns:
        the mixed images, and their targets, float32, shape `(batch, class)`
    """
    count, _, height, width = images.shape
    device = images.device
    cut = rng.random(count) < (0.0 if not cutmix else 1.0 if not mixup else 0.5)
    shares = np.where(cut, rng.beta(cutmix or 1, cutmix or 1, count), rng.beta(mixup or 1, mixup or 1, count))
    shares = np.maximum(shares, 1 - shares)
    partner = torch.from_numpy(rng.permutation(count)).to(device, non_blocking=True)
    others, mixed = images[partner], images
    if mixup:
        blend = torch.from_numpy(np.where(cut, 1, shares).astype(np.float32)).to(device, non_blocking=True)
        mixed = torch.lerp(others.float(), images.float(), blend.view(-1, 1, 1, 1)).round_().to(torch.uint8)
    if cutmix:
        edges = rectangles(1 - shares, height, width, rng) * cut
        # what the image's border cuts off of a rectangle is not pasted
        shares = np.where(cut, 1 - (edges[1] - edges[0]) * (edges[3] - edges[2]) / (height * width), shares)
        mixed = torch.where(inside(torch.from_numpy(edges).to(device, non_blocking=True), height, width), others, mixed)
    hot = functional.one_hot(targets, num_classes).float() if targets.ndim == 1 else targets
    kept = torch.from_numpy(shares.astype(np.float32)).to(device, non_blocking=True)
    return mixed, torch.lerp(hot[partner], hot, kept[:, None])


def rectangles(areas: np.ndarray, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a rectangle for each image, with the image's proportions and anywhere in it.

    Args:
        areas: share of the image that each covers unless the border cuts it off, shape `(batch,)`
        height: of the images, in pixels
        width: of the images, in pixels
        rng: of the places

    Returns:
        first row, row after the last, first column and column after the last, int64, shape `(4, batch)`
    """
    wanted = [np.sqrt(areas) * size for size in (height, width)]
    sides = [np.rint(side) for side in wanted]
    # rounded to whole pixels a rectangle must not cover more than half of the image: the label's share would be less
    covers_more = 2 * sides[0] * sides[1] > height * width
    sides = [np.where(covers_more, np.floor(side), rounded) for side, rounded in zip(wanted, sides, strict=True)]
    edges = []
    for size, side in zip((height, width), sides, strict=True):
        first = np.rint(rng.uniform(0, size, len(areas)) - side / 2)
        edges += [first.clip(0, size), (first + side).clip(0, size)]
    return np.stack(edges).astype(np.int64)


def inside(edges: Tensor, height: int, width: int) -> Tensor:
    """Tell which pixels lie inside of each image's rectangle.

    Args:
        edges: as `rectangles` returns them, shape `(4, batch)`; they are small, and the pixels are found where they are
        height: of the images, in pixels
        width: of the images, in pixels

    Returns:
        bool, shape `(batch, 1, height, width)`
    """
    top, bottom, left, right = edges[:, :, None]
    rows = torch.arange(height, device=edges.device)
    columns = torch.arange(width, device=edges.device)
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
