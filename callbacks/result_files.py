"""Files that runs leave: results as JSON, predictions as tensors, and what earlier ones held."""

import itertools
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from common.partial_files import partial_path, remove_abandoned
from datamodules.whole_file import naming, save_tensors, write_whole
from ensembling.leakage import Leakage

# by which the same evaluation in other batches, or on another device, moves a metric
ROUNDING = 1e-5


def device_name(device: torch.device) -> str:
    """Name a device as its maker does."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"


def says_the_same(earlier: Any, now: Any) -> bool:
    """Tell whether what two results both have is equal, but for rounding.

    Args:
        earlier: metrics by name, or a value
        now: likewise
    """
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        return all(says_the_same(earlier[name], now[name]) for name in earlier.keys() & now.keys())
    if isinstance(earlier, float) and isinstance(now, float):
        # what is undefined, as the AUROC of one class, is so again; infinity equals itself
        return earlier == now or abs(earlier - now) < ROUNDING or (math.isnan(earlier) and math.isnan(now))
    return bool(earlier == now)


def keep_earlier(path: Path) -> None:
    """Copy a file to the first free `name.N.suffix` beside it, whole or not at all, before it is written anew.

    Args:
        path: of the file; without one there is nothing to keep

    Raises:
        OSError: it could not be copied; the message names the copy
    """
    if not path.is_file():
        return
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
        partial.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file; it is empty if there is no file.

    Raises:
        ValueError: the file is damaged; the message names it
    """
    try:
        content = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): restore it, or move it away") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (it holds no object): restore it, or move it away")
    return content


def leakage_allowed(leakage: Leakage | None) -> dict[str, str]:
    """Return what a file of tensors says of a stack that was trained on what its bases knew, or may have known."""
    if leakage is None:
        return {}
    told = {
        "leakage_allowed": leakage.problems(),
        "unknown_images": leakage.unknown_images(),
        "data_changed": leakage.changed,
    }
    return {name: "; ".join(sentences) for name, sentences in told.items() if sentences}


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
    earlier = load_file(path) if path.is_file() else {}
    tensors = {name: column for name, column in earlier.items() if name.partition("/")[0] not in predictions}
    for split, columns in predictions.items():
        tensors |= {f"{split}/{name}": column.detach().cpu().contiguous() for name, column in columns.items()}
    with write_whole(path) as partial:
        save_tensors(partial, tensors, metadata)
