"""Decoding one image file: upright, in 8 bits, scaled and cut to the wanted size."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from datamodules.files.formats import open_image, what_it_is
from datamodules.files.value_range import (
    OWN_RANGE,
    Noting,
    Opener,
    Range,
    applies,
    note_cut_off,
    pixels_of,
    read_values,
    scale,
    to_eight_bits,
)

# the EXIF entry of the camera's orientation, its values for pictures that lie on their side, and what turns them
ORIENTATION, QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED: dict[Image.Transpose, Callable[[NDArray], NDArray]] = {
    Image.Transpose.FLIP_LEFT_RIGHT: np.fliplr,
    Image.Transpose.ROTATE_180: lambda values: np.rot90(values, 2),
    Image.Transpose.FLIP_TOP_BOTTOM: np.flipud,
    Image.Transpose.TRANSPOSE: lambda values: values.swapaxes(0, 1),
    Image.Transpose.ROTATE_270: lambda values: np.rot90(values, 3),
    Image.Transpose.TRANSVERSE: lambda values: np.rot90(values, 2).swapaxes(0, 1),
    Image.Transpose.ROTATE_90: np.rot90,
}
# takes a whole picture
Shown = Callable[[NDArray[np.generic]], None]
# notes on files
PICTURES = "hold more than one picture, and the first of them is served"
LARGE = "have very many pixels"


def read_header(path: Path) -> tuple[tuple[int, int], str, str] | None:
    """Read size (height and width of the upright image), colour mode and format of a file; None if it is no image."""
    try:
        with open_image(path) as image:
            # Pillow turns TIFF by itself
            turned = image.format != "TIFF" and image.getexif().get(ORIENTATION) in QUARTER_TURNS
            size = (image.width, image.height) if turned else (image.height, image.width)
            return size, image.mode, str(image.format)
    except Exception:  # as in `decode`, which says what is wrong
        return None


def decode(
    path: Path,
    size: tuple[int, int],
    channels: int,
    content: bytes | None = None,
    value_range: Range | None = None,
    note: Noting | None = None,
    show: Shown | None = None,
) -> NDArray[np.uint8]:
    """Read an image, turn it upright, scale its shorter side to fit and cut the centre.

    Of several pictures the first is taken; transparency is left out, as torchvision does; more than 8 bits are scaled
    to 8.

    Args:
        path: an image file of a known format
        size: height and width to return, in pixels
        channels: 1 (grey) or 3 (RGB)
        content: the file's bytes, where they were read already
        value_range: the values that become 0 and 255, where pixels can hold them; None takes all that they can hold
        note: called with each note on the file; None looks for nothing
        show: called with the whole upright picture, before it is scaled to 8 bits, fitted or made grey; it costs a
            second decoding where less than the whole is decoded to serve it

    Returns:
        shape `(height, width, channel)`

    Raises:
        ValueError: the file is not a whole image, or has a range of values that cannot be known; it is named
    """
    height, width = size

    def again() -> AbstractContextManager[ImageFile.ImageFile]:
        return open_image(path, content)

    try:
        with again() as file:
            kind = pixels_of(file)
            if note is not None:
                _look(file, note)
            # a JPEG far larger than needed is decoded at a half, a quarter or an eighth
            least, whole = 2 * max(size) / min(file.size), (file.size, file.mode)
            if least < 1:
                file.draft("RGB" if channels == 3 else "L", (int(file.width * least), int(file.height * least)))
            if kind.deep:
                image = to_eight_bits(file, kind, value_range, again, note)
            else:
                file.load()
                image = file
            # after loading, because Pillow turns TIFF then, and takes the entry away
            turn = TURNS.get(file.getexif().get(ORIENTATION, 1))
            upright = image if turn is None else image.transpose(turn)
            pixels = in_channels(upright, channels)
            if show is not None:
                if kind.deep and kind.whole:
                    show(deep_values(again, turn))
                elif whole != (file.size, file.mode):
                    show(whole_picture(again, turn))
                else:
                    show(pixels if channels == 3 else every_channel(upright))
            if value_range is not None and not kind.deep:
                if applies(value_range, kind):
                    if note is not None:
                        note_cut_off(pixels, value_range, note)
                    pixels = scale(pixels, value_range)
                elif note is not None:
                    note(OWN_RANGE)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} cannot be read as an image ({what_it_is(path, content)})") from error
    except Exception as error:
        # a damaged field leads Pillow's many readers to whatever error it leads to
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an image ({detail})") from error
    return fit(pixels, height, width)


def in_channels(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """Convert an image of 8 bits to grey or RGB, shape `(height, width, channel)`."""
    wanted = "RGB" if channels == 3 else "L"
    if image.mode == "La":
        # grey multiplied by its opacity, which Pillow converts in two steps
        image = image.convert("LA")
    elif image.mode in ("LAB", "HSV") and wanted == "L":
        image = image.convert("RGB")
    pixels = np.asarray(image if image.mode == wanted else image.convert(wanted))
    return pixels.reshape(*pixels.shape[:2], channels)


def every_channel(image: Image.Image) -> NDArray[np.uint8]:
    """Convert an image of 8 bits to grey if it is grey, else to RGB, shape `(height, width, channel)`."""
    return in_channels(image, 1 if image.mode in ("1", "L", "LA", "La") else 3)


def whole_picture(again: Opener, turn: Image.Transpose | None) -> NDArray[np.uint8]:
    """Decode all pixels of a file of 8 bits, where fewer are served.

    Args:
        again: opens the file
        turn: what turns it upright
    """
    with again() as file:
        file.load()
        return every_channel(file if turn is None else file.transpose(turn))


def deep_values(again: Opener, turn: Image.Transpose | None) -> NDArray[np.generic]:
    """Decode the numbers that a file of more than 8 bits holds, shape `(height, width)`, or with channels.

    Args:
        again: opens the file
        turn: what turns it upright
    """
    with again() as file:
        values = read_values(file, pixels_of(file), again)
        # Pillow turns TIFF while it loads it
        return values if turn is None else TURNED[turn](values)


def _look(file: ImageFile.ImageFile, note: Noting) -> None:
    # the further pictures of a camera's JPEG are previews
    if file.format not in ("JPEG", "MPO") and getattr(file, "is_animated", False):
        note(PICTURES, f"{getattr(file, 'n_frames', 'several')} pictures")
    if Image.MAX_IMAGE_PIXELS is not None and file.width * file.height > Image.MAX_IMAGE_PIXELS:
        note(LARGE, f"{file.width}x{file.height}")


def fit(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Cut the largest part of the wanted shape out of the centre of an image, and scale it.

    Args:
        pixels: shape `(any height, any width, channel)`
        height: to return, in pixels
        width: to return, in pixels

    Returns:
        shape `(height, width, channel)`
    """
    factor = min(pixels.shape[0] / height, pixels.shape[1] / width)
    rows, columns = max(1, round(factor * height)), max(1, round(factor * width))
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    window = pixels[top : top + rows, left : left + columns]
    if window.shape[:2] == (height, width):
        return window
    # the same filter as Pillow's, several times as fast
    image = torch.from_numpy(window.copy() if not window.flags.writeable else window).permute(2, 0, 1)[None]
    scaled = torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)
    return scaled[0].permute(1, 2, 0).numpy()
