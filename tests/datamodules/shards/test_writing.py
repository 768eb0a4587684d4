import importlib.util

import pytest
import torch

from datamodules import ImageFolder
from datamodules.shards import writing
from datamodules.shards.writing import write_shards
from tests.helpers.data import Blobs
from tests.helpers.shards import streamed, write


def test_write__litdata_reads_the_same(tmp_path):
    from litdata import StreamingDataset

    _, folder = write(tmp_path)
    samples = streamed(folder).dataset.train
    theirs = StreamingDataset(str(folder / "train"))
    assert len(theirs) == len(samples) == 36
    by_id = {int(each): number for number, each in enumerate(samples.ids)}
    for number in range(0, 36, 7):
        item = theirs[number]
        ours = by_id[item["id"]]
        image = samples.source.gather(samples.rows[ours : ours + 1])[0].permute(1, 2, 0)
        assert torch.equal(torch.from_numpy(item["image"].copy()), image)
        assert item["label"] == int(samples.labels[ours])


def test_write__a_shard_holds_some_of_all_classes(tmp_path):
    _, folder = write(tmp_path, per_class=40, per_shard=24)
    source = streamed(folder).dataset.train.source
    assert len(source.counts) == 5
    assert all(len(source.labels[source.shard == shard].unique()) == 3 for shard in range(5))


def test_write__arrays_too(tmp_path):
    data = Blobs(count=30)
    write_shards(data, tmp_path / "shards")
    read = streamed(tmp_path / "shards")
    assert read.info == data.info
    assert torch.equal(read.dataset.train.keys, data.dataset.train.keys)


def test_write__nothing_is_overwritten_and_nothing_half_is_left(tmp_path, monkeypatch):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/mine").touch()
    with pytest.raises(FileExistsError, match="shards is there already: name a new folder, or remove it"):
        write_shards(Blobs(), tmp_path / "shards")
    monkeypatch.setattr(writing, "write_table", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_shards(Blobs(), tmp_path / "others")
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_write__no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda path: type("", (), {"free": 1000})())
    with pytest.raises(OSError, match="there is no room .* GB are needed .* choose another --out"):
        write_shards(Blobs(), tmp_path / "shards")


def test_write__a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="needs litdata: pip install -e '.\\[streamed\\]'"):
        write_shards(Blobs(), tmp_path / "shards")
    # what lies in a folder is read without it
    monkeypatch.setattr(writing, "find_spec", importlib.util.find_spec)
    _, folder = write(tmp_path)
    monkeypatch.setattr(writing, "find_spec", lambda name: None)
    assert len(streamed(folder).splits["train"]) == 33
    with pytest.raises(ModuleNotFoundError, match="--data.root local:.* needs litdata"):
        _ = streamed(f"local:{folder}").splits


def test_write__images_of_several_sizes_are_refused(tmp_path):
    data = Blobs(count=600)
    gather = data.dataset.train.source.gather

    class Uneven:
        name, in_memory = "image", True

        def gather(self, indices):
            images = gather(indices)
            return images if len(images) in (1, 256) else images[..., :8]

    object.__setattr__(data.dataset.train, "source", Uneven())
    with pytest.raises(ValueError, match="set --data.image_size"):
        write_shards(data, tmp_path / "shards")


def test_write__what_was_skipped_and_left_out_is_known_later(tmp_path):
    images, _ = write(tmp_path)
    (images / "train/cat/broken.png").write_bytes(b"")
    (images / "train/cat/notes.txt").touch()
    data = ImageFolder(root=str(images), on_unreadable="skip", num_workers=0)
    write_shards(data, tmp_path / "again")
    found = streamed(tmp_path / "again").dataset
    assert found.skipped == data.dataset.skipped
    assert found.left_out == data.dataset.left_out
