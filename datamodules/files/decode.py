"""Image files: reading each of them once, and decoding them for batches."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.few import ALL, few
from datamodules.files.decoding import decode
from datamodules.files.formats import open_file
from datamodules.files.value_range import Range
from datamodules.looks import looks_of
from datamodules.provenance import bytes_key, pixel_key

T = TypeVar("T")
# values of a picture up to which those of a chunk are hashed together
SMALL = 1 << 16

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
        value_range: the values that become 0 and 255; None takes all that a file's pixels can hold
    """

    name = "image"
    in_memory = False

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        size: tuple[int, int],
        channels: int,
        num_workers: int,
        value_range: Range | None = None,
    ) -> None:
        self.root, self.names, self.size, self.channels = root, names, size, channels
        self.num_workers, self.value_range = num_workers, value_range
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

    def decode(self, index: int) -> NDArray[np.uint8]:
        """Decode one file, shape `(height, width, channel)`; see `decoding.decode`."""
        return decode(self.path(index), self.size, self.channels, value_range=self.value_range)

    def gather(self, indices: Tensor) -> Tensor:
        """Return the images at `indices`, uint8, shape `(batch, channel, height, width)`."""
        images = self.map(self.decode, indices.tolist())
        return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Chunk:
    """Some files that were read.

    Args:
        images: uint8, shape `(file, height, width, channel)`; black where a file could not be read
        keys: key of the bytes, content key and perceptual hash of each file, int64, shape `(file, 3)`
        problems: by number of the file, why it could not be read
        notes: by number of the file, the notes on it: the kind of note, and a detail
    """

    images: NDArray[np.uint8]
    keys: NDArray[np.int64]
    problems: dict[int, str] = field(default_factory=dict)
    notes: dict[int, list[tuple[str, str]]] = field(default_factory=dict)


def read_all(files: FileSource) -> Iterator[Chunk]:
    """Read every file once, in order: decode it, and hash its bytes, its pixels and its look."""
    height, width = files.size
    for start in range(0, len(files), CHUNK):
        stop = min(start + CHUNK, len(files))
        chunk = Chunk(
            np.zeros((stop - start, height, width, files.channels), dtype=np.uint8),
            np.zeros((stop - start, 3), dtype=np.int64),
        )

        small: dict[int, NDArray[np.generic]] = {}

        def read(
            number: int, start: int = start, chunk: Chunk = chunk, small: dict[int, NDArray[np.generic]] = small
        ) -> None:
            # each thread writes rows of its own
            path = files.path(number)

            def note(kind: str, detail: str = "") -> None:
                chunk.notes.setdefault(number, []).append((kind, detail))

            def show(picture: NDArray[np.generic]) -> None:
                chunk.keys[number - start, 1] = pixel_key(picture)
                if picture.size <= SMALL:
                    small[number - start] = picture
                else:
                    chunk.keys[number - start, 2] = looks_of(picture[None])[0]

            try:
                with open_file(path) as file:
                    content = file.read()
                image = decode(path, files.size, files.channels, content, files.value_range, note, show)
            except OSError as error:
                chunk.problems[number] = f"{path} cannot be read ({error.strerror or error})"
            except MemoryError:
                chunk.problems[number] = f"{path} cannot be read (it does not fit into memory)"
            except ValueError as error:
                # an error about a name that no file can have does not contain the name
                named = "cannot be read" in str(error)
                chunk.problems[number] = str(error) if named else f"{str(path)!r} cannot be read ({error})"
            else:
                chunk.images[number - start] = image
                chunk.keys[number - start, 0] = bytes_key(content)

        for _ in files.map(read, range(start, stop)):
            pass
        chunk.keys[list(small), 2] = _looks_together(list(small.values()))
        yield chunk


def _looks_together(pictures: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    """Hash how pictures look, those of one size together, which is ten times as fast, shape `(picture,)`."""
    looks = np.empty(len(pictures), dtype=np.int64)
    forms: dict[tuple[object, ...], list[int]] = {}
    for number, picture in enumerate(pictures):
        forms.setdefault((picture.shape, picture.dtype), []).append(number)
    for numbers in forms.values():
        looks[numbers] = looks_of(np.stack([pictures[number] for number in numbers]))
    return looks


def refuse_unreadable(problems: dict[int, str], total: int) -> None:
    """Stop at files that cannot be read, all at once.

    Args:
        problems: by number of the file, why it could not be read
        total: files that were read

    Raises:
        ValueError: there is one
    """
    if not problems:
        return
    count = "" if len(problems) == 1 else f"{len(problems)} of {total} files cannot be read: "
    them = "it" if len(problems) == 1 else "them"
    listed = few((problems[number] for number in sorted(problems)), ALL, "; ")
    raise ValueError(f"{count}{listed}: mend or remove {them}, or leave {them} out by --data.on_unreadable skip")
