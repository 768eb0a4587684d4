"""Files that other programs may read and write too, checked by the checksums in a run's result."""

import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from records.damaged import damaged

# how a result says it
SUM = re.compile(r"crc32:([0-9a-f]{8}) of (\d+) bytes")


def sums_of(paths: Iterable[Path]) -> dict[str, str]:
    """Return what a result says of files, by their names; nothing of those that are not there.

    Args:
        paths: of the files
    """
    return {path.name: sum_of(path.read_bytes()) for path in paths if path.is_file()}


def sum_of(content: bytes) -> str:
    """Sum up bytes.

    Example:
        >>> sum_of(b"abc")
        'crc32:352441c2 of 3 bytes'
    """
    return f"crc32:{zlib.crc32(content):08x} of {len(content)} bytes"


def check_recorded(path: Path, result: Mapping[str, Any], way_out: str, may_grow: bool = False) -> None:
    """Compare a file with what a result says of it, if it says anything.

    Args:
        path: of the file
        result: content of a result.json, whose entry `files` is compared
        way_out: what to do if it has changed
        may_grow: what was appended since is no damage

    Raises:
        DamagedFileError: it has changed since the result was written
    """
    noted = result.get("files")
    found = SUM.fullmatch(str(noted.get(path.name, ""))) if isinstance(noted, dict) else None
    if found is None:
        return
    content, size = path.read_bytes(), int(found[2])
    if len(content) < size:
        raise damaged(path, f"{size - len(content)} of its {size} bytes are missing", way_out)
    if sum_of(content[:size] if may_grow else content) != found[0]:
        raise damaged(path, "its content has changed since the run ended", way_out)
