"""Folders that a command makes, and takes back where it does not use them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path


def make_folder(path: Path, exist_ok: bool = True, tries: int = 3) -> list[Path]:
    """Make a folder, and those above it.

    Args:
        path: of the folder
        exist_ok: whether it may be there already
        tries: how often those above are made again, where another process takes them back meanwhile

    Returns:
        what was made, the folders above first

    Raises:
        OSError: it cannot be made, or is there and must not be
    """
    try:
        path.mkdir()
    except FileNotFoundError:
        # the one above is missing
        if not tries:
            raise
        return make_folder(path.parent) + make_folder(path, exist_ok, tries - 1)
    except OSError:
        # a file system that cannot be written to says so of folders that are there, too
        if not exist_ok or not path.is_dir():
            raise
        return []
    return [path]


def take_back(made: Sequence[Path], is_unused: Callable[[Path], bool]) -> None:
    """Remove the folders that a command has made and then not used.

    Args:
        made: the folders, those above first
        is_unused: whether a file is of no use by itself; one other than these in the last folder keeps all of them
    """
    if not made or not made[-1].is_dir():
        return
    if not all(is_unused(path) for path in made[-1].rglob("*") if not path.is_dir()):
        return
    shutil.rmtree(made[-1])
    for above in reversed(made[:-1]):
        try:
            above.rmdir()
        except OSError:
            # it holds something else
            break
