"""A comparison of students and stack, printed and written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from records.result_files import write_json
from records.whole_file import write_whole

NAMES = ("model", "accuracy", "NLL", "ECE", "parameters", "weights", "ms, 1 image", "ms, 32 images")


def rows_of(comparison: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table of models, as texts."""
    seeds = len(comparison["seeds"])
    rows: list[tuple[str, ...]] = []
    for name, row in comparison["models"].items():
        rows.append(
            (
                name if name == "stack" else f"student {name}, mean of {seeds}",
                f"{row['accuracy']:.4f}",
                f"{row['nll']:.4f}",
                f"{row['ece']:.4f}",
                f"{row['parameters']:,}",
                f"{row['bytes'] / 1000:,.0f} KB",
                f"{row['ms_1']:.2f}",
                f"{row['ms_32']:.2f}",
            )
        )
    return rows


def sentences(comparison: Mapping[str, Any]) -> list[str]:
    """Say what each gains over the other, and whether that is more than noise.

    Example:
        >>> gain = {"value": 0.02, "images": 0.01, "seeds": 0.0, "low": 0.005, "high": 0.035}
        >>> sentences({"seeds": [0, 1], "gains": {"a over b": {"accuracy": gain}}, "samples": 300})
        ['a over b in accuracy: +2.0 points, 95 % interval +0.5 to +3.5 (2 trainings, 300 images): beyond noise']
    """
    said = []
    behind = f"({len(comparison['seeds'])} trainings, {comparison['samples']:,} images)"
    for pair, metrics in comparison["gains"].items():
        for metric, gain in metrics.items():
            scale, unit = (100, "points") if metric == "accuracy" else (1, "nats")
            form = "+.1f" if metric == "accuracy" else "+.4f"
            value = f"{pair} in {metric}: {scale * gain['value']:{form}} {unit}"
            if gain["low"] is None:
                said.append(f"{value} {behind}; too few images for an interval")
                continue
            low, high = scale * gain["low"], scale * gain["high"]
            verdict = "beyond noise" if low > 0 or high < 0 else "within noise"
            said.append(f"{value}, 95 % interval {low:{form}} to {high:{form}} {behind}: {verdict}")
    return said


def print_comparison(console: Console, comparison: Mapping[str, Any]) -> None:
    """Print the table of models, the gains, and what the teacher has seen."""
    table = Table(
        title=f"{comparison['samples']:,} test images; taught by {comparison['kept']} of {comparison['stack']}"
    )
    for name in NAMES:
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in rows_of(comparison):
        table.add_row(*row)
    console.print(table)
    for sentence in (*sentences(comparison), *comparison["notes"]):
        console.print(sentence, soft_wrap=True, highlight=False)


def write_comparison(folder: Path, comparison: Mapping[str, Any]) -> list[Path]:
    """Write a comparison as JSON and as Markdown into an experiment's folder; return the files."""
    paths = [folder / "distill.json", folder / "distill.md"]
    write_json(paths[0], comparison)
    lines = [
        f"# Distilled from {comparison['stack']}",
        "",
        f"{comparison['samples']:,} test images, seeds {', '.join(map(str, comparison['seeds']))}; share of the "
        f"stack in the targets {comparison['weight']}, temperature {comparison['temperature']}.",
        "",
        f"| {' | '.join(NAMES)} |",
        f"|{'---|' * len(NAMES)}",
        *(f"| {' | '.join(row)} |" for row in rows_of(comparison)),
        "",
        *(f"- {sentence}" for sentence in (*sentences(comparison), *comparison["notes"])),
    ]
    with write_whole(paths[1]) as partial:
        partial.write_text("\n".join(lines) + "\n")
    return paths
