"""Config fragments that set what a command has found, for `fit --config`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common import yaml_files
from records.result_files import keep_earlier
from records.whole_file import write_whole

CLASS, OPTIONS = "class_path", "init_args"


def fragment(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Build the config that sets some options.

    It names the classes that the options are of: another class of the command line then takes its place with its own.

    Args:
        config: of a run, of plain types
        values: of the options, by the names of the command line

    Example:
        >>> config = {"model": {"class_path": "MLP", "init_args": {"dropout": 0.1, "width": 8}}, "seed_everything": 0}
        >>> fragment(config, {"model.width": 16, "seed_everything": 1})
        {'model': {'class_path': 'MLP', 'init_args': {'width': 16}}, 'seed_everything': 1}
    """
    content: dict[str, Any] = {}
    # a whole class comes before options of it
    for name in sorted(values):
        put(content, config, name.split("."), values[name])
    return content


def put(content: dict[str, Any], config: Any, parts: list[str], value: Any) -> None:
    """Set an option in a config, and name the classes on the way to it."""
    if isinstance(config, Mapping) and CLASS in config and parts[0] not in config:
        content.setdefault(CLASS, config[CLASS])
        content, config = content.setdefault(OPTIONS, {}), config.get(OPTIONS) or {}
    first, *rest = parts
    if not rest:
        content[first] = value
        return
    if not isinstance(content.get(first), dict):
        content[first] = {}
    put(content[first], config.get(first) if isinstance(config, Mapping) else None, rest, value)


def values_of(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Look up what options are set to.

    Args:
        config: of a run, of plain types
        names: of the options, as on the command line

    Example:
        >>> values_of({"model": {"class_path": "MLP", "init_args": {"width": 8}}}, ["model.width"])
        {'model.width': 8}
    """
    found = {}
    for name in names:
        value: Any = config
        for part in name.split("."):
            value = (value.get(OPTIONS) or {})[part] if CLASS in value and part not in value else value[part]
        found[name] = value
    return found


def write_fragment(path: Path, content: Mapping[str, Any], comments: tuple[str, ...]) -> None:
    """Write a fragment; an earlier file is kept under a number.

    Args:
        path: of the file
        content: of the fragment
        comments: lines above it
    """
    keep_earlier(path)
    with write_whole(path) as partial:
        yaml_files.write(partial, content, comments)
