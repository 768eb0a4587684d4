"""Files that runs leave: results as JSON, predictions as tensors, and what earlier ones held."""

import itertools
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from common.warned import warn
from records.damaged import DamagedFileError
from records.fields import ANY, check_fields
from records.json_files import read_json, to_json
from records.partial_files import partial_path, remove_abandoned
from records.tensor_files import read_tensors, with_checksum
from records.whole_file import naming, save_tensors, write_whole

# a metric may differ by this much when the same evaluation runs in other batches or on another device
ROUNDING = 1e-5
RESULT_WAY_OUT = "evaluate again by test or validate, or copy it again"
# the fields of result.json that other code relies on
RESULT = {
    "fit?": {"seconds?": float, "epochs?": int},
    "val?": {},
    "test?": {},
    "class_names?": [str],
    "evaluations?": {ANY: {"fingerprint": str, "samples": int}},
    "leakage?": {"allowed": [str], "warnings": [str]},
}

T = TypeVar("T")


def says_the_same(earlier: Any, now: Any) -> bool:
    """Tell whether what two results both have is equal, but for rounding.

    Args:
        earlier: metrics by name, or a value
        now: likewise
    """
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        return all(says_the_same(earlier[name], now[name]) for name in earlier.keys() & now.keys())
    if isinstance(earlier, float) and isinstance(now, float):
        # NaN equals NaN: a metric that is undefined, as the AUROC of one class, is undefined again
        return earlier == now or abs(earlier - now) < ROUNDING or (math.isnan(earlier) and math.isnan(now))
    return bool(earlier == now)


def keep_earlier(path: Path) -> Path | None:
    """Copy a file to the first free `name.N.suffix` beside it, whole or not at all, before it is written anew.

    Args:
        path: of the file; without one there is nothing to keep

    Returns:
        the copy

    Raises:
        OSError: it could not be copied; the message names the copy
    """
    if not path.is_file():
        return None
    copies = (path.with_suffix(f".{number}{path.suffix}") for number in itertools.count(1))
    copy, partial = next(copies), partial_path(path)
    with naming(copy):
        remove_abandoned(path)
        try:
            shutil.copyfile(path, partial)
            while not place_new(partial, copy):
                copy = next(copies)
        finally:
            partial.unlink(missing_ok=True)
    return copy


def place_new(partial: Path, path: Path) -> bool:
    """Put a whole file in its place, unless there is one; two processes never take the same place.

    Args:
        partial: the file; it may stay where it is, too
        path: its place

    Returns:
        whether the place was free
    """
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError:
        # a file system without links
        if path.exists():
            return False
        partial.replace(path)
    return True


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole, then rename it into place."""
    with write_whole(path) as partial:
        partial.write_text(to_json(content))


def read_result(path: Path) -> dict[str, Any]:
    """Read a result.json; it is empty if there is no file.

    Raises:
        DamagedFileError: its content has changed, or a field is missing
    """
    if not path.is_file():
        return {}
    content = read_json(path, RESULT_WAY_OUT)
    check_fields(content, RESULT, path, RESULT_WAY_OUT)
    return content


def or_put_aside(read: Callable[[Path], dict[str, T]], path: Path) -> dict[str, T]:
    """Read a file that is about to be written anew; a damaged one is put aside with a warning, and counts as empty.

    Args:
        read: raises a DamagedFileError
        path: of the file
    """
    try:
        return read(path)
    except DamagedFileError as error:
        copy = keep_earlier(path)
        path.unlink()
        warn(f"{error}. It is put aside as {copy}, and written anew without what was in it")
        return {}


def write_predictions(
    path: Path, predictions: Mapping[str, dict[str, Tensor]], metadata: dict[str, str] | None = None
) -> None:
    """Add the predictions of some splits to a safetensors file.

    Args:
        path: the file; splits that it holds already are kept, or replaced by new ones of the same name
        predictions: by split: `id` and `label`, shape `(sample,)`, and `logits`, `(sample, class)`; perhaps `source`
            and `group`
        metadata: what the file says of itself
    """
    earlier = or_put_aside(read_predictions, path)
    tensors = {name: column for name, column in earlier.items() if name.partition("/")[0] not in predictions}
    for split, columns in predictions.items():
        tensors |= {f"{split}/{name}": column.detach().cpu().contiguous() for name, column in columns.items()}
    with write_whole(path) as partial:
        save_tensors(partial, tensors, with_checksum(tensors, metadata))


def read_predictions(path: Path) -> dict[str, Tensor]:
    """Read a predictions.safetensors; it is empty if there is no file.

    Returns:
        columns by `split/name`

    Raises:
        DamagedFileError: it cannot be read, or its content has changed
    """
    return read_tensors(path, "evaluate again by test or validate, or copy it again")[0] if path.is_file() else {}
