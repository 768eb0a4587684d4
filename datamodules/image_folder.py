"""Images in class folders: train/val/test folders of them, or one folder to split."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image, UnidentifiedImageError

from datamodules.base import Dataset, ImageDataModule
from datamodules.provenance import bytes_key, sample_ids
from datamodules.samples import FileSource, Samples, Source, load_files
from datamodules.splits import stratified_holdout
from datamodules.transforms import Augmentation

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
VAL_FOLDERS = ("val", "valid", "validation")
# above this, `cache: auto` decodes from disk each time
RAM_LIMIT_BYTES = 2 * 2**30
# what is served where files differ in size and no image_size is given
DEFAULT_SIZE = 224


@dataclass(eq=False, kw_only=True, repr=False)
class ImageFolder(ImageDataModule):
    """Images in one folder a class.

    `root` holds either `train/<class>/*`, with `test/` and `val/` beside it or not, or the class folders themselves.
    What is missing is drawn from the training images, stratified.

    Args:
        root: the folder
        test_fraction: share of the images held out as the test split, stratified; ignored where there is a test folder
        channels: 1 (grey) or 3 (RGB); null serves grey only if all files looked at are grey
        cache: ram decodes each file once and keeps it; none decodes on every use; auto takes ram up to 2 GiB
        predict_root: folder of images without labels, at any depth, for `predict`; null predicts on the test split
    """

    root: str = "images"
    test_fraction: float = 0.2
    channels: Literal[1, 3] | None = None
    cache: Literal["auto", "ram", "none"] = "auto"
    predict_root: str | None = None
    augmentation: Augmentation = "crop_flip"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"--data.test_fraction must be in (0, 1), not {self.test_fraction}")

    def load(self) -> Dataset:
        """List, hash and (in memory) decode the files."""
        root = Path(self.root)
        if not root.is_dir():
            raise FileNotFoundError(f"--data.root {self.root!r} is not a folder")
        folders = {"train": root / "train" if (root / "train").is_dir() else root}
        if folders["train"] != root:
            val = next((root / name for name in VAL_FOLDERS if (root / name).is_dir()), None)
            folders |= {"val": val} if val else {}
            folders |= {"test": root / "test"} if (root / "test").is_dir() else {}
        class_names = list_classes(folders["train"])
        paths: list[Path] = []
        labels: list[int] = []
        bounds: dict[str, tuple[int, int]] = {}
        for split, folder in folders.items():
            start = len(paths)
            for path, label in list_images(folder, class_names):
                paths.append(path)
                labels.append(label)
            bounds[split] = (start, len(paths))
        every = self._samples(paths, [p.relative_to(root).as_posix() for p in paths], labels)
        parts = {split: every.subset(torch.arange(*ends)) for split, ends in bounds.items()}
        if "test" not in parts:
            train = parts["train"]
            kept, held = stratified_holdout(
                train.labels.numpy(), [self.test_fraction], self.split_seed, train.keys.numpy(), class_names
            )
            parts |= {"train": train.subset(kept), "test": train.subset(held)}
        return Dataset(parts["train"], parts["test"], class_names, parts.get("val"))

    def load_predict(self) -> Samples | None:
        """List the images of `predict_root`; their labels are -1."""
        if self.predict_root is None:
            return None
        root = Path(self.predict_root)
        paths = sorted(walk_images(root)) if root.is_dir() else [root] if root.is_file() else []
        if not paths:
            raise FileNotFoundError(f"--data.predict_root {self.predict_root!r} holds no image")
        return self._samples(paths, [p.as_posix() for p in paths], [-1] * len(paths))

    def _samples(self, paths: list[Path], names: list[str], labels: list[int]) -> Samples:
        size, channels = self._format(paths)
        files = FileSource(paths, size, channels, self.num_workers)
        in_memory = len(paths) * channels * size[0] * size[1] <= RAM_LIMIT_BYTES
        source: Source = files
        if self.cache == "ram" or (self.cache == "auto" and in_memory):
            source, keys = load_files(files)
        else:
            read = files.map(lambda i: bytes_key(paths[i].read_bytes()), range(len(paths)))
            keys = torch.tensor(list(read), dtype=torch.int64)
        rows = torch.arange(len(paths))
        return Samples(source, rows, torch.tensor(labels), sample_ids(names), keys, names)

    def _format(self, paths: list[Path]) -> tuple[tuple[int, int], int]:
        sizes, modes = set(), set()
        # the headers of a few files tell; decoding makes the rest alike
        for path in paths[:: max(1, len(paths) // 64)]:
            try:
                with Image.open(path) as image:
                    sizes.add((image.height, image.width))
                    modes.add(image.mode)
            except (UnidentifiedImageError, OSError) as error:
                raise ValueError(f"{path} cannot be read as an image ({error}): mend or remove it") from error
        channels = self.channels or (1 if modes <= {"1", "L"} else 3)
        if self.image_size is not None:
            return (self.image_size, self.image_size), channels
        if len(sizes) == 1:
            return sizes.pop(), channels
        rank_zero_info(f"Images differ in size: serving them at {DEFAULT_SIZE}x{DEFAULT_SIZE} (--data.image_size)")
        return (DEFAULT_SIZE, DEFAULT_SIZE), channels


def list_classes(folder: Path) -> list[str]:
    """Return the names of the class folders in sorted order; hidden ones are left out."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        raise ValueError(f"{folder} must hold one folder for each of at least 2 classes; it holds {len(names)}")
    return names


def list_images(folder: Path, class_names: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Yield each image of the class folders with its label, in sorted order.

    Raises:
        ValueError: a class folder without an image, or a class that training does not know
    """
    unknown = sorted(set(list_classes(folder)) - set(class_names))
    if unknown:
        raise ValueError(f"{folder} holds class {unknown[0]!r}, which the training folder does not")
    for label, name in enumerate(class_names):
        found = sorted(walk_images(folder / name)) if (folder / name).is_dir() else []
        if not found:
            raise ValueError(f"class folder {folder / name} holds no image ({', '.join(sorted(SUFFIXES))})")
        for path in found:
            yield path, label


def walk_images(folder: Path) -> Iterator[Path]:
    """Yield the image files below a folder; hidden files and folders are left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)
