"""`python train.py inspect`: look at a data set before training on it."""

from argparse import ArgumentError
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from callbacks.drawing.folder import write_figure
from common import yaml_files
from common.jsonargparse_seam import reset_options_with_class, use_project_yaml
from common.printable import printable
from datamodules import DataModule, ImageDataModule
from datamodules.duplicates import Pairs
from datamodules.files.image_files import ImageFiles
from figures.class_distribution import class_distribution
from figures.image_pairs import image_pairs
from pipelines.cli.config_files import is_file
from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.cli.order import in_order
from pipelines.inspect.copy_groups import write_groups
from pipelines.inspect.everything import Everything
from pipelines.inspect.findings import inspect
from pipelines.inspect.options import InspectOptions
from pipelines.inspect.printed import print_findings
from records import run_dir
from records.csv_files import write_table
from records.result_files import write_json
from records.run_dir import RunDir, RunOptions
from records.whole_file import write_whole

# pairs that the figure shows
SHOWN_PAIRS = 16


def draw(run: RunDir, data: DataModule, findings: dict[str, Any], everything: Everything, pairs: Pairs | None) -> None:
    """Write the figures into the run's folder."""
    figure = class_distribution(findings["images"], data.dataset.class_names)
    write_figure(figure, run.figures / "class_distribution.png")
    if pairs is not None and len(pairs.indices):
        # pairs that lie in two splits first: they are what spoils a test
        across = everything.owner[pairs.indices[:, 0]] != everything.owner[pairs.indices[:, 1]]
        chosen = np.flatnonzero(across if across.any() else ~across)
        # spread evenly from the most to the least alike
        chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, SHOWN_PAIRS).round().astype(int))]
        images = [(everything.image(one), everything.image(other)) for one, other in pairs.indices[chosen].tolist()]
        titles = [
            "\n".join(
                [*(shortened(everything.names[index]) for index in pairs.indices[number]), f"r {correlation:.3f}"]
            )
            for number, correlation in zip(chosen, pairs.correlations[chosen], strict=True)
        ]
        write_figure(image_pairs(images, titles), run.figures / "near_duplicates.png")


def shortened(name: str) -> str:
    """Keep the end of a long name, as a picture can show it."""
    name = printable(name)
    return name if len(name) <= 24 else f"…{name[-23:]}"


def data_config(path: str) -> str:
    """Return the data section of a config file as text, if it has one; the others are for training."""
    if not is_file(path):
        return path
    content = yaml_files.read_mapping(Path(path))
    return yaml_files.dump({"data": content["data"]}) if "data" in content else "{}"


def built_options(parsed: Namespace) -> InspectOptions:
    """Return the command's own options."""
    return InspectOptions(**{f.name: parsed[f.name] for f in fields(InspectOptions)})


def main(args: list[str]) -> int:
    """Run `python train.py inspect`.

    Args:
        args: the command line after `inspect`

    Returns:
        the exit status
    """
    reset_options_with_class()
    use_project_yaml()
    parser = ArgumentParser(prog="train.py inspect", description=__doc__, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="A config with a data section; its others are left out.")
    parser.add_subclass_arguments(DataModule, "data", required=True)
    parser.add_class_arguments(RunOptions, "run")
    parser.add_class_arguments(InspectOptions)
    words = [word for arg in args for word in (arg.split("=", 1) if arg.startswith("--config=") else [arg])]
    ordered = in_order(["inspect", *words])[1:]
    places = [index + 1 for index, arg in enumerate(ordered[:-1]) if arg == "--config"]
    configs = {index: data_config(ordered[index]) for index in places}
    if places and set(configs.values()) == {"{}"} and not any(word.partition("=")[0] == "--data" for word in words):
        raise UsageError(f"{ordered[places[-1]]} has no data section to inspect")
    ordered = [configs.get(index, arg) for index, arg in enumerate(ordered)]
    try:
        parsed = parser.parse_args(ordered)
    except ArgumentError as error:
        raise UsageError(explain_parsing(str(error), parser, words)) from error
    built = parser.instantiate(parsed)
    data = built.data
    if not isinstance(data, ImageDataModule):
        raise UsageError(f"inspect looks at images, and {type(data).__name__} has none: fit names what is wrong in it")
    if isinstance(data, ImageFiles):
        # the report lists all unreadable files, not only the first
        data.on_unreadable = "skip"
    options = built_options(parsed)
    console = Console()
    findings, everything, pairs = inspect(data, options)
    experiment = parsed.run.experiment or run_dir.snake_case(type(data).__name__)
    run = run_dir.choose(Path(parsed.run.root) / experiment, parsed.run.name or "inspect")
    write_json(run.inspection, findings)
    if findings["unreadable"]:
        with write_whole(run.unreadable) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            write_table(file, ["path", "reason"], findings["unreadable_files"])
    draw(run, data, findings, everything, pairs)
    print_findings(console, findings, run.unreadable)
    if options.write_groups is not None:
        told = write_groups(Path(options.write_groups), data, everything, pairs)
        console.print(told, soft_wrap=True, highlight=False, markup=False)
    console.print(f"\n{run.inspection}, figures in {run.figures}/", soft_wrap=True, highlight=False)
    return 0
