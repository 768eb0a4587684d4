from dataclasses import field

import pytest
import torch

from common.options import configurable
from datamodules import CIFAR10, MNIST, Digits, ImageFolder, Manifest, Npz
from datamodules.data_record import DataRecord, changes, is_meant, only_numbered, options_of
from datamodules.dataset import Dataset
from datamodules.image_data import ImageDataModule
from datamodules.provenance import sample_ids, text_hashes
from datamodules.samples import Samples, TensorSource
from records.damaged import DamagedFileError
from tests.helpers.data import Blobs

# name, label, content, source, group and split
ROWS = [
    (
        f"{number:02}.png",
        ("cat", "dog")[number % 2],
        number,
        "ab"[number % 2],
        f"g{number}",
        ("train", "val", "test")[n],
    )
    for number in range(12)
    for n in [number // 2 % 3]
]


@configurable
class Listed(ImageDataModule):
    """Samples from a list of rows, as a manifest gives them.

    Args:
        rows: name, label, content, source, group and split of each
        class_names: in label order
        path: what is called the place of the data
    """

    rows: list[tuple[str, str, int, str, str, str]] = field(default_factory=lambda: list(ROWS))
    class_names: tuple[str, ...] = ("cat", "dog")
    path: str = "rows.csv"

    def load(self) -> Dataset:
        names, labels, contents, sources, groups, splits = zip(*self.rows, strict=True)
        every = Samples(
            TensorSource(torch.zeros(len(names), 1, 2, 2, dtype=torch.uint8)),
            torch.arange(len(names)),
            torch.tensor([self.class_names.index(label) for label in labels]),
            sample_ids(names),
            torch.tensor(contents),
            names,
            torch.tensor(["ab".index(source) for source in sources]),
            torch.from_numpy(text_hashes(groups)),
        )
        train, val, test = (
            every.subset([n for n, split in enumerate(splits) if split == part]) for part in ("train", "val", "test")
        )
        return Dataset(train, test, list(self.class_names), val, ("a", "b"))


def changed(tmp_path, rows=None, then=None, **options):
    """What has changed of the data, with and without the file of the record."""
    before = then or Listed()
    # the rows are the content of the file, and no option that says which data is meant
    plain, path = before.record.plain(), tmp_path / "data.safetensors"
    before.record.write(path)
    now = Listed(**({"rows": rows} if rows is not None else {}), **options)
    return changes(plain, path, now), changes(plain, tmp_path / "lost.safetensors", now)


def edited(**columns):
    """The rows with the values of one column replaced, by row."""
    ((column, values),) = columns.items()
    place = ("name", "label", "content", "source", "group", "split").index(column)
    return [
        (*row[:place], values[number], *row[place + 1 :]) if number in values else row
        for number, row in enumerate(ROWS)
    ]


def test_changes__nothing_and_another_order_are_none(tmp_path):
    assert changed(tmp_path) == ([], [])
    assert changed(tmp_path, ROWS[::-1]) == ([], [])


@pytest.mark.parametrize(
    ("rows", "told", "coarse"),
    [
        (edited(label={2: "dog", 5: "cat"}), "2 labels differ, first: 02.png, cat -> dog", "labels differ"),
        (edited(content={7: 70}), "1 image has other content, first: 07.png", "contents differ"),
        (edited(group={1: "g0", 3: "g0"}), "2 groups differ, first: 01.png", "groups differ"),
        (edited(source={4: "b"}), "1 source differs, first: 04.png, a -> b", "sources differ"),
        (edited(split={4: "train"}), "1 image lies in another split, first: 04.png, test -> train", "splits differ"),
        (edited(name={3: "x.png"}), "1 image has another name, first: x.png", "names of images"),
        ([*ROWS, ("new.png", "cat", 99, "a", "n", "val")], "1 image is new, first: new.png", "names of images"),
        (ROWS[:-2], "2 images are gone", "(12 images then, 10 now)"),
    ],
)
def test_changes__each_kind_is_named(tmp_path, rows, told, coarse):
    found, without_file = changed(tmp_path, rows)
    assert found == [told]
    (sentence,) = without_file
    assert coarse in sentence
    assert "lost.safetensors would say which" in sentence


def test_changes__several_kinds_are_told_together(tmp_path):
    rows = [row for row in edited(label={0: "dog", 6: "dog"}) if row[0] != "11.png"]
    found, _ = changed(tmp_path, [*rows, ("new.png", "dog", 50, "a", "n", "train")])
    assert found == [
        "2 labels differ, first: 00.png, cat -> dog",
        "1 image is new, first: new.png",
        "1 image is gone",
    ]


def test_changes__labels_are_compared_by_the_names_of_classes(tmp_path):
    found, _ = changed(tmp_path, class_names=("ant", "cat", "dog"), rows=[*ROWS, ("a.png", "ant", 1, "a", "", "train")])
    assert found == ["the classes were cat, dog and are ant, cat, dog", "1 image is new, first: a.png"]


def test_changes__splits_of_other_options_are_not_compared(tmp_path):
    data = Blobs(val_fraction=0.2)
    assert changes(data.record.plain(), None, Blobs(val_fraction=0.3)) == []
    assert changes(data.record.plain(), None, Blobs(val_fraction=0.3, count=61)) != []


def test_is_meant__is_said_by_the_place_alone():
    before = Listed().record.plain()
    assert is_meant(before, Listed(batch_size=7, val_fraction=0.3, num_workers=0))
    assert not is_meant(before, Listed(path="other.csv"))
    assert not is_meant(before, Blobs())


def test_record__survives_its_file_in_narrow_numbers(tmp_path):
    record = Listed().record
    record.write(tmp_path / "data.safetensors")
    read = DataRecord.read(tmp_path / "data.safetensors")
    assert read.digests == record.digests
    assert read.plain() == record.plain()
    # ids, keys and groups of 8 bytes, labels, sources and splits of one
    assert (tmp_path / "data.safetensors").stat().st_size < 12 * (3 * 8 + 3) + 1500


def test_record__a_damaged_file_is_named(tmp_path):
    path = tmp_path / "data.safetensors"
    Listed().record.write(path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DamagedFileError, match=r"data\.safetensors is damaged .*: move it away"):
        DataRecord.read(path)
    # it does not hide that the data is another
    (sentence,) = changes(Listed().record.plain(), path, Listed(rows=edited(label={2: "dog"})))
    assert sentence.startswith(f"labels differ; {path} would say which, but {path} is damaged")


def test_record__every_flipped_bit_is_told(tmp_path):
    path = tmp_path / "data.safetensors"
    Listed().record.write(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(bytes(flipped))
        with pytest.raises(DamagedFileError, match=r"data\.safetensors is damaged"):
            DataRecord.read(path)


def test_changes__a_record_of_something_else_is_not_believed(tmp_path):
    path = tmp_path / "data.safetensors"
    Listed(rows=ROWS[:6]).record.write(path)
    (sentence,) = changes(Listed().record.plain(), path, Listed(rows=edited(label={2: "dog"})))
    assert sentence == "labels differ"


def test_only_numbered__asks_only_where_numbers_are_all_that_is_known():
    elsewhere = Listed(path="other.csv").record.plain()
    names = [str(number) for number in range(3)]
    (note,) = only_numbered(names, {"x": elsewhere, "same": Listed().record.plain(), "old": None}, Listed())
    assert note.startswith("x: trained on other data, and its classes are known by number alone")
    assert only_numbered(["left", "right"], {"x": elsewhere}, Listed()) == []


@pytest.mark.parametrize("data", [Digits(), ImageFolder(), Manifest(), Npz(), CIFAR10(), MNIST()])
def test_place__is_where_the_data_lies_and_its_class(data):
    place, _ = options_of(data)
    assert place.keys() <= {"class", "root", "path"}
