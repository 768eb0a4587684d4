"""Data sets that torchvision reads: shared loading with a clear way out where there is no network."""

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.few import count_of, few
from datamodules.dataset import Dataset, array_dataset
from records.folders import make_folder, take_back
from records.locks import one_at_a_time


def load_torchvision(name: str, root: str, download: bool, image_size: int | None) -> Dataset:
    """Read both official parts of a data set.

    Args:
        name: torchvision's class, such as CIFAR10
        root: folder that holds it, in torchvision's layout
        download: fetch it if it is missing
        image_size: height and width in pixels to resize to; None keeps the images' own

    Raises:
        FileNotFoundError: it is not there and was not to be downloaded
        ConnectionError: the download failed
        ValueError: files are damaged
    """
    arrays = {}
    for split in ("train", "test"):
        part = _open(name, root, download, train=split == "train")
        images, labels = np.asarray(part.data), np.asarray(part.targets)
        images = images if images.ndim == 4 else images[..., None]
        size = 28 if "MNIST" in name else 32
        whole = len(images) == len(labels) > 0 and images.shape[1:3] == (size, size)
        if not whole or labels.min() < 0 or labels.max() >= len(part.classes):
            raise ValueError(
                f"{name} in --data.root {root!r} is damaged: its {split} part has {len(labels)} labels and images of "
                f"shape {images.shape}, or labels beyond its {len(part.classes)} classes: delete it and fetch it anew"
            )
        arrays[split] = (images, labels)
    return array_dataset(arrays, list(part.classes), image_size)


def _open(name: str, root: str, download: bool, train: bool) -> Any:
    from torchvision import datasets

    dataset, folder = getattr(datasets, name), Path(root)
    if not download or (folder.is_dir() and not os.access(folder, os.W_OK)):
        return _open_existing(dataset, folder, train, download=False)
    made, lock = make_folder(folder), folder / f".{name}.lock"
    # processes that start together: one downloads, the others wait, rather than find half of the files
    with one_at_a_time(lock):
        found = _open_existing(dataset, folder, train, download)
        if found is not None:
            return found
        try:
            return dataset(root=root, train=train, download=True)
        except (OSError, RuntimeError) as error:
            take_back(made, lambda path: path == lock)
            raise ConnectionError(
                f"{name} could not be downloaded ({error}): download it on a machine with a network and copy "
                f"the folder to --data.root {root!r}, or use --data Digits, which needs none"
            ) from error


def _open_existing(dataset: Any, folder: Path, train: bool, download: bool) -> Any:
    """Open what is there; return None where it is to be downloaded."""
    name = dataset.__name__
    try:
        return dataset(root=str(folder), train=train, download=False)
    except Exception as error:  # a damaged file leads torchvision to whatever error it leads to
        files = _look_at(dataset, folder)
        # torchvision fetches a damaged CIFAR anew, but not a damaged MNIST
        if files.damaged and not (download and name.startswith("CIFAR")):
            raise ValueError(
                f"{name}: {count_of(len(files.damaged), 'damaged file')} in {files.folder}: {few(files.damaged)}: "
                f"delete them, and copy them anew or add --data.download true"
            ) from error
        if not download:
            raise FileNotFoundError(_not_found(name, str(folder), files)) from error
    return None


@dataclass(frozen=True)
class _Files:
    """What there is of a data set.

    Args:
        folder: where torchvision expects its files
        expected: their names
        missing: those that are not there
        damaged: those that are not what they should be, with the reason
        packed: archives of them that are there
    """

    folder: Path
    expected: list[str]
    missing: list[str]
    damaged: list[str]
    packed: list[str]


def _look_at(dataset: Any, root: Path) -> _Files:
    if hasattr(dataset, "base_folder"):
        folder, archives = root / dataset.base_folder, [root / dataset.filename]
        digests = {**dict(dataset.train_list + dataset.test_list), dataset.meta["filename"]: dataset.meta["md5"]}
        faults = {name: _digest_fault(folder / name, digest) for name, digest in digests.items()}
    else:
        folder = root / dataset.__name__ / "raw"
        archives = [folder / name for name, _ in dataset.resources]
        faults = {path.stem: _idx_fault(folder / path.stem) for path in archives}
    return _Files(
        folder,
        list(faults),
        [name for name, fault in faults.items() if fault is None],
        [f"{name} ({fault})" for name, fault in faults.items() if fault],
        [str(path) for path in archives if path.is_file()],
    )


def _digest_fault(path: Path, md5: str) -> str | None:
    """Say what is wrong with a file: nothing, or None if it is not there."""
    if not path.is_file():
        return None
    found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return "" if found == md5 else f"{path.stat().st_size} bytes of another checksum"


def _idx_fault(path: Path) -> str | None:
    """Say what is wrong with a file of the MNIST family, as its header tells; None if it is not there."""
    if not path.is_file():
        return None
    dimensions = 3 if "images" in path.name else 1
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, 8, dimensions]):
        return f"{size} bytes, not in the idx format"
    counts = struct.unpack(f">{dimensions}I", header[4:])
    expected = len(header) + int(np.prod(counts, dtype=object))
    return "" if size == expected else f"{size} bytes, but its header tells of {expected}"


def _not_found(name: str, root: str, files: _Files) -> str:
    what = f"{name} was not found in --data.root {root!r}"
    if files.packed:
        return f"{what}, but {files.packed[0]} is there, still packed: add --data.download true, which unpacks it"
    if len(files.missing) < len(files.expected):
        return (
            f"{what}: {len(files.missing)} of {len(files.expected)} files are missing in {files.folder}: "
            f"{few(files.missing)}: copy them there, or add --data.download true"
        )
    inside = files.folder.relative_to(root)
    for above in list(Path(root).resolve().parents)[: len(inside.parts)]:
        if (above / inside).is_dir():
            return f"{what}: set --data.root {str(above)!r}, the folder that holds {str(inside)!r}"
    return f"{what}: add --data.download true, or copy torchvision's files there as {files.folder}"
