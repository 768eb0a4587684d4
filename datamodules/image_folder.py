"""Images in class folders: train/val/test folders of them, or one folder to split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.files import SUFFIXES, walk_images
from datamodules.image_files import TEST, TRAIN, VAL, ImageFiles, Listing

VAL_FOLDERS = ("val", "valid", "validation")


@dataclass(eq=False, kw_only=True, repr=False)
class ImageFolder(ImageFiles):
    """Images in one folder a class.

    `root` holds either `train/<class>/*`, with `test/` and `val/` beside it or not, or the class folders themselves.
    What is missing is drawn from the training images, stratified.

    Args:
        root: the folder
    """

    root: str = "images"

    def list_files(self) -> Listing:
        """List the images of the class folders."""
        root = Path(self.root)
        if not root.is_dir():
            raise FileNotFoundError(f"--data.root {self.root!r} is not a folder")
        folders = {TRAIN: root / "train" if (root / "train").is_dir() else root}
        if folders[TRAIN] != root:
            val = next((root / name for name in VAL_FOLDERS if (root / name).is_dir()), None)
            folders |= {VAL: val} if val else {}
            folders |= {TEST: root / "test"} if (root / "test").is_dir() else {}
        class_names = list_classes(folders[TRAIN])
        names: list[str] = []
        rows: list[tuple[int, int]] = []
        for split, folder in folders.items():
            for path, label in list_images(folder, class_names):
                names.append(path.relative_to(root).as_posix())
                rows.append((label, split))
        labels, splits = np.array(rows, dtype=np.int64).T
        return Listing(root, names, labels.copy(), class_names, splits)


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
