import pickle

import numpy as np
import pytest
from torchvision import datasets

from datamodules import CIFAR10, CIFAR100


def write(folder, names, label_key, num_classes, rng):
    folder.mkdir()
    for name in names:
        content = {
            "data": rng.integers(0, 256, (40, 3072), dtype=np.uint8),
            label_key: (np.arange(40) % num_classes).tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(content))


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Small files in torchvision's layout; their checksums are not those of the real ones."""
    rng = np.random.default_rng(0)
    write(
        tmp_path / "cifar-10-batches-py", [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], "labels", 10, rng
    )
    names = [f"class {n}" for n in range(10)]
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    write(tmp_path / "cifar-100-python", ["train", "test"], "fine_labels", 4, rng)
    (tmp_path / "cifar-100-python" / "meta").write_bytes(pickle.dumps({"fine_label_names": list("abcd")}))
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    return tmp_path


def test_cifar10__reads_torchvisions_files(cifar):
    data = CIFAR10(root=str(cifar))
    assert data.info.class_names[3] == "class 3"
    assert data.info.in_channels == 3
    assert data.info.image_size == (32, 32)
    assert {name: len(samples) for name, samples in data.splits.items()} == {
        "train": 180,
        "val": 20,
        "stack": 0,
        "test": 40,
    }


def test_cifar10__pixels_are_torchvisions(cifar):
    reference = datasets.CIFAR10(str(cifar), train=False)
    samples = CIFAR10(root=str(cifar)).splits["test"]
    assert np.array_equal(samples.source.tensor.permute(0, 2, 3, 1).numpy(), reference.data)
    assert samples.labels.tolist() == reference.targets


def test_cifar100__has_its_own_classes(cifar):
    assert CIFAR100(root=str(cifar)).info.num_classes == 4
