"""Tables of images, written for tests."""

import csv

from datamodules import Manifest


def write(path, rows, columns=None):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def listed(folder, table, column, values, **options):
    """Build a manifest with other values in one column."""
    rows = [row | {column: value} for row, value in zip(table, values, strict=True)]
    return Manifest(
        path=write(folder / "m.csv", rows, ["path", "label", *([] if column == "label" else [column])]), **options
    )


WHOLE = {"test_fraction": 0.0, "val_fraction": 0.0}
