"""One error for files that are no longer what was written."""

from pathlib import Path


class DamagedFileError(ValueError):
    """A file was cut off, or its content has changed since it was written."""


def damaged(path: Path | str, what: str, way_out: str) -> DamagedFileError:
    """Return the error that names a damaged file.

    Args:
        path: of the file
        what: is wrong with it
        way_out: what to do now

    Example:
        >>> str(damaged("a.ckpt", "it is empty", "copy it again"))
        'a.ckpt is damaged (it is empty): copy it again'
    """
    return DamagedFileError(f"{path} is damaged ({what}): {way_out}")
