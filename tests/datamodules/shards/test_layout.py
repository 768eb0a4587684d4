import json
from dataclasses import replace

import pytest
import torch

from datamodules.shards.layout import Description, Names, SampleLayout, read_index, read_table, write_table
from records.damaged import DamagedFileError

RECORD = SampleLayout((4, 4, 3))


def description(**changes):
    return replace(Description({"train": "crc32:0"}, (4, 4, 3), "1: uint8", ["cat", "dog"]), **changes)


def index(**changes):
    size = RECORD.begin(2, 2)
    chunk = {"filename": "chunk-0-0.bin", "chunk_size": 2, "chunk_bytes": size}
    config = {"data_format": ["numpy", "int", "int"], "compression": None, "encryption": None}
    return {
        "chunks": [chunk | {key: value for key, value in changes.items() if key in chunk}],
        "config": config | {key: value for key, value in changes.items() if key in config},
    }


def columns(count=3):
    return {
        "ids": torch.arange(count),
        "keys": torch.arange(count),
        "labels": torch.zeros(count, dtype=torch.int64),
        "order": torch.arange(count),
        "checks": torch.zeros(count, dtype=torch.int64),
        "moments": torch.zeros(count, 6, dtype=torch.float64),
    }


def test_names__are_what_they_were():
    names = ["a/1.png", "", "日本/\udcff.png", "b"]
    packed = Names.of(names)
    assert list(packed) == names
    assert packed[-1] == "b"
    assert packed[1:3] == names[1:3]
    assert len(packed) == 4
    with pytest.raises(IndexError):
        packed[4]


def test_description__is_read_as_it_was_written(tmp_path):
    said = description(
        source_names=["day"], group_names=[(-5, "p1")], columns=[("colour", [(3.0, "red")]), ("age", [])], values=(0, 9)
    )
    said.write(tmp_path / "shards.json")
    read = Description.read(tmp_path / "shards.json")
    assert read.shape == (4, 4, 3)
    assert read.named_groups == {-5: "p1"}
    assert [(column.name, column.texts) for column in read.read_columns] == [("colour", {3.0: "red"}), ("age", {})]
    assert (read.values, read.class_names) == ((0, 9), ["cat", "dog"])


@pytest.mark.parametrize(
    "changes",
    [
        {"splits": {"test": "crc32:0"}},
        {"splits": {"train": "", "../x": ""}},
        {"shape": (4, 4)},
        {"shape": (4, 0, 3)},
        {"shape": "abc"},
        {"class_names": ["cat"]},
        {"class_names": 3},
        {"columns": [["colour"]]},
        {"group_names": [[1, 2, 3]]},
        {"values": [1]},
    ],
)
def test_description__one_that_makes_no_sense_is_refused(tmp_path, changes):
    description(**changes).write(tmp_path / "shards.json")
    with pytest.raises(DamagedFileError, match="shards.json is damaged .*copy the shards anew"):
        Description.read(tmp_path / "shards.json")


def test_description__of_a_later_version_or_a_changed_digit(tmp_path):
    path = tmp_path / "shards.json"
    description(version=2).write(path)
    with pytest.raises(ValueError, match="is of layout 2, and this version reads 1"):
        Description.read(path)
    description().write(path)
    path.write_text(path.read_text().replace("cat", "cot"))
    with pytest.raises(DamagedFileError, match="its content has changed"):
        Description.read(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "../chunk-0-0.bin"},
        {"filename": "/etc/passwd.bin"},
        {"filename": 3},
        {"chunk_size": 3},
        {"chunk_size": "2"},
        {"chunk_size": 0, "chunk_bytes": 8},
        {"chunk_bytes": 10},
        {"data_format": ["pickle", "int", "int"]},
        {"compression": "zstd"},
        {"encryption": {"algorithm": "fernet"}},
    ],
)
def test_index__what_is_not_written_here_is_refused(tmp_path, changes):
    path = tmp_path / "index.json"
    path.write_text(json.dumps(index()))
    assert read_index(path, RECORD) == (["chunk-0-0.bin"], [2])
    path.write_text(json.dumps(index(**changes)))
    with pytest.raises(DamagedFileError, match="index.json is damaged"):
        read_index(path, RECORD)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"chunks": [], "config": {}}', '{"chunks": 3, "config": 4}'])
def test_index__no_index(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(DamagedFileError):
        read_index(tmp_path / "index.json", RECORD)


def test_table__is_read_as_it_was_written_and_is_the_one_that_is_meant(tmp_path):
    path = tmp_path / "samples.safetensors"
    checksum = write_table(path, columns(), ["a", "b", "c"])
    tensors, names = read_table(path, checksum, description())
    assert list(names) == ["a", "b", "c"]
    assert all(tensors[name].equal(column) for name, column in columns().items())
    with pytest.raises(DamagedFileError, match="it is not the one that shards.json was written with"):
        read_table(path, "crc32:00000000", description())


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": torch.tensor([0, 1, 2])},
        {"labels": torch.tensor([0, 1, -1])},
        {"ids": torch.arange(2)},
        {"order": torch.tensor([0, 0, 1])},
        {"moments": torch.zeros(3, 2)},
        {"strange": torch.zeros(3)},
    ],
)
def test_table__that_does_not_fit_is_refused(tmp_path, changes):
    path = tmp_path / "samples.safetensors"
    checksum = write_table(path, columns() | changes, ["a", "b", "c"])
    with pytest.raises(DamagedFileError, match="samples.safetensors is damaged"):
        read_table(path, checksum, description())
