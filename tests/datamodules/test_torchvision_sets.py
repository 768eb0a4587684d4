import pytest
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


def test_missing__asks_for_nothing_over_the_network(tmp_path, monkeypatch):
    def fail(self):
        raise AssertionError("a download nobody asked for")

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(FileNotFoundError):
        _ = MNIST(root=str(tmp_path)).splits
