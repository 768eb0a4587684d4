"""Images in class folders: train/val/test folders of them, or one folder to split."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.few import count_of, few
from common.options import configurable
from common.warned import warn
from datamodules.files.folder_layout import find_splits, refuse_repeated, sub_folders
from datamodules.files.found_files import OUTSIDE, describe_left_out, walk_images
from datamodules.files.image_files import TEST, TRAIN, VAL, ImageFiles, Listing
from datamodules.names import one_form, tell_alike, unknown_names

SPLIT_NUMBERS = {"train": TRAIN, "val": VAL, "test": TEST}


@configurable
class ImageFolder(ImageFiles):
    """Images in one folder a class.

    `root` holds either `train/<class>/*`, with `test/` and `val/` beside it or not, or the class folders themselves.
    Split folders are known in any case and usual spelling, such as `Training` and `valid`. What is missing is drawn
    from the training images, stratified.

    Args:
        root: the folder
    """

    root: str = "images"

    def list_files(self) -> Listing:
        """List the images of the class folders."""
        root = Path(self.root)
        if not root.is_dir():
            raise FileNotFoundError(f"--data.root {self.root!r} is not a folder")
        left_out: Counter[str] = Counter()
        splits_found = find_splits(root, left_out) or {"train": root}
        class_names = list_classes(splits_found["train"])
        names: list[str] = []
        rows: list[tuple[int, int]] = []
        for split, folder in splits_found.items():
            for path, label in list_images(folder, class_names, left_out):
                names.append(path.relative_to(root).as_posix())
                rows.append((label, SPLIT_NUMBERS[split]))
        labels, splits = np.array(rows, dtype=np.int64).T
        counts = Counter(class_names[label] for label, _ in rows)
        way_out = "rename or join the folders, or set --data.alike_names allow if they are different classes"
        tell_alike(str(root), "class folders", counts, way_out, self.alike_names)
        return Listing(root, names, labels.copy(), class_names, splits, left_out=dict(left_out))


def class_folders(folder: Path, left_out: Counter[str] | None = None) -> dict[str, list[Path]]:
    """Return the folders of each class by its name, in sorted order.

    A class has two folders where its name is written in two Unicode forms, as Macs and other systems do.

    Args:
        folder: that holds them
        left_out: is added to: what else lies there

    Raises:
        ValueError: there are fewer than two classes, or what seem to be classes are sets of them
    """
    found: dict[str, list[Path]] = {}
    beside: Counter[str] = Counter()
    folders = sub_folders(folder, beside, OUTSIDE)
    for entry in folders:
        found.setdefault(one_form(entry.name), []).append(entry)
    if len(found) < 2:
        images = (
            f", and {count_of(beside[OUTSIDE], 'image')} in none: images without classes belong elsewhere, for "
            f"--data.predict_root"
            if beside[OUTSIDE]
            else ""
        )
        held = f" ({folders[0].name})" if folders else ""
        raise ValueError(
            f"{folder} must hold one folder for each of at least 2 classes; it holds {len(found)}{held}{images}"
        )
    refuse_repeated(folder, folders)
    if left_out is not None:
        left_out += beside
    return dict(sorted(found.items()))


def list_classes(folder: Path) -> list[str]:
    """Return the names of the classes in sorted order, each in one Unicode form; see `class_folders`."""
    return list(class_folders(folder))


def list_images(folder: Path, class_names: Sequence[str], left_out: Counter[str]) -> Iterator[tuple[Path, int]]:
    """Yield each image of the class folders with its label, in sorted order.

    Args:
        folder: that holds the class folders
        class_names: of the training folder
        left_out: is added to: how often what was left out

    Raises:
        ValueError: a class folder without an image, or a class that training does not know
    """
    folders = class_folders(folder, left_out)
    if unknown := [name for name in folders if name not in class_names]:
        classes = "class" if len(unknown) == 1 else f"{len(unknown)} classes:"
        raise ValueError(
            f"{folder} holds {classes} {unknown_names(unknown, class_names)}, which the training folder does not"
        )
    found = {name: [sorted(walk_images(each, left_out)) for each in places] for name, places in folders.items()}
    for name, parts in found.items():
        if len(parts) > 1:
            counts = zip(folders[name], parts, strict=True)
            told = " and ".join(f"{each.name!a} ({len(part)} images)" for each, part in counts)
            warn(f"{folder}: {told} are one class, {name!r}: the names differ in Unicode form alone")
    images = {name: sorted(itertools.chain(*found.get(name, []))) for name in class_names}
    if empty := [str(folder / name) for name, paths in images.items() if not paths]:
        held = f"class folder {empty[0]} holds" if len(empty) == 1 else f"{len(empty)} class folders hold"
        names = "" if len(empty) == 1 else f": {few(empty)}"
        files = describe_left_out(sum(map(len, images.values())), left_out)
        raise ValueError(f"{held} no image{names}" + (f"; {files}" if files else ""))
    for label, paths in enumerate(images.values()):
        for path in paths:
            yield path, label
