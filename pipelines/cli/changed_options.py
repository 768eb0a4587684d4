"""Which options of a run differ from their defaults, under short names: what TensorBoard shows of it."""

import inspect
from argparse import ArgumentError
from collections.abc import Iterable, Mapping
from typing import Any

from jsonargparse import ArgumentParser

from common.class_paths import import_class
from common.settings import LEFT_OUT, flat
from pipelines.cli.order import plain_config

# always shown: a table without them would have rows without a name
ALWAYS = ("model", "data")
# where a run is computed, not what is trained: the tab shows the first five options alone, and these come first
MACHINE = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes")


def changed_options(parser: ArgumentParser, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that differ from the defaults of their classes, by their short names, except the machine's.

    Args:
        parser: of the command
        resolved: the configuration, of plain types
    """
    names = [name for name in flat(resolved) if not name.startswith((*LEFT_OUT, *MACHINE))]
    short = short_names(names)
    changed = differences(resolved, defaults_of(parser, resolved))
    return {short[name]: value for name, value in changed.items() if name in short}


def defaults_of(parser: ArgumentParser, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a run that names no option but the same classes of model and data.

    Args:
        parser: of the command
        resolved: the configuration, of plain types
    """
    classes = [word for part in ALWAYS if part in resolved for word in (f"--{part}", resolved[part]["class_path"])]
    try:
        return plain_config(parser, parser.parse_args(classes))
    except ArgumentError:
        # a class with an option that has no default
        return plain_config(parser, parser.get_defaults())


def differences(config: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Name the options whose values are not the defaults; of a class that is not the default, those that it changes.

    Args:
        config: of plain types
        defaults: likewise
        prefix: of the names

    Example:
        >>> differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 0}, "d": 3})
        {'a.c': 2}
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        key, default = f"{prefix}{name}", defaults.get(name)
        if isinstance(value, Mapping) and "class_path" in value:
            path, options = value["class_path"], value.get("init_args") or {}
            same = isinstance(default, Mapping) and default.get("class_path") == path
            if not same or key in ALWAYS:
                found[key] = path.rpartition(".")[2]
            own = default.get("init_args") or {} if same and isinstance(default, Mapping) else own_defaults(path)
            # what a class takes without a plain default is its own affair
            known = {option: given for option, given in options.items() if option in own}
            found |= differences(known, own, f"{key}.")
        elif isinstance(value, Mapping) and value:
            found |= differences(value, default if isinstance(default, Mapping) else {}, f"{key}.")
        elif name not in defaults or value != default:
            found[key] = value
    return found


def own_defaults(path: str) -> dict[str, Any]:
    """Return what the options of a class are if none is given, of plain types.

    Args:
        path: of the class
    """
    try:
        parameters = inspect.signature(import_class(path)).parameters.values()
    except ValueError:
        # one that is not written in Python
        return {}
    plain = (bool, int, float, str, type(None), list, tuple)
    found = {each.name: each.default for each in parameters if isinstance(each.default, plain)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Cut names of options to the last part that no other has.

    Args:
        names: as the command line has them

    Example:
        >>> short_names(["model.optimizer.lr", "model.schedule.patience", "early_stopping.patience"])
        {'model.optimizer.lr': 'lr', 'model.schedule.patience': 'schedule.patience', \
'early_stopping.patience': 'early_stopping.patience'}
    """
    every = list(names)
    ends: dict[str, int] = {}
    for name in every:
        parts = name.split(".")
        for first in range(len(parts)):
            end = ".".join(parts[first:])
            ends[end] = ends.get(end, 0) + 1
    short = {}
    for name in every:
        parts = name.split(".")
        candidates = (".".join(parts[first:]) for first in reversed(range(len(parts))))
        short[name] = next((end for end in candidates if ends[end] == 1), name)
    return short
