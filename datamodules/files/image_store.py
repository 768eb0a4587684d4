"""What was read of image files, kept on disk: decoded images to map into memory, and content keys."""

import hashlib
import os
import shutil
import threading
import warnings
import zlib
from array import array
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from common.warned import warn
from datamodules.files.decode import CHUNK, Chunk, FileSource, read_all, refuse_unreadable
from datamodules.files.notes import Notes
from datamodules.files.staging import stage_files, stage_store
from datamodules.files.store_files import (
    IMAGES,
    KEYS,
    VERSION,
    DamagedError,
    Index,
    map_images,
    read_index,
    read_keys,
    remove,
    write_index,
)
from records.locks import one_at_a_time
from records.partial_files import partial_path, remove_abandoned


@dataclass(frozen=True)
class Reading:
    """What was found in all files.

    Args:
        keys: key of the bytes, content key and perceptual hash of each file, int64, shape `(file, 3)`
        problems: by number of the file, why it could not be read
        images: uint8, shape `(file, channel, height, width)`; None where they were not kept
        notes: notes on the files
        values: least and most of all pixels
        files: a copy on the local disk to decode from; None decodes from those that were read
    """

    keys: Tensor
    problems: dict[int, str]
    images: Tensor | None
    notes: Notes = field(default_factory=Notes)
    values: tuple[int, int] = (0, 255)
    files: FileSource | None = None


def read_into_memory(files: FileSource, stop_at_problem: bool) -> Reading:
    """Decode all files into one tensor.

    Args:
        files: to read
        stop_at_problem: raise if there are files that cannot be read

    Raises:
        ValueError: files cannot be read
    """
    height, width = files.size
    images = np.empty((len(files), height, width, files.channels), dtype=np.uint8)
    keys, start = np.empty((len(files), 3), dtype=np.int64), 0
    index = Index((len(files), height, width, files.channels))
    for chunk in _with_progress(files):
        images[start : start + len(chunk.keys)] = chunk.images
        keys[start : start + len(chunk.keys)] = chunk.keys
        _take_down(chunk, start, files, index)
        start += len(chunk.keys)
    if stop_at_problem:
        refuse_unreadable(index.problems, len(files))
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    return Reading(torch.from_numpy(keys), index.problems, tensor, index.notes, index.values)


def read_through_store(
    folder: Path,
    files: FileSource,
    ids: Tensor,
    stop_at_problem: bool,
    keep_images: bool,
    stage: Path | None = None,
) -> Reading:
    """Read all files once ever: what was found is kept in a folder until a file, or what is made of it, changes.

    Processes that come at the same time wait for the first one. The store is built beside its place and renamed when
    it is whole. One that an interruption left, or that does not hold what was written, is built anew.

    Args:
        folder: where stores lie
        files: to read
        ids: of the samples, which stand for the files' names, int64, shape `(file,)`
        stop_at_problem: raise if there are files that cannot be read
        keep_images: keep the decoded images too
        stage: folder on the local disk that what is served is copied to; None serves it from where it is

    Raises:
        ValueError: files cannot be read
        OSError: there is no room for the images
    """
    place = folder / _digest(files, ids, keep_images)
    try:
        reading = _open(place, files, keep_images, tell=False)
        if reading is None or _is_outdated(reading, files):
            folder.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(place.with_suffix(".lock")):
                # another process may have built it meanwhile
                reading = _open(place, files, keep_images, tell=True)
                if reading is None or _is_outdated(reading, files):
                    _build(place, files, stop_at_problem, keep_images)
                    reading = _open(place, files, keep_images, tell=True)
    except OSError as error:
        raise OSError(
            f"what was read cannot be kept in --data.cache_dir {str(folder)!r} ({error}): choose another folder, "
            f"a smaller --data.image_size, or --data.cache {'none' if keep_images else 'ram'}"
        ) from error
    if reading is None:
        raise OSError(f"{place} is damaged again right after it was written: choose another --data.cache_dir")
    if stop_at_problem:
        refuse_unreadable(reading.problems, len(files))
    return reading if stage is None else _staged(reading, place, files, stage)


def _staged(reading: Reading, place: Path, files: FileSource, stage: Path) -> Reading:
    if reading.images is None:
        return replace(reading, files=stage_files(files, reading.keys[:, 0], place.name, stage))

    def opened(there: Path) -> Reading | None:
        return _open(there, files, keep_images=True, tell=False)

    copy = opened(stage_store(place, stage, lambda there: opened(there) is not None))
    if copy is None:
        raise OSError(f"{stage / place.name} was changed right after it was copied: choose another --data.stage_dir")
    return copy


def _open(place: Path, files: FileSource, keep_images: bool, tell: bool) -> Reading | None:
    """Read and check a store; None if there is none, or if it does not hold what was written."""
    if not os.path.lexists(place):
        return None
    try:
        index = read_index(place, (len(files), *files.size, files.channels))
        keys = read_keys(place, index)
        images = map_images(place, index) if keep_images else None
    except DamagedError as error:
        if tell:
            warn(f"{error}: the store of decoded images is made anew")
        return None
    tensor = None
    if images is not None:
        with warnings.catch_warnings():
            # nothing here writes to it
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    return Reading(torch.from_numpy(keys), index.problems, tensor, index.notes, index.values)


def _is_outdated(reading: Reading, files: FileSource) -> bool:
    """Tell whether a file can be read now that could not be before; the file itself need not have changed."""
    for number in reading.problems:
        try:
            files.decode(number)
        except ValueError:
            continue
        return True
    return False


def _digest(files: FileSource, ids: Tensor, keep_images: bool) -> str:
    """Name the store by the files, as far as the file system knows them, and by what is made of them."""
    # the notes on the files depend on how they are served, even if their images are not kept
    made = [VERSION, keep_images, *files.size, files.channels, files.value_range]
    digest = hashlib.blake2b(f"{made} {files.root.resolve()}".encode(), digest_size=12)
    digest.update(ids.numpy().tobytes())
    digest.update(_stamps(files).tobytes())
    return digest.hexdigest()


def _stamps(files: FileSource) -> NDArray[np.int64]:
    """Return size in bytes and time of change of each file, shape `(file, 2)`; -1 where it is missing."""
    root = os.open(files.root, os.O_RDONLY)
    stamps = array("q")
    try:
        for name in files.names:
            try:
                # a million Paths would take seconds
                status = os.stat(name, dir_fd=root)
            except (OSError, ValueError):
                # a missing file, or a name that no file can have
                stamps.extend((-1, -1))
            else:
                stamps.extend((status.st_size, status.st_mtime_ns))
    finally:
        os.close(root)
    return np.frombuffer(stamps, dtype=np.int64).reshape(-1, 2)


def _image_bytes(files: FileSource) -> int:
    return len(files) * files.size[0] * files.size[1] * files.channels


def _build(place: Path, files: FileSource, stop_at_problem: bool, keep_images: bool) -> None:
    remove_abandoned(place)
    # of this thread alone: where the file system has no locks, others may build the same store
    partial = partial_path(place)
    partial = partial.with_name(f"{partial.name}.{threading.get_native_id()}")
    partial.mkdir()
    needed, free = _image_bytes(files), shutil.disk_usage(partial).free
    keys, start = np.empty((len(files), 3), dtype="<i8"), 0
    index = Index((len(files), *files.size, files.channels))
    try:
        if keep_images and needed > free:
            raise OSError(f"{needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free")
        rank_zero_info(f"Reading {len(files):,} image files once, into {place}")
        with (partial / IMAGES).open("wb") as file, ThreadPoolExecutor(1, "write") as writer:
            written: Future[int] | None = None
            for chunk in _with_progress(files):
                if written is not None:
                    written.result()
                if keep_images:
                    # written in order, not through a map, where a full disk would kill the process; and while the next
                    # files are decoded
                    written = writer.submit(file.write, chunk.images.data)
                    index.blocks.append((chunk.images.nbytes, zlib.crc32(chunk.images.data)))
                keys[start : start + len(chunk.keys)] = chunk.keys
                _take_down(chunk, start, files, index)
                start += len(chunk.keys)
            if written is not None:
                written.result()
        if stop_at_problem:
            refuse_unreadable(index.problems, len(files))
        index.keys = zlib.crc32(keys.tobytes())
        (partial / KEYS).write_bytes(keys.tobytes())
        write_index(partial, index)
        _put(partial, place, files, keep_images)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, place: Path, files: FileSource, keep_images: bool) -> None:
    """Put a store into its place, unless another process has put a whole one there meanwhile."""
    if os.path.lexists(place):
        reading = _open(place, files, keep_images, tell=False)
        if reading is not None and not _is_outdated(reading, files):
            return
        remove([place])
    try:
        partial.rename(place)
    except OSError:
        # between the look and now
        if _open(place, files, keep_images, tell=False) is None:
            raise


def _take_down(chunk: Chunk, start: int, files: FileSource, index: Index) -> None:
    """Add what was found in some files to what is known of all."""
    index.problems |= chunk.problems
    for number in sorted(chunk.notes.keys() - chunk.problems.keys()):
        # the name is shown as it is, unless it holds control characters for the terminal
        name = files.names[number]
        name = name if name.isprintable() else ascii(name)
        for kind, detail in chunk.notes[number]:
            index.notes.add(kind, f"{name} ({detail})" if detail else name)
    places = [number - start for number in chunk.problems]
    images = np.delete(chunk.images, places, axis=0) if places else chunk.images
    if images.size:
        index.values = min(index.values[0], int(images.min())), max(index.values[1], int(images.max()))


def _with_progress(files: FileSource) -> Iterator[Chunk]:
    console = Console(stderr=True)
    chunks = track(
        read_all(files),
        "reading images",
        total=-(-len(files) // CHUNK),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    yield from chunks
