"""Augmentation of whole uint8 batches on their device, with randomness of its own for every sample."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn

from datamodules.augmentation.auto_augment import constant, rand_augment, random_affine, random_color, trivial_augment

Step = Literal[
    "crop",
    "resized_crop",
    "flip",
    "vertical_flip",
    "quarter_turns",
    "affine",
    "color",
    "trivial",
    "rand",
    "cutout",
]
STEPS: tuple[str, ...] = get_args(Step)
# pairs of steps that make no sense together
CONFLICTS = (("crop", "resized_crop"), ("trivial", "rand"))


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
    padded = nn.functional.pad(images.contiguous(), (padding,) * 4)
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


def random_flip(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Mirror half of the images left to right.

    Args:
        images: shape `(batch, channel, height, width)`
        generator: source of randomness on the images' device; None takes the global one
    """
    coin = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(coin, images.flip(-1), images)


def random_vertical_flip(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Turn half of the images upside down, as a mirror does.

    Args:
        images: shape `(batch, channel, height, width)`
        generator: source of randomness on the images' device; None takes the global one
    """
    coin = torch.rand(len(images), 1, 1, 1, generator=generator, device=images.device) < 0.5
    return torch.where(coin, images.flip(-2), images)


def random_quarter_turns(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Turn each image by 0, 90, 180 or 270 degrees, all equally often.

    Args:
        images: square ones, shape `(batch, channel, side, side)`
        generator: source of randomness on the images' device; None takes the global one

    Raises:
        ValueError: the images are not square
    """
    height, width = images.shape[-2:]
    check_square("quarter_turns", ("quarter_turns",), (height, width))
    turns = torch.randint(0, 4, (len(images), 1, 1, 1), generator=generator, device=images.device)
    # a quarter turn is a transposition and a flip
    turned = torch.where(turns % 2 == 1, images.transpose(-1, -2), images)
    turned = torch.where((turns == 1) | (turns == 2), turned.flip(-2), turned)
    return torch.where(turns >= 2, turned.flip(-1), turned)


def random_boxes(
    batch: int,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Draw a box of random area, aspect and place in each image, as torchvision's RandomResizedCrop does.

    Args:
        batch: number of boxes
        size: height and width of the images, in pixels
        scale: least and greatest area, as a share of the image's
        ratio: least and greatest width over height
        generator: source of randomness on `device`; None takes the global one
        device: where to draw

    Returns:
        top, left, height and width in pixels, int64, shape `(4, batch)`
    """
    # ten tries for each: the first that fits is taken, or the whole image if none does
    tries = torch.rand(2, batch, 10, generator=generator, device=device)
    area = (scale[0] + (scale[1] - scale[0]) * tries[0]) * (size[0] * size[1])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * tries[1])
    sides = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()]).round().long()
    limit = constant(size, tries.device)[:, None, None]
    fits = ((sides > 0) & (sides <= limit)).all(0)
    first = fits.byte().argmax(1)
    chosen = sides.gather(2, first.expand(2, batch)[..., None])[..., 0]
    chosen = torch.where(fits.any(1), chosen, limit[..., 0])
    place = torch.rand(2, batch, generator=generator, device=device)
    corner = (place * (limit[..., 0] - chosen + 1)).long()
    return torch.cat([corner, chosen])


def crop_and_resize(images: Tensor, boxes: Tensor, mirrored: Tensor) -> Tensor:
    """Cut a box out of each image, scale it to the image's size, bilinearly, and mirror some of them left to right.

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        boxes: top, left, height and width, shape `(4, batch)`
        mirrored: which to mirror, bool, shape `(batch,)`

    Returns:
        images of the same shape and type
    """
    # torch's kernel for single uint8 images is many times faster on a CPU than sampling a float batch
    cut = _cut_each if images.device.type == "cpu" else _cut_together
    return cut(images, boxes, mirrored)


def _cut_each(images: Tensor, boxes: Tensor, mirrored: Tensor) -> Tensor:
    source = images.contiguous(memory_format=torch.channels_last)
    cut = torch.empty_like(source)
    size = (images.shape[2], images.shape[3])
    for number, ((top, left, height, width), mirror) in enumerate(
        zip(boxes.T.tolist(), mirrored.tolist(), strict=True)
    ):
        window = source[number : number + 1, :, top : top + height, left : left + width]
        scaled = nn.functional.interpolate(window, size, mode="bilinear", antialias=True)
        cut[number : number + 1] = scaled.flip(-1) if mirror else scaled
    return cut


def _cut_together(images: Tensor, boxes: Tensor, mirrored: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    top, left, h, w = boxes.to(torch.float32)[..., None]
    rows = (torch.arange(height, device=images.device) + 0.5) * h / height - 0.5
    columns = (torch.arange(width, device=images.device) + 0.5) * w / width - 0.5
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    # nothing is mixed in from outside the box
    y = top + torch.minimum(rows.clamp(min=0), h - 1)
    x = left + torch.minimum(columns.clamp(min=0), w - 1)
    shape = (len(images), height, width)
    grid = torch.stack(
        [((2 * x + 1) / width - 1)[:, None, :].expand(shape), ((2 * y + 1) / height - 1)[:, :, None].expand(shape)], -1
    )
    sampled = nn.functional.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)
    return sampled.round_().clamp_(0, 255).to(torch.uint8)


def random_resized_crop(
    images: Tensor,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Cut a box of random area and aspect and scale it to the image's size (Szegedy et al. 2015, arXiv:1409.4842).

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        scale: least and greatest area, as a share of the image's
        ratio: least and greatest width over height
        flip: mirror each image left to right with probability one half
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape and type
    """
    size = (images.shape[2], images.shape[3])
    boxes = random_boxes(len(images), size, scale, ratio, generator, images.device)
    mirrored = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    if flip:
        mirrored = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return crop_and_resize(images, boxes, mirrored)


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


def check_steps(option: str, steps: Sequence[str]) -> None:
    """Refuse steps that do not go together.

    Args:
        option: that names them
        steps: as given

    Raises:
        ValueError: a step comes twice, or beside one that does the same in another way
    """
    for one, other in CONFLICTS:
        if one in steps and other in steps:
            raise ValueError(f"{option} cannot have both {one!r} and {other!r}: leave one of them out")
    for step in steps:
        if steps.count(step) > 1:
            raise ValueError(f"{option} has {step!r} more than once")


def check_square(option: str, steps: Sequence[str], size: tuple[int, int]) -> None:
    """Refuse quarter turns of images that are not square, which would change their size.

    Args:
        option: that names the steps
        steps: as given
        size: height and width of the images, in pixels

    Raises:
        ValueError: the message says how they become square
    """
    height, width = size
    if "quarter_turns" in steps and height != width:
        raise ValueError(
            f"{option}: quarter_turns needs square images, not {height}x{width}: set --data.image_size, or leave it out"
        )


def augment(images: Tensor, steps: Sequence[Step], generator: Generator | None = None) -> Tensor:
    """Apply augmentation steps to a training batch, in the order of `STEPS`.

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        steps: `crop` pads an eighth of the height and cuts; `resized_crop` cuts 8 to 100 % of the area and scales it
            up; `flip` mirrors half of the images left to right, and `vertical_flip` half of them top to bottom;
            `quarter_turns` turns each by 0, 90, 180 or 270 degrees; `affine` turns, shifts and scales a little; `color`
            changes brightness, contrast and saturation; `trivial` and `rand` are TrivialAugment and RandAugment;
            `cutout` blanks a square of half the height
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape and type
    """
    height = images.shape[-2]
    if "crop" in steps:
        images = random_crop(images, max(1, height // 8), "flip" in steps, generator)
    if "resized_crop" in steps:
        images = random_resized_crop(images, flip="flip" in steps, generator=generator)
    if "flip" in steps and not {"crop", "resized_crop"} & set(steps):
        images = random_flip(images, generator)
    if "vertical_flip" in steps:
        images = random_vertical_flip(images, generator)
    if "quarter_turns" in steps:
        images = random_quarter_turns(images, generator)
    if "affine" in steps:
        images = random_affine(images, generator=generator)
    if "color" in steps:
        images = random_color(images, generator=generator)
    if "trivial" in steps:
        images = trivial_augment(images, generator)
    if "rand" in steps:
        images = rand_augment(images, generator=generator)
    if "cutout" in steps:
        images = random_cutout(images, height // 2, generator)
    return images
