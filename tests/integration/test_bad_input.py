"""Every row of the table of bad input in docs/data.md, by its name."""

import os
import re
import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image, ImageCms

from datamodules import ImageFolder, Manifest, Npz
from pipelines.main import main
from tests.helpers.tiff import tiff

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "data.md"


def halves(left, right, size=16):
    """An image of two colours, side by side."""
    pixels = np.zeros((size, size, len(left)), dtype=np.uint8)
    pixels[:, : size // 2], pixels[:, size // 2 :] = left, right
    return pixels


def colours(image):
    """The colours in the middle of the left and the right half."""
    return image[:, 8, 3].tolist(), image[:, 8, 12].tolist()


def near(image, left, right):
    return np.allclose(colours(image), (left, right), atol=12)


RED, BLUE = (250, 10, 10), (10, 10, 250)
# the strong ones lie outside of what Lab holds in 8 bits
MILD_RED, MILD_BLUE = (180, 90, 90), (90, 90, 180)


def cmyk(folder):
    Image.fromarray(halves(RED, BLUE)).convert("CMYK").save(folder / "x.tif")


def sixteen_bits(folder):
    pixels = halves((10,), (250,))[..., 0].astype(np.uint16) * 257
    Image.fromarray(pixels).save(folder / "x.png")


def sixteen_bit_colours(folder):
    (folder / "x.tif").write_bytes(tiff(halves(RED, BLUE).astype("<u2") * 257))


def signed_bits(folder):
    pixels = halves((10,), (250,))[..., 0].astype("<i4") * 257 - 32768
    (folder / "x.tif").write_bytes(tiff(pixels.astype("<i2")))


def white_is_zero(folder):
    pixels = 65535 - halves((10,), (250,))[..., 0].astype("<u2") * 257
    (folder / "x.tif").write_bytes(tiff(pixels.astype("<u2"), photometric=0))


def lab(folder):
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(Image.fromarray(halves(MILD_RED, MILD_BLUE)), to_lab).save(folder / "x.tif")


def one_bit(folder):
    Image.fromarray(halves((0,), (255,))[..., 0]).convert("1", dither=Image.Dither.NONE).save(folder / "x.png")


def pages(folder):
    images = [Image.fromarray(halves(*pair)) for pair in ((RED, BLUE), (BLUE, RED))]
    images[0].save(folder / "x.tif", save_all=True, append_images=images[1:])


def palette(folder):
    Image.fromarray(halves(RED, BLUE)).quantize(4).save(folder / "x.png")


def grey(folder):
    Image.fromarray(halves((10,), (250,))[..., 0]).save(folder / "x.png")


def alpha(folder):
    Image.fromarray(halves((*RED, 0), (*BLUE, 128))).save(folder / "x.png")


def rotated(folder):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(halves(BLUE, RED)).save(folder / "x.png", exif=exif)


def animated(folder):
    frames = [Image.fromarray(halves(*pair)) for pair in ((RED, BLUE), (BLUE, RED), (BLUE, BLUE))]
    frames[0].save(folder / "x.gif", save_all=True, append_images=frames[1:])


def single_pixel(folder):
    Image.new("RGB", (1, 1), RED).save(folder / "x.png")


def very_large(folder):
    Image.fromarray(halves(RED, BLUE)).resize((6000, 6000), Image.Resampling.NEAREST).save(folder / "x.jpg")


def odd_name(folder):
    Image.fromarray(halves(RED, BLUE)).save(folder / "x naïve 画\n.png")


SERVED = {
    "CMYK": (cmyk, RED, BLUE),
    "16-bit grey": (sixteen_bits, (10,) * 3, (250,) * 3),
    "16-bit colours": (sixteen_bit_colours, RED, BLUE),
    "signed 16-bit TIFF": (signed_bits, (10,) * 3, (250,) * 3),
    "TIFF where white is 0": (white_is_zero, (10,) * 3, (250,) * 3),
    "Lab colours": (lab, MILD_RED, MILD_BLUE),
    "one bit a pixel": (one_bit, (0,) * 3, (255,) * 3),
    "several pages": (pages, RED, BLUE),
    "palette": (palette, RED, BLUE),
    "grey among colour": (grey, (10,) * 3, (250,) * 3),
    "transparency": (alpha, RED, BLUE),
    "turned by its EXIF entry": (rotated, RED, BLUE),
    "animation": (animated, RED, BLUE),
    "1x1": (single_pixel, RED, RED),
    "very large": (very_large, RED, BLUE),
    "spaces, unicode or newlines in the name": (odd_name, RED, BLUE),
}


@pytest.mark.parametrize("row", SERVED)
def test_served(row, image_folder):
    write, left, right = SERVED[row]
    write(image_folder / "train/cat")
    train = ImageFolder(root=str(image_folder), image_size=16, val_fraction=0.0).splits["train"]
    (number,) = [n for n, name in enumerate(train.sample_names()) if "/x" in name]
    image = train.source.gather(train.rows[number : number + 1])[0]
    assert tuple(image.shape) == (3, 16, 16)
    assert near(image, left, right)


def hidden(folder):
    (folder / ".hidden.png").write_bytes(b"")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails/1.png").write_bytes(b"")


def system_files(folder):
    (folder / "Thumbs.db").write_bytes(b"")
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir/thumbnail.jpg").write_bytes(b"")


def other_file(folder):
    (folder / "notes.txt").write_text("hello")


def link_loop(folder):
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    (folder / "itself").symlink_to(folder / "itself")


LEFT_OUT = {
    "hidden files and folders": hidden,
    "files of other types": other_file,
    "files and folders of systems and file servers": system_files,
    "links that lead in a circle": link_loop,
}


@pytest.mark.parametrize("row", LEFT_OUT)
def test_left_out(row, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(4):
            Image.effect_noise((16, 16), 50).save(tmp_path / label / f"{number}.png")
    LEFT_OUT[row](tmp_path / "cat")
    data = ImageFolder(root=str(tmp_path), test_fraction=0.0, val_fraction=0.0)
    assert data.info.class_counts == [4, 4]


def png_header(width, height):
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))


def truncated(path):
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:-300])


def link_to_nothing(path):
    path.symlink_to(path.parent / "gone.jpg")


UNREADABLE = {
    "no bytes": lambda path: path.write_bytes(b""),
    "cut short": truncated,
    "no image": lambda path: path.write_text("hello"),
    "a broken header": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n broken"),
    "32 bits a pixel and channel": lambda path: Image.new("F", (8, 8)).save(path, format="tiff"),
    "EPS under another name": lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0"),
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "more than 178 million pixels": lambda path: path.write_bytes(png_header(20_000, 20_000)),
    "a link to nothing": link_to_nothing,
}


@pytest.mark.parametrize("cache", ["ram", "none"])
@pytest.mark.parametrize("row", UNREADABLE)
def test_unreadable(row, cache, image_folder, tmp_path):
    UNREADABLE[row](image_folder / "train/cat/bad.jpg")
    options = {"root": str(image_folder), "cache": cache, "cache_dir": str(tmp_path / "c"), "val_fraction": 0.0}
    with pytest.raises(ValueError, match="train/cat/bad.jpg cannot be read"):
        _ = ImageFolder(**options).info
    data = ImageFolder(**options, on_unreadable="skip")
    with pytest.warns(UserWarning, match="1 of 73 files are left out .*bad.jpg cannot be read"):
        assert data.info.class_counts == [12, 12, 12]
    (line,) = data.dataset.skipped
    assert "bad.jpg" in line


def folder(change, **options):
    """An image folder after a change, which is refused."""

    def make(root, tmp_path):
        change(root)
        return ImageFolder(root=str(root), **options)

    return make


def manifest(*lines, **options):
    """A manifest of some rows beside three images, which is refused."""

    def make(root, tmp_path):
        (root / "m.csv").write_text("\n".join(("path,label", "train/cat/000.png,cat", "train/dog/001.png,dog", *lines)))
        return Manifest(path=str(root / "m.csv"), **options)

    return make


def probabilities(root, tmp_path):
    """A manifest of two images, the second of which has more than certainty."""
    (root / "m.csv").write_text("path,p(cat),p(dog)\ntrain/cat/000.png,0.9,0.1\ntrain/dog/001.png,0.5,0.7\n")
    return Manifest(path=str(root / "m.csv"))


def columns(header, encoding="utf-8"):
    def make(root, tmp_path):
        (root / "m.csv").write_text(f"{header}\ntrain/cat/000.png,cat\n", encoding=encoding)
        return Manifest(path=str(root / "m.csv"))

    return make


def npz(**changes):
    """An npz file with one wrong array."""

    def make(root, tmp_path):
        arrays = {"x_train": np.zeros((6, 4, 4, 3)), "y_train": np.arange(6) % 2}
        arrays |= {"x_test": np.zeros((4, 4, 4, 3)), "y_test": np.arange(4) % 2}
        np.savez(tmp_path / "a.npz", **arrays | changes)
        return Npz(path=str(tmp_path / "a.npz"))

    return make


def link_outside(root, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    return manifest("link.png,cat")(root, tmp_path)


def bomb(root, tmp_path):
    """An npz file whose header tells of more bytes than any machine has."""
    path = tmp_path / "a.npz"
    with ZipFile(path, "w") as archive, archive.open("x_train.npy", "w") as file:
        header = {"shape": (10**12, 4, 4, 3), "fortran_order": False, "descr": "|u1"}
        np.lib.format.write_array_header_1_0(file, header)
    return Npz(path=str(path))


def empty_folder(root):
    (root / "train/fox").mkdir()


def one_image(root):
    (root / "train/fox").mkdir()
    Image.effect_noise((16, 16), 50).save(root / "train/fox/1.png")
    shutil.copytree(root / "train/fox", root / "test/fox")


REFUSED = {
    "a class folder with no image": (folder(empty_folder), "class folder .*fox holds no image"),
    "a class folder with one image": (
        folder(one_image),
        r"class 'fox' has 1 distinct image\(s\), too few for 2 splits",
    ),
    "a single class": (
        folder(lambda root: [shutil.rmtree(root / "train" / name) for name in ("cat", "dog")]),
        "at least 2 classes; it holds 1",
    ),
    "a class that only the test folder has": (
        folder(lambda root: shutil.copytree(root / "test/cat", root / "test/fox")),
        "holds class 'fox', which the training folder does not",
    ),
    "a manifest without a column": (columns("path,lable"), "m.csv has no column 'label'; it has path, lable"),
    "a manifest with a path twice": (
        manifest("train/dog/../cat/000.png,cat"),
        "row 3: path 'train/cat/000.png' comes more than once",
    ),
    "a manifest with probabilities that do not add up to 1": (
        probabilities,
        r"row 2: its probabilities are not numbers from 0 that add up to 1 \(0.5, 0.7, train/dog/001.png\)",
    ),
    "a manifest with an unknown label": (
        manifest("train/cat/003.png,act", class_names=["cat", "dog"]),
        r"row 3: unknown label 'act' \(known: cat, dog\)",
    ),
    "a manifest with missing labels": (
        manifest("train/cat/003.png,NaN"),
        r"row 3: the label is missing \('NaN', train/cat/003.png\)",
    ),
    "a manifest with classes that look alike": (
        manifest("train/cat/003.png,Cat"),
        r"look alike: 'Cat' \(1 images\) and 'cat' \(1 images\)",
    ),
    "a manifest with a link out of its root": (link_outside, "row 3: path 'link.png' leads out of the root"),
    "a manifest with a path of a Windows drive": (
        manifest(r"C:\me\a.png,cat"),
        r"row 3: path 'C:\\\\me\\\\a.png' is one of a Windows drive",
    ),
    "a manifest of another encoding": (
        columns("path,label\na.png,Köter", encoding="cp1252"),
        "m.csv, line 2: cannot be read as UTF-8 text: .*--data.encoding cp1252",
    ),
    "a manifest with a path outside its root": (
        manifest("/etc/passwd,cat"),
        "row 3: path '/etc/passwd' is not inside",
    ),
    "a manifest with a file that is not there": (manifest("train/cat/gone.png,cat"), "gone.png cannot be read"),
    "an npz with a wrong shape": (npz(x_train=np.zeros((6, 4))), "images of all splits must have one shape"),
    "an npz with NaN": (npz(x_train=np.full((6, 4, 4, 3), np.nan)), "x_train holds NaN or infinite pixels"),
    "an npz with Python objects": (
        npz(y_train=np.array([{}] * 6)),
        "cannot be read as npz without pickle: y_train holds Python objects",
    ),
    "an npz with a label of a billion": (npz(y_train=np.array([0, 1] * 2 + [0, 10**9])), "labels reach to 1000000000"),
    "an npz with a header of more than it holds": (
        bomb,
        r"a.npz cannot .* x_train has shape \(1000000000000, 4, 4, 3\) by its header",
    ),
}


@pytest.mark.parametrize("row", REFUSED)
def test_refused(row, image_folder, tmp_path):
    make, message = REFUSED[row]
    with pytest.raises(ValueError, match=message):
        _ = make(image_folder, tmp_path).info


NO_ROOM = "no room on the disk for the cache"


def test_no_room(image_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    options = ("--data.root", image_folder, "--data.cache", "disk", "--data.cache_dir", tmp_path / "c")
    words = ["fit", "--data", "ImageFolder", *map(str, options), "--run.root", str(tmp_path / "runs")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert re.search(r"cannot be kept in --data.cache_dir .* are needed and .* are free.*--data.cache none", error)
    # nothing is left of a run that never began
    assert not (tmp_path / "runs").exists()


def test_table__has_these_rows():
    text = DOCUMENT.read_text().partition("## Bad input")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")][2:]
    assert sorted(rows) == sorted([*SERVED, *LEFT_OUT, *UNREADABLE, *REFUSED, NO_ROOM])
