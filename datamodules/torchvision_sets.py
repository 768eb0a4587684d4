"""Data sets that torchvision reads: shared loading with a clear way out where there is no network."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from common.locks import one_at_a_time
from datamodules.dataset import Dataset, array_dataset


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
    """
    arrays = {}
    for split in ("train", "test"):
        part = _open(name, root, download, train=split == "train")
        images = np.asarray(part.data)
        arrays[split] = (images if images.ndim == 4 else images[..., None], np.asarray(part.targets))
    return array_dataset(arrays, list(part.classes), image_size)


def _open(name: str, root: str, download: bool, train: bool) -> Any:
    from torchvision import datasets

    dataset, folder = getattr(datasets, name), Path(root)
    if not download or (folder.is_dir() and not os.access(folder, os.W_OK)):
        return _open_existing(dataset, root, train)
    folder.mkdir(parents=True, exist_ok=True)
    # processes that start together: one downloads, the others wait, rather than find half of the files
    with one_at_a_time(folder / f".{name}.lock"):
        try:
            return dataset(root=root, train=train, download=False)
        except RuntimeError:
            # it is not there yet
            pass
        try:
            return dataset(root=root, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise ConnectionError(
                f"{name} could not be downloaded ({error}): download it on a machine with a network and copy "
                f"the folder to --data.root {root!r}, or use --data Digits, which needs none"
            ) from error


def _open_existing(dataset: Any, root: str, train: bool) -> Any:
    try:
        return dataset(root=root, train=train, download=False)
    except RuntimeError as error:
        raise FileNotFoundError(
            f"{dataset.__name__} was not found in --data.root {root!r}: add --data.download true for a folder that "
            f"can be written to, or copy torchvision's files there"
        ) from error
