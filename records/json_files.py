"""JSON files that say what they held when they were written: a digit that changes on a disk is seen."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from records.damaged import damaged

# entry of a file, and what its value begins with
NAME, KIND = "digest", "blake2b:"


def to_json(content: Mapping[str, Any]) -> str:
    """Return the text of a file, with a digest of its content as the last entry.

    Args:
        content: plain values by name

    Example:
        >>> print(to_json({"a": 0.5}), end="")
        {
          "a": 0.5,
          "digest": "blake2b:c319fcd0560b8fee"
        }
    """
    # the digest is of what will be read back: JSON turns other keys into text and tuples into lists
    return json.dumps({**content, NAME: digest(json.loads(json.dumps(content)))}, indent=2) + "\n"


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """Read a file that `to_json` wrote, or one without a digest, as earlier versions did.

    Args:
        path: of the file
        way_out: what to do if it is damaged

    Returns:
        its content without the digest

    Raises:
        DamagedFileError: it is no JSON, or its content has changed
        FileNotFoundError: there is no such file
    """
    raw = path.read_bytes()
    try:
        content = json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is no JSON: {error}", way_out) from error
    if not isinstance(content, dict):
        raise damaged(path, "it holds no object", way_out)
    noted = content.pop(NAME, None)
    # the entry's name can change too
    if noted is None and not any(isinstance(value, str) and value.startswith(KIND) for value in content.values()):
        return content
    if noted != digest(content):
        what = f"its content has changed since it was written; if that was you, remove its entry {NAME!r}"
        raise damaged(path, what, way_out)
    return content


def digest(content: Mapping[str, Any]) -> str:
    """Hash plain values, in whichever order.

    Args:
        content: as it is read from a file, without a digest
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return KIND + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
