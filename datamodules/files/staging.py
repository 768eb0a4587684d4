"""Data copied once to the local disk of a node: all of its processes, and later jobs there, read the copy."""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from datamodules.files.decode import FileSource
from datamodules.files.store_files import remove
from datamodules.provenance import bytes_key
from records.locks import one_at_a_time
from records.partial_files import partial_path, remove_abandoned

# threads that copy files: each waits for the network most of the time
COPIERS = 16
# written last into a folder of files that was copied whole
WHOLE = ".whole"


def stage_folder(option: str) -> Path:
    """Return the folder that an option names, with the node's own variables, such as $TMPDIR.

    Raises:
        ValueError: the node does not have such a variable
    """
    path = os.path.expandvars(option)
    if "$" in path:
        raise ValueError(f"--data.stage_dir {option!r} names a variable that this node does not have")
    return Path(path).expanduser()


def stage_store(place: Path, folder: Path, is_whole: Callable[[Path], bool]) -> Path:
    """Copy a store of decoded images.

    Args:
        place: of the store
        folder: on the local disk
        is_whole: checks a store by its content

    Returns:
        where the copy lies

    Raises:
        OSError: it cannot be copied, or is damaged again
    """
    there = folder / place.name
    with _alone(there):
        if not is_whole(there):
            size = sum(path.stat().st_size for path in place.iterdir())
            with _building(there, size) as partial:
                shutil.copytree(place, partial)
            if not is_whole(there):
                raise OSError(f"{there} does not hold what was copied")
    return there


def stage_files(files: FileSource, keys: Tensor, name: str, folder: Path) -> FileSource:
    """Copy image files, and compare each with the key of its bytes.

    Args:
        files: to copy
        keys: of the bytes of each, int64, shape `(file,)`; 0 for one that could not be read
        name: stands for these files and what is made of them
        folder: on the local disk

    Returns:
        the same files, read from the copy

    Raises:
        OSError: they cannot be copied
    """
    there = folder / f"{name}.files"
    # by number: a name may lead out of its folder
    names = [f"{number // 1000:04}/{number:07}{Path(name).suffix}" for number, name in enumerate(files.names)]
    copied = FileSource(there, names, files.size, files.channels, files.num_workers, files.value_range)
    with _alone(there):
        if not _holds(copied, there):
            size = sum(files.path(number).stat().st_size for number in _readable(keys))
            with _building(there, size) as partial, ThreadPoolExecutor(COPIERS, "copy") as pool:
                partial.mkdir()

                def copy(number: int) -> int:
                    return _copy(files.path(number), partial / names[number], int(keys[number]))

                sizes = list(pool.map(copy, _readable(keys)))
                (partial / WHOLE).write_text(_summary(sizes))
    return copied


def _copy(source: Path, place: Path, key: int) -> int:
    content = source.read_bytes()
    if bytes_key(content) != key:
        raise OSError(f"{source} has changed since it was read: start again")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return len(content)


def _holds(files: FileSource, there: Path) -> bool:
    """Tell whether a copy is whole, by the sizes of its files."""
    if not (there / WHOLE).is_file():
        return False
    sizes = [path.stat().st_size if (path := files.path(n)).is_file() else -1 for n in range(len(files))]
    return (there / WHOLE).read_text() == _summary([size for size in sizes if size >= 0])


def _summary(sizes: list[int]) -> str:
    return f"{len(sizes)} files, {sum(sizes)} bytes, {zlib.crc32(repr(sizes).encode()):08x}"


def _readable(keys: Tensor) -> list[int]:
    return [number for number, key in enumerate(keys.tolist()) if key]


@contextmanager
def _alone(there: Path) -> Iterator[None]:
    """Let the first process of a node copy, and the others wait for it."""
    try:
        there.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(there.with_name(f"{there.name}.lock")):
            yield
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error.strerror or error
        raise OSError(
            f"the data cannot be copied to --data.stage_dir {str(there.parent)!r} ({reason}): choose another folder, "
            f"or leave it out"
        ) from error


@contextmanager
def _building(there: Path, size: int) -> Iterator[Path]:
    """Yield where to build a folder, and rename it into place once it is whole.

    Args:
        there: its place
        size: bytes that it needs
    """
    remove_abandoned(there)
    free = shutil.disk_usage(there.parent).free
    if size > free:
        raise OSError(f"{size / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free")
    rank_zero_info(f"Copying {size / 1e9:.2f} GB of data to {there}")
    partial = partial_path(there)
    try:
        yield partial
        remove([there])
        partial.rename(there)
    finally:
        remove([partial])
