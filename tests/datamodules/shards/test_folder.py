import os
import shutil

import pytest
import torch

from datamodules.shards.folder import shelf_of
from records.damaged import DamagedFileError
from tests.helpers.shards import fetched, flip, streamed, write


def shards_in(cache):
    return sorted(path.name for path in cache.glob("*/train/*.bin"))


def everything(data):
    samples = data.dataset.train
    return samples.source.gather(samples.rows)


def test_folder__missing_empty_or_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder, nor an address such as s3://"):
        _ = streamed(tmp_path / "none").dataset
    with pytest.raises(FileNotFoundError, match="is empty: write shards with `python train.py shards"):
        _ = streamed(tmp_path).dataset
    (tmp_path / "index.json").touch()
    with pytest.raises(FileNotFoundError, match="holds no shards.json"):
        _ = streamed(tmp_path).dataset
    with pytest.raises(ValueError, match="'http://host/shards' is no address that litdata knows"):
        shelf_of("http://host/shards", tmp_path, None)


@pytest.mark.parametrize("name", ["index.json", "samples.safetensors"])
def test_folder__a_missing_file_is_named(tmp_path, name):
    _, folder = write(tmp_path)
    (folder / "train" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"train/{name} is missing: copy the shards anew, or write them again"):
        _ = streamed(folder).dataset


def test_folder__shards_that_are_missing_or_cut_off_are_told_at_once(tmp_path):
    _, folder = write(tmp_path)
    for number in (1, 3):
        os.truncate(folder / f"train/chunk-0-{number}.bin", 900)
    with pytest.raises(
        DamagedFileError, match=r"chunk-0-1.bin is damaged \(it has 900 bytes .*1 other of 5 likewise\)"
    ):
        _ = streamed(folder).dataset
    for number in (1, 3):
        (folder / f"train/chunk-0-{number}.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"train lacks 2 of 5 shards \(chunk-0-1.bin, chunk-0-3.bin\)"):
        _ = streamed(folder).dataset


def test_fetched__shards_come_when_they_are_needed(tmp_path):
    _, folder = write(tmp_path)
    data = fetched(folder, tmp_path / "cache")
    assert data.info == streamed(folder).info
    assert shards_in(tmp_path / "cache") == []
    samples = data.dataset.train
    samples.source.gather((samples.source.shard == 2).nonzero()[:, 0])
    assert shards_in(tmp_path / "cache") == ["chunk-0-2.bin"]
    assert torch.equal(everything(data), everything(streamed(folder)))
    # another run finds what was fetched
    (folder / "train/chunk-0-0.bin").unlink()
    assert torch.equal(everything(fetched(folder, tmp_path / "cache")), everything(data))
    # nothing of a download is left beside
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("ahead", [0, 3])
def test_fetched__within_its_limit_the_whole_epoch(tmp_path, ahead):
    _, folder = write(tmp_path, per_class=20, per_shard=4)
    size = (folder / "train/chunk-0-0.bin").stat().st_size
    kept = (2 + 1 + ahead) * size
    options = {"mixed_shards": 2, "fetch_ahead": ahead, "cache_gb": (kept + 1) / 1e9, "val_fraction": 0.0}
    data = fetched(folder, tmp_path / "cache", **options)
    loader = data.loader(data.splits["train"], shuffle=True)
    ids, most = [], 0
    for batch in loader:
        ids += batch["id"].tolist()
        most = max(most, len(shards_in(tmp_path / "cache")))
    assert sorted(ids) == data.splits["train"].ids.sort().values.tolist()
    assert 1 < most <= 3 + ahead < 15


def test_fetched__a_limit_that_is_too_small_names_all_options(tmp_path):
    _, folder = write(tmp_path)
    with pytest.raises(ValueError, match="--data.cache_gb 1e-06 .* --data.mixed_shards 8 and --data.fetch_ahead 2"):
        _ = fetched(folder, tmp_path / "cache", cache_gb=1e-6).dataset


def test_fetched__what_was_damaged_on_the_way_is_fetched_again(tmp_path):
    _, folder = write(tmp_path)
    data = fetched(folder, tmp_path / "cache")
    whole = everything(data)
    kept = next((tmp_path / "cache").glob("*/train/chunk-0-1.bin"))
    flip(kept, 700)
    assert torch.equal(everything(data), whole)
    # what is damaged where it comes from stays so
    flip(folder / "train/chunk-0-1.bin", 700)
    kept.unlink()
    with pytest.raises(DamagedFileError, match=r"chunk-0-1.bin is damaged \(its sample \d of 8 is not the one"):
        everything(data)


def test_fetched__new_shards_at_the_same_address(tmp_path):
    _, folder = write(tmp_path)
    everything(fetched(folder, tmp_path / "cache"))
    folder.rename(tmp_path / "before")
    shutil.rmtree(tmp_path / "images")
    _, again = write(tmp_path, per_class=9)
    assert again == folder
    assert len(everything(fetched(folder, tmp_path / "cache"))) == 27


def test_fetched__a_place_that_cannot_be_reached(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="local:/nowhere/shards.json cannot be fetched .* check --data.root, the network"):
        _ = fetched("/nowhere", tmp_path / "cache").dataset
    _, folder = write(tmp_path)
    data = fetched(folder, tmp_path / "cache", fetch_ahead=2)
    samples = data.dataset.train

    def refuse(*args):
        raise RuntimeError("ConnectionError: HTTPException Debug source: a long tale")

    monkeypatch.setattr(data._shelf._store, "download_file", refuse)
    loader = data.loader(samples, shuffle=True)
    with pytest.raises(OSError, match=r"chunk-0-\d.bin cannot be fetched \(the store does not say why\)"):
        next(iter(loader))
