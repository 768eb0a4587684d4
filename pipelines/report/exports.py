"""Exported files in the report: size, agreement with torch, accuracy and time, as the export's card has them."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.printable import printable
from pipelines.report.page import Section, Table, TableCell, number_cell
from pipelines.report.runs import FoundRun
from records.damaged import DamagedFileError
from records.fields import ANY, problems
from records.json_files import read_json

COLUMNS = ("run", "format", "MB", "differs from torch", "same top-1", "accuracy", "ms, 1 image", "ms, 32 images")
MEASURED = {
    "bytes": int,
    "largest_difference?": float,
    "top1_agreement?": float,
    "test_accuracy?": float,
    "ms_1?": float,
    "ms_1_p95?": float,
    "ms_32?": float,
    "ms_32_p95?": float,
}
CARD = {"torch": MEASURED, "formats": {ANY: MEASURED}}


def exports_section(runs: Sequence[FoundRun]) -> Section | None:
    """Build the section of the files that runs were exported to; None where there are none.

    Args:
        runs: as found; a card that cannot be read is added to the problems of its run
    """
    rows = []
    for run in runs:
        card = card_of(run)
        if card is not None:
            named = {"torch": card["torch"], **card["formats"]}
            rows += [row_of(run.label, printable(name), measured) for name, measured in named.items()]
    if not rows:
        return None
    section = Section("exported files", "exports")
    caption = (
        "formats that runs were exported to, beside torch: largest difference of a probability, share of images with "
        "the same most probable class, accuracy on test, and time of a batch with its 95th percentile below, all "
        "formats of a run in turns"
    )
    section.blocks.append(Table(caption, COLUMNS, rows, [False, False, *[True] * (len(COLUMNS) - 2)]))
    return section


def card_of(run: FoundRun) -> dict[str, Any] | None:
    """Read the card of a run's export; None where there is none that can be read."""
    path = run.files.export_card
    if not path.is_file():
        return None
    try:
        card = read_json(path, "export the model again")
        wrong = next(problems(card, CARD, ""), None)
    except DamagedFileError as error:
        run.problems.append(str(error))
        return None
    if wrong is not None:
        run.problems.append(f"{path}: {wrong}: export the model again")
        return None
    return card


def row_of(label: str, name: str, measured: Mapping[str, Any]) -> list[TableCell]:
    """Return the cells of one format."""

    def number(key: str, form: str) -> TableCell:
        value = measured.get(key)
        return number_cell(value, None if value is None else f"{value:{form}}")

    def time(size: int) -> TableCell:
        value, late = measured.get(f"ms_{size}"), measured.get(f"ms_{size}_p95")
        if value is None or late is None:
            return TableCell("–")
        return TableCell(f"{value:.3g}", value, f"{late:.3g}")

    return [
        TableCell(label, label),
        TableCell(name, name),
        number_cell(measured["bytes"], f"{measured['bytes'] / 1e6:.3f}"),
        number("largest_difference", ".1e"),
        number("top1_agreement", ".2f"),
        number("test_accuracy", ".4f"),
        time(1),
        time(32),
    ]
