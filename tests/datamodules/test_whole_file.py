import os

import pytest
import torch
from safetensors.torch import save_file

from datamodules.whole_file import naming, partial_path, write_whole

FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")  # noqa: PTH110


def write(path, text, error=None):
    with write_whole(path) as partial:
        partial.write_text(text)
        if error is not None:
            raise error


def write_tensors(path, folder_in_the_way=False):
    with write_whole(path) as partial:
        if folder_in_the_way:
            partial.unlink()
            partial.mkdir()
        save_file({"a": torch.zeros(2)}, partial)


def append(path, text):
    with naming(path), path.open("a") as file:
        file.write(text)


def test_write_whole__replaces_the_one_before(tmp_path):
    path = tmp_path / "below" / "result.json"
    write(path, "one")
    write(path, "two")
    assert path.read_text() == "two"
    assert [found.name for found in path.parent.iterdir()] == ["result.json"]


@FULL
def test_write_whole__a_full_disk_leaves_the_one_before(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("one")
    partial_path(path).symlink_to("/dev/full")
    with pytest.raises(OSError, match="result.json could not be written: No space left on device"):
        write(path, "two")
    assert path.read_text() == "one"
    assert [found.name for found in tmp_path.iterdir()] == ["result.json"]


def test_write_whole__errors_of_safetensors_name_the_file(tmp_path):
    path = tmp_path / "p.safetensors"
    with pytest.raises(OSError, match=r"p.safetensors could not be written: .*Is a directory"):
        write_tensors(path, folder_in_the_way=True)
    assert not path.exists()


def test_write_whole__a_folder_that_is_a_file(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(OSError, match="result.json could not be written"):
        write(tmp_path / "runs" / "result.json", "one")


def test_write_whole__what_is_interrupted_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "result.json", "half", KeyboardInterrupt())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o007])
def test_write_whole__others_may_read_as_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_tensors(tmp_path / "p.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "p.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


@FULL
def test_naming__an_appended_file(tmp_path):
    path = tmp_path / "performance.csv"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="performance.csv could not be written: No space left"):
        append(path, "row")
