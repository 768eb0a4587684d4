"""Samples of one split, and the sources that batches are gathered from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from datamodules.provenance import bytes_key

T = TypeVar("T")


class Source(Protocol):
    """Where a batch's input comes from: one index-gather a batch."""

    @property
    def name(self) -> str:
        """The batch's key for the inputs."""

    def __len__(self) -> int:
        """Return the number of samples held."""

    def gather(self, indices: Tensor) -> Tensor:
        """Return the inputs at `indices`, shape `(batch, ...)`."""


@dataclass(frozen=True)
class TensorSource:
    """Inputs held in memory as one tensor.

    Args:
        tensor: shape `(sample, ...)`: uint8 images, or logits for a stack
        name: the batch's key for them
    """

    tensor: Tensor
    name: str = "image"

    def __len__(self) -> int:
        return len(self.tensor)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the inputs at `indices`, shape `(batch, ...)`."""
        # many times faster than indexing with brackets
        return self.tensor.index_select(0, indices)


class FileSource:
    """Images on disk, decoded and resized for each batch.

    Args:
        paths: one file a sample
        size: height and width to serve, in pixels
        channels: 1 (grey) or 3 (RGB)
        num_workers: threads that decode; 0 decodes in the caller's
    """

    name = "image"

    def __init__(self, paths: Sequence[Path], size: tuple[int, int], channels: int, num_workers: int) -> None:
        self.paths, self.size, self.channels = paths, size, channels
        self.pool = ThreadPoolExecutor(num_workers, "decode") if num_workers else None

    def __len__(self) -> int:
        return len(self.paths)

    def map(self, function: Callable[[int], T], indices: Iterable[int]) -> Iterator[T]:
        """Call a function on each index, in order, on the decoding threads."""
        return self.pool.map(function, indices) if self.pool else map(function, indices)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the images at `indices`, uint8, shape `(batch, channel, height, width)`."""
        images = self.map(lambda i: decode(self.paths[i], self.size, self.channels), indices.tolist())
        return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).contiguous()


def load_files(source: FileSource) -> tuple[TensorSource, Tensor]:
    """Read every file once: decode it into memory and hash its bytes.

    Args:
        source: the files

    Returns:
        the images, and the content key of each file, int64, shape `(sample,)`
    """
    height, width = source.size
    images = np.empty((len(source), height, width, source.channels), dtype=np.uint8)
    keys = np.empty(len(source), dtype=np.int64)

    def read(number: int) -> None:
        content = source.paths[number].read_bytes()
        keys[number] = bytes_key(content)
        images[number] = decode(source.paths[number], source.size, source.channels, content)

    # each thread writes rows of its own
    for _ in source.map(read, range(len(source))):
        pass
    return TensorSource(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()), torch.from_numpy(keys)


def decode(path: Path, size: tuple[int, int], channels: int, content: bytes | None = None) -> NDArray[np.uint8]:
    """Read an image, turn it upright, scale its shorter side to fit and cut the centre.

    Args:
        path: an image file that Pillow reads
        size: height and width to return, in pixels
        channels: 1 (grey) or 3 (RGB)
        content: the file's bytes, where they were read already

    Returns:
        shape `(height, width, channel)`

    Raises:
        ValueError: the file is not a whole image
    """
    height, width = size
    try:
        with Image.open(path if content is None else BytesIO(content)) as file:
            upright = ImageOps.exif_transpose(file) if file.getexif() else file
            if upright.mode.startswith("I;16"):
                # Pillow would clip 16 bits to 8 instead of scaling them
                upright = Image.fromarray((np.asarray(upright) // 257).astype(np.uint8))
            image = upright.convert("RGB" if channels == 3 else "L")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}): mend or remove it") from error
    if image.size != (width, height):
        scale = max(height / image.height, width / image.width)
        scaled = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
        image = image.resize(scaled, Image.Resampling.BILINEAR)
        left, top = (scaled[0] - width) // 2, (scaled[1] - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(image, dtype=np.uint8).reshape(height, width, channels)


@dataclass(frozen=True)
class Samples:
    """Samples of a data set or of one of its splits.

    Args:
        source: the inputs; shared by all splits, so they are held once
        rows: index of each sample in `source`, shape `(sample,)`
        labels: class of each sample, int64, shape `(sample,)`
        ids: id of each sample, int64, shape `(sample,)`
        keys: content key of each sample, int64, shape `(sample,)`
        names: name of each row of `source`, such as its path
    """

    source: Source
    rows: Tensor
    labels: Tensor
    ids: Tensor
    keys: Tensor
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def subset(self, indices: Tensor | np.ndarray) -> "Samples":
        """Keep the samples at `indices`; the inputs are not copied."""
        chosen = torch.as_tensor(indices)
        return Samples(
            self.source, self.rows[chosen], self.labels[chosen], self.ids[chosen], self.keys[chosen], self.names
        )

    def with_source(self, source: Source) -> "Samples":
        """Serve other inputs for the same samples.

        Args:
            source: one input a sample, in this split's order
        """
        return Samples(source, torch.arange(len(self)), self.labels, self.ids, self.keys, self.sample_names())

    def sample_names(self) -> list[str]:
        """Return the name of each sample of this split."""
        return [self.names[row] for row in self.rows.tolist()]
