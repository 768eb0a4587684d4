"""jsonargparse made to read and write YAML by this project's one reader and writer."""

from pathlib import Path
from typing import Any

import jsonargparse._loaders_dumpers
import jsonargparse._paths
import yaml
from jsonargparse import set_dumper, set_loader

from common import yaml_files
from common.yaml_loader import checked_loader, load

# mode of a parser whose mappings `options` hold what a command line would
TYPED_OPTIONS = "yaml with options as typed"

# how a command line says that there is no value
NULLS = ("null", "Null", "NULL", "~")

_read_any = jsonargparse._paths.Path.read_text


def use_project_yaml() -> None:
    """Let every parser of this process read and write YAML as the project does.

    jsonargparse writes by PyYAML, which leaves `12e4` without quotes, and reads by a loader that takes it for a number.
    """
    jsonargparse._loaders_dumpers.yaml_default_loader = checked_loader  # type: ignore[assignment]
    jsonargparse._paths.Path.read_text = _read_text  # type: ignore[assignment,method-assign]
    set_dumper("yaml", yaml_files.dump)
    set_loader("yaml", load_option, (yaml.YAMLError,))
    set_loader(TYPED_OPTIONS, load_typed_options, (yaml.YAMLError,))


def load_option(text: str) -> Any:
    """Read a value; a text that is a comment to YAML, such as `#1`, is no missing value.

    Args:
        text: of a command line, or of a whole config
    """
    value = jsonargparse._loaders_dumpers.yaml_load(text)
    return text if value is None and text.strip() not in NULLS else value


def load_typed_options(text: str) -> Any:
    """Read a plan: its `options` are handed to command lines, which know best what is a number.

    Args:
        text: the plan, or a value of a command line
    """
    value = load(text, as_typed=("options",))
    return text if value is None and text.strip() not in NULLS else value


def _read_text(path: Any) -> str:
    """Read a config or a part of one, whose encoding and file no error of jsonargparse would name."""
    if path.is_url or path.is_fsspec or str(path) == "-":
        return _read_any(path)
    file = Path(path.absolute)
    if file.suffix in (".yaml", ".yml"):
        yaml_files.read(file)
    return yaml_files.read_text(file)
