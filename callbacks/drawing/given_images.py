"""Images that are named on the command line: samples of a split, or files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.few import few
from datamodules.files.decoding import decode
from datamodules.files.image_files import ImageFiles
from datamodules.image_data import ImageDataModule
from datamodules.info import DataInfo
from datamodules.names import matching, unknown_names


@dataclass
class GradCamOptions:
    """Which images and which class Grad-CAM draws.

    Args:
        images: names of samples as `predictions.csv` has them, or files; null takes the most telling mistakes and hits
        class_name: the class whose evidence is drawn; null takes the class that is predicted for each image
    """

    images: list[str] | None = None
    class_name: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything was asked for."""
        return bool(self.images) or self.class_name is not None

    def class_number(self, class_names: Sequence[str]) -> int | None:
        """Return the number of the class; None where none is named.

        Raises:
            ValueError: there is no such class
        """
        if self.class_name is None:
            return None
        found = matching(self.class_name, class_names)
        if found is None:
            unknown = unknown_names([self.class_name], class_names)
            raise ValueError(f"--grad_cam.class_name: there is no class {unknown} (known: {few(class_names, 20)})")
        return list(class_names).index(found)


@dataclass(frozen=True)
class GivenImages:
    """Images with their names.

    Args:
        names: as they were given, or as the data has them
        pixels: uint8, shape `(image, channel, height, width)`
        labels: class of each image; -1 where it is not known, shape `(image,)`
    """

    names: list[str]
    pixels: Tensor
    labels: Tensor


def find_images(wanted: Sequence[str], data: ImageDataModule, split: str, info: DataInfo) -> GivenImages:
    """Find images by their names.

    Args:
        wanted: names of samples, or files; the end of a name will do, and so will a path that ends in one
        data: looked through first
        split: of the data
        info: the size and channels that files are served at

    Raises:
        ValueError: some are neither, or a name fits several samples
    """
    samples = data.samples(split)
    known = samples.sample_names()
    names, pixels, labels, problems = list[str](), list[Tensor](), list[int](), list[str]()
    for text in wanted:
        places = places_of(text, known)
        if len(places) == 1:
            names.append(known[places[0]])
            pixels.append(samples.source.gather(samples.rows[places]))
            labels.append(int(samples.labels[places[0]]))
        elif places:
            problems.append(f"{text!r} fits {len(places)} samples, such as {known[places[0]]} and {known[places[1]]}")
        elif Path(text).is_file():
            value_range = data.served_range if isinstance(data, ImageFiles) else None
            image = decode(Path(text), info.image_size, info.in_channels, value_range=value_range)
            names.append(text)
            pixels.append(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])
            labels.append(-1)
        else:
            problems.append(f"{text!r} is neither a sample of the {split} split nor a file")
    if problems:
        raise ValueError(f"--grad_cam.images: {'; '.join(problems)}")
    return GivenImages(names, torch.cat(pixels), torch.tensor(labels))


def places_of(text: str, names: Sequence[str]) -> list[int]:
    """Return where a name stands: the whole name, or else those that end in it, or in which it ends.

    Example:
        >>> places_of("a.png", ["x/a.png", "b.png"]), places_of("/data/x/a.png", ["x/a.png", "b.png"])
        ([0], [0])
    """
    whole = [place for place, name in enumerate(names) if name == text]
    return whole or [
        place for place, name in enumerate(names) if name.endswith(f"/{text}") or text.endswith(f"/{name}")
    ]
