"""Fixtures of several data sets."""

import pytest


@pytest.fixture
def table(image_folder):
    """Rows of a manifest of all images in image_folder."""
    rows = []
    for number, path in enumerate(sorted(image_folder.glob("*/*/*.png"))):
        split, label, _ = path.relative_to(image_folder).parts
        name = path.relative_to(image_folder).as_posix()
        rows.append(
            {"path": name, "label": label, "split": split, "source": "ab"[number % 2], "group": f"g{number // 4}"}
        )
    return rows
