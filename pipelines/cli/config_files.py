"""Config files that a command line names, looked at before the parser reads them."""

import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import yaml_files
from common.few import few
from common.spelling import nearest


def check_configs(args: list[str]) -> None:
    """Look at each config file that a command line names: the parser's own errors do not name the file.

    Args:
        args: the command line

    Raises:
        YAMLFileError: one is not text, not YAML, or holds no options by name
    """
    for _ in configs_of(args):
        pass


def configs_of(args: Sequence[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Read each config file that a command line names.

    Args:
        args: the command line

    Yields:
        the file, and what it holds

    Raises:
        YAMLFileError: one is not text, not YAML, or holds no options by name
    """
    for arg, following in itertools.pairwise([*args, ""]):
        name, equals, value = arg.partition("=")
        value = value if equals else following
        if name in ("--config", "-c") and is_file(value):
            yield Path(value), yaml_files.read_mapping(Path(value))


def is_file(name: str) -> bool:
    """Tell whether a word of a command line names a file; it may be a text of any length instead."""
    return os.path.isfile(name)  # noqa: PTH113


def is_empty(value: Any) -> bool:
    """Tell whether a value is a mapping in which there is nothing, however deep: the parser sees no value there.

    Example:
        >>> is_empty({}), is_empty({"a": {"b": {}}}), is_empty({"a": None}), is_empty([])
        (True, True, False, False)
    """
    return isinstance(value, Mapping) and all(map(is_empty, value.values()))


def unknown_empty(content: Mapping[str, Any], known: Collection[str], prefix: str = "") -> str:
    """Say which option a config names without a value that does not exist; nothing if there is none.

    Args:
        content: of the config; the options of classes are not looked at
        known: the options that there are, by the names of the command line
        prefix: of the names in it

    Example:
        >>> unknown_empty({"trainr": {}, "model": {"x": {}}}, ["trainer.max_epochs", "model"])
        'trainr; did you mean trainer?'
    """
    below = [name.removeprefix(prefix) for name in known if name.startswith(prefix) and not name.endswith(".help")]
    names = {name.partition(".")[0] for name in below}
    for name, value in content.items() if names else ():
        if name not in names and is_empty(value):
            return f"{prefix}{name}{suggestion(name, names, prefix)}"
        found = unknown_empty(value, known, f"{prefix}{name}.") if isinstance(value, Mapping) else ""
        if found:
            return found
    return ""


def suggestion(name: str, known: Collection[str], prefix: str = "") -> str:
    """Suggest the name that was probably meant, or list the known ones."""
    near = nearest(f"{prefix}{name}", sorted(f"{prefix}{other}" for other in known))
    return near or f" (known: {few(sorted(known), 30)})"
