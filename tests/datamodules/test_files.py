import os

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.files import FileSource, decode, read_all, walk_images
from datamodules.image_store import read_into_memory
from datamodules.provenance import bytes_key
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
    source = FileSource(tmp_path, [path.name for path in paths], (8, 8), 3, workers)
    reading = read_into_memory(source, stop_at_problem=True)
    index = torch.tensor([4, 0, 2])
    assert torch.equal(source.gather(index), images[index])
    assert torch.equal(reading.images[index], images[index])
    assert reading.keys.tolist() == [bytes_key(path.read_bytes()) for path in paths]


def test_decode__16_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((4, 4), 128 * 257, dtype=np.uint16)).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", (4, 4), 1) == 128).all()


def test_decode__a_large_jpeg_is_the_same_picture_when_decoded_small(tmp_path):
    # decoded at a fraction of its size: close to what scaling the whole would give
    coarse = random_images(1, 3, 6)[0].permute(1, 2, 0).numpy()
    large = Image.fromarray(coarse).resize((1200, 900), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    large.save(tmp_path / "large.png")
    small, reference = (decode(tmp_path / name, (64, 64), 3).astype(int) for name in ("large.jpg", "large.png"))
    assert abs(small - reference).mean() < 3


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


def test_walk_images__a_link_that_leads_back_up_ends(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    write(tmp_path / "a/b/1.png", np.zeros((2, 2), dtype=np.uint8))
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/itself.png").symlink_to(tmp_path / "a/itself.png")
    assert sorted(p.name for p in walk_images(tmp_path / "a")) == ["1.png", "itself.png"]


def test_walk_images__linked_folders_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "class").mkdir()
    write(tmp_path / "elsewhere/1.png", np.zeros((2, 2), dtype=np.uint8))
    (tmp_path / "class/linked").symlink_to(tmp_path / "elsewhere")
    assert [p.name for p in walk_images(tmp_path / "class")] == ["1.png"]


def test_walk_images__a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "a/closed").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="closed"):
        list(walk_images(tmp_path / "a"))


@pytest.mark.parametrize("error", [TypeError("bad operand"), MemoryError()])
def test_decode__whatever_a_damaged_field_leads_to_names_the_file(tmp_path, monkeypatch, error):
    def fail(image):
        raise error

    path = write(tmp_path / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    monkeypatch.setattr("PIL.Image.Image.getexif", fail)
    with pytest.raises(ValueError, match="a.png cannot be read as an image .(bad operand|MemoryError)"):
        decode(path, (4, 4), 3)


def test_decode__16_bits_of_another_format(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 65535\n" + (128 * 257).to_bytes(2, "big") * 4)
    assert (decode(tmp_path / "a.pgm", (2, 2), 1) == 128).all()


def test_decode__the_message_holds_no_address(tmp_path):
    (tmp_path / "a.png").write_bytes(b"hello")
    with pytest.raises(ValueError, match="of a known format") as caught:
        decode(tmp_path / "a.png", (2, 2), 1, b"hello")
    assert "object at" not in str(caught.value)
