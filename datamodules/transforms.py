"""Augmentation of whole uint8 batches on their device, with randomness of its own for every sample."""

from typing import Literal, get_args

import torch
from torch import Generator, Tensor

Augmentation = Literal["none", "crop", "crop_flip", "crop_flip_cutout"]
AUGMENTATIONS: tuple[str, ...] = get_args(Augmentation)


def random_crop(images: Tensor, padding: int, flip: bool = False, generator: Generator | None = None) -> Tensor:
    """Pad with zeros, cut a window of the old size at a random place, and mirror half of the images.

    One gather does all three: it is several times faster than indexing by row and column, or than a pass for each.

    Args:
        images: shape `(batch, channel, height, width)`
        padding: pixels on each side
        flip: mirror each image left to right with probability one half
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape
    """
    batch, channels, height, width = images.shape
    device = images.device
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    shift = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator, device=device)
    rows = shift[0] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(batch, width)
    if flip:
        coin = torch.rand(batch, 1, generator=generator, device=device) < 0.5
        columns = torch.where(coin, width - 1 - columns, columns)
    columns = columns + shift[1]
    pixels = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(batch, 1, height * width)
    taken = padded.view(batch, channels, -1).gather(2, pixels.expand(batch, channels, height * width))
    return taken.view(images.shape)


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
    images = random_crop(images, max(1, height // 8), "flip" in preset, generator)
    if "cutout" in preset:
        images = random_cutout(images, height // 2, generator)
    return images
