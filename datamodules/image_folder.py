"""Images in class folders: train/val/test folders of them, or one folder to split."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from common.few import few
from datamodules.files import SUFFIXES, walk_images
from datamodules.image_files import TEST, TRAIN, VAL, ImageFiles, Listing
from datamodules.names import one_form, tell_alike, unknown_names

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
        counts = Counter(class_names[label] for label, _ in rows)
        way_out = "rename or join the folders, or set --data.alike_names allow if they are different classes"
        tell_alike(str(root), "class folders", counts, way_out, self.alike_names)
        return Listing(root, names, labels.copy(), class_names, splits)


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Return the folders of each class by its name, in sorted order; hidden ones are left out.

    A class has two folders where its name is written in two Unicode forms, as Macs and other systems do.

    Raises:
        ValueError: there are fewer than two classes
    """
    found: dict[str, list[Path]] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            found.setdefault(one_form(entry.name), []).append(entry)
    if len(found) < 2:
        raise ValueError(f"{folder} must hold one folder for each of at least 2 classes; it holds {len(found)}")
    return dict(sorted(found.items()))


def list_classes(folder: Path) -> list[str]:
    """Return the names of the classes in sorted order, each in one Unicode form; see `class_folders`."""
    return list(class_folders(folder))


def list_images(folder: Path, class_names: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Yield each image of the class folders with its label, in sorted order.

    Raises:
        ValueError: a class folder without an image, or a class that training does not know
    """
    folders = class_folders(folder)
    if unknown := [name for name in folders if name not in class_names]:
        classes = "class" if len(unknown) == 1 else f"{len(unknown)} classes:"
        raise ValueError(
            f"{folder} holds {classes} {unknown_names(unknown, class_names)}, which the training folder does not"
        )
    for name, joined in folders.items():
        if len(joined) > 1:
            rank_zero_warn(
                f"{folder}: {' and '.join(ascii(each.name) for each in joined)} are one class, {name!r}: the names "
                f"differ in Unicode form alone"
            )
    images = {name: sorted(itertools.chain(*map(walk_images, folders.get(name, [])))) for name in class_names}
    if empty := [str(folder / name) for name, found in images.items() if not found]:
        held = f"class folder {empty[0]} holds" if len(empty) == 1 else f"{len(empty)} class folders hold"
        names = "" if len(empty) == 1 else f": {few(empty)}"
        raise ValueError(f"{held} no image ({', '.join(sorted(SUFFIXES))}){names}")
    for label, found in enumerate(images.values()):
        for path in found:
            yield path, label
