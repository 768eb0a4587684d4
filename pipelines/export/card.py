"""The card of an export: what a receiver needs to know, for programs and for people."""

from collections.abc import Mapping
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from pipelines.export.exported import CARD, CARD_TEXT, EXAMPLE, Exported
from pipelines.export.litert_files import spoken
from records.result_files import write_json
from records.tensor_files import with_checksum
from records.whole_file import write_whole

COLUMNS = ("format", "file", "MB", "zipped", "differs", "agrees", "accuracy", "ms, 1 image", "ms, 32 images")
EXPLAINED = (
    "MB of 10^6 bytes; zipped by zlib. differs: largest difference of a probability from torch. agrees: share of "
    "images with its top-1 class. accuracy: on the test split. ms: median and 95th percentile, all formats in turns."
)
# a terminal of 80 columns has room for these
SHOWN = {"format": 0, "MB": 2, "differs": 4, "agrees": 5, "accuracy": 6, "ms, 1 image": 7, "ms, 32": 8}


def write_card(exported: Exported) -> dict[str, Any]:
    """Write the card, and the images that a receiver can check a file on.

    Args:
        exported: whose files are written

    Returns:
        the card's content
    """
    with torch.no_grad():
        probabilities = exported.module(exported.images).contiguous()
    with write_whole(exported.folder / EXAMPLE) as path:
        tensors = {"image": exported.images.contiguous(), "probability": probabilities}
        save_file(tensors, path, with_checksum(tensors))
    card = exported.card()
    write_json(exported.folder / CARD, card)
    with write_whole(exported.folder / CARD_TEXT) as path:
        path.write_text(as_markdown(card), encoding="utf-8")
    return card


def rows(card: Mapping[str, Any]) -> list[list[str]]:
    """Return the lines of the table: torch, and each format.

    Args:
        card: what `write_card` returned
    """
    return [_row("torch", card["torch"]), *(_row(name, row) for name, row in card["formats"].items())]


def as_markdown(card: Mapping[str, Any]) -> str:
    """Write a card for people.

    Args:
        card: what `write_card` returned
    """
    form = card["input"]
    lines = [
        f"# {card['model']}",
        "",
        f"- classes: {', '.join(card['classes'])}",
        f"- input `{form['name']}`: {form['dtype']}, shape {tuple(form['shape'])}, {form['color']}; {form['fit']}",
        f"- values of a pixel that are 0 and 255: {form['value_range']}",
        f"- output: probabilities, shape ('batch', {len(card['classes'])})",
        f"- {card['parameters']:,} parameters, {card['macs']:,} multiplications an image",
        f"- checkpoint: sha256 {card['checkpoint_sha256']}",
        f"- versions: {', '.join(f'{name} {number}' for name, number in card['versions'].items())}",
        f"- license of the weights: {card['license'] or 'none was given'}",
        *litert_lines(card),
        *(f"- note: {note}" for note in card["notes"]),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(f"| {' | '.join(row)} |" for row in rows(card)),
        "",
        f"{EXPLAINED} Compared on {card['images']} images.",
        "",
        "Check a file: `python train.py export --verify FILE`.",
    ]
    return "\n".join(lines) + "\n"


def litert_lines(card: Mapping[str, Any]) -> list[str]:
    """Say of each .tflite what a program that runs it must know.

    Args:
        card: what `write_card` returned
    """
    return [
        f"- {row['file']}: input {spoken(row['litert']['input'])}; output {spoken(row['litert']['output'])}; its "
        f"tensors take {row['litert']['tensor_bytes']:,} bytes at once, the least that an arena holds"
        for row in card["formats"].values()
        if "litert" in row
    ]


def print_card(console: Console, exported: Exported, card: Mapping[str, Any]) -> None:
    """Show the table of formats, and say where they are."""
    table = Table(caption=EXPLAINED, caption_justify="left", pad_edge=False)
    for name in SHOWN:
        table.add_column(name, justify="left" if name == "format" else "right")
    for row in rows(card):
        table.add_row(*(row[number].partition(" ")[0] for number in SHOWN.values()))
    console.print(table)
    for line in litert_lines(card):
        console.print(line.removeprefix("- "), soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"exported: {exported.folder}/ ({CARD_TEXT} is its card)", soft_wrap=True, highlight=False, markup=False
    )


def _row(name: str, row: Mapping[str, Any]) -> list[str]:
    def time(size: int) -> str:
        return f"{row[f'ms_{size}']:.3g} ({row[f'ms_{size}_p95']:.3g})" if f"ms_{size}" in row else "–"

    return [
        name,
        row["file"],
        f"{row['bytes'] / 1e6:.3f}",
        f"{row['compressed_bytes'] / 1e6:.3f}",
        f"{row['largest_difference']:.1e}" if "largest_difference" in row else "–",
        f"{row['top1_agreement']:.2f}" if "top1_agreement" in row else "–",
        f"{row['test_accuracy']:.4f}" if "test_accuracy" in row else "–",
        time(1),
        time(32),
    ]
