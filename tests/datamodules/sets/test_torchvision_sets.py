import struct

import numpy as np
import pytest
from filelock import FileLock, Timeout
from torchvision import datasets

from datamodules import CIFAR10, MNIST


@pytest.mark.parametrize("data_class", [CIFAR10, MNIST])
def test_missing__says_how_to_get_it(tmp_path, data_class):
    with pytest.raises(FileNotFoundError, match=r"not found in --data.root .*: add --data.download true"):
        _ = data_class(root=str(tmp_path)).splits


def test_download__offline_names_the_ways_out(tmp_path, monkeypatch):
    def refuse(self):
        raise OSError("no network")

    monkeypatch.setattr(datasets.CIFAR10, "download", refuse)
    with pytest.raises(ConnectionError, match=r"no network.*copy the folder.*--data Digits"):
        _ = CIFAR10(root=str(tmp_path / "new"), download=True).splits
    assert not (tmp_path / "new").exists()


def test_download__one_process_at_a_time_reads_or_fetches(tmp_path, monkeypatch):
    held = []

    def refuse(self, *args, **kwargs):
        with pytest.raises(Timeout):
            FileLock(tmp_path / ".MNIST.lock").acquire(timeout=0)
        held.append(True)
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets.MNIST, "__init__", refuse)
    with pytest.raises(ConnectionError, match="no network"):
        _ = MNIST(root=str(tmp_path), download=True).splits
    # held once to look at what is there, and once to download
    assert len(held) == 2


def test_missing__asks_for_nothing_over_the_network(tmp_path, monkeypatch):
    def fail(self):
        raise AssertionError("a download nobody asked for")

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(FileNotFoundError):
        _ = MNIST(root=str(tmp_path)).splits


@pytest.fixture
def mnist(tmp_path):
    """Small files in the original format."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 30), ("t10k", 20)):
        write_idx(raw / f"{part}-images-idx3-ubyte", np.zeros((count, 28, 28), np.uint8))
        write_idx(raw / f"{part}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return raw


def write_idx(path, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def damage(name, change):
    def apply(raw):
        path = raw / name
        path.write_bytes(change(path.read_bytes()))

    return apply


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            damage("train-images-idx3-ubyte", lambda c: c[:-1]),
            r"1 damaged file in .*raw: train-images.* of 23536\)",
        ),
        (
            damage("t10k-images-idx3-ubyte", lambda c: c[:3]),
            r"t10k-images-idx3-ubyte \(3 bytes, not in the idx format\)",
        ),
        (damage("t10k-labels-idx1-ubyte", lambda c: b"\x01" + c[1:]), "t10k-labels-idx1-ubyte .*not in the idx format"),
        (damage("train-labels-idx1-ubyte", lambda c: c + b"1"), "train-labels-idx1-ubyte .39 bytes, but its header"),
        (
            damage("train-labels-idx1-ubyte", lambda c: c[:-1] + b"\xff"),
            "MNIST in .* is damaged: .* beyond its 10 classes",
        ),
        (lambda raw: write_idx(raw / "t10k-labels-idx1-ubyte", np.zeros(3, np.uint8)), "test part has 3 labels"),
        (lambda raw: write_idx(raw / "t10k-images-idx3-ubyte", np.zeros((20, 14, 56), np.uint8)), "images of shape"),
        (lambda raw: (raw / "t10k-labels-idx1-ubyte").unlink(), "1 of 4 files are missing in .*raw: t10k-labels"),
    ],
)
def test_mnist__damaged_and_missing_files_are_named(mnist, break_it, message):
    break_it(mnist)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        _ = MNIST(root=str(mnist.parents[1])).splits


def test_mnist__a_root_that_is_too_deep(mnist):
    for root in (mnist, mnist.parent):
        with pytest.raises(
            FileNotFoundError, match=f"set --data.root '{mnist.parents[1]}', the folder that holds 'MNIST/raw'"
        ):
            _ = MNIST(root=str(root)).splits


def test_mnist__still_packed(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"ubyte.gz is there, still packed: add --data.download true"):
        _ = MNIST(root=str(tmp_path)).splits


def test_mnist__damaged_files_are_not_downloaded_over(mnist, monkeypatch):
    (mnist / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(ValueError, match="train-images-idx3-ubyte .0 bytes.*: delete them"):
        _ = MNIST(root=str(mnist.parents[1]), download=True).splits


def test_cifar__damaged_and_missing_files_are_named(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"data_batch_{number}").write_bytes(b"cut")
    with pytest.raises(
        ValueError, match=r"2 damaged files in .*py: data_batch_1 \(3 bytes of another checksum\), data_"
    ):
        _ = CIFAR10(root=str(tmp_path)).splits
    with pytest.raises(ValueError, match="damaged"):
        _ = CIFAR10(root=str(tmp_path)).splits
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=f"set --data.root '{tmp_path}', the folder that holds 'cifar-10-batch"):
        _ = CIFAR10(root=str(folder)).splits
