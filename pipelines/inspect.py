"""`python train.py inspect`: look at a data set before training on it."""

import itertools
from argparse import ArgumentError
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common import class_paths, yaml_files
from common.jsonargparse_seam import reset_options_with_class, use_project_yaml
from common.printable import printable
from common.ranges import check_range
from datamodules import ImageDataModule
from datamodules.duplicates import Pairs, look_at, near_duplicates, same_content
from datamodules.files.decode import FileSource
from datamodules.files.decoding import read_header
from datamodules.files.found_files import describe_left_out
from datamodules.files.image_files import ImageFiles
from datamodules.samples import Samples
from datamodules.splits import SPLITS
from figures.class_distribution import class_distribution
from figures.image_pairs import image_pairs
from pipelines.cli.config_files import is_file
from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.cli.order import in_order
from records import run_dir
from records.result_files import write_json
from records.run_dir import RunDir, RunOptions

# what the JSON file lists of each finding; the counts are of all
LISTED = 10_000
# what the figure and the terminal show
SHOWN_PAIRS, SHOWN_CLASSES = 16, 40


@dataclass
class InspectOptions:
    """What counts as a near-duplicate.

    Args:
        max_distance: bits of 64 in which the perceptual hashes of near-duplicates may differ
        min_correlation: least correlation of their thumbnails (at most 1), as they are and less the mean of their class
        near_duplicates: look for them; false saves the time on a large data set
    """

    max_distance: int = 10
    min_correlation: float = 0.9
    near_duplicates: bool = True

    def __post_init__(self) -> None:
        check_range("--max_distance", self.max_distance, "[0, 64]")
        check_range("--min_correlation", self.min_correlation, "[-1, 1]")


@dataclass(frozen=True)
class Everything:
    """All samples of a data set, one split after the other.

    Args:
        splits: the samples of each split that has any
        owner: number of each sample's split, shape `(sample,)`
        names: of each sample
        labels: class of each sample, shape `(sample,)`
        keys: content key of each sample, shape `(sample,)`
    """

    splits: dict[str, Samples]
    owner: np.ndarray
    names: list[str]
    labels: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, data: ImageDataModule) -> "Everything":
        """Collect the splits of a DataModule."""
        splits = {name: data.splits[name] for name in SPLITS if len(data.splits[name])}
        owner = np.concatenate([np.full(len(samples), number) for number, samples in enumerate(splits.values())])
        names = [name for samples in splits.values() for name in samples.sample_names()]
        labels, keys = (
            torch.cat([getattr(samples, column) for samples in splits.values()]).numpy()
            for column in ("labels", "contents")
        )
        return cls(splits, owner, names, labels, keys)

    def between(self, indices: Sequence[int]) -> str:
        """Name the splits that some samples lie in, such as `train-test`."""
        names = list(self.splits)
        return "-".join(names[number] for number in sorted({int(self.owner[index]) for index in indices}))

    def image(self, index: int) -> np.ndarray:
        """Return one image, uint8, shape `(height, width, channel)`."""
        number = int(self.owner[index])
        samples = list(self.splits.values())[number]
        row = samples.rows[index - int(np.searchsorted(self.owner, number))]
        return samples.source.gather(row[None])[0].permute(1, 2, 0).numpy()


def inspect(data: ImageDataModule, options: InspectOptions) -> tuple[dict[str, Any], Everything, Pairs | None]:
    """Count classes, sizes and copies.

    Args:
        data: what to look at
        options: what counts as a near-duplicate

    Returns:
        the findings as plain Python types, all samples, and the pairs that look alike
    """
    everything = Everything.of(data)
    classes = len(data.dataset.class_names)
    findings: dict[str, Any] = {
        "data": class_paths.public_name(type(data)),
        "served_size": list(data.info.image_size),
        "channels": data.info.in_channels,
        "class_names": data.dataset.class_names,
        "images": {
            name: torch.bincount(samples.labels, minlength=classes).tolist()
            for name, samples in everything.splits.items()
        },
        "unreadable": list(data.dataset.skipped),
        "exact_duplicates": exact_findings(everything),
    }
    if isinstance(data, ImageFiles):
        listing = data.list_files()
        files = describe_files(FileSource(listing.root, listing.names, (1, 1), 1, data.num_workers))
        findings["files"] = files | {"left_out": dict(listing.left_out)}
        findings |= {name: getattr(data.dataset, name) for name in ("value_range", "values", "notes")}
    pairs = None
    if options.near_duplicates:
        looks = look_at(list(everything.splits.values()))
        pairs = near_duplicates(looks, options.max_distance, options.min_correlation)
        different = everything.keys[pairs.indices[:, 0]] != everything.keys[pairs.indices[:, 1]]
        pairs = Pairs(pairs.indices[different], pairs.correlations[different], pairs.complete)
        findings["near_duplicates"] = near_findings(everything, pairs)
    return findings, everything, pairs


def exact_findings(everything: Everything) -> dict[str, Any]:
    """Say which images are the same, pixel by pixel, where they lie and whether their labels agree."""
    groups = same_content(everything.keys)
    conflicts = [group for group in groups if len({int(everything.labels[index]) for index in group}) > 1]
    return {
        "groups": len(groups),
        "images": sum(len(group) for group in groups),
        "by_splits": dict(Counter(everything.between(group) for group in groups)),
        "label_conflicts": len(conflicts),
        "list": [[everything.names[index] for index in group] for group in groups[:LISTED]],
        "label_conflict_list": [[everything.names[index] for index in group] for group in conflicts[:LISTED]],
    }


def near_findings(everything: Everything, pairs: Pairs) -> dict[str, Any]:
    """Say which images look alike, and how many images of one split have their like in another."""
    by_splits: dict[str, dict[str, Any]] = {}
    names = list(everything.splits)
    sides = everything.owner[pairs.indices]
    for one, other in itertools.combinations_with_replacement(range(len(names)), 2):
        members = pairs.indices[(sides == (one, other)).all(1)]
        if len(members):
            images = {names[one]: len(np.unique(members[:, 0])), names[other]: len(np.unique(members[:, 1]))}
            if one == other:
                images = {names[one]: len(np.unique(members))}
            by_splits["-".join(dict.fromkeys((names[one], names[other])))] = {"pairs": len(members), "images": images}
    labels = everything.labels[pairs.indices]
    return {
        "pairs": len(pairs.indices),
        "complete": pairs.complete,
        "by_splits": by_splits,
        "pairs_with_other_labels": int((labels[:, 0] != labels[:, 1]).sum()),
        "list": [
            [everything.names[one], everything.names[other], round(float(correlation), 4)]
            for (one, other), correlation in zip(pairs.indices[:LISTED], pairs.correlations[:LISTED], strict=True)
        ],
    }


def describe_files(files: FileSource) -> dict[str, Any]:
    """Read the header of each file: sizes in pixels and bytes, colour modes and formats."""
    headers = [header for header in map(read_header, map(files.path, range(len(files)))) if header is not None]
    shapes, modes, formats = (Counter(column).most_common() for column in zip(*headers, strict=True))
    sizes = [(f"{width}x{height}", count) for (height, width), count in shapes]
    weights = [path.stat().st_size for path in map(files.path, range(len(files))) if path.is_file()]
    return {
        "count": len(files),
        "sizes": dict(sizes[:LISTED]),
        "modes": dict(modes),
        "formats": dict(formats),
        "bytes": {"least": min(weights), "most": max(weights), "together": sum(weights)},
    }


def draw(
    run: RunDir, data: ImageDataModule, findings: dict[str, Any], everything: Everything, pairs: Pairs | None
) -> None:
    """Write the figures into the run's folder."""
    run.figures.mkdir(parents=True, exist_ok=True)
    figure = class_distribution(findings["images"], data.dataset.class_names)
    figure.savefig(run.figures / "class_distribution.png", dpi=120)
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
        image_pairs(images, titles).savefig(run.figures / "near_duplicates.png", dpi=120)


def shortened(name: str) -> str:
    """Keep the end of a long name, as a picture can show it."""
    name = printable(name)
    return name if len(name) <= 24 else f"…{name[-23:]}"


def print_findings(console: Console, findings: dict[str, Any]) -> None:
    """Show the counts and what was found."""
    counts, names = findings["images"], findings["class_names"]
    table = Table(title="images of each class")
    for column in ("class", *counts):
        table.add_column(column, justify="left" if column == "class" else "right")
    for number, name in enumerate(names[:SHOWN_CLASSES]):
        table.add_row(escape(name), *(f"{values[number]:,}" for values in counts.values()))
    if len(names) > SHOWN_CLASSES:
        table.add_row(f"... {len(names) - SHOWN_CLASSES} more classes", *("" for _ in counts))
    table.add_section()
    table.add_row("all", *(f"{sum(values):,}" for values in counts.values()))
    console.print(table)
    for name, text in sentences(findings):
        console.print(f"[bold]{name}:[/] {escape(text)}", highlight=False, soft_wrap=True)


def sentences(findings: dict[str, Any]) -> list[tuple[str, str]]:
    """Put what was found into a line each."""
    train = findings["images"]["train"]
    height, width = findings["served_size"]
    lines = [
        ("imbalance", f"{max(train) / max(1, min(train)):.3g} to 1 in the training split"),
        ("served at", f"{width}x{height} pixels, {findings['channels']} channel(s)"),
    ]
    if files := findings.get("files"):
        sizes = list(files["sizes"].items())
        more = f" and {len(sizes) - 5} more" if len(sizes) > 5 else ""
        least, most = findings["values"]
        if left_out := describe_left_out(files["count"], files["left_out"]):
            lines.append(("files", left_out))
        lines += [
            ("file sizes", ", ".join(f"{size} ({count:,})" for size, count in sizes[:5]) + more),
            ("modes", ", ".join(f"{mode} ({count:,})" for mode, count in files["modes"].items())),
            ("values", f"{least} to {most} of 0 to 255, as served (value_range {findings['value_range']})"),
            ("bytes", f"{files['bytes']['together']:,} in {files['count']:,} files"),
        ]
    lines += [("note", note) for note in findings.get("notes", [])]
    unreadable = findings["unreadable"]
    lines.append(("unreadable files", f"{len(unreadable)}" + "".join(f"\n  {line}" for line in unreadable[:5])))
    exact = findings["exact_duplicates"]
    where = ", ".join(f"{count} in {splits}" for splits, count in exact["by_splits"].items())
    found = f"{exact['images']} images in {exact['groups']} groups"
    lines.append(("exact duplicates", f"{found} ({where})" if where else found))
    lines.append(("label conflicts between them", str(exact["label_conflicts"])))
    if near := findings.get("near_duplicates"):
        partly = "" if near["complete"] else " (of the pairs that were compared; there are too many to compare all)"
        found = f"{near['pairs']} pairs, {near['pairs_with_other_labels']} with other labels{partly}"
        lines.append(("near-duplicates", found))
        for splits, counts in near["by_splits"].items():
            images = ", ".join(f"{count} images of {split}" for split, count in counts["images"].items())
            lines.append((f"  {splits}", f"{counts['pairs']} pairs: {images}"))
    return lines


def data_config(path: str) -> str:
    """Return the data section of a config file as text, if it has one; the others are for training."""
    if not is_file(path):
        return path
    content = yaml_files.read_mapping(Path(path))
    return yaml_files.dump({"data": content["data"]}) if "data" in content else "{}"


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
    parser.add_subclass_arguments(ImageDataModule, "data", required=True)
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
    if isinstance(data, ImageFiles):
        # the report lists all unreadable files, not only the first
        data.on_unreadable = "skip"
    options = InspectOptions(parsed.max_distance, parsed.min_correlation, parsed.near_duplicates)
    console = Console()
    findings, everything, pairs = inspect(data, options)
    experiment = parsed.run.experiment or run_dir.snake_case(type(data).__name__)
    run = run_dir.choose(Path(parsed.run.root) / experiment, parsed.run.name or "inspect")
    write_json(run.inspection, findings)
    draw(run, data, findings, everything, pairs)
    print_findings(console, findings)
    console.print(f"\n{run.inspection}, figures in {run.figures}/", soft_wrap=True, highlight=False)
    return 0
