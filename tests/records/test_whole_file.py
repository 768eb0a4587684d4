import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from records.partial_files import partial_folder, partial_path
from records.whole_file import naming, save_tensors, write_whole

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
        save_tensors(partial, {"a": torch.zeros(2)}, {"of": "a test"})


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


def test_save_tensors__leaves_the_file_alone(tmp_path):
    path = tmp_path / "p.safetensors"
    write_tensors(path)
    assert load_file(path)["a"].tolist() == [0, 0]
    assert [found.name for found in tmp_path.iterdir()] == ["p.safetensors"]


@pytest.mark.parametrize("write_again", [lambda path: write(path, "whole"), write_tensors])
def test_write_whole__removes_what_dead_processes_left_of_the_same_file(write_again, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path, other = tmp_path / "p.safetensors", tmp_path / "p"
    mine = partial_path(path).name.removesuffix(str(os.getpid()))
    dead, living = (path.with_name(f"{mine}{number}") for number in (gone.pid, os.getppid()))
    elsewhere = path.with_name(f".{path.name}.another-host.{gone.pid}")
    of_another = partial_path(other).with_name(f".{other.name}.{mine.split('.')[-2]}.{gone.pid}")
    for abandoned in (dead, living, elsewhere, of_another):
        abandoned.write_text("half")
    # what safetensors leaves when it is killed while it writes
    partial_folder(dead).mkdir()
    (partial_folder(dead) / ".tmpAbCdEf").write_text("half")
    write_again(path)
    assert sorted(tmp_path.iterdir()) == sorted((path, living, elsewhere, of_another))


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
