"""Config files that a command line names, looked at before the parser reads them."""

import itertools
import os
from pathlib import Path

from common import yaml_files


def check_configs(args: list[str]) -> None:
    """Look at each config file that a command line names: the parser's own errors do not name the file.

    Args:
        args: the command line

    Raises:
        YAMLFileError: one is not text, not YAML, or holds no options by name
    """
    for arg, following in itertools.pairwise([*args, ""]):
        name, equals, value = arg.partition("=")
        value = value if equals else following
        if name in ("--config", "-c") and is_file(value):
            yaml_files.read_mapping(Path(value))


def is_file(name: str) -> bool:
    """Tell whether a word of a command line names a file; it may be a text of any length instead."""
    return os.path.isfile(name)  # noqa: PTH113
