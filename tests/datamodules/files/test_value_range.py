import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from datamodules.files.decoding import decode, read_header
from datamodules.files.value_range import CUT_OFF, NARROW, OWN_RANGE, parse
from tests.helpers.tiff import tiff

GREY = np.array([[0, 1000], [2000, 4095]])
# GREY in 8 bits, where the range is 0 to 4095
SCALED = [0, 62, 124, 255]
COLOURS = np.array([[[0, 2000, 4095], [0, 0, 0]], [[4095] * 3, [100, 200, 300]]])


def png(pixels, colour_type):
    """A PNG of 16 bits, which Pillow does not write in colour."""
    pixels = np.asarray(pixels).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def part(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def served(tmp_path):
    """Serves the bytes of a file, and returns its pixels and what was noted."""

    def serve(content, value_range=None, channels=1, suffix="tif"):
        path, notes = tmp_path / f"x.{suffix}", {}
        path.write_bytes(content)
        size = read_header(path)[0]
        pixels = decode(path, size, channels, None, value_range, lambda kind, detail="": notes.update({kind: detail}))
        assert np.array_equal(pixels, decode(path, size, channels, path.read_bytes(), value_range))
        return pixels.reshape(-1).tolist(), notes

    return serve


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i2", ">i2", "<u4", "<i4", "<f4", ">f4"])
def test_range__every_kind_of_tiff(served, kind):
    assert served(tiff(GREY.astype(kind)), (0, 4095))[0] == SCALED


def test_range__signed_values(served):
    values = np.array([[-1000, 0], [1000, 3000]])
    for kind in ("<i2", ">i2", "<i4", "<f4"):
        assert served(tiff(values.astype(kind)), (-1000, 3000))[0] == [0, 63, 127, 255]
    # all that 16 bits can hold
    pixels, notes = served(tiff(values.astype("<i2")))
    assert pixels == [123, 127, 131, 139]
    assert notes == {NARROW: "-1000 to 3000 of -32768 to 32767"}
    # Pillow reads signed 8 bits as if they had no sign
    assert served(tiff(np.array([[-128, 0], [1, 127]], dtype="i1")))[0] == [0, 128, 129, 255]


def test_range__unsigned_32_bits_above_the_signed_ones(served):
    # Pillow reads them as signed ones
    assert served(tiff(np.array([[0, 3_000_000_000]], dtype="<u4")), (0, 4e9))[0] == [0, 191]


def test_range__white_is_zero(served):
    assert served(tiff(GREY.astype("<u2"), photometric=0), (0, 4095))[0] == [255 - value for value in SCALED]


def test_range__of_12_packed_bits(served):
    content = tiff(np.frombuffer(bytes([0x00, 0x0F, 0xFF]), dtype="u1").reshape(1, 3), bits=12)
    assert served(content)[0] == [0, 255]
    assert served(content, (0, 4095))[0] == [0, 255]


def test_range__compressed_and_other_formats(served):
    deep = GREY.astype(np.uint16)
    assert served(encoded(deep, "TIFF", compression="tiff_lzw"), (0, 4095))[0] == SCALED
    assert served(encoded(deep, "PNG"), (0, 4095), suffix="png")[0] == SCALED
    for most in (4095, 65535):
        content = f"P5 2 2 {most}\n".encode() + GREY.astype(">u2").tobytes()
        assert served(content, (0, 4095), suffix="pgm")[0] == SCALED
    assert served(b"P5 2 2 4095\n" + GREY.astype(">u2").tobytes(), suffix="pgm")[0] == SCALED


def test_range__colours_of_16_bits(served):
    wanted = [0, 124, 255, 0, 0, 0, 255, 255, 255, 6, 12, 18]
    opaque = np.dstack([COLOURS, np.full((2, 2), 65535)])
    for content, suffix in (
        (tiff(COLOURS.astype("<u2")), "tif"),
        (tiff(COLOURS.astype(">u2")), "tif"),
        (png(COLOURS, 2), "png"),
        (png(opaque, 6), "png"),
    ):
        assert served(content, (0, 4095), 3, suffix)[0] == wanted
        pixels, notes = served(content, None, 3, suffix)
        assert pixels == [value // 256 for value in COLOURS.reshape(-1).tolist()]
        assert list(notes) == [NARROW]


@pytest.mark.parametrize(
    ("content", "value_range", "message"),
    [
        (tiff(np.array([[0, 0.5]], dtype="<f4")), None, "floating-point values from 0 to 0.5 .*--data.value_range MIN"),
        (tiff(np.array([[-5, 9]], dtype="<i4")), None, "signed 32-bit values from -5 to 9 have no known range"),
        (tiff(np.array([[0, np.nan]], dtype="<f4")), (0, 1), "NaN or infinite"),
        (tiff(COLOURS.astype("<u2"), planar=2), None, "16-bit colours in separate planes"),
        (png(np.dstack([GREY, GREY]), 4), (0, 4095), "only the upper 8 bits can be read"),
        (b"P6 2 2 4095\n" + COLOURS.astype(">u2").tobytes(), (0, 4095), "only the upper 8 bits can be read"),
        (encoded(GREY.astype(np.uint16), "JPEG2000"), (0, 4095), "only the upper 8 bits can be read"),
    ],
)
def test_range__what_cannot_be_right_is_refused(tmp_path, content, value_range, message):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.png cannot be read as an image .*{message}"):
        decode(tmp_path / "x.png", (2, 2), 1, None, value_range)


def test_range__values_outside_are_cut_off_and_noted(served):
    pixels, notes = served(tiff(GREY.astype("<u2")), (500, 2000))
    assert pixels == [0, 85, 255, 255]
    assert notes == {CUT_OFF: "0 to 4095"}


def test_range__files_of_8_bits(served):
    eight = np.array([[0, 50], [100, 200]], dtype=np.uint8)
    # they can hold it, and are scaled
    assert served(tiff(eight), (0, 200)) == ([0, 63, 127, 255], {})
    # they cannot, and keep their own
    assert served(tiff(eight), (0, 4095)) == ([0, 50, 100, 200], {OWN_RANGE: ""})


def test_range__a_stray_pixel_does_not_hide_that_the_others_are_dark(served):
    pixels = np.random.default_rng(0).integers(0, 4096, (100, 100)).astype("<u2")
    pixels[3, 3] = 65535
    assert list(served(tiff(pixels))[1]) == [NARROW]


@pytest.mark.parametrize("option", ["wide", "12", "0,", "5,5", "9,1", "0,inf", "nan,1", (1.0, 0.0), (1.0,)])
def test_parse__what_is_no_range(option):
    with pytest.raises(ValueError, match="--data.value_range must be auto, full or MIN,MAX"):
        parse(option)


def test_parse__ranges():
    assert parse("[-1024, 3071]") == parse((-1024.0, 3071.0)) == parse("-1024,3071") == (-1024.0, 3071.0)
