"""Finding the image files below a folder, and counting what is left out."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from common.few import few
from datamodules.files.formats import hint, is_image_suffix, suffix_of

# what file servers and systems leave among images, in lower case: thumbnails, indices and bins
# fmt: off
SYSTEM_FILES = frozenset({
    ".ds_store",
    "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r",
})
SYSTEM_FOLDERS = frozenset({
    ".thumbnails", ".@__thumb", ".ipynb_checkpoints", ".git", ".trashes", ".spotlight-v100", ".fseventsd",
    ".appledouble",
    "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "__macosx", "__pycache__",
    "$recycle.bin", "recycler", "system volume information", "found.000", "lost+found", "network trash folder",
    "temporary items",
})
# fmt: on
# what all else is counted as, and what one of each is called
HIDDEN, NO_SUFFIX, OTHER_SUFFIX = "hidden files", "files without a suffix", "files of odd suffixes"
# images that lie beside class folders
OUTSIDE = "images outside of class folders"
HIDDEN_FOLDERS, OTHER_FOLDERS = "hidden folders", "folders without class folders"
IN_SINGULAR = {
    HIDDEN: "hidden file",
    NO_SUFFIX: "file without a suffix",
    OTHER_SUFFIX: "file of an odd suffix",
    OUTSIDE: "image outside of class folders",
    HIDDEN_FOLDERS: "hidden folder",
    OTHER_FOLDERS: "folder without class folders",
}
# a name that ends in numbers or anything else is no kind of file
SUFFIX = re.compile(r"\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,10}")
# the kinds that are listed by name; the others are counted together
SHOWN_KINDS = 8


def is_left_out(name: str, is_folder: bool) -> bool:
    """Tell whether a file or folder is hidden, or one that a file server or system has made."""
    known = SYSTEM_FOLDERS if is_folder else SYSTEM_FILES
    return name.startswith(".") or name.lower() in known


def count_left_out(name: str, is_folder: bool, left_out: Counter[str], images_as: str = "") -> None:
    """Count a file or folder that is left out under what it is called by.

    Args:
        name: of the file or folder
        is_folder: whether it is one
        left_out: is added to
        images_as: what an image is called that is left out because of its place
    """
    suffix = suffix_of(name)
    if is_folder:
        known = name.lower() in SYSTEM_FOLDERS
        kind = f"{name}/" if known else HIDDEN_FOLDERS if name.startswith(".") else OTHER_FOLDERS
    elif name.lower() in SYSTEM_FILES:
        kind = name
    elif name.startswith("."):
        kind = HIDDEN
    elif images_as and is_image_suffix(suffix):
        kind = images_as
    else:
        kind = suffix if SUFFIX.fullmatch(suffix) else OTHER_SUFFIX if suffix else NO_SUFFIX
    left_out[kind] += 1


def walk_images(folder: Path, left_out: Counter[str] | None = None) -> Iterator[Path]:
    """Yield the image files below a folder, in an order of their own names; links are followed once.

    Hidden files and folders, those of file servers and systems, and files of other types are left out. What has the
    suffix of an image and is no file, such as a pipe, is yielded: who reads it says so.

    Args:
        folder: where to look
        left_out: is added to: how often what was left out

    Raises:
        OSError: a folder cannot be listed
    """
    left_out = Counter() if left_out is None else left_out
    # a link that leads back up would never end, or bring in the other classes
    seen = {(status.st_dev, status.st_ino) for status in (parent.stat() for parent in folder.resolve().parents)}
    for parent, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        status = os.stat(parent)  # noqa: PTH116 (a Path of each folder would be built for this alone)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        # sorted, because only the first of two links to one folder is followed
        kept = sorted(name for name in folders if not is_left_out(name, is_folder=True))
        for name in set(folders).difference(kept):
            count_left_out(name, True, left_out)
        folders[:] = kept
        for name in sorted(files):
            if not is_left_out(name, is_folder=False) and is_image_suffix(suffix_of(name)):
                yield Path(parent, name)
            else:
                count_left_out(name, False, left_out)


def describe_left_out(images: int, left_out: Mapping[str, int]) -> str:
    """Say how many of the files are images, and what the others are; an empty text if nothing is left out.

    Args:
        images: number of image files
        left_out: how often what was left out

    Example:
        >>> describe_left_out(3, {".heic": 1, "@eaDir/": 2})
        "3 of 4 files are images; left out: 1 .heic (pip install -e '.[heif]' reads them), 2 folders @eaDir/"
    """
    if not left_out:
        return ""
    folders = (HIDDEN_FOLDERS, OTHER_FOLDERS)
    files = sum(count for kind, count in left_out.items() if not kind.endswith("/") and kind not in folders)
    # images that are not read come first
    ordered = sorted(left_out.items(), key=lambda entry: (not hint(entry[0]), -entry[1], entry[0]))
    listed = few((_one_kind(kind, count) for kind, count in ordered), SHOWN_KINDS)
    are = "file is an image" if images + files == 1 else "files are images"
    return f"{images} of {images + files} {are}; left out: {listed}"


def leaves_images_out(left_out: Mapping[str, int]) -> bool:
    """Tell whether images are among what was left out."""
    return any(hint(kind) for kind in left_out)


def _one_kind(kind: str, count: int) -> str:
    if kind.endswith("/"):
        return f"{count} folder{'s' if count > 1 else ''} {kind}"
    name = IN_SINGULAR.get(kind, kind) if count == 1 else kind
    return f"{count} {name}" + (f" ({hint(kind)})" if hint(kind) else "")


def _raise(error: OSError) -> None:
    # a folder that cannot be listed would be left out without a word
    raise type(error)(f"folder {error.filename} cannot be listed ({error.strerror})") from error
