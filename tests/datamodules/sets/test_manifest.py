import shutil

import pytest
import torch

from datamodules import ImageFolder, Manifest
from datamodules.sets.manifest import read_table, sort_names
from tests.helpers.manifests import write


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


def test_test_stratified__false_gives_other_labels_the_same_test_images(image_folder, table):
    variants = [
        [{"path": row["path"], "label": label(row)} for row in table]
        for label in (lambda row: row["label"], lambda row: str(row["label"] == "cat"), lambda row: row["source"])
    ]
    tests = []
    for number, rows in enumerate(variants):
        path = write(image_folder / f"{number}.csv", rows)
        data = Manifest(path=path, test_fraction=0.3, test_stratified=False)
        tests.append(sorted(data.splits["test"].sample_names()))
        assert 10 < len(tests[-1]) < 34
    assert tests[0] == tests[1] == tests[2]


def test_test_stratified__needs_the_draw_by_content(image_folder, table):
    with pytest.raises(ValueError, match="--data.test_stratified false draws by content"):
        Manifest(path=write(image_folder / "m.csv", table), test_stratified=False, split_version=1)
