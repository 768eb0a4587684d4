import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolder
from datamodules.files import staging
from datamodules.files.staging import stage_folder


@pytest.fixture
def folder(tmp_path):
    """Images of two classes."""
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


@pytest.fixture
def copies(monkeypatch):
    """Counts how often something is copied."""
    calls = []
    building = staging._building
    monkeypatch.setattr(staging, "_building", lambda *args: calls.append(1) or building(*args))
    return calls


def served(folder, cache="disk", stage=None):
    """The images of a data set in the order of their ids."""
    data = ImageFolder(root=str(folder), cache=cache, cache_dir=str(folder.parent / "cache"), stage_dir=stage)
    samples = data.samples("train")
    order = samples.ids.argsort()
    return samples.source.gather(samples.rows[order]), samples


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_stage__is_copied_once_and_read_from_there(cache, folder, tmp_path, copies):
    there, _ = served(folder, cache)
    for _ in range(2):
        images, samples = served(folder, cache, str(tmp_path / "local"))
        assert torch.equal(images, there)
    assert len(copies) == 1
    if cache == "none":
        assert samples.source.root.parent == tmp_path / "local"
        # the files of a network are asked no more
        shutil.rmtree(folder / "a")
        assert torch.equal(samples.source.gather(samples.rows), samples.source.gather(samples.rows))


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_stage__processes_of_a_node_copy_once(cache, folder, tmp_path, copies):
    whole, _ = served(folder, cache)
    with ThreadPoolExecutor(3) as pool:
        for images, _ in pool.map(lambda _: served(folder, cache, str(tmp_path / "local")), range(3)):
            assert torch.equal(images, whole)
    assert len(copies) == 1


@pytest.mark.parametrize(
    ("cache", "pattern"), [("disk", "*/images.bin"), ("none", "*/0000/*.png"), ("none", "*/.whole")]
)
def test_stage__a_damaged_copy_is_made_anew(cache, pattern, folder, tmp_path, copies):
    whole, _ = served(folder, cache, str(tmp_path / "local"))
    copy = next((tmp_path / "local").glob(pattern))
    copy.write_bytes(copy.read_bytes()[:-3])
    assert torch.equal(served(folder, cache, str(tmp_path / "local"))[0], whole)
    assert len(copies) == 2


def test_stage__no_room(folder, tmp_path, monkeypatch):
    served(folder)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(OSError, match=r"--data.stage_dir .*are needed and 0.00 GB are free.*or leave it out"):
        served(folder, stage=str(tmp_path / "local"))
    assert [path for path in (tmp_path / "local").iterdir() if path.is_dir()] == []


def test_stage__a_folder_that_cannot_be_made(folder):
    with pytest.raises(OSError, match=r"cannot be copied to --data.stage_dir '/proc/none'"):
        served(folder, stage="/proc/none")


def test_stage_folder__has_the_variables_of_the_node(monkeypatch):
    monkeypatch.setenv("LOCAL_DISK", "/scratch/7")
    assert stage_folder("$LOCAL_DISK/data").as_posix() == "/scratch/7/data"
    monkeypatch.delenv("LOCAL_DISK")
    with pytest.raises(ValueError, match="LOCAL_DISK' names a variable that this node does not have"):
        stage_folder("$LOCAL_DISK")
    assert stage_folder("~").is_relative_to(os.environ["HOME"])


def test_stage__is_not_needed_in_memory(folder, tmp_path):
    served(folder, "ram", str(tmp_path / "local"))
    assert not (tmp_path / "local").exists()
