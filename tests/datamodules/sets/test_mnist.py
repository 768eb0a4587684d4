import struct

import numpy as np
import pytest

from datamodules import MNIST, FashionMNIST


def write_idx(path, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.mark.parametrize("data_class", [MNIST, FashionMNIST])
def test_mnist__reads_the_original_format(tmp_path, data_class):
    raw = tmp_path / data_class.__name__ / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = {"train": rng.integers(0, 256, (50, 28, 28), dtype=np.uint8), "t10k": np.zeros((20, 28, 28), np.uint8)}
    for part, pixels in images.items():
        write_idx(raw / f"{part}-images-idx3-ubyte", pixels)
        write_idx(raw / f"{part}-labels-idx1-ubyte", (np.arange(len(pixels)) % 10).astype(np.uint8))
    data = data_class(root=str(tmp_path))
    assert data.info.in_channels == 1
    assert data.info.num_classes == 10
    assert np.array_equal(data.dataset.train.source.tensor[:, 0].numpy(), images["train"])
    assert len(data.splits["test"]) == 20
