import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.provenance import bytes_key
from datamodules.samples import FileSource, Samples, TensorSource, decode, load_files
from tests.helpers.data import random_images


def write(path, array):
    Image.fromarray(array).save(path)
    return path


def test_decode__a_file_of_the_wanted_size_is_kept_as_it_is(tmp_path):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(decode(write(tmp_path / "a.png", pixels), (4, 6), 3), pixels)


def test_decode__grey_to_rgb_and_back(tmp_path):
    path = write(tmp_path / "a.png", np.full((4, 4), 77, dtype=np.uint8))
    assert (decode(path, (4, 4), 3) == 77).all()
    assert decode(path, (4, 4), 1).shape == (4, 4, 1)


def test_decode__other_sizes_are_scaled_and_cut_in_the_centre(tmp_path):
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200
    assert (decode(write(tmp_path / "a.png", wide), (10, 10), 3) == 200).all()


def test_decode__follows_the_camera_orientation(tmp_path):
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=100)
    upright = decode(tmp_path / "a.jpg", (4, 8), 3)
    assert upright[:, :3].mean() < 20
    assert upright[:, 5:].mean() > 230


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_decode__a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "broken picture.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken picture.png cannot be read"):
        decode(path, (4, 4), 3)


def test_decode__a_truncated_file_is_named(tmp_path):
    path = write(tmp_path / "a.jpg", np.asarray(random_images(1, 3, 64)[0].permute(1, 2, 0)))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="a.jpg cannot be read"):
        decode(path, (64, 64), 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_file_source__gathers_what_loading_keeps(tmp_path, workers):
    images = random_images(5, 3, 8)
    paths = [write(tmp_path / f"{n}.png", np.asarray(i.permute(1, 2, 0))) for n, i in enumerate(images)]
    source = FileSource(paths, (8, 8), 3, workers)
    loaded, keys = load_files(source)
    index = torch.tensor([4, 0, 2])
    assert torch.equal(source.gather(index), images[index])
    assert torch.equal(loaded.gather(index), images[index])
    assert keys.tolist() == [bytes_key(path.read_bytes()) for path in paths]


def test_subset__shares_the_inputs():
    tensor = random_images(6, 1, 4)
    every = Samples(
        TensorSource(tensor), torch.arange(6), torch.arange(6), torch.arange(6) + 10, torch.arange(6), "abcdef"
    )
    part = every.subset(torch.tensor([5, 1])).subset(torch.tensor([0]))
    assert part.source is every.source
    assert part.ids.tolist() == [15]
    assert part.sample_names() == ["f"]
    assert len(part) == 1


def test_decode__16_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((4, 4), 128 * 257, dtype=np.uint16)).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", (4, 4), 1) == 128).all()
