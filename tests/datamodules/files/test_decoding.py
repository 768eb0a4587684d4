import numpy as np
import pytest
from PIL import Image, ImageCms

from datamodules.files.decoding import LARGE, PICTURES, decode, read_header
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


@pytest.mark.parametrize("kind", ["L", "I;16"])
def test_decode__a_tiff_on_its_side_is_turned_once(tmp_path, kind):
    # Pillow turns TIFF by itself
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((4, 8), dtype=np.uint8 if kind == "L" else np.uint16)
    pixels[:, :4] = 255 if kind == "L" else 65535
    Image.fromarray(pixels).save(tmp_path / "a.tif", exif=exif)
    assert read_header(tmp_path / "a.tif") == ((8, 4), kind, "TIFF")
    upright = decode(tmp_path / "a.tif", (8, 4), 1)
    assert (upright[:4].min(), upright[4:].max()) == (255, 0)


def test_decode__further_pictures_are_noted(tmp_path):
    images = [Image.new("RGB", (4, 4), (value,) * 3) for value in (9, 77, 200)]
    notes = []
    # those in a camera's JPEG are previews
    for suffix in ("tif", "gif", "webp", "png", "avif", "mpo"):
        path = tmp_path / f"a.{suffix}"
        images[0].save(path, save_all=True, append_images=images[1:])
        pixels = decode(path, (4, 4), 3, None, None, lambda *note: notes.append(note))
        assert abs(pixels.astype(int) - 9).max() < 8
    assert notes == [(PICTURES, "3 pictures")] * 5


def test_decode__very_many_pixels_are_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path, notes = write(tmp_path / "a.png", np.zeros((3, 5), dtype=np.uint8)), []
    with pytest.warns(Image.DecompressionBombWarning):
        decode(path, (3, 5), 1, None, None, lambda *note: notes.append(note))
    assert notes == [(LARGE, "5x3")]
    write(path, np.zeros((5, 5), dtype=np.uint8))
    with pytest.raises(ValueError, match="a.png cannot be read as an image .*exceeds limit"):
        decode(path, (5, 5), 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_decode__every_mode_as_grey_and_colour(tmp_path, mode):
    grey = Image.new("RGB", (4, 4), (255, 255, 255))
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        ImageCms.applyTransform(grey, to_lab).save(tmp_path / "a.tif")
    else:
        source = grey.quantize(2) if mode in ("P", "PA") else grey
        source.convert(mode).save(tmp_path / "a.tif")
    for channels in (1, 3):
        assert decode(tmp_path / "a.tif", (4, 4), channels).min() > 250
