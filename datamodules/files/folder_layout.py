"""Which folders are splits and which are classes: found by their names, and refused where it is unclear."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.few import few
from datamodules.files.found_files import OUTSIDE, count_left_out, is_left_out, walk_images

SPLITS = ("train", "val", "test")
WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validate", "validation", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation"),
}
# the same in any case, with spaces, dots, dashes or underscores, and with one of these behind
ADDED = re.compile(r"(set|data|split|images|imgs|folder)+$")
# sub-folders that this share of the class folders have are the classes themselves
REPEATED_SHARE = 0.5


def split_of(name: str) -> str | None:
    """Return the split that a folder's name says: train, val or test; None for any other name.

    Example:
        >>> split_of("Training"), split_of("valid"), split_of("TEST_images"), split_of("trainer")
        ('train', 'val', 'test', None)
    """
    word = re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFKC", name).casefold())
    return next((split for split in SPLITS for known in WORDS[split] if ADDED.sub("", word) == known), None)


def sub_folders(folder: Path, left_out: Counter[str] | None = None, images_as: str = "") -> list[Path]:
    """Return the folders in a folder, sorted; hidden ones and those of file servers and systems are left out.

    Args:
        folder: where to look
        left_out: is added to: what else lies there
        images_as: what images are called there, which belong to no class

    Raises:
        OSError: the folder cannot be listed
    """
    left_out = Counter() if left_out is None else left_out
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = _is_folder(entry)
                if is_folder and not is_left_out(entry.name, is_folder):
                    found.append(folder / entry.name)
                else:
                    count_left_out(entry.name, is_folder, left_out, images_as)
    except OSError as error:
        raise type(error)(f"folder {folder} cannot be listed ({error.strerror})") from error
    return sorted(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # a link that leads to itself
        return False


def find_splits(root: Path, left_out: Counter[str]) -> dict[str, Path]:
    """Return the split folders in a folder by split; none if it holds class folders.

    A folder with the name of a split is one if all folders beside it have such names, or if it holds folders: among
    `bus`, `car` and `train` full of images, `train` is a class.

    Args:
        root: where to look
        left_out: is added to: what lies beside the split folders

    Raises:
        ValueError: it is unclear, a split has two folders, or there is none for training
    """
    beside: Counter[str] = Counter()
    folders = sub_folders(root, beside, OUTSIDE)
    named = {folder: split for folder in folders if (split := split_of(folder.name)) is not None}
    splits = {folder: split for folder, split in named.items() if len(named) == len(folders) or sub_folders(folder)}
    if not splits:
        return {}
    left_out += beside
    others = [folder for folder in folders if folder not in splits]
    if full := [folder.name for folder in others if next(walk_images(folder), None)]:
        raise ValueError(
            f"{root} holds split folders ({_names(splits)}) beside others with images ({few(full)}): name the folder "
            f"of one layout by --data.root, move the others out of it, or list the images in a manifest"
        )
    for folder in others:
        count_left_out(folder.name, True, left_out)
    for split in SPLITS:
        same = [folder for folder in splits if splits[folder] == split]
        if len(same) > 1:
            raise ValueError(
                f"{root} holds {len(same)} folders for the {split} split ({_names(same)}): join them, or move all but "
                f"one out of it"
            )
    if "train" not in splits.values():
        raise ValueError(
            f"{root} holds {_names(splits)}, but no folder for training: name the one that holds it by --data.root; "
            f"if those are classes, list the images in a manifest"
        )
    return {split: folder for split in SPLITS for folder in splits if splits[folder] == split}


def refuse_repeated(folder: Path, class_folders: Sequence[Path]) -> None:
    """Refuse class folders whose sub-folders have the same names: those are the classes, or splits, of several sets.

    One name alone is no such case: each class may have its `images`.

    Args:
        folder: that holds them
        class_folders: the folders

    Raises:
        ValueError: their sub-folders repeat
    """
    counts: Counter[str] = Counter()
    for each in class_folders:
        inside = {sub.name.casefold() for sub in sub_folders(each)}
        if not inside:
            return
        counts.update(inside)
    if len(counts) >= 2 and min(counts.values()) > REPEATED_SHARE * len(class_folders):
        raise ValueError(
            f"the folders of {folder} ({_names(class_folders)}) all hold the same sub-folders ({few(sorted(counts))}), "
            f"which seem to be the classes or splits: name one folder by --data.root, bring them into the layout "
            f"train/<class>, or list the images in a manifest with their source"
        )


def _names(folders: Iterable[Path]) -> str:
    return few(folder.name for folder in folders)
