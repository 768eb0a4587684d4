"""Test-time augmentation: a member's logits averaged over views of each image."""

import math
from collections.abc import Callable, Iterator
from typing import get_args

import torch
from torch import Tensor

from ensembling.choices import TTA

# images are shifted by this share of their side, and by a pixel at least: 2 pixels of 32
SHIFT = 1 / 16


def tta_logits(model: Callable[[Tensor], Tensor], images: Tensor, tta: TTA) -> Tensor:
    """Compute a model's logits, over all views of each image if there are several.

    Args:
        model: from uint8 images to logits `(batch, class)`
        images: uint8, shape `(batch, channel, height, width)`
        tta: none gives the model's own logits; flip and flip_shift the log of the mean probability over the views

    Returns:
        float32, shape `(batch, class)`
    """
    if tta == "none":
        return model(images).float()
    logs = torch.stack([model(view).float().log_softmax(1) for view in views(images, tta)])
    return logs.logsumexp(0) - math.log(len(logs))


def views(images: Tensor, tta: TTA) -> Iterator[Tensor]:
    """Yield the views of a batch, always the same ones; the images as they are come first.

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        tta: none; flip adds mirrored images; flip_shift adds both of them, shifted up, down, left and right, where
            pixels that come in are a reflection

    Raises:
        ValueError: there is no TTA of that name
    """
    if tta not in get_args(TTA):
        raise ValueError(f"there is no TTA {tta!r} (known: {', '.join(get_args(TTA))})")
    moves = [(0, 0)]
    if tta == "flip_shift":
        down, right = (max(1, round(side * SHIFT)) for side in images.shape[2:])
        moves += [(-down, 0), (down, 0), (0, -right), (0, right)]
    for down, right in moves:
        moved = shift(images, down, right)
        yield moved
        if tta != "none":
            yield moved.flip(3)


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Move the content of images, and fill what is left empty with its reflection at the edge.

    Args:
        images: shape `(batch, channel, height, width)`
        down: rows to move by; negative moves up
        right: columns to move by; negative moves left
    """
    for axis, offset in ((2, down), (3, right)):
        if offset:
            last = images.shape[axis] - 1
            places = (torch.arange(last + 1, device=images.device) - offset).abs()
            # torch's own padding by reflection takes no uint8
            images = images.index_select(axis, (last - (last - places).abs()).clamp(min=0))
    return images
