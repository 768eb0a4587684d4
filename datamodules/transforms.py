"""Augmentation of whole uint8 batches on their device, with randomness of its own for every sample."""

from typing import Literal, get_args

import torch
from torch import Generator, Tensor

Augmentation = Literal["none", "crop", "crop_flip", "crop_flip_cutout"]
AUGMENTATIONS: tuple[str, ...] = get_args(Augmentation)


def random_crop(images: Tensor, padding: int, generator: Generator | None = None) -> Tensor:
    """Pad with zeros and cut a window of the old size at a random place in each image.

    Args:
        images: shape `(batch, channel, height, width)`
        padding: pixels on each side
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        shifted images of the same shape
    """
    batch, channels, height, width = images.shape
    device = images.device
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    offsets = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator, device=device)
    rows = offsets[0] + torch.arange(height, device=device)
    columns = offsets[1] + torch.arange(width, device=device)
    index = torch.arange(batch, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_flip(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Mirror each image left to right with probability one half; see `random_crop` for the arguments."""
    coin = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(coin, images.flip(-1), images)


def random_cutout(images: Tensor, size: int, generator: Generator | None = None) -> Tensor:
    """Blank a square at a random centre of each image (DeVries and Taylor 2017, arXiv:1708.04552).

    Args:
        images: shape `(batch, channel, height, width)`
        size: side of the square in pixels; it may reach over the edge
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape
    """
    batch, _, height, width = images.shape
    device = images.device
    centre = torch.rand(2, batch, 1, generator=generator, device=device)
    rows = torch.arange(height, device=device) - (centre[0] * height).long() + size // 2
    columns = torch.arange(width, device=device) - (centre[1] * width).long() + size // 2
    inside_rows = (rows >= 0) & (rows < size)
    inside_columns = (columns >= 0) & (columns < size)
    hole = inside_rows[:, :, None] & inside_columns[:, None, :]
    return images.masked_fill(hole[:, None], 0)


def augment(images: Tensor, preset: Augmentation, generator: Generator | None = None) -> Tensor:
    """Apply an augmentation preset to a training batch.

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        preset: `none`; `crop` pads an eighth of the height and cuts; `crop_flip` mirrors too; `crop_flip_cutout` also
            blanks a square of half the height
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape and type
    """
    if preset == "none":
        return images
    height = images.shape[-2]
    images = random_crop(images, max(1, height // 8), generator)
    if "flip" in preset:
        images = random_flip(images, generator)
    if "cutout" in preset:
        images = random_cutout(images, height // 2, generator)
    return images
