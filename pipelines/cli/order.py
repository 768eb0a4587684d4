"""What a command line asks for: the order in which options win, and what follows from them."""

import re
import warnings
from argparse import ArgumentError
from pathlib import Path
from typing import Any

# lets jsonargparse read configs from URLs, which is taken back here
import lightning.pytorch.cli  # noqa: F401
from jsonargparse import ArgumentParser, Namespace

from common import class_paths, yaml_files
from common.yaml_files import NoYAMLFormError
from common.yaml_loader import load
from datamodules import DataModule, ImageDataModule
from datamodules.files.image_files import ImageFiles
from lightning_modules import (
    Classifier,
    ImageClassifier,
    Model,
    Regressor,
    TableModel,
    TrainedClassifier,
    TrainedModel,
)
from pipelines.cli.class_errors import unknown_class
from records import run_dir

CLASSES = ("--model", "--data")
# a list of numbers whose first is negative
PAIR = re.compile(r"-[\d.]+,")


def in_order(args: list[str]) -> list[str]:
    """Bring a command line into the order in which the parser lets later options win.

    Configs come first, so that the command line beats them wherever they stand; and a class before its options. The
    class chosen on the command line also goes before the configs, so that options in configs are options of it.

    Example:
        >>> in_order(["fit", "--model.lr", "1", "--model", "MLP", "--config", "a.yaml"])
        ['fit', '--model', 'MLP', '--config', 'a.yaml', '--model', 'MLP', '--model.lr', '1']
    """
    groups: list[list[str]] = [[]]
    for arg in args:
        if arg.startswith("--") or arg == "-c":
            groups.append([])
        groups[-1].append(arg)
    command, *options = groups
    # a pair of numbers such as -1024,3071 would be taken for an option
    options = [["=".join(group)] if len(group) == 2 and PAIR.match(group[1]) else group for group in options]

    def name(group: list[str]) -> str:
        return group[0].partition("=")[0]

    def depth(group: list[str]) -> int:
        # sorting keeps the order of equals; other options may depend on theirs
        return name(group).count(".") if name(group).startswith(("--model", "--data")) else 0

    configs = [group for group in options if name(group) in ("--config", "-c")]
    classes = [group for group in options if name(group) in CLASSES]
    others = sorted((group for group in options if group not in configs), key=depth)
    return [*command, *(arg for group in (*classes, *configs, *others) for arg in group)]


def plain_config(parser: ArgumentParser, config: Namespace) -> dict[str, Any]:
    """Return a configuration as plain types, as a config file holds them.

    Args:
        parser: that has parsed it
        config: what it parsed

    Raises:
        NoYAMLFormError: it holds an object that no config can hold
    """
    with warnings.catch_warnings():
        # jsonargparse would write this sentence in place of the value
        warnings.filterwarnings("error", r"\s*Unable to serialize instance")
        text = parser.dump(config.clone(), skip_unset=False, skip_validation=True)
    return class_paths.with_public_names(load(text))


def check_reruns(parser: ArgumentParser, saved: dict[str, Any]) -> None:
    """Refuse a configuration that would be another one when it is read from its file.

    Args:
        parser: of the command
        saved: the configuration, of plain types

    Raises:
        NoYAMLFormError: a value is not what it was; the message names its option
    """
    try:
        again = plain_config(parser, parser.parse_string(yaml_files.dump(saved), defaults=False))
    except ArgumentError as error:
        raise NoYAMLFormError(f"the run's config.yaml could not be read back: {error}") from error
    for name, value in saved.items():
        if changed := yaml_files.difference(without_no_options(value), without_no_options(again.get(name)), name):
            raise NoYAMLFormError(f"the run's config.yaml would not repeat the run: {changed}")


def without_no_options(value: Any) -> Any:
    """Leave out the options of classes that have none, which may be written or not.

    Args:
        value: a part of a configuration, of plain types

    Example:
        >>> without_no_options({"head": {"class_path": "heads.Mean", "init_args": {}}})
        {'head': {'class_path': 'heads.Mean'}}
    """
    if isinstance(value, list):
        return [without_no_options(part) for part in value]
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if not ("class_path" in value and k == "init_args" and v == {})}
    return {name: without_no_options(part) for name, part in kept.items()}


def run_names(config: Namespace) -> tuple[Path, str]:
    """Return the experiment's folder and the run's name that a configuration asks for."""
    model, data = config.model, config.data
    name = run_dir.snake_case(model.class_path.rpartition(".")[2])
    variant, architecture = model.init_args.get("variant"), model.init_args.get("name")
    if isinstance(architecture, str):
        # this class covers many architectures; a name on a hub holds slashes
        name = re.sub(r"[^\w.-]+", "_", architecture)
    experiment = config.run.experiment or run_dir.snake_case(data.class_path.rpartition(".")[2])
    return Path(config.run.root) / experiment, config.run.name or (f"{name}_{variant}" if variant else name)


def check_classes(config: Namespace) -> None:
    """Refuse a class that others are built upon, which the parser takes for one that can be built.

    Raises:
        ValueError: the model or the data is one
    """
    for option, bases in (
        ("model", (Model, TrainedModel, Classifier, TrainedClassifier, ImageClassifier, Regressor, TableModel)),
        ("data", (DataModule, ImageDataModule, ImageFiles)),
    ):
        path = config[option].class_path
        if class_paths.import_class(path) in bases:
            raise ValueError(unknown_class(option, path))


def no_validation(trainer: Namespace, model: Model, data: DataModule) -> str | None:
    """Say why a fit never validates; None if it does.

    Args:
        trainer: its options
        model: a stack validates on a part of what its head learns from
        data: brings the split
    """
    if reason := model.unvalidated(data):
        return reason
    if trainer.fast_dev_run:
        return None
    if trainer.limit_val_batches == 0:
        return "--trainer.limit_val_batches 0 leaves it out: set it above 0"
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every is not None and epochs is not None and 0 < epochs < every:
        return f"--trainer.check_val_every_n_epoch {every} comes after --trainer.max_epochs {epochs}: lower the first"
    return None
