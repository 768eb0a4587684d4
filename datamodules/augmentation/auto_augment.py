"""TrivialAugment, RandAugment, colour and affine changes of whole batches, each sample with its own draw.

torchvision's transforms draw one change for a whole batch, and kornia's RandAugment one operation; here each sample
gets its own, without a loop over samples and without reading anything back from the device. What each operation does
to an image is what torchvision's does to one.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

# each is what torchvision calls by that name
OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
SIGNED = frozenset(OPERATIONS[1:10])
GEOMETRIC = frozenset(OPERATIONS[1:6])
BLENDED = frozenset({"Color", "Sharpness"})
POINTWISE = frozenset({"Brightness", "Contrast", "Posterize", "Solarize", "AutoContrast", "Equalize"})


def constant(values: Sequence[float], device: torch.device) -> Tensor:
    """Put a few numbers on a device; to make them there would wait for all that it has been given to do.

    Args:
        values: numbers or truth values
        device: where they are wanted
    """
    return torch.tensor(values).to(device, non_blocking=True)


def trivial_augment(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Change each image by one operation of random strength (Müller and Hutter 2021, arXiv:2103.10158, wide space).

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape and type
    """
    level = torch.randint(0, 31, (len(images),), generator=generator, device=images.device) / 30
    one = torch.ones_like(level)
    strengths = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness", "ShearX", "ShearY"), 0.99 * level)
    strengths |= {"TranslateX": 32 * level, "TranslateY": 32 * level, "Rotate": 135 * level}
    strengths |= {"Posterize": 8 - (6 * level).round(), "Solarize": 255 * (1 - level)}
    strengths |= {"Identity": one, "AutoContrast": one, "Equalize": one}
    return _apply_drawn(images, strengths, generator)


def rand_augment(images: Tensor, num_ops: int = 2, magnitude: int = 9, generator: Generator | None = None) -> Tensor:
    """Change each image by some operations of one strength (Cubuk et al. 2019, arXiv:1909.13719).

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        num_ops: operations in a row, drawn for each image
        magnitude: strength on torchvision's scale, from 0 to 30
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape and type
    """
    height, width = images.shape[-2:]
    level = torch.full((len(images),), magnitude / 30, device=images.device)
    one = torch.ones_like(level)
    strengths = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9 * level)
    strengths |= {"ShearX": 0.3 * level, "ShearY": 0.3 * level, "Rotate": 30 * level}
    strengths |= {"TranslateX": 150 / 331 * width * level, "TranslateY": 150 / 331 * height * level}
    strengths |= {"Posterize": 8 - (4 * level).round(), "Solarize": 255 * (1 - level)}
    strengths |= {"Identity": one, "AutoContrast": one, "Equalize": one}
    for _ in range(num_ops):
        images = _apply_drawn(images, strengths, generator)
    return images


def random_color(images: Tensor, strength: float = 0.4, generator: Generator | None = None) -> Tensor:
    """Change brightness, contrast and saturation of each image by random factors.

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        strength: factors lie in [1 - strength, 1 + strength]
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape and type
    """
    change = (2 * torch.rand(3, len(images), generator=generator, device=images.device) - 1) * strength
    for name, magnitude in zip(("Brightness", "Contrast", "Color"), change, strict=True):
        images = apply_operations(images, torch.full_like(magnitude, OPERATIONS.index(name)).long(), magnitude)
    return images


def random_affine(
    images: Tensor,
    degrees: float = 15.0,
    shift: float = 0.1,
    scale: tuple[float, float] = (0.9, 1.1),
    generator: Generator | None = None,
) -> Tensor:
    """Turn, shift and scale each image about its centre, bilinearly; what comes in from outside is black.

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        degrees: greatest angle
        shift: greatest shift, as a share of each side
        scale: least and greatest factor
        generator: source of randomness on the images' device; None takes the global one

    Returns:
        images of the same shape and type
    """
    height, width = images.shape[-2:]
    draw = torch.rand(4, len(images), generator=generator, device=images.device)
    angle = torch.deg2rad((2 * draw[0] - 1) * degrees)
    factor = scale[0] + (scale[1] - scale[0]) * draw[1]
    cosine, sine = angle.cos() / factor, angle.sin() / factor
    x, y = (2 * draw[2] - 1) * shift * width, (2 * draw[3] - 1) * shift * height
    linear = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    centre = constant([width / 2, height / 2], images.device)
    offset = centre - (linear @ (centre + torch.stack([x, y], 1))[..., None])[..., 0]
    return _warp(images, torch.cat([linear, offset[..., None]], 2), "bilinear")


def _apply_drawn(images: Tensor, strengths: dict[str, Tensor], generator: Generator | None) -> Tensor:
    batch, device = len(images), images.device
    chosen = torch.randint(0, len(OPERATIONS), (batch,), generator=generator, device=device)
    sign = torch.where(torch.rand(batch, generator=generator, device=device) < 0.5, -1.0, 1.0)
    table = torch.stack([strengths[name] * (sign if name in SIGNED else 1) for name in OPERATIONS])
    return apply_operations(images, chosen, table.gather(0, chosen[None])[0])


def apply_operations(images: Tensor, chosen: Tensor, magnitude: Tensor) -> Tensor:
    """Apply to each image an operation of its own.

    Args:
        images: uint8, shape `(batch, channel, height, width)`
        chosen: index into `OPERATIONS`, int64, shape `(batch,)`
        magnitude: what torchvision's operation of that name takes, shape `(batch,)`; for brightness, colour, contrast
            and sharpness the factor less 1, for shears the tangent

    Returns:
        images of the same shape and type
    """
    result = images
    for names, function in ((POINTWISE, _pointwise), (BLENDED, _blended), (GEOMETRIC, _geometric)):
        members = constant([name in names for name in OPERATIONS], images.device)[chosen]
        if images.device.type == "cpu":
            # on a GPU, reading the number of rows back would cost more than the work that this saves
            rows = members.nonzero()[:, 0]
            if len(rows):
                result = result.index_copy(0, rows, function(result[rows], chosen[rows], magnitude[rows]))
        else:
            result = torch.where(members[:, None, None, None], function(result, chosen, magnitude), result)
    return result


def _is(chosen: Tensor, name: str) -> Tensor:
    return (chosen == OPERATIONS.index(name)).view(-1, 1, 1)


def _pointwise(images: Tensor, chosen: Tensor, magnitude: Tensor) -> Tensor:
    """Look each value up in a table of 256 for its image and channel."""
    batch, channels = images.shape[:2]
    flat = images.reshape(batch, channels, -1).long()
    values = torch.arange(256.0, device=images.device)
    strength = magnitude.view(-1, 1, 1)
    factor = 1 + strength
    mean = _grey(images).flatten(1).mean(1).view(-1, 1, 1)
    low = flat.amin(2, keepdim=True).float()
    high = flat.amax(2, keepdim=True).float()
    spread = torch.where(high > low, (values - low) * (255 / (high - low).clamp(min=1)), values)
    step = 2.0 ** (8 - strength.clamp(0, 8))
    table = torch.where(_is(chosen, "Brightness"), values * factor, values)
    table = torch.where(_is(chosen, "Contrast"), values * factor + mean * (1 - factor), table)
    table = torch.where(_is(chosen, "Posterize"), (values / step).floor() * step, table)
    table = torch.where(_is(chosen, "Solarize") & (values >= strength), 255 - values, table)
    table = torch.where(_is(chosen, "AutoContrast"), spread, table)
    table = torch.where(_is(chosen, "Equalize"), _equalized(flat), table)
    table = table.clamp(0, 255).to(torch.uint8).expand(batch, channels, 256)
    return table.gather(2, flat).view(images.shape)


def _equalized(flat: Tensor) -> Tensor:
    batch, channels, pixels = flat.shape
    counts = torch.zeros(batch, channels, 256, dtype=torch.float64, device=flat.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat, dtype=torch.float64))
    # a product with ones rather than cumsum, which has no deterministic kernel on CUDA
    upper = torch.ones(256, 256, dtype=torch.float64, device=flat.device).triu(1)
    below = counts @ upper
    last = counts.gather(2, flat.amax(2, keepdim=True))
    step = ((pixels - last) / 255).floor()
    values = torch.arange(256.0, device=flat.device)
    return torch.where(step > 0, ((below + (step / 2).floor()) / step.clamp(min=1)).floor(), values).float()


def _blended(images: Tensor, chosen: Tensor, magnitude: Tensor) -> Tensor:
    """Move images away from, or towards, their grey or their smoothed version."""
    pixels = images.float()
    factor = (1 + magnitude).view(-1, 1, 1, 1)
    color = _is(chosen, "Color")[..., None]
    other = torch.where(color, _grey(images), _smooth(pixels))
    return (pixels * factor + other * (1 - factor)).clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images.float()
    weights = constant([0.2989, 0.587, 0.114], images.device).view(1, 3, 1, 1)
    return (images.float() * weights).sum(1, keepdim=True).floor()


def _smooth(pixels: Tensor) -> Tensor:
    height, width = pixels.shape[-2:]
    if min(height, width) < 3:
        return pixels
    channels = pixels.shape[1]
    kernel = constant([1.0, 1.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0], pixels.device) / 13
    weight = kernel.view(3, 3).expand(channels, 1, 3, 3)
    inner = nn.functional.conv2d(pixels, weight, groups=channels).round_()
    # the frame stays as it is
    return torch.cat(
        [
            pixels[:, :, :1],
            torch.cat([pixels[:, :, 1:-1, :1], inner, pixels[:, :, 1:-1, -1:]], 3),
            pixels[:, :, -1:],
        ],
        2,
    )


def _geometric(images: Tensor, chosen: Tensor, magnitude: Tensor) -> Tensor:
    """Shear and shift from the upper left corner, and turn about the centre, to the nearest pixel."""
    height, width = images.shape[-2:]
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)

    def strength(name: str) -> Tensor:
        return torch.where(chosen == OPERATIONS.index(name), magnitude, zero)

    angle = torch.deg2rad(strength("Rotate"))
    cosine, sine = angle.cos(), angle.sin()
    x, y = width / 2, height / 2
    turned = torch.stack(
        [
            torch.stack([cosine, -sine, x - cosine * x + sine * y], 1),
            torch.stack([sine, cosine, y - sine * x - cosine * y], 1),
        ],
        1,
    )
    # whole pixels, as torchvision shifts
    moved = torch.stack(
        [
            torch.stack([one, strength("ShearX"), -strength("TranslateX").trunc()], 1),
            torch.stack([strength("ShearY"), one, -strength("TranslateY").trunc()], 1),
        ],
        1,
    )
    return _warp(images, torch.where(_is(chosen, "Rotate"), turned, moved), "nearest")


def _warp(images: Tensor, matrix: Tensor, mode: str) -> Tensor:
    """Take each pixel from where a matrix `(batch, 2, 3)` maps its place, in pixels as (x, y), centres at .5."""
    height, width = images.shape[-2:]
    x = (torch.arange(width, device=images.device) + 0.5).view(1, 1, width)
    y = (torch.arange(height, device=images.device) + 0.5).view(1, height, 1)
    m = matrix[..., None, None]
    across = m[:, 0, 0] * x + m[:, 0, 1] * y + m[:, 0, 2]
    down = m[:, 1, 0] * x + m[:, 1, 1] * y + m[:, 1, 2]
    grid = torch.stack([2 * across / width - 1, 2 * down / height - 1], -1)
    sampled = nn.functional.grid_sample(images.float(), grid, mode=mode, align_corners=False)
    return sampled.round_().to(torch.uint8)
