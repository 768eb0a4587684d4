"""Images in the forms that Python code holds them in, as the batches that a model takes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from datamodules.files.decoding import decode, fit, in_channels
from datamodules.files.value_range import EIGHT_BITS, FULL_16, Range, applies, parse, scale
from datamodules.info import DataInfo

Picture = str | Path | Image.Image | NDArray[Any] | Tensor
KINDS = (str, Path, Image.Image, np.ndarray, Tensor)
Pictures = Picture | Sequence[Picture]
# Pillow's modes of more than 8 bits
DEEP_MODES = ("I", "F")
# channels of a picture in memory: grey, RGB, and RGB with transparency, which is left out
CHANNELS = (1, 3, 4)
FORMS = "paths, Pillow images, numpy arrays (image, height, width, channel) or tensors (image, channel, height, width)"


class ImageBatches:
    """Batches of uint8 images `(batch, channel, height, width)`, scaled and cropped as `predict` does.

    Args:
        images: a picture or a sequence of them, each a path, a Pillow image, an array `(height, width, channel)` or a
            tensor `(channel, height, width)`; or an array or tensor of several
        info: what the model knows of its data
        batch_size: images a batch

    Raises:
        ValueError: `images` are none of these, or there are none
    """

    def __init__(self, images: Pictures, info: DataInfo, batch_size: int) -> None:
        if isinstance(images, str | Path | Image.Image):
            images = [images]
        if isinstance(images, np.ndarray) and images.dtype.kind in "OU":
            # how scikit-learn passes a list of paths on
            images = images.tolist()
        if isinstance(images, Tensor):
            images = images.detach().cpu()
        if isinstance(images, np.ndarray | Tensor):
            if images.ndim != 4:
                raise ValueError(
                    f"images must have 4 dimensions, not the shape {tuple(images.shape)}: {_way_out(images)}"
                )
        elif isinstance(images, Sequence):
            unknown = next((image for image in images if not isinstance(image, KINDS)), None)
            if unknown is not None:
                raise ValueError(f"images must be {FORMS}, not a sequence of {type(unknown).__name__}")
        else:
            raise ValueError(f"images must be {FORMS}, not {type(images).__name__}")
        if not len(images):
            raise ValueError("images must not be empty")
        self.images, self.info, self.batch_size = images, info, batch_size
        self.value_range = served_range(info)

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.images)

    def __iter__(self) -> Iterator[Tensor]:
        """Make the batches."""
        for start in range(0, len(self.images), self.batch_size):
            chunk = self.images[start : start + self.batch_size]
            if isinstance(chunk, np.ndarray) and self._is_served(chunk.shape[1:], chunk.dtype == np.uint8):
                yield torch.from_numpy(np.ascontiguousarray(chunk)).permute(0, 3, 1, 2)
                continue
            if isinstance(chunk, Tensor) and self._is_served(
                (*chunk.shape[2:], chunk.shape[1]), chunk.dtype == torch.uint8
            ):
                yield chunk
                continue
            served = [self.serve(image, start + number) for number, image in enumerate(chunk)]
            yield torch.from_numpy(np.stack(served)).permute(0, 3, 1, 2)

    def _is_served(self, shape: Sequence[int], has_eight_bits: bool) -> bool:
        # nothing is to be done to such images
        own = (*self.info.image_size, self.info.in_channels)
        return has_eight_bits and tuple(shape) == own and not applies(self.value_range, EIGHT_BITS)

    def serve(self, image: Any, number: int) -> NDArray[np.uint8]:
        """Return an image as the model's data serves it.

        Args:
            image: a path, a Pillow image, an array or a tensor
            number: of the image, for messages

        Returns:
            uint8, shape `(height, width, channel)`

        Raises:
            ValueError: it is no image
        """
        height, width = self.info.image_size
        if isinstance(image, str | Path):
            return decode(Path(image), (height, width), self.info.in_channels, value_range=self.value_range)
        if isinstance(image, Tensor):
            image = (image.permute(1, 2, 0) if image.ndim == 3 else image).detach().cpu().numpy()
        elif isinstance(image, Image.Image):
            image = ImageOps.exif_transpose(image)
            if not image.mode.startswith(DEEP_MODES):
                return fit(self._in_range(in_channels(image, self.info.in_channels)), height, width)
            image = np.asarray(image)
        if image.ndim == 2:
            image = image[:, :, None]
        if image.ndim != 3 or image.shape[2] not in CHANNELS or not image.size:
            raise ValueError(
                f"image {number} must have the shape (height, width, channel) with 1, 3 or 4 channels, not "
                f"{image.shape}"
            )
        values = self._eight_bits(image, number)
        picture = Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
        return fit(in_channels(picture, self.info.in_channels), height, width)

    def _in_range(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        wanted = self.value_range
        return scale(values, wanted) if wanted is not None and applies(wanted, EIGHT_BITS) else values

    def _eight_bits(self, values: NDArray[Any], number: int) -> NDArray[np.uint8]:
        """Scale an array to 8 bits by the range of values that the model was trained with."""
        if values.dtype == np.uint8:
            return self._in_range(values)
        if values.dtype == bool:
            return values.astype(np.uint8) * np.uint8(255)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"image {number} holds NaN or infinity: remove it, or mend it")
        if self.value_range is not None and values.dtype.kind in "iuf":
            return scale(values, self.value_range)
        if values.dtype == np.uint16:
            return scale(values, FULL_16)
        raise ValueError(
            f"image {number} has the values {values.dtype}, of which the model does not know the range: pass uint8 "
            f"from 0 to 255, such as (images * 255).round().astype('uint8') where 1 is white"
        )


def served_range(info: DataInfo) -> Range | None:
    """Return the values of a pixel that become 0 and 255; None for all that a pixel can hold."""
    values = parse(info.value_range or "full")
    return values if isinstance(values, tuple) else None


def _way_out(images: NDArray[Any] | Tensor) -> str:
    if isinstance(images, Tensor):
        return "pass (image, channel, height, width); images[None] for a single one, images[:, None] for grey ones"
    return "pass (image, height, width, channel); images[None] for a single one, images[..., None] for grey ones"
