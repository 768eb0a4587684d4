"""What was read of image files, kept on disk: decoded images to map into memory, and content keys."""

import hashlib
import json
import os
import shutil
import warnings
from array import array
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from datamodules.files import CHUNK, Chunk, FileSource, decode, read_all

# raised whenever the same files would be decoded to other pixels
VERSION = 1


@dataclass(frozen=True)
class Reading:
    """What was found in all files.

    Args:
        keys: content key of each file, int64, shape `(file,)`
        problems: by number of the file, why it could not be read
        images: uint8, shape `(file, channel, height, width)`; None where they were not kept
    """

    keys: Tensor
    problems: dict[int, str]
    images: Tensor | None


def read_into_memory(files: FileSource, stop_at_problem: bool) -> Reading:
    """Decode all files into one tensor.

    Args:
        files: to read
        stop_at_problem: raise at the first that cannot be read

    Raises:
        ValueError: a file cannot be read
    """
    height, width = files.size
    images = np.empty((len(files), height, width, files.channels), dtype=np.uint8)
    keys, start = np.empty(len(files), dtype=np.int64), 0
    problems: dict[int, str] = {}
    for chunk in _with_progress(files, stop_at_problem):
        images[start : start + len(chunk.keys)] = chunk.images
        keys[start : start + len(chunk.keys)] = chunk.keys
        problems |= chunk.problems
        start += len(chunk.keys)
    return Reading(torch.from_numpy(keys), problems, torch.from_numpy(images).permute(0, 3, 1, 2))


def read_through_store(
    folder: Path, files: FileSource, ids: Tensor, stop_at_problem: bool, keep_images: bool
) -> Reading:
    """Read all files once ever: what was found is kept in a folder until a file, or what is made of it, changes.

    Processes that come at the same time wait for the first one. The store is built beside its place and renamed when
    it is whole; what an interrupted build left is built anew.

    Args:
        folder: where stores lie
        files: to read
        ids: of the samples, which stand for the files' names, int64, shape `(file,)`
        stop_at_problem: raise at the first that cannot be read
        keep_images: keep the decoded images too

    Raises:
        ValueError: a file cannot be read
        OSError: there is no room for the images
    """
    place = folder / _digest(files, ids, keep_images)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            if place.exists() and not _is_whole(place, files, keep_images):
                rank_zero_warn(f"{place} is damaged: it is built anew")
                shutil.rmtree(place)
            if place.exists() and any(_can_be_read(files, number) for number in _problems(place)):
                # what kept a file from being read need not have changed the file
                shutil.rmtree(place)
            if not place.exists():
                _build(place, files, stop_at_problem, keep_images)
    except OSError as error:
        raise OSError(
            f"what was read cannot be kept in --data.cache_dir {str(folder)!r} ({error}): choose another folder, "
            f"a smaller --data.image_size, or --data.cache {'none' if keep_images else 'ram'}"
        ) from error
    problems = _problems(place)
    if problems and stop_at_problem:
        raise ValueError(problems[min(problems)])
    images = None
    if keep_images:
        height, width = files.size
        shape = (len(files), height, width, files.channels)
        # read-only: a map that could be written to would need as much memory and swap as the file has bytes
        mapped = np.memmap(place / "images.bin", dtype=np.uint8, mode="r", shape=shape)
        with warnings.catch_warnings():
            # nothing here writes to it
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            images = torch.from_numpy(mapped).permute(0, 3, 1, 2)
    return Reading(torch.from_numpy(np.load(place / "keys.npy")), problems, images)


def _problems(place: Path) -> dict[int, str]:
    return {int(number): problem for number, problem in json.loads((place / "problems.json").read_text()).items()}


def _can_be_read(files: FileSource, number: int) -> bool:
    try:
        decode(files.path(number), files.size, files.channels)
    except ValueError:
        return False
    return True


def _digest(files: FileSource, ids: Tensor, keep_images: bool) -> str:
    """Name the store by the files, as far as the file system knows them, and by what is made of them."""
    made = [VERSION, keep_images, *((*files.size, files.channels) if keep_images else ())]
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
            except OSError:
                stamps.extend((-1, -1))
            else:
                stamps.extend((status.st_size, status.st_mtime_ns))
    finally:
        os.close(root)
    return np.frombuffer(stamps, dtype=np.int64).reshape(-1, 2)


def _is_whole(place: Path, files: FileSource, keep_images: bool) -> bool:
    images = place / "images.bin"
    right_size = not keep_images or (images.is_file() and images.stat().st_size == _image_bytes(files))
    return right_size and all((place / name).is_file() for name in ("keys.npy", "problems.json"))


def _image_bytes(files: FileSource) -> int:
    return len(files) * files.size[0] * files.size[1] * files.channels


def _build(place: Path, files: FileSource, stop_at_problem: bool, keep_images: bool) -> None:
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    needed, free = _image_bytes(files), shutil.disk_usage(partial).free
    keys = np.empty(len(files), dtype=np.int64)
    problems: dict[int, str] = {}
    try:
        if keep_images and needed > free:
            raise OSError(f"{needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free")
        rank_zero_info(f"Reading {len(files):,} image files once, into {place}")
        start = 0
        with (partial / "images.bin").open("wb") as file, ThreadPoolExecutor(1, "write") as writer:
            written: Future[int] | None = None
            for chunk in _with_progress(files, stop_at_problem):
                if written is not None:
                    written.result()
                # written in order, not through a map, where a full disk would kill the process; and while the next
                # files are decoded
                written = writer.submit(file.write, chunk.images.data) if keep_images else None
                keys[start : start + len(chunk.keys)] = chunk.keys
                problems |= chunk.problems
                start += len(chunk.keys)
            if written is not None:
                written.result()
        np.save(partial / "keys.npy", keys)
        (partial / "problems.json").write_text(json.dumps(problems))
    finally:
        if not (partial / "problems.json").is_file():
            shutil.rmtree(partial, ignore_errors=True)
    partial.rename(place)


def _with_progress(files: FileSource, stop_at_problem: bool) -> Iterator[Chunk]:
    console = Console(stderr=True)
    chunks = track(
        read_all(files),
        "reading images",
        total=-(-len(files) // CHUNK),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    for chunk in chunks:
        if chunk.problems and stop_at_problem:
            raise ValueError(chunk.problems[min(chunk.problems)])
        yield chunk
