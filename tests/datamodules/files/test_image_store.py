import errno
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.files import decode as datamodules_files
from datamodules.files import image_store, store_files
from datamodules.files.decode import FileSource
from datamodules.files.image_store import read_into_memory
from datamodules.provenance import bytes_key, sample_ids
from records import locks


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(5)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(root / name)
    return FileSource(root, names, (6, 6), 3, 2)


@pytest.fixture
def reads(monkeypatch):
    """Counts how often files are read."""
    calls = []
    read_all = image_store.read_all
    monkeypatch.setattr(image_store, "read_all", lambda files: calls.append(1) or read_all(files))
    return calls


def read_through_store(folder, files, stop_at_problem, keep_images):
    return image_store.read_through_store(folder, files, sample_ids(files.names), stop_at_problem, keep_images)


def again(files, **changes):
    options = {"root": files.root, "names": files.names, "size": files.size, "channels": 3, "num_workers": 0}
    return FileSource(**options | changes)


def test_store__files_are_read_once_ever(files, tmp_path, reads):
    first = read_through_store(tmp_path / "cache", files, True, keep_images=True)
    second = read_through_store(tmp_path / "cache", again(files), True, keep_images=True)
    memory = read_into_memory(files, True)
    assert len(reads) == 2
    for reading in (first, second):
        assert torch.equal(reading.images, memory.images)
        assert torch.equal(reading.keys, memory.keys)
    assert second.keys[:, 0].tolist() == [bytes_key(files.path(n).read_bytes()) for n in range(5)]


@pytest.mark.parametrize("changes", [{"size": (4, 4)}, {"channels": 1}, {"names": ["0.png", "1.png"]}])
def test_store__other_pixels_have_a_store_of_their_own(files, tmp_path, reads, changes):
    read_through_store(tmp_path / "cache", files, True, keep_images=True)
    other = again(files, **changes)
    reading = read_through_store(tmp_path / "cache", other, True, keep_images=True)
    assert len(reads) == 2
    assert torch.equal(reading.images, read_into_memory(other, True).images)


def test_store__a_changed_file_is_read_again(files, tmp_path, reads):
    first = read_through_store(tmp_path / "cache", files, True, keep_images=True)
    Image.fromarray(np.zeros((6, 6, 3), dtype=np.uint8)).save(files.path(2))
    second = read_through_store(tmp_path / "cache", files, True, keep_images=True)
    assert len(reads) == 2
    assert second.images[2].max() == 0
    assert (first.keys == second.keys).all(1).tolist() == [True, True, False, True, True]


def test_store__keys_alone(files, tmp_path, reads):
    for _ in range(2):
        reading = read_through_store(tmp_path / "cache", files, True, keep_images=False)
    assert len(reads) == 1
    assert reading.images is None
    assert torch.equal(reading.keys, read_into_memory(files, True).keys)


def test_store__two_at_once_build_one(files, tmp_path, reads):
    with ThreadPoolExecutor(2) as pool:
        build = lambda _: read_through_store(tmp_path / "cache", again(files), True, keep_images=True)  # noqa: E731
        left, right = pool.map(build, range(2))
    assert len(reads) == 1
    assert torch.equal(left.images, right.images)


def test_store__one_that_was_cut_short_is_built_anew(files, tmp_path, reads):
    whole = read_through_store(tmp_path / "cache", files, True, keep_images=True).images.clone()
    (images,) = (tmp_path / "cache").glob("*/images.bin")
    images.write_bytes(images.read_bytes()[:50])
    with pytest.warns(UserWarning, match="damaged"):
        assert torch.equal(read_through_store(tmp_path / "cache", files, True, keep_images=True).images, whole)
    # a build that was killed leaves its folder under another name
    place, gone = images.parent, 2**22 + 1
    partial = place.with_name(f".{place.name}.{socket.gethostname()}.{gone}.{gone}")
    shutil.move(place, partial)
    (partial / "index.json").unlink()
    assert torch.equal(read_through_store(tmp_path / "cache", files, True, keep_images=True).images, whole)
    assert len(reads) == 3
    assert not partial.exists()


def test_store__two_at_once_where_there_are_no_locks(files, tmp_path, reads, monkeypatch):
    monkeypatch.setattr(locks, "_take", lambda lock, path: False)
    together, put = threading.Barrier(2), image_store._put

    def put_together(*args):
        together.wait(20)
        put(*args)

    monkeypatch.setattr(image_store, "_put", put_together)
    with ThreadPoolExecutor(2) as pool:
        build = lambda _: read_through_store(tmp_path / "cache", again(files), True, keep_images=True)  # noqa: E731
        left, right = pool.map(build, range(2))
    assert len(reads) == 2
    assert torch.equal(left.images, right.images)
    assert torch.equal(left.images, read_into_memory(files, True).images)
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir() and path.name.startswith(".")] == []


def test_store__what_cannot_be_read_is_remembered(files, tmp_path, reads):
    files.path(3).write_bytes(b"broken")
    for _ in range(2):
        reading = read_through_store(tmp_path / "cache", files, False, keep_images=True)
        assert list(reading.problems) == [3]
        assert "3.png cannot be read" in reading.problems[3]
    assert len(reads) == 1
    with pytest.raises(ValueError, match="3.png cannot be read"):
        read_through_store(tmp_path / "cache", files, True, keep_images=True)


def test_store__no_room_for_it(files, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(OSError, match="cache_dir .* are needed and .* are free.*--data.cache none"):
        read_through_store(tmp_path / "cache", files, True, keep_images=True)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_store__a_disk_that_fills_up_on_the_way(files, tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_store, "write_index", full)
    with pytest.raises(OSError, match="No space left on device.*--data.cache none"):
        read_through_store(tmp_path / "cache", files, True, keep_images=True)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_store__a_file_that_could_not_be_read_for_a_while(files, tmp_path, monkeypatch):
    open_file = datamodules_files.open_file
    with monkeypatch.context() as patch:
        refuse = PermissionError(errno.EACCES, "Permission denied")

        def open_it(path):
            if path.name == "2.png":
                raise refuse
            return open_file(path)

        patch.setattr(datamodules_files, "open_file", open_it)
        first = read_through_store(tmp_path / "cache", files, False, keep_images=True)
        assert "2.png cannot be read (Permission denied)" in first.problems[2]
    second = read_through_store(tmp_path / "cache", files, False, keep_images=True)
    assert second.problems == {}
    assert second.images[2].max() > 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="a list of Linux")
def test_store__is_mapped_read_only(files, tmp_path):
    # one that could be written to would need as much memory as the file has bytes
    reading = read_through_store(tmp_path / "cache", files, True, keep_images=True)
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("images.bin")]
    # Python 3.13 maps it twice
    assert {line.split()[1] for line in maps} == {"r--s"}
    assert reading.images.shape == (5, 3, 6, 6)


def test_store__a_folder_that_cannot_be_made(files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="--data.cache_dir '.*file' .*choose another folder"):
        read_through_store(tmp_path / "file", files, True, keep_images=False)


def damaged(path, kind):
    """Damage a file of a store in one way."""
    content = path.read_bytes()
    if kind == "directory":
        path.unlink()
        path.mkdir()
    elif kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(content[:-1])
    elif kind == "longer":
        path.write_bytes(content + b"\0")
    else:
        place = int(kind * (len(content) - 1))
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("kind", ["directory", "missing", "empty", "cut", "longer", *np.linspace(0, 1, 12).tolist()])
@pytest.mark.parametrize("name", ["images.bin", "keys.bin", "index.json"])
def test_store__any_damage_is_told_and_mended(files, tmp_path, name, kind):
    whole = read_into_memory(files, True)
    read_through_store(tmp_path / "cache", files, True, keep_images=True)
    (path,) = (tmp_path / "cache").glob(f"*/{name}")
    damaged(path, kind)
    with pytest.warns(UserWarning, match=f"{name} is (damaged|missing): the store of decoded images is made anew"):
        reading = read_through_store(tmp_path / "cache", files, True, keep_images=True)
    assert torch.equal(reading.images, whole.images)
    assert torch.equal(reading.keys, whole.keys)


@pytest.mark.parametrize("kind", [0.5, "empty", "directory"])
@pytest.mark.parametrize("name", ["keys.bin", "index.json"])
def test_store__damaged_keys_alone_are_told_and_mended(files, tmp_path, name, kind):
    whole = read_through_store(tmp_path / "cache", files, True, keep_images=False)
    (path,) = (tmp_path / "cache").glob(f"*/{name}")
    damaged(path, kind)
    with pytest.warns(UserWarning, match=f"{name} is (damaged|missing)"):
        reading = read_through_store(tmp_path / "cache", files, True, keep_images=False)
    assert torch.equal(reading.keys, whole.keys)


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b""), lambda path: path.symlink_to("nowhere")])
def test_store__what_lies_in_its_place_is_replaced(files, tmp_path, make):
    read_through_store(tmp_path / "cache", files, True, keep_images=True)
    (place,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    shutil.rmtree(place)
    make(place)
    place.with_suffix(".partial").write_bytes(b"")
    with pytest.warns(UserWarning, match="index.json is missing"):
        reading = read_through_store(tmp_path / "cache", files, True, keep_images=True)
    assert torch.equal(reading.images, read_into_memory(files, True).images)


def test_store__of_another_version_is_made_anew(files, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(store_files, "LAYOUT", 1)
        read_through_store(tmp_path / "cache", files, True, keep_images=True)
    with pytest.warns(UserWarning, match="index.json is of another store"):
        read_through_store(tmp_path / "cache", files, True, keep_images=True)


def test_store__all_unreadable_files_are_told_and_nothing_is_kept(files, tmp_path):
    for number in (1, 3):
        files.path(number).write_bytes(b"broken")
    with pytest.raises(ValueError, match="2 of 5 files cannot be read: .*1.png .*; .*3.png .*: mend or remove them"):
        read_through_store(tmp_path / "cache", files, True, keep_images=True)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_store__notes_and_values_are_kept(files, tmp_path):
    Image.new("L", (6, 6), 7).save(files.path(1), "TIFF", save_all=True, append_images=[Image.new("L", (6, 6), 9)])
    memory = read_into_memory(files, True)
    assert next(memory.notes.lines(5))[1].endswith("is served: 1.png (2 pictures)")
    for _ in range(2):
        reading = read_through_store(tmp_path / "cache", files, True, keep_images=True)
        assert (reading.notes.plain(), reading.values) == (memory.notes.plain(), memory.values)


def test_store__another_range_of_values_has_a_store_of_its_own(files, tmp_path, reads):
    for value_range in (None, (0.0, 100.0)):
        other = again(files, value_range=value_range)
        reading = read_through_store(tmp_path / "cache", other, True, keep_images=True)
        assert torch.equal(reading.images, read_into_memory(other, True).images)
    assert len(reads) == 4


def test_store__a_name_that_no_file_can_have(files, tmp_path):
    other = again(files, names=["0.png", "a\0b.png"])
    reading = read_through_store(tmp_path / "cache", other, False, keep_images=True)
    # Python 3.13 calls it a character
    assert "embedded null" in reading.problems[1]
