"""The files of a store of decoded images: written once, and checked by content whenever they are read."""

import json
import shutil
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.files.notes import Notes

# raised whenever the same files would be decoded to other pixels
VERSION = 2
# raised whenever a store is laid out in another way
LAYOUT = 3
IMAGES, KEYS, INDEX = "images.bin", "keys.bin", "index.json"
# threads that check a store: 2 GB/s each
CHECKERS = 4


class DamagedError(ValueError):
    """A file of a store does not hold what was written."""


@dataclass
class Index:
    """What is known of a store's files.

    Args:
        shape: of the images: file, height, width and channel
        blocks: bytes and checksum of each block of images, in order; none if they were not kept
        keys: checksum of the content keys
        problems: by number of the file, why it could not be read
        notes: notes on the files
        values: least and most of all pixels
    """

    shape: tuple[int, int, int, int]
    blocks: list[tuple[int, int]] = field(default_factory=list)
    keys: int = 0
    problems: dict[int, str] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    values: tuple[int, int] = (255, 0)

    def plain(self) -> dict[str, Any]:
        """Return the index as plain types."""
        return vars(self) | {"version": LAYOUT, "notes": self.notes.plain()}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "Index":
        """Rebuild from what `plain` returned."""
        height, width, channels = values["shape"][1:]
        return cls(
            (values["shape"][0], height, width, channels),
            [(size, checksum) for size, checksum in values["blocks"]],
            values["keys"],
            {int(number): problem for number, problem in values["problems"].items()},
            Notes(values["notes"]),
            (values["values"][0], values["values"][1]),
        )


def write_index(place: Path, index: Index) -> None:
    """Write the index with a checksum of its own in the first line."""
    body = json.dumps(index.plain()).encode()
    (place / INDEX).write_bytes(f"{zlib.crc32(body):08x}\n".encode() + body)


def read_index(place: Path, shape: Sequence[int]) -> Index:
    """Read and check the index of a store.

    Args:
        place: folder of the store
        shape: that its images must have

    Raises:
        DamagedError: it is not what was written
    """
    path = place / INDEX
    checksum, _, body = _content(path).partition(b"\n")
    if checksum != f"{zlib.crc32(body):08x}".encode():
        raise DamagedError(f"{path} is damaged")
    values = json.loads(body)
    if values["version"] != LAYOUT or values["shape"] != list(shape):
        raise DamagedError(f"{path} is of another store")
    return Index.from_plain(values)


def read_keys(place: Path, index: Index) -> NDArray[np.int64]:
    """Read and check the keys and perceptual hashes, int64, shape `(file, 3)`.

    Raises:
        DamagedError: they are not what was written
    """
    content = _content(place / KEYS)
    if len(content) != 24 * index.shape[0] or zlib.crc32(content) != index.keys:
        raise DamagedError(f"{place / KEYS} is damaged")
    # a copy, which can be written to, as torch wants it
    return np.frombuffer(content, dtype="<i8").astype(np.int64).reshape(-1, 3)


def map_images(place: Path, index: Index) -> NDArray[np.uint8]:
    """Map and check the images, uint8, shape `(file, height, width, channel)`.

    Raises:
        DamagedError: they are not what was written
    """
    path = place / IMAGES
    sizes = [size for size, _ in index.blocks]
    if not path.is_file() or path.stat().st_size != sum(sizes) or sum(sizes) != np.prod(index.shape):
        raise DamagedError(f"{path} is {'damaged' if path.is_file() else 'missing'}")
    # read-only: a map that could be written to would need as much memory and swap as the file has bytes
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    stops = np.cumsum(sizes).tolist()

    def is_whole(number: int) -> bool:
        size, checksum = index.blocks[number]
        return zlib.crc32(mapped[stops[number] - size : stops[number]].data) == checksum

    with ThreadPoolExecutor(CHECKERS, "check") as pool:
        if not all(pool.map(is_whole, range(len(stops)))):
            raise DamagedError(f"{path} is damaged")
    return mapped.reshape(index.shape)


def remove(paths: Iterable[Path]) -> None:
    """Remove folders, files and links, where there are any."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DamagedError(f"{path} is missing") from error
