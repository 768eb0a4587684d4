"""Small generated data."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from common.options import configurable
from datamodules import DataInfo
from datamodules.dataset import Dataset, array_dataset
from datamodules.image_data import ImageDataModule


def data_info(channels=3, size=32, num_classes=10):
    return DataInfo(
        num_classes=num_classes,
        in_channels=channels,
        image_size=(size, size),
        class_names=[str(number) for number in range(num_classes)],
        class_counts=[5] * num_classes,
        mean=[0.5] * channels,
        std=[0.25] * channels,
    )


def blobs(count, size=16, channels=1, num_classes=3, seed=0):
    """Noise with a bright square whose place is the class: easy to learn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % num_classes
    images = rng.integers(0, 120, (count, size, size, channels), dtype=np.uint8)
    width = size // num_classes
    for image, label in zip(images, labels, strict=True):
        image[: size // 2, label * width : (label + 1) * width] += 120
    return images, labels


@configurable
class Blobs(ImageDataModule):
    """Generated images that are easy to tell apart.

    Args:
        count: training samples
        channels: of the images
        size: height and width
    """

    count: int = 60
    channels: int = 1
    size: int = 16
    batch_size: int = 16

    def load(self) -> Dataset:
        arrays = {
            "train": blobs(self.count, self.size, self.channels, seed=1),
            "test": blobs(self.count // 2 + 1, self.size, self.channels, seed=2),
        }
        return array_dataset(arrays, ["left", "middle", "right"], self.image_size)


def write_image_folder(root: Path, per_class=12, size=16, classes=("cat", "dog", "eel"), splits=("train", "test")):
    """Write class folders of PNG files and return their root."""
    for offset, split in enumerate(splits):
        images, labels = blobs(per_class * len(classes), size, 3, len(classes), seed=offset)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = root / split / classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:03d}.png")
    return root


def random_images(batch=2, channels=3, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, channels, size, size), generator=generator, dtype=torch.uint8)
