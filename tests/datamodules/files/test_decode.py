import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.files.decode import FileSource, read_all
from datamodules.files.image_store import read_into_memory
from datamodules.provenance import bytes_key
from tests.helpers.data import random_images


def write(path, array):
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_file_source__gathers_what_loading_keeps(tmp_path, workers):
    images = random_images(5, 3, 8)
    paths = [write(tmp_path / f"{n}.png", np.asarray(i.permute(1, 2, 0))) for n, i in enumerate(images)]
    source = FileSource(tmp_path, [path.name for path in paths], (8, 8), 3, workers)
    reading = read_into_memory(source, stop_at_problem=True)
    index = torch.tensor([4, 0, 2])
    assert torch.equal(source.gather(index), images[index])
    assert torch.equal(reading.images[index], images[index])
    assert reading.keys.tolist() == [bytes_key(path.read_bytes()) for path in paths]


def test_read_all__goes_on_after_problems(tmp_path):
    names = [f"{number}.png" for number in range(4)]
    for name in names:
        write(tmp_path / name, np.full((4, 4, 3), 9, dtype=np.uint8))
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "3.png").unlink()
    (chunk,) = read_all(FileSource(tmp_path, names, (4, 4), 3, 2))
    assert sorted(chunk.problems) == [1, 3]
    assert "1.png cannot be read" in chunk.problems[1]
    assert "3.png cannot be read (No such file" in chunk.problems[3]
    assert chunk.images[2].max() == 9
