"""Paths of a manifest, as people write them."""

import unicodedata

import pytest

from datamodules import Manifest
from tests.helpers.manifests import WHOLE, write


def test_paths__of_windows(image_folder, table):
    rows = [row | {"path": row["path"].replace("/", "\\")} for row in table]
    data = Manifest(path=write(image_folder / "m.csv", rows), **WHOLE)
    assert data.dataset.train.sample_names()[0] == next(row["path"] for row in table if row["split"] == "train")
    rows = [row | {"path": "C:\\me\\" + row["path"]} for row in table]
    with pytest.raises(ValueError, match=r"row 1: path 'C:.*Windows drive: make it relative .*\(72 such rows: 1, 2"):
        _ = Manifest(path=write(image_folder / "m.csv", rows)).dataset


def test_paths__a_backslash_in_a_name(image_folder, table):
    (image_folder / table[0]["path"]).rename(image_folder / "a\\b.png")
    table[0]["path"] = "a\\b.png"
    assert "a\\b.png" in Manifest(path=write(image_folder / "m.csv", table), **WHOLE).dataset.test.sample_names()


def test_paths__another_unicode_form_or_spaces(image_folder, table):
    (image_folder / table[0]["path"]).rename(image_folder / "chêne.png")
    table[0]["path"] = unicodedata.normalize("NFD", "chêne.png")
    table[1]["path"] += "  "
    names = Manifest(path=write(image_folder / "m.csv", table), **WHOLE).dataset.test.sample_names()
    assert "chêne.png" in names
    assert table[1]["path"].strip() in names


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a\0b.png", r"row 2: path 'a\\x00b.png' holds a zero byte"),
        ("nan", "row 2: the path is missing .'nan'.: give it"),
        ("train/cat", "row 2: path 'train/cat' is a folder, not a file"),
        ("https://x.org/a.png", "row 2: path 'https://x.org/a.png' is an address: download"),
        ("d/" * 3000 + "a.png", r"row 2: .*d/d/\.\.\./d/d/.* cannot be read .File name too long"),
        ("x" * 300, "row 2: .*xxx cannot be read .File name too long"),
        ("train/cat/000.png/a.png", "row 2: .* cannot be read .Not a directory"),
    ],
)
def test_paths__what_is_wrong_is_named(image_folder, table, path, message):
    table[1]["path"] = path
    with pytest.raises(ValueError, match=message) as found:
        _ = Manifest(path=write(image_folder / "m.csv", table)).dataset
    assert len(str(found.value)) < 600


def test_paths__files_that_are_not_there_are_counted(image_folder, table):
    for row in table[3::10]:
        row["path"] += ".gone"
    with pytest.raises(
        ValueError, match=r"row 4: .*gone cannot be read .*--data.root \(7 such rows: 4, 14, 24, 34, 44 and 2 more\)"
    ):
        _ = Manifest(path=write(image_folder / "m.csv", table)).dataset
    with pytest.warns(UserWarning, match="7 of 72 files are left out"):
        _ = Manifest(path=write(image_folder / "m.csv", table), on_unreadable="skip").dataset


def test_paths__links_that_lead_out_of_the_root(image_folder, table, tmp_path):
    outside = tmp_path / "elsewhere"
    (image_folder / "train/dog").rename(outside)
    (image_folder / "train/dog").symlink_to(outside)
    (image_folder / table[0]["path"]).rename(tmp_path / "secret.png")
    (image_folder / table[0]["path"]).symlink_to(tmp_path / "secret.png")
    # one that stays inside is a file like others
    (image_folder / table[1]["path"]).unlink()
    (image_folder / table[1]["path"]).symlink_to(image_folder / table[2]["path"])
    path = write(image_folder / "m.csv", table)
    with pytest.raises(
        ValueError, match=r"row 1: path .* leads out of the root by a link: .*follow .*\(13 such rows: 1, "
    ):
        _ = Manifest(path=path).dataset
    assert len(Manifest(path=path, outside_links="follow").dataset.train) == 36


def test_paths__repeated_ones_with_other_labels(image_folder, table):
    again = [table[3], table[4] | {"label": "eel"}, table[5]]
    message = r"row 74: path .* more than once, first in row 5, with labels 'cat' and 'eel' \(3 paths in all, 1 with"
    with pytest.raises(ValueError, match=message):
        _ = Manifest(path=write(image_folder / "m.csv", table + again)).dataset
