import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datamodules.files.decode import FileSource, read_all
from datamodules.files.image_store import read_into_memory
from datamodules.provenance import bytes_key, pixel_key
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
    assert reading.keys[:, 0].tolist() == [bytes_key(path.read_bytes()) for path in paths]


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


def saved_anew(folder, picture):
    """Save one picture in many ways without loss; return the names."""
    image, folder = Image.fromarray(picture), folder / "same"
    folder.mkdir()
    exif, turned = Image.Exif(), image.transpose(Image.Transpose.ROTATE_90)
    # a camera that was held upright: a quarter turn back
    exif[0x0112] = 6
    image.save(folder / "a.png")
    image.save(folder / "b.png", compress_level=0)
    image.save(folder / "c.bmp")
    image.save(folder / "d.tiff", compression="tiff_lzw")
    image.save(folder / "e.webp", lossless=True)
    image.save(folder / "f.ppm")
    info = PngInfo()
    info.add_text("title", "another")
    image.save(folder / "g.png", pnginfo=info)
    (folder / "h.png").write_bytes((folder / "a.png").read_bytes() + b"\0")
    image.convert("RGBA").save(folder / "i.png")
    turned.save(folder / "j.png", exif=exif)
    turned.save(folder / "k.tiff", exif=exif)
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("size", "channels"), [((12, 20), 3), ((6, 6), 1)])
def test_read_all__one_picture_has_one_content_key_however_it_is_saved(tmp_path, size, channels):
    picture = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    names = saved_anew(tmp_path, picture)
    (chunk,) = read_all(FileSource(tmp_path / "same", names, size, channels, 0))
    assert not chunk.problems
    assert set(chunk.keys[:, 1].tolist()) == {pixel_key(picture)}
    assert len(set(chunk.keys[:, 0].tolist())) == len(names)


def test_read_all__the_key_of_a_large_jpeg_is_of_all_its_pixels(tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)).resize((400, 300))
    picture.save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as file:
        file.convert("RGB").save(tmp_path / "b.png")
    keys = [next(read_all(FileSource(tmp_path, ["a.jpg", "b.png"], (size,) * 2, 3, 0))).keys for size in (32, 300)]
    assert len({*keys[0][:, 1].tolist(), *keys[1][:, 1].tolist()}) == 1
    assert (keys[0][:, 2] == keys[1][:, 2]).all()
    assert keys[0][0, 2] != 0


def test_read_all__deep_grey_and_its_copy_in_another_format(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (20, 18), dtype=np.uint16)
    for name in ("a.png", "b.tiff"):
        Image.fromarray(values).save(tmp_path / name)
    Image.fromarray(np.fliplr(values).copy()).save(tmp_path / "c.png", exif=mirrored())
    found = next(read_all(FileSource(tmp_path, ["a.png", "b.tiff", "c.png"], (8, 8), 1, 0, (0.0, 4095.0)))).keys
    assert set(found[:, 1].tolist()) == {pixel_key(values)}
    assert len(set(found[:, 2].tolist())) == 1


def mirrored():
    exif = Image.Exif()
    exif[0x0112] = 2
    return exif
