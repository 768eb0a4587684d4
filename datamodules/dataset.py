"""What a data set's own class loads, and how images in memory become one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from datamodules.looks import array_looks
from datamodules.provenance import array_keys, array_pixel_keys, sample_ids
from datamodules.samples import Samples, TensorSource
from datamodules.table_info import ReadColumn


@dataclass(frozen=True)
class Dataset:
    """What a data set's own class loads; the base class splits and serves it.

    Args:
        train: samples to split
        test: the official test samples; None if there are none
        class_names: the name of each class, in label order
        val: the official validation samples; None draws them from `train`
        source_names: the name of each source, in the order of `Samples.sources`
        skipped: what could not be read and was left out, one line a file
        left_out: what lies among the files and is no image of it: how often what
        notes: lines on what is in the files
        values: least and most of all pixels, as they are served; None for arrays
        value_range: the values of a pixel in image files that became 0 and 255, or full; None for arrays
        group_names: the name of each group that has one, by its number in `Samples.groups`
        columns: those of a table of features, in the order of the tensors that hold them
    """

    train: Samples
    test: Samples | None
    class_names: list[str]
    val: Samples | None = None
    source_names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    values: tuple[int, int] | None = None
    value_range: str | None = None
    group_names: Mapping[int, str] = field(default_factory=dict)
    columns: tuple[ReadColumn, ...] = ()


def array_dataset(
    arrays: dict[str, tuple[np.ndarray, np.ndarray]], class_names: list[str], image_size: int | None
) -> Dataset:
    """Build a data set from images in memory.

    Args:
        arrays: `train`, `test` and perhaps `val`: uint8 images `(sample, height, width, channel)` and their labels
            `(sample,)`
        class_names: the name of each class, in label order
        image_size: height and width in pixels to resize to; None keeps the images' own
    """
    parts: dict[str, Samples] = {}
    for split, (images, labels) in arrays.items():
        names = [f"{split}/{number}" for number in range(len(images))]
        tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        parts[split] = Samples(
            TensorSource(resize(tensor, image_size)),
            torch.arange(len(images)),
            torch.from_numpy(labels.astype(np.int64)),
            sample_ids(names),
            array_keys(images),
            names,
            pixels=array_pixel_keys(images),
            looks=array_looks(images),
        )
    return Dataset(parts["train"], parts["test"], class_names, parts.get("val"))


def resize(images: Tensor, size: int | None) -> Tensor:
    """Resize uint8 images to a square with antialiasing.

    Args:
        images: shape `(sample, channel, height, width)`
        size: height and width in pixels; None, or the size they have, returns them as they are
    """
    if size is None or images.shape[-2:] == (size, size):
        return images
    chunks = (
        torch.nn.functional.interpolate(c.float(), (size, size), mode="bilinear", antialias=True).round_()
        for c in images.split(1024)
    )
    return torch.cat([c.clamp_(0, 255).to(torch.uint8) for c in chunks])


def channel_statistics(samples: Samples) -> tuple[list[float], list[float], tuple[int, int]]:
    """Mean and standard deviation of each channel on the scale [0, 1], and the image size.

    Args:
        samples: the training split

    Returns:
        means `(channel,)`, standard deviations `(channel,)`, (height, width)
    """
    total = square = torch.zeros(())
    count = 0
    for chunk in evenly_spaced(samples).split(1000):
        images = samples.source.gather(chunk).float().div_(255)
        total = total + images.sum((0, 2, 3), dtype=torch.float64)
        square = square + images.square().sum((0, 2, 3), dtype=torch.float64)
        count += images.numel() // images.shape[1]
        size = (images.shape[2], images.shape[3])
    return *mean_and_std(total / count, square / count), size


def evenly_spaced(samples: Samples, limit: int = 10_000) -> Tensor:
    """Return the rows of some samples, which stand for all, in their source.

    Args:
        samples: to choose from
        limit: as many at most
    """
    return samples.rows[:: max(1, len(samples) // limit)][:limit]


def mean_and_std(mean: Tensor, square: Tensor) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, rounded.

    Args:
        mean: of each, float64, shape `(channel,)`
        square: mean of the squares of each
    """
    std = (square - mean**2).clamp(min=0).sqrt()
    # a constant channel would be divided by zero
    std = torch.where(std > 1e-4, std, torch.ones(()))
    return [round(v, 6) for v in mean.tolist()], [round(v, 6) for v in std.tolist()]
