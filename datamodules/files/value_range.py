"""From a file's numbers to 8 bits: ranges of values, and how they are scaled."""

import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

Range = tuple[float, float]

# tags of TIFF
PHOTOMETRIC, PLANAR, SAMPLE_FORMAT = 262, 284, 339
SIGNED, WHITE_IS_ZERO, SEPARATE_PLANES = 2, 0, 2
# depths that cameras and scanners have, in bits
DEPTHS = (8, 10, 12, 14)
FULL_16 = (0.0, 65535.0)
# a file is narrow if all but this share of its pixels at each end use less than this part of what they can hold
END_SHARE, NARROW_PART = 0.001, 0.25
# what turns the upper byte of 16-bit colours into the lower one when they are unpacked
LOWER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
WHOLE_COLOURS = ("RGB;16", "RGBA;16", "RGBX;16")

# notes on files
CUT_OFF = "hold values outside the range that is served (--data.value_range), which are cut off"
NARROW = "use less than a quarter of what their pixels can hold (see --data.value_range)"
OWN_RANGE = "have pixels of fewer bits than --data.value_range, and are served in their own range"
WARNINGS = (CUT_OFF, NARROW)


class Opener(Protocol):
    """Opens the same file once more."""

    def __call__(self) -> AbstractContextManager[ImageFile.ImageFile]:
        """Return the opened image."""


class Noting(Protocol):
    """Takes a note on a file."""

    def __call__(self, kind: str, detail: str = "") -> None:
        """Note one thing."""


@dataclass(frozen=True)
class Pixels:
    """What a pixel of a file can hold.

    Args:
        text: what to call it
        range: least and most value; None if the file does not say what its values mean
        deep: whether it has to be brought to 8 bits here, because Pillow would clip it or cut it
        whole: whether all bits can be had; else only the upper 8 of them
    """

    text: str
    range: Range | None
    deep: bool = True
    whole: bool = True


EIGHT_BITS = Pixels("8-bit", (0.0, 255.0), deep=False)


def parse(option: Sequence[float] | str) -> Range | Literal["auto", "full"]:
    """Read the option `value_range`.

    Raises:
        ValueError: it is neither auto, full nor two rising numbers

    Example:
        >>> parse("0,4095"), parse([-1024, 3071]), parse("auto")
        ((0.0, 4095.0), (-1024.0, 3071.0), 'auto')
    """
    if option == "auto":
        return "auto"
    if option == "full":
        return "full"
    values = option.strip("[]() ").split(",") if isinstance(option, str) else option
    try:
        least, most = map(float, values)
    except (TypeError, ValueError):
        least = most = math.nan
    if not (math.isfinite(least) and math.isfinite(most) and least < most):
        raise ValueError(f"--data.value_range must be auto, full or MIN,MAX such as 0,4095, not {option!r}")
    return least, most


def as_text(values: Range | None) -> str:
    """Write a range as the option takes it; None is full.

    Example:
        >>> as_text((0.0, 4095.0)), as_text((0.5, 1e9)), as_text(None)
        ('0,4095', '0.5,1000000000', 'full')
    """
    if values is None:
        return "full"
    return ",".join(str(int(value)) if float(value).is_integer() else repr(float(value)) for value in values)


def pixels_of(file: ImageFile.ImageFile) -> Pixels:
    """Tell what the pixels of an opened file can hold, before they are decoded.

    Raises:
        ValueError: Pillow would read other values than the file holds
    """
    mode, raw = file.mode, _raw_mode(file)
    tags = getattr(file, "tag_v2", {})
    signed = SIGNED in tuple(tags.get(SAMPLE_FORMAT, ()))
    if tags.get(PLANAR) == SEPARATE_PLANES and len(raw) == 1 and 16 in tuple(tags.get(258, ())):
        raise ValueError("16-bit colours in separate planes: save them in one")
    if mode.startswith("I;16"):
        return Pixels("12-bit", (0.0, 4095.0)) if raw == "I;12" else Pixels("16-bit", FULL_16, whole=_is_whole(file))
    if mode == "I" and file.format in ("PPM", "PNG"):
        return Pixels("16-bit", (0.0, float(_most_of_ppm(file))))
    if mode == "I" and raw.startswith("I;16"):
        return Pixels("signed 16-bit", (-32768.0, 32767.0))
    if mode == "I":
        return Pixels(f"{'' if signed else 'un'}signed 32-bit", None)
    if mode == "F":
        return Pixels("32-bit floating-point", None)
    if mode == "L" and signed:
        return Pixels("signed 8-bit", (-128.0, 127.0))
    if ";16" in raw:
        return Pixels("16-bit colour", FULL_16, whole=raw.startswith(WHOLE_COLOURS))
    if file.format == "PPM" and mode == "RGB" and _most_of_ppm(file) > 255:
        return Pixels("16-bit colour", FULL_16, whole=False)
    return EIGHT_BITS


def read_values(file: ImageFile.ImageFile, pixels: Pixels, again: Opener) -> NDArray:
    """Decode deep pixels to the numbers that the file holds.

    Args:
        file: opened, not decoded yet
        pixels: what it holds
        again: opens it once more

    Returns:
        integers or floating-point numbers, shape `(height, width)`, or `(height, width, 3)` for colours
    """
    most = pixels.range[1] if pixels.range else 0.0
    file.load()
    if pixels.text == "16-bit colour":
        upper = np.asarray(file)[..., :3].astype(np.uint16)
        with again() as other:
            other.tile = [tile._replace(args=_lower(tile.args)) for tile in other.tile]
            other.load()
            return upper << 8 | np.asarray(other)[..., :3]
    values = np.asarray(file)
    if pixels.text == "signed 8-bit":
        return values.view(np.int8)
    if pixels.text == "unsigned 32-bit":
        return values.view(np.uint32)
    if file.mode == "I" and pixels.text == "16-bit":
        # Pillow has scaled them to 65535
        return (values if most == FULL_16[1] else np.rint(values * (most / FULL_16[1]))).astype(np.uint16)
    return values


def to_eight_bits(
    file: ImageFile.ImageFile, pixels: Pixels, wanted: Range | None, again: Opener, note: Noting | None
) -> Image.Image:
    """Decode deep pixels and scale them to 8 bits.

    Args:
        file: opened, not decoded yet
        pixels: what it holds
        wanted: the values that become 0 and 255; None takes all that the pixels can hold
        again: opens the file once more
        note: called with each note on the file; None looks for nothing

    Raises:
        ValueError: its values have no known range, or cannot be had
    """
    applied = applies(wanted, pixels)
    if pixels.text == "16-bit colour" and not applied:
        file.load()
        if note is not None:
            _note_if_narrow(np.asarray(file)[..., :3], (0.0, 255.0), note)
        return file
    if applied and not pixels.whole:
        raise ValueError(
            f"of its {pixels.text} pixels only the upper 8 bits can be read, which --data.value_range cannot scale: "
            f"save it as TIFF or PNG without transparency"
        )
    values = read_values(file, pixels, again)
    _check_finite(values)
    served = wanted if applied else pixels.range
    if served is None:
        raise ValueError(
            f"its {pixels.text} values from {values.min():g} to {values.max():g} have no known range: give "
            f"--data.value_range MIN,MAX"
        )
    if note is not None:
        if applied:
            note_cut_off(values, served, note)
        if not applied or pixels.range is None:
            _note_if_narrow(values, served, note)
    scaled = scale(values, served)
    white_is_zero = getattr(file, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
    # Pillow inverts those of 8 bits alone
    return Image.fromarray(255 - scaled if white_is_zero and scaled.ndim == 2 else scaled)


def applies(wanted: Range | None, pixels: Pixels) -> bool:
    """Tell whether a range is meant for such pixels: 0 to 4095 is not for 8 bits, which cannot hold it."""
    return wanted is not None and (pixels.range is None or wanted[1] <= pixels.range[1])


def scale(values: NDArray, served: Range) -> NDArray[np.uint8]:
    """Scale values to 8 bits: least and most of a range become 0 and 255, and what lies outside is cut off.

    Example:
        >>> scale(np.array([0, 2048, 4095, 5000], dtype=np.uint16), (0, 4095))
        array([  0, 127, 255, 255], dtype=uint8)
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return _table(*served)[values]
    least, most = served
    return ((values.astype(np.float64) - least) * 255 / (most - least)).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _table(least: float, most: float) -> NDArray[np.uint8]:
    return ((np.arange(65536) - least) * 255 / (most - least)).clip(0, 255).astype(np.uint8)


def note_cut_off(values: NDArray, served: Range, note: Noting) -> None:
    """Note that an image holds values outside a range."""
    least, most = values.min(), values.max()
    if least < served[0] or most > served[1]:
        note(CUT_OFF, f"{least:g} to {most:g}")


def depth_range(most: float) -> Range | None:
    """Return the range of the smallest usual depth that holds a value; None for all 16 bits.

    Example:
        >>> depth_range(4023), depth_range(60_000)
        ((0.0, 4095.0), None)
    """
    return next(((0.0, 2.0**bits - 1) for bits in DEPTHS if most < 2**bits), None)


def _raw_mode(file: ImageFile.ImageFile) -> str:
    args = file.tile[0].args if file.tile else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _lower(args: tuple[Any, ...] | str | None) -> tuple[Any, ...] | str:
    if isinstance(args, tuple):
        return (_lower(args[0]), *args[1:])
    assert isinstance(args, str)
    return args[:-1] + LOWER_BYTE[args[-1]]


def _is_whole(file: ImageFile.ImageFile) -> bool:
    # Pillow scales JPEG 2000 of any depth to 16 bits and does not keep the depth
    return file.format != "JPEG2000"


def _most_of_ppm(file: ImageFile.ImageFile) -> int:
    args = file.tile[0].args if file.tile else ()
    if isinstance(args, tuple) and file.tile[0].codec_name.startswith("ppm"):
        return int(args[1])
    # Pillow reads the two usual depths as they are: colours of 8 bits, or grey of 16
    return 255 if file.mode == "RGB" else 65535


def _check_finite(values: NDArray) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite pixels")


def _note_if_narrow(values: NDArray, full: Range, note: Noting) -> None:
    # a few stray pixels, such as a label that was burnt in, hide nothing
    step = 4 if min(values.shape[:2]) >= 64 else 1
    low, high = np.quantile(values[::step, ::step], (END_SHARE, 1 - END_SHARE))
    if high - low < NARROW_PART * (full[1] - full[0]):
        note(NARROW, f"{values.min():g} to {values.max():g} of {full[0]:g} to {full[1]:g}")
