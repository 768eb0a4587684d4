"""`python train.py inspect`: look at a data set before training on it."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from callbacks.drawing.folder import write_figure
from common.printable import printable
from datamodules import DataModule
from datamodules.duplicates import Pairs
from datamodules.files.image_files import ImageFiles
from figures.class_distribution import class_distribution
from figures.image_pairs import image_pairs
from pipelines.cli.data_command import must_have_images, options_of, parse_with_data
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


def main(args: list[str]) -> int:
    """Run `python train.py inspect`.

    Args:
        args: the command line after `inspect`

    Returns:
        the exit status
    """
    given, parsed = parse_with_data("inspect", __doc__ or "", args, RunOptions, InspectOptions)
    data = must_have_images(given, "inspect looks at")
    if isinstance(data, ImageFiles):
        # the report lists all unreadable files, not only the first
        data.on_unreadable = "skip"
    options = options_of(InspectOptions, parsed)
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
