import contextlib
import os
import socket
import sys
from types import SimpleNamespace

import pytest
from PIL import Image, UnidentifiedImageError

from datamodules.files import formats
from datamodules.files.decoding import decode
from datamodules.files.formats import SUFFIXES, hint, is_image_suffix, open_file, open_image


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("jfif", "JPEG"),
        ("jpe", "JPEG"),
        ("avif", "AVIF"),
        ("jp2", "JPEG2000"),
        ("webp", "WEBP"),
        ("tga", "TGA"),
        ("pcx", "PCX"),
        ("dib", "DIB"),
        ("pnm", "PPM"),
        ("qoi", "QOI"),
    ],
)
def test_open_image__formats_by_suffix(tmp_path, suffix, kind):
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", (16, 16), (200, 100, 50)).save(path, kind)
    assert f".{suffix}" in SUFFIXES
    assert abs(decode(path, (16, 16), 3).astype(int) - (200, 100, 50)).max() < 10


def test_open_image__eps_under_another_name_starts_no_program(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.check_call", lambda *args, **options: pytest.fail("Ghostscript was started"))
    for name in ("x.jpg", "x.eps", "x.png"):
        (tmp_path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image .it is EPS"):
            decode(tmp_path / name, (10, 10), 3)


def test_open_image__a_weak_format_under_a_strong_suffix_is_refused(tmp_path):
    # a damaged PNG may look like a TGA
    Image.new("RGB", (4, 4)).save(tmp_path / "x.tga")
    (tmp_path / "x.tga").rename(tmp_path / "x.png")
    with pytest.raises(UnidentifiedImageError), open_image(tmp_path / "x.png"):
        pass


def pipe(path):
    os.mkfifo(path)


def listening(path):
    # the path of a socket may have some hundred characters only
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as end:
        end.bind(path.name)


NO_FILES = {
    "a pipe": pipe,
    "a socket": listening,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("what", NO_FILES)
def test_open_file__what_is_no_file_is_refused_at_once(tmp_path, what):
    NO_FILES[what](tmp_path / "x.png")
    with pytest.raises(OSError, match=f"{what}, not a file"):
        open_file(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "a page of HTML"),
        (b"\0\0\0\x18ftypheic", "it is HEIF: pip install"),
        (b"version https://git-lfs", "git lfs pull"),
        (b"hello", "not of a known format"),
    ],
)
def test_what_it_is(tmp_path, content, what):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=what):
        decode(tmp_path / "x.jpg", (4, 4), 3)


@pytest.fixture
def heif(monkeypatch):
    """A stand-in for the package that reads HEIF."""
    formats.reads_heif.cache_clear()
    formats._heif_format.cache_clear()
    registered = []
    monkeypatch.setitem(sys.modules, "pi_heif", SimpleNamespace(register_heif_opener=lambda: registered.append(1)))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "pi_heif")
    yield registered
    formats.reads_heif.cache_clear()
    formats._heif_format.cache_clear()


def test_heif__is_read_where_its_package_is_installed(tmp_path, heif, monkeypatch):
    seen = []
    monkeypatch.setattr(formats.Image, "open", lambda file, formats: seen.append(formats) or Image.new("RGB", (2, 2)))
    assert is_image_suffix(".heic")
    for name in ("x.heic", "x.png"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(AssertionError), open_image(tmp_path / name):
            pass
    assert ["HEIF" in known for known in seen] == [True, False]
    # its package is loaded once, and for such a file alone
    assert heif == [1]


def test_heif__is_left_out_with_a_hint_where_it_is_not(monkeypatch):
    formats.reads_heif.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not is_image_suffix(".heic")
    assert "pip install -e '.[heif]'" in hint(".heic")
    formats.reads_heif.cache_clear()
