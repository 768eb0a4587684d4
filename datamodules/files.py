"""Image files: finding them, decoding them, and reading each of them once."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from torch import Tensor

from datamodules.provenance import bytes_key

T = TypeVar("T")

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# the EXIF entry of the camera's orientation, and its values for pictures that lie on their side
ORIENTATION, QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
# files read between two looks at what was found
CHUNK = 256
# files tried before it is decided whether threads pay, and from what time a file they do: with 2 threads, images of
# 32 pixels (0.14 ms) took twice as long, photos of 500x375 (2.8 ms) little more than half
TRIED, THREADS_PAY_SECONDS = 2, 1e-3


class FileSource:
    """Images on disk, decoded and resized for each batch.

    Args:
        root: folder that the names are relative to
        names: one file a sample
        size: height and width to serve, in pixels
        channels: 1 (grey) or 3 (RGB)
        num_workers: threads that decode; 0 decodes in the caller's
    """

    name = "image"
    in_memory = False

    def __init__(
        self, root: Path, names: Sequence[str], size: tuple[int, int], channels: int, num_workers: int
    ) -> None:
        self.root, self.names, self.size, self.channels = root, names, size, channels
        self.pool = ThreadPoolExecutor(num_workers, "decode") if num_workers else None

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Return the path of one file."""
        return self.root / self.names[index]

    def map(self, function: Callable[[int], T], indices: Iterable[int]) -> Iterator[T]:
        """Call a function on each index, in order; on the decoding threads where that pays."""
        left = iter(indices)
        if self.pool is None:
            yield from map(function, left)
            return
        start, seconds = time.perf_counter(), 0.0
        for tried, index in enumerate(itertools.islice(left, TRIED), start=1):
            yield function(index)
            seconds = (time.perf_counter() - start) / tried
        # small images are decoded faster than threads take turns with the interpreter
        pays = seconds > THREADS_PAY_SECONDS
        yield from self.pool.map(function, left) if pays else map(function, left)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the images at `indices`, uint8, shape `(batch, channel, height, width)`."""
        images = self.map(lambda i: decode(self.path(i), self.size, self.channels), indices.tolist())
        return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Chunk:
    """Some files that were read.

    Args:
        images: uint8, shape `(file, height, width, channel)`; black where a file could not be read
        keys: content key of each file, int64, shape `(file,)`
        problems: by number of the file, why it could not be read
    """

    images: NDArray[np.uint8]
    keys: NDArray[np.int64]
    problems: dict[int, str]


def read_all(files: FileSource) -> Iterator[Chunk]:
    """Read every file once, in order: decode it and hash its bytes."""
    height, width = files.size
    for start in range(0, len(files), CHUNK):
        stop = min(start + CHUNK, len(files))
        chunk = Chunk(
            np.zeros((stop - start, height, width, files.channels), dtype=np.uint8),
            np.zeros(stop - start, dtype=np.int64),
            {},
        )

        def read(number: int, start: int = start, chunk: Chunk = chunk) -> None:
            # each thread writes rows of its own
            path = files.path(number)
            try:
                content = path.read_bytes()
                chunk.images[number - start] = decode(path, files.size, files.channels, content)
                chunk.keys[number - start] = bytes_key(content)
            except OSError as error:
                chunk.problems[number] = f"{path} cannot be read ({error.strerror or error})"
            except ValueError as error:
                chunk.problems[number] = str(error)

        for _ in files.map(read, range(start, stop)):
            pass
        yield chunk


def read_header(path: Path) -> tuple[tuple[int, int], str, str] | None:
    """Read size (height and width of the upright image), colour mode and format of a file; None if it is no image."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ORIENTATION) in QUARTER_TURNS
            size = (image.width, image.height) if turned else (image.height, image.width)
            return size, image.mode, str(image.format)
    except Exception:  # as in `decode`, which says what is wrong
        return None


def decode(path: Path, size: tuple[int, int], channels: int, content: bytes | None = None) -> NDArray[np.uint8]:
    """Read an image, turn it upright, scale its shorter side to fit and cut the centre.

    Of an animation the first picture is taken; transparency is left out, as torchvision does; 16 bits are scaled to 8.

    Args:
        path: an image file that Pillow reads
        size: height and width to return, in pixels
        channels: 1 (grey) or 3 (RGB)
        content: the file's bytes, where they were read already

    Returns:
        shape `(height, width, channel)`

    Raises:
        ValueError: the file is not a whole image, or has a range of values that cannot be known
    """
    height, width = size
    try:
        with Image.open(path if content is None else BytesIO(content)) as file:
            # a JPEG far larger than needed is decoded at a half, a quarter or an eighth
            least = 2 * max(size) / min(file.size)
            if least < 1 and isinstance(file, ImageFile.ImageFile):
                file.draft("RGB" if channels == 3 else "L", (int(file.width * least), int(file.height * least)))
            image = ImageOps.exif_transpose(file) if file.getexif() else file
            if image.mode.startswith("I;16") or (image.mode == "I" and file.format == "PPM"):
                # Pillow would clip 16 bits to 8 instead of scaling them
                image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise ValueError(f"32-bit pixels of mode {image.mode} have no known range: save it with 8 or 16 bits")
            wanted = "RGB" if channels == 3 else "L"
            pixels = np.asarray(image if image.mode == wanted else image.convert(wanted))
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} cannot be read as an image (of a known format): mend or remove it") from error
    except Exception as error:
        # a damaged field leads Pillow's many readers to whatever error it leads to
        detail = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an image ({detail}): mend or remove it") from error
    return fit(pixels.reshape(*pixels.shape[:2], channels), height, width)


def fit(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Cut the largest part of the wanted shape out of the centre of an image, and scale it.

    Args:
        pixels: shape `(any height, any width, channel)`
        height: to return, in pixels
        width: to return, in pixels

    Returns:
        shape `(height, width, channel)`
    """
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    rows, columns = max(1, round(scale * height)), max(1, round(scale * width))
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    window = pixels[top : top + rows, left : left + columns]
    if window.shape[:2] == (height, width):
        return window
    # the same filter as Pillow's, several times as fast
    image = torch.from_numpy(window.copy() if not window.flags.writeable else window).permute(2, 0, 1)[None]
    scaled = torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)
    return scaled[0].permute(1, 2, 0).numpy()


def walk_images(folder: Path) -> Iterator[Path]:
    """Yield the image files below a folder; hidden files and folders are left out, links are followed once."""
    # a link that leads back up would never end, or bring in the other classes
    seen = {(status.st_dev, status.st_ino) for status in (parent.stat() for parent in folder.resolve().parents)}
    for parent, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        # in order, because of two links to one folder the first is followed
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


def _raise(error: OSError) -> None:
    # a folder that cannot be listed would be left out without a word
    raise error
