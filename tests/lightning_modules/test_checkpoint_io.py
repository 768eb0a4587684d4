import argparse
import os
import subprocess
import sys

import pytest
import torch

from lightning_modules.checkpoint_io import WholeFileIO, read_archive
from records.damaged import DamagedFileError
from records.partial_files import partial_path


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoints/last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)
    return path


def test_save__replaces_the_one_before(path):
    WholeFileIO().save_checkpoint({"step": 2, "weights": torch.ones(3)}, path)
    assert torch.load(path, weights_only=True)["step"] == 2
    assert [found.name for found in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")  # noqa: PTH110
@pytest.mark.parametrize("count", [3, 300_000])
def test_save__a_full_disk_leaves_the_one_before(path, count):
    partial_path(path).symlink_to("/dev/full")
    with pytest.raises(OSError, match="last.ckpt could not be written: No space left on device; the one saved before"):
        WholeFileIO().save_checkpoint({"step": 2, "weights": torch.ones(count)}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [found.name for found in path.parent.iterdir()] == ["last.ckpt"]


def test_save__other_errors_are_not_of_the_disk(path, monkeypatch):
    def fail(*args):
        raise RuntimeError("something else")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="something else"):
        WholeFileIO().save_checkpoint({"step": 2}, path)


def test_save__interrupted_within_a_write_leaves_the_one_before(path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        WholeFileIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [found.name for found in path.parent.iterdir()] == ["last.ckpt"]


def test_save__removes_what_dead_processes_left_and_nothing_else(path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = partial_path(path).name.removesuffix(str(os.getpid()))
    dead, living, other = (path.with_name(f"{mine}{number}") for number in (gone.pid, os.getppid(), "x"))
    for abandoned in (dead, living, other):
        abandoned.write_bytes(b"half")
    WholeFileIO().save_checkpoint({"step": 2}, path)
    assert not dead.exists()
    assert living.exists()
    assert other.exists()


def test_load__other_fields_than_lightnings_are_needed_too(path):
    with pytest.raises(DamagedFileError, match=r"last.ckpt is damaged .architecture is missing, state_dict is missing"):
        WholeFileIO().load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("last.ckpt", "use .*best.ckpt beside it"),
        ("hpc_ckpt_1.ckpt", "remove it, and the run continues from its last.ckpt"),
        ("stack.ckpt", "run the same stack command again"),
        ("a.pt", "copy it again from where it is whole, or make it anew"),
    ],
)
def test_read_archive__says_the_way_out(name, message, path):
    (path.parent / "best.ckpt").write_bytes(b"")
    (path.parent / name).write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=message):
        read_archive(path.parent / name)


def test_read_archive__torchs_advice_to_run_code_is_not_passed_on(path):
    torch.save({"a": argparse.Namespace(x=1)}, path)
    with pytest.raises(ValueError, match="is unsafe: besides tensors it holds argparse.Namespace") as error:
        read_archive(path)
    assert "weights_only" not in str(error.value)
