"""Data sets that torchvision reads: shared loading with a clear way out where there is no network."""

from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

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

    dataset = getattr(datasets, name)
    try:
        return dataset(root=root, train=train, download=False)
    except RuntimeError as error:
        if not download:
            raise FileNotFoundError(
                f"{name} was not found in --data.root {root!r}: add --data.download true, "
                f"or copy torchvision's files there"
            ) from error
    Path(root).mkdir(parents=True, exist_ok=True)
    # processes of one job start together: one downloads, the others wait and find the files
    with FileLock(Path(root) / f".{name}.lock"):
        try:
            return dataset(root=root, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise ConnectionError(
                f"{name} could not be downloaded ({error}): download it on a machine with a network and copy "
                f"the folder to --data.root {root!r}, or use --data Digits, which needs none"
            ) from error
