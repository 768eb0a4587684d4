"""Files of runs, read so that damage is reported and not raised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import yaml_files
from common.yaml_files import YAMLFileError
from records.damaged import DamagedFileError
from records.json_files import read_json
from records.metrics_file import read_table
from records.result_files import RESULT_WAY_OUT

METRICS_WAY_OUT = "its curves are left out; copy it again from where it is whole"


def read_json_or_say(path: Path) -> tuple[dict[str, Any], str]:
    """Read a JSON file that holds an object; return it and what is wrong with the file, if anything."""
    try:
        return read_json(path, RESULT_WAY_OUT), ""
    except DamagedFileError as error:
        return {}, str(error)
    except OSError as error:
        return {}, f"{path} cannot be read: {error.strerror}"


def read_yaml(path: Path) -> tuple[dict[str, Any], str]:
    """Read a YAML file that holds a mapping; return it and what is wrong with the file, if anything."""
    try:
        content = yaml_files.read(path)
    except YAMLFileError as error:
        return {}, str(error)
    return (content, "") if isinstance(content, dict) else ({}, f"{path} cannot be read: it does not hold a mapping")


def read_metrics(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Read what a run logged: by name, the epochs and the values.

    The epoch of what is logged by steps is NaN; values that are not finite are left out. Of an epoch that was repeated
    after a stop, the later values count.

    Args:
        path: of metrics.csv

    Raises:
        DamagedFileError: it is no table of numbers
    """
    found: dict[str, list[tuple[float, float]]] = {}
    columns, rows = read_table(path, METRICS_WAY_OUT)
    for row in (dict(zip(columns, texts, strict=True)) for texts in rows):
        for name, text in row.items():
            if name not in ("epoch", "step") and text and np.isfinite(value := float(text)):
                found.setdefault(name, []).append((float(row.get("epoch") or "nan"), value))
    return {name: by_epoch(logged) for name, logged in found.items()}


def by_epoch(logged: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Return epochs, rising, and their values; what belongs to no epoch comes first, as it was logged.

    Example:
        >>> by_epoch([(0.0, 1.0), (1.0, 2.0), (1.0, 3.0)])
        ([0.0, 1.0], [1.0, 3.0])
    """
    by_steps = [(epoch, value) for epoch, value in logged if np.isnan(epoch)]
    by_epochs = {epoch: value for epoch, value in logged if not np.isnan(epoch)}
    pairs = [*by_steps, *sorted(by_epochs.items())]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def dict_at(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an inner object of a file; empty if it is not there or something else."""
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def is_number(value: object) -> bool:
    """Tell whether a value read from a file is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
