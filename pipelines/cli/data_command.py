"""Command lines of commands that look at data alone, without a model."""

from argparse import ArgumentError
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from jsonargparse import ArgumentParser, Namespace

from common import yaml_files
from common.jsonargparse_seam import reset_options_with_class, use_project_yaml
from datamodules import DataModule, ImageDataModule
from pipelines.cli.config_files import is_file
from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.cli.order import in_order

T = TypeVar("T")


def parse_with_data(command: str, text: str, args: list[str], *options: type) -> tuple[DataModule, Namespace]:
    """Read a command line with a DataModule and options of the command's own, and build the DataModule.

    Args:
        command: its name
        text: what it does, for its help
        args: the command line after its name
        options: dataclasses of its options; those of `RunOptions` stand under `run`

    Returns:
        the data, and the options by name

    Raises:
        UsageError: an option is wrong, or a config has no data section
    """
    reset_options_with_class()
    use_project_yaml()
    parser = ArgumentParser(prog=f"train.py {command}", description=text, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="A config with a data section; its others are left out.")
    parser.add_subclass_arguments(DataModule, "data", required=True)
    for kind in options:
        parser.add_class_arguments(kind, "run" if kind.__name__ == "RunOptions" else None)
    words = [word for arg in args for word in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
    ordered = in_order([command, *words])[1:]
    places = [index + 1 for index, arg in enumerate(ordered[:-1]) if arg == "--config"]
    configs = {index: data_config(ordered[index]) for index in places}
    names_data = any(word.partition("=")[0] in ("--data", "--data.class_path") for word in words)
    if places and set(configs.values()) == {"{}"} and not names_data:
        raise UsageError(f"{ordered[places[-1]]} has no data section to {command}")
    if not places and not names_data and {"-h", "--help"}.isdisjoint(words):
        raise UsageError(f"{command} does not know which data: add --data NAME, such as ImageFolder, or --config FILE")
    ordered = [configs.get(index, arg) for index, arg in enumerate(ordered)]
    try:
        parsed = parser.parse_args(ordered)
    except ArgumentError as error:
        raise UsageError(explain_parsing(str(error), parser, words)) from error
    return parser.instantiate(parsed).data, parsed


def data_config(path: str) -> str:
    """Return the data section of a config file as text, if it has one; the others are for training."""
    if not is_file(path):
        return path
    content = yaml_files.read_mapping(Path(path))
    return yaml_files.dump({"data": content["data"]}) if "data" in content else "{}"


def must_have_images(data: DataModule, what: str) -> ImageDataModule:
    """Return the DataModule of a command line, which must have images.

    Args:
        data: see `parse_with_data`
        what: the command does, such as `inspect looks at`

    Raises:
        UsageError: it has none
    """
    if not isinstance(data, ImageDataModule):
        raise UsageError(f"{what} images, and {type(data).__name__} has none: fit names what is wrong in it")
    return data


def options_of(kind: type[T], parsed: Namespace) -> T:
    """Build a command's own options from its command line; see `parse_with_data`."""
    return kind(**{f.name: parsed[f.name] for f in fields(kind)})  # type: ignore[arg-type]
