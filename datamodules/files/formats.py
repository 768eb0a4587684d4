"""Which files are images: by suffix where folders are listed, by content where a file is opened."""

import errno
import importlib.util
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile

# recognised by their content, whatever the suffix: a PNG named .jpg is common. The commonest come first. EPS and
# WMF are not among them: reading those starts other programs
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "QOI")
# so few bytes identify these that a damaged file of another format may have them: tried for their own suffixes only
WEAK_FORMATS = {".dib": "DIB", ".icb": "TGA", ".pcx": "PCX", ".tga": "TGA", ".vda": "TGA", ".vst": "TGA"}
# fmt: off
SUFFIXES = frozenset({
    ".apng", ".avif", ".avifs", ".bmp", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf",
    ".jpg", ".jpx", ".mpo", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif", ".tiff", ".webp",
    *WEAK_FORMATS,
})
# images that are not read here
OTHER_IMAGES = frozenset({
    ".arw", ".cr2", ".cr3", ".dcm", ".dds", ".dng", ".emf", ".eps", ".fit", ".fits", ".icns", ".ico", ".jxl", ".nef",
    ".orf", ".pdf", ".psd", ".raf", ".ras", ".rw2", ".sgi", ".svg", ".wmf", ".xcf",
})
# fmt: on
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
HEIF_HINT = "pip install -e '.[heif]' reads them"
# how files begin that often bear the suffix of an image
SIGNS = {
    b"%!PS": "it is EPS",
    b"\xc5\xd0\xd3\xc6": "it is EPS",
    b"%PDF": "it is a PDF",
    b"<!do": "it is a page of HTML",
    b"<htm": "it is a page of HTML",
    b"<svg": "it is SVG",
    b"<?xm": "it is XML",
    b"vers": "it is a pointer of Git LFS: git lfs pull fetches the file",
}
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case, or an empty text."""
    # a Path of each of a million files would take seconds
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


@lru_cache
def reads_heif() -> bool:
    """Tell whether the package that reads HEIF is installed."""
    return importlib.util.find_spec("pi_heif") is not None


@lru_cache
def _heif_format() -> str:
    # imported where there is such a file alone: it takes a while
    import pi_heif

    pi_heif.register_heif_opener()
    return "HEIF"


def is_image_suffix(suffix: str) -> bool:
    """Tell whether files of a suffix, in lower case, are read as images."""
    return suffix in SUFFIXES or (suffix in HEIF_SUFFIXES and reads_heif())


def hint(suffix: str) -> str:
    """Say what to do about images of a suffix that is not read, or nothing."""
    if suffix in HEIF_SUFFIXES:
        return HEIF_HINT
    return "convert them to PNG or JPEG" if suffix in OTHER_IMAGES else ""


def open_file(path: Path | str) -> BinaryIO:
    """Open a file to read; a pipe, a device or a folder is refused at once, where opening it might wait for good.

    Raises:
        OSError: it is no file, or cannot be read; `strerror` says why
        ValueError: no file can have this name
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "a socket, not a file") from error
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = next((name for test, name in KINDS if test(mode)), "something else")
    raise OSError(errno.EINVAL, f"{kind}, not a file")


@contextmanager
def open_image(path: Path | str, content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open an image of one of the known formats; its pixels are decoded later.

    Args:
        path: of the file; its suffix says which weak formats are tried
        content: the file's bytes, where they were read already

    Raises:
        OSError: it is no file, or cannot be read
        ValueError: no file can have this name
        PIL.UnidentifiedImageError: it is of no known format
    """
    suffix = suffix_of(str(path))
    formats: tuple[str, ...] = FORMATS
    if suffix in WEAK_FORMATS:
        formats = (*FORMATS, WEAK_FORMATS[suffix])
    elif suffix in HEIF_SUFFIXES and reads_heif():
        formats = (*FORMATS, _heif_format())
    with open_file(path) if content is None else BytesIO(content) as file, Image.open(file, formats=formats) as image:
        assert isinstance(image, ImageFile.ImageFile)
        yield image


def what_it_is(path: Path, content: bytes | None) -> str:
    """Say what a file of no known format is, as far as its first bytes tell, else that its format is not known."""
    if content is None:
        with open_file(path) as file:
            content = file.read(16)
    if not content:
        return "it is empty"
    if content[4:8] == b"ftyp" and content[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return f"it is HEIF: {HEIF_HINT} under the suffix .heic"
    return SIGNS.get(content[:4].lower() if content[:1] == b"<" else content[:4], "not of a known format")
