import numpy as np
import pytest
from PIL import Image

from datamodules.decoding import decode
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
