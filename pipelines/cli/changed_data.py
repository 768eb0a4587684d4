"""Whether data is still what a checkpoint was trained on, also where the checkpoint is older than the record of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datamodules import DataModule
from datamodules.data_record import changes, is_meant, record_of
from records import run_dir
from records.result_files import read_result


def changed_since(checkpoint: Mapping[str, Any], path: Path, data: DataModule, same: bool = False) -> list[str]:
    """Say what has changed of the data since a model was trained on it.

    Args:
        checkpoint: its content
        path: its file
        data: today's
        same: whether it must be the same data whatever the options say; else data of other options is not compared

    Returns:
        one phrase for each kind of change
    """
    before = checkpoint.get("data_record")
    if before is None:
        return by_fingerprints(checkpoint, path, data, same)
    return changes(before, record_of(path), data) if same or is_meant(before, data) else []


def by_fingerprints(checkpoint: Mapping[str, Any], path: Path, data: DataModule, same: bool) -> list[str]:
    """Compare by the result of a run that kept no record of its data; see `changed_since`."""
    run = run_dir.of_checkpoint(path)
    result = read_result(run.result) if run is not None else {}
    before = result.get("fingerprints")
    if not before or "fit" not in result or not (same or _asks_for_the_same(checkpoint, data)):
        return []
    differing = [name for name, value in before.items() if name in data.splits and data.fingerprint(name) != value]
    if not differing:
        return []
    return [
        f"images, labels or the order of {', '.join(differing)} differ (the run is of an earlier version, which kept "
        f"no more of them)"
    ]


def _asks_for_the_same(checkpoint: Mapping[str, Any], data: DataModule) -> bool:
    config = checkpoint.get("config", {}).get("data") or {}
    place, draw = data.record.place, data.record.draw
    now = {name: value for name, value in {**place, **draw}.items() if name != "class"}
    options = config.get("init_args", {})
    same_class = str(config.get("class_path", "")).rpartition(".")[2] == place["class"].rpartition(".")[2]
    return same_class and all(options[name] == value for name, value in now.items() if name in options)
