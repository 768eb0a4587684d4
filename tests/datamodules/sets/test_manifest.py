import csv
import shutil
import unicodedata

import pytest
import torch

from datamodules import ImageFolder, Manifest
from datamodules.sets.manifest import read_table, sort_names


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


def write(path, rows, columns=None):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_manifest__serves_what_the_folders_do(image_folder, table):
    listed = Manifest(path=write(image_folder / "m.csv", table, ["path", "label", "split"]))
    folder = ImageFolder(root=str(image_folder))
    assert listed.info == folder.info
    for split in ("train", "val", "test"):
        assert torch.equal(listed.splits[split].ids, folder.splits[split].ids)
        assert torch.equal(listed.splits[split].keys, folder.splits[split].keys)
    batch, other = (next(iter(data.test_dataloader())) for data in (listed, folder))
    assert all(torch.equal(batch[name], other[name]) for name in other)


def test_manifest__paths_relative_to_a_root(image_folder, table, tmp_path):
    data = Manifest(path=write(tmp_path / "elsewhere.csv", table), root=str(image_folder))
    assert len(data.splits["test"]) == 36
    absolute = [row | {"path": str(image_folder / row["path"])} for row in table]
    same = Manifest(path=write(tmp_path / "absolute.csv", absolute), root=str(image_folder))
    assert torch.equal(same.splits["test"].ids, data.splits["test"].ids)


def test_manifest__sources_reach_the_batches(image_folder, table):
    data = Manifest(path=write(image_folder / "m.csv", table))
    assert data.dataset.source_names == ("a", "b")
    test = data.splits["test"]
    batch = next(iter(data.test_dataloader()))
    assert torch.equal(batch["source"], test.sources[: len(batch["source"])])
    expected = {row["path"]: "ab".index(row["source"]) for row in table}
    assert test.sources.tolist() == [expected[name] for name in test.sample_names()]


def test_manifest__no_group_is_divided(image_folder, table):
    rows = [row | {"split": "", "group": row["group"] if number % 8 else ""} for number, row in enumerate(table)]
    data = Manifest(path=write(image_folder / "m.csv", rows), test_fraction=0.3, val_fraction=0.2, stack_fraction=0.2)
    groups = [set(data.splits[name].groups.tolist()) for name in ("train", "val", "stack", "test")]
    assert all(groups)
    assert sum(len(part) for part in groups) == len(set.union(*groups))
    # without a group each sample is one of its own, and the same elsewhere
    assert len(set.union(*groups)) == 18 + 9


@pytest.mark.parametrize("held_out", ["val", "stack", "test"])
def test_leave_out_source(image_folder, table, held_out):
    path = write(image_folder / "m.csv", table, ["path", "label", "split", "source"])
    data = Manifest(path=path, leave_out_source="b", held_out=held_out, val_fraction=0.2)
    assert set(data.splits[held_out].sources.tolist()) == {1}
    assert len(data.splits[held_out]) == 18
    assert set(data.splits["train"].sources.tolist()) == {0}
    drawn = 0 if held_out == "val" else len(data.splits["val"])
    assert len(data.splits["train"]) + drawn == 18
    if held_out != "test":
        assert len(data.splits["test"]) == 36


def test_leave_out_source__nothing_is_shared_with_it(image_folder, table):
    train = [row for row in table if row["split"] == "train"]
    for number, row in enumerate(train):
        # groups of one source each, but for the first, and a copy in the other source
        row["group"] = "shared" if number < 2 else f"{row['source']}{number // 4}"
    shutil.copy(image_folder / train[4]["path"], image_folder / train[5]["path"])
    data = Manifest(path=write(image_folder / "m.csv", train), leave_out_source="b", test_fraction=0.0)
    with pytest.warns(UserWarning, match="2 training images are left out"):
        left, held = data.splits["train"], data.splits["val"]
    assert len(left) == 16
    assert not set(left.groups.tolist()) & set(held.groups.tolist())
    assert not set(left.keys.tolist()) & set(held.keys.tolist())


def test_leave_out_source__one_with_test_images_alone(image_folder, table):
    rows = [row | {"source": "c"} if row["split"] == "test" else row for row in table]
    with pytest.raises(ValueError, match="'c' has no image outside the test split"):
        _ = Manifest(path=write(image_folder / "m.csv", rows), leave_out_source="c").splits


def test_manifest__absolute_paths_through_a_link(image_folder, table, tmp_path):
    (tmp_path / "link").symlink_to(image_folder)
    rows = [row | {"path": str(tmp_path / "link" / row["path"])} for row in table]
    data = Manifest(path=write(tmp_path / "m.csv", rows), root=str(tmp_path / "link"))
    assert len(data.splits["test"]) == 36


def test_manifest__spaces_around_a_label_are_no_part_of_it(image_folder):
    lines = ["path,label", "train/cat/000.png, cat", "train/cat/003.png,cat ", "train/dog/001.png,dog"]
    (image_folder / "m.csv").write_text("\n".join(lines))
    table = read_table(image_folder / "m.csv")
    assert table["label"] == ["cat", "cat", "dog"]


def test_leave_out_source__one_that_is_not_there(image_folder, table):
    with pytest.raises(ValueError, match=r"no source 'c' \(a, b\)"):
        _ = Manifest(path=write(image_folder / "m.csv", table), leave_out_source="c").splits
    with pytest.raises(ValueError, match="a manifest with a source column"):
        _ = ImageFolder(root=str(image_folder), leave_out_source="c").splits


def test_manifest__parquet_is_read_as_csv_is(image_folder, table):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(table), image_folder / "m.parquet")
    write(image_folder / "m.csv", table)
    assert read_table(image_folder / "m.parquet") == read_table(image_folder / "m.csv")
    (image_folder / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="broken.parquet cannot be read as parquet"):
        read_table(image_folder / "broken.parquet")


def test_manifest__parquet_without_pyarrow_names_the_extra(image_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (image_folder / "m.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.\[parquet\]"):
        read_table(image_folder / "m.parquet")


def test_sort_names__numbers_in_their_order():
    assert sort_names(["10", "2", "1"]) == ["1", "2", "10"]
    assert sort_names(["1", "01", "0", "001"]) == ["0", "001", "01", "1"]
    assert sort_names(["9" * 6000, "8", "\u0663"]) == ["\u0663", "8", "9" * 6000]


def edited(change):
    """Write the rows after a change."""

    def edit(folder, rows):
        change(rows)
        return write(folder / "m.csv", rows)

    return edit


def text(content):
    """Write some bytes instead."""

    def replace(folder, rows):
        (folder / "m.csv").write_bytes(content)
        return str(folder / "m.csv")

    return replace


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder, rows: str(folder / "none.csv"), "--data.path '.*none.csv' is not a file"),
        (lambda folder, rows: write(folder / "m.txt", rows), "must end in .csv, .tsv or .parquet"),
        (
            lambda folder, rows: write(folder / "m.csv", rows, ["path", "split"]),
            "no column 'label'; it has path, split",
        ),
        (text(b"file;label\na.png;cat\n"), "no column 'path'; it has file, label"),
        (text(b""), "no column 'path'; it has none"),
        (text(b"path,label\n"), "m.csv has no row"),
        (text(b"path,label,path\n"), "column 'path' more than once"),
        (text(b"path,label\na.png,cat,3\n"), "row 1: 3 fields, but 2 columns: a.png,cat,3"),
        (text(b"path,label\n\n\ntrain/cat/000.png\n"), r"row 1: the label is missing \('', train/cat/000.png\): give"),
        (text(b"path,label\n\xff.png,cat\n"), "cannot be read as UTF-8 text"),
        (edited(lambda rows: rows.append(rows[3])), "row 73: path 'test/cat/009.png' comes more than once"),
        (edited(lambda rows: rows[4].update(path="test/../" + rows[3]["path"])), "row 5: path .* more than once"),
        (edited(lambda rows: rows[1].update(path="../x.png")), "row 2: path '../x.png' is not inside"),
        (edited(lambda rows: rows[1].update(path="/etc/x.png")), "row 2: path '/etc/x.png' is not inside"),
        (edited(lambda rows: rows[1].update(path="")), r"row 2: the path is missing \(''\)"),
        (edited(lambda rows: rows[1].update(path="gone.png")), "gone.png cannot be read .No such file"),
        (edited(lambda rows: rows[1].update(split="tset")), r"row 2: unknown split 'tset' \(known: train, val"),
        (edited(lambda rows: rows[2].update(label="")), "row 3: the label is missing"),
        (edited(lambda rows: rows[0].update(label="fox")), "class 'fox' has no image in the training split"),
        (edited(lambda rows: [row.update(label="cat") for row in rows]), "at least 2 classes; it has 1"),
    ],
)
def test_manifest__what_is_wrong_is_named(image_folder, table, make, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        _ = Manifest(path=make(image_folder, table), root=str(image_folder)).splits


def test_manifest__a_label_that_is_not_a_class_name(image_folder, table):
    with pytest.raises(ValueError, match=r"row 25: unknown label 'eel' \(known: dog, cat\)"):
        _ = Manifest(path=write(image_folder / "m.csv", table), class_names=["dog", "cat"]).splits


def test_manifest__names_with_commas_quotes_and_newlines(image_folder, table):
    name = 'train/cat/a, "b"\nc.png'
    (image_folder / table[40]["path"]).rename(image_folder / name)
    table[40].update(path=name, label="cat", split="train")
    assert name in Manifest(path=write(image_folder / "m.csv", table)).dataset.train.sample_names()


def listed(folder, table, column, values, **options):
    """Build a manifest with other values in one column."""
    rows = [row | {column: value} for row, value in zip(table, values, strict=True)]
    return Manifest(
        path=write(folder / "m.csv", rows, ["path", "label", *([] if column == "label" else [column])]), **options
    )


WHOLE = {"test_fraction": 0.0, "val_fraction": 0.0}


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "None", "NA", "N/A", "null", "NaT", "<NA>"])
def test_labels__missing_ones_are_counted(image_folder, table, missing):
    values = [missing if number % 12 == 3 else "ab"[number % 2] for number in range(72)]
    message = (
        r"row 4: the label is missing \(.*train/.*|; 6 of 72 labels are missing: rows 4, 16, 28, 40, 52 and 1 more"
    )
    with pytest.raises(ValueError, match=message):
        _ = listed(image_folder, table, "label", values, **WHOLE).dataset


def test_labels__a_listed_class_is_not_missing(image_folder, table):
    values = ["none" if number % 2 else "scratch" for number in range(72)]
    with pytest.raises(ValueError, match="list 'none' in --data.class_names if it is a class"):
        _ = listed(image_folder, table, "label", values, **WHOLE).dataset
    data = listed(image_folder, table, "label", values, class_names=["none", "scratch"], **WHOLE).dataset
    assert data.train.labels.bincount().tolist() == [36, 36]


def test_labels__whole_numbers_that_became_floats(image_folder, table):
    values = [("0.0", "1.0", "10.0", "2")[number % 4] for number in range(72)]
    data = listed(image_folder, table, "label", values, **WHOLE).dataset
    assert data.class_names == ["0", "1", "2", "10"]
    assert data.train.labels.bincount().tolist() == [18] * 4
    named = listed(image_folder, table, "label", values, class_names=["10", "2", "1", "0"], **WHOLE).dataset
    assert named.train.labels.tolist() == [3, 2, 0, 1] * 18


def test_labels__numbers_that_are_not_whole(image_folder, table):
    values = [("0.0", "1.0", "1.5")[number % 3] for number in range(72)]
    with pytest.raises(ValueError, match=r"row 3: the label is not a whole number .*; 24 of 72 .* list all of them in"):
        _ = listed(image_folder, table, "label", values, **WHOLE).dataset
    data = listed(image_folder, table, "label", values, class_names=["0.0", "1.0", "1.5"], **WHOLE).dataset
    assert data.class_names == ["0.0", "1.0", "1.5"]


def test_labels__names_that_look_alike(image_folder, table):
    values = [("Healthy", "healthy", "ill", "ill\u00a0", "il\u200bl", "HEALTHY")[number % 6] for number in range(72)]
    message = (
        r"'HEALTHY' \(12 .* and 'Healthy' \(12 .* and 'healthy' .*, 'ill' \(24 images\) and 'il\\u200bl' \(12 images\)"
    )
    with pytest.warns(UserWarning, match=r"'ill\\xa0' \(12 rows\) for 'ill'"), pytest.raises(ValueError, match=message):
        _ = listed(image_folder, table, "label", values, **WHOLE).dataset
    with pytest.warns(UserWarning, match="classes with names that look alike"):
        data = listed(image_folder, table, "label", values, alike_names="allow", **WHOLE).dataset
    assert len(data.class_names) == 5


def test_labels__two_unicode_forms_are_one_class(image_folder, table):
    forms = [unicodedata.normalize(form, "chêne") for form in ("NFC", "NFD")]
    values = [(*forms, "pin")[number % 3] for number in range(72)]
    with pytest.warns(UserWarning, match="taken for one name"):
        data = listed(image_folder, table, "label", values, **WHOLE).dataset
    assert data.class_names == [forms[0], "pin"]
    assert data.train.labels.bincount().tolist() == [48, 24]
    with pytest.warns(UserWarning, match="taken for one name"):
        named = listed(image_folder, table, "label", values, class_names=["pin", forms[1]], **WHOLE).dataset
    assert named.class_names == ["pin", forms[0]]


def test_labels__unknown_ones_are_told_at_once(image_folder, table):
    values = [("cat", "Cat", "eel")[number % 3] for number in range(72)]
    message = (
        r"row 2: unknown label 'Cat' \(looks like 'cat'\) \(known: cat, dog\); 48 rows of 'Cat' \(24\), 'eel' \(24\)"
    )
    with pytest.raises(ValueError, match=message):
        _ = listed(image_folder, table, "label", values, class_names=["cat", "dog"]).dataset


def test_class_names__one_twice(image_folder, table):
    with pytest.raises(ValueError, match="--data.class_names lists 'cat' more than once"):
        _ = Manifest(path=write(image_folder / "m.csv", table), class_names=["cat", "dog", "cat "]).dataset


def test_classes__all_without_a_training_image_are_told(image_folder, table):
    rows = [
        row | {"label": f"c{number % 9}", "split": "train" if number % 9 < 2 else "test"}
        for number, row in enumerate(table)
    ]
    with pytest.raises(ValueError, match="7 classes have no image in the training split: 'c2', .* and 2 more"):
        _ = Manifest(path=write(image_folder / "m.csv", rows)).dataset


@pytest.mark.parametrize("missing", ["", "nan", "NA", "None"])
def test_groups__missing_ones_are_groups_of_their_own(image_folder, table, missing):
    values = [f"patient {number // 4}" if number < 24 else missing for number in range(72)]
    with pytest.warns(UserWarning, match="48 of 72 rows have no group: each is a group of its own"):
        data = listed(image_folder, table, "group", values, **WHOLE).dataset
    assert len(data.train.groups.unique()) == 6 + 48


def test_groups__numbers_are_the_same_as_integers_and_as_floats(image_folder, table):
    found = []
    for form in ("{}", "{}.0"):
        values = [form.format(number // 4) if number < 40 else "" for number in range(72)]
        with pytest.warns(UserWarning, match="have no group"):
            found.append(listed(image_folder, table, "group", values, **WHOLE).dataset.train.groups)
    assert torch.equal(*found)


def test_groups__names_that_look_alike_are_told(image_folder, table):
    values = [("Patient 1", "patient 1", "patient 2")[number % 3] for number in range(72)]
    with pytest.warns(UserWarning, match="1 group name in several spellings: 'Patient 1' and 'patient 1'"):
        data = listed(image_folder, table, "group", values, **WHOLE).dataset
    assert len(data.train.groups.unique()) == 3


def test_sources__missing_ones_are_one_of_that_name(image_folder, table):
    values = [("b", "a", "nan", "")[number % 4] for number in range(72)]
    with pytest.warns(UserWarning, match="36 of 72 rows have no source: they are reported as 'unknown'"):
        data = listed(image_folder, table, "source", values, **WHOLE).dataset
    assert data.source_names == ("a", "b", "unknown")
    assert data.train.sources.bincount().tolist() == [18, 18, 36]


def test_sources__names_that_look_alike(image_folder, table):
    values = [("Camera A", "camera a", "b")[number % 3] for number in range(72)]
    with pytest.raises(
        ValueError, match=r"sources with names that look alike: 'Camera A' \(24 images\) and 'camera a'"
    ):
        _ = listed(image_folder, table, "source", values, **WHOLE).dataset


def test_leave_out_source__spaces_and_form_do_not_matter(image_folder, table):
    values = [("caméra", "b")[number % 2] for number in range(72)]
    left = unicodedata.normalize("NFD", "caméra") + " "
    data = listed(image_folder, table, "source", values, leave_out_source=left, test_fraction=0.0)
    assert len(data.splits["val"]) == 36
    with pytest.raises(ValueError, match=r"no source 'Caméra' \(looks like 'caméra'\)"):
        _ = listed(image_folder, table, "source", values, leave_out_source="Caméra").splits


def test_splits__names_in_any_case_and_missing_ones(image_folder, table):
    values = [("Train", "TEST", "nan", "Validation")[number % 4] for number in range(72)]
    data = listed(image_folder, table, "split", values)
    with pytest.warns(UserWarning, match=r"row 3: there is no split .*18 of 72 have no split: .*: taken for training"):
        _ = data.dataset
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [36, 18, 18]


def test_splits__unknown_ones_are_told_at_once(image_folder, table):
    values = [("train", "tset", "dev")[number % 3] for number in range(72)]
    with pytest.raises(
        ValueError, match=r"row 2: unknown split 'tset' \(known: .*; 48 rows of 'tset' \(24\), 'dev' \(24\)"
    ):
        _ = listed(image_folder, table, "split", values).dataset


def test_faults__of_several_kinds_at_once(image_folder, table):
    rows = [
        row | {"label": "" if number == 1 else row["label"], "split": "x" if number == 2 else "train"}
        for number, row in enumerate(table)
    ]
    rows[5]["path"] = "../out.png"
    with pytest.raises(
        ValueError, match="row 6: path .* not inside .*; row 2: the label is missing.*; row 3: unknown split"
    ):
        _ = Manifest(path=write(image_folder / "m.csv", rows)).dataset


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
