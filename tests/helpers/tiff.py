"""TIFF files that Pillow reads and does not write."""

import struct

import numpy as np

CODES = {"u": 1, "i": 2, "f": 3}
SHORT, LONG = 3, 4


def tiff(pixels, bits=None, photometric=None, planar=1):
    """Return the bytes of a TIFF file of one strip.

    Args:
        pixels: shape `(height, width)` or `(height, width, channel)`; its dtype says size, sign and byte order
        bits: of a sample, where they are packed in other than whole bytes
        photometric: 0 for white is zero; None takes 1 for grey and 2 for colours
        planar: 2 for colours in separate planes
    """
    pixels = np.asarray(pixels)
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    height, width = pixels.shape[:2]
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.tobytes()
    if bits is not None:
        width = width * pixels.dtype.itemsize * 8 // bits
    photometric = (2 if samples > 1 else 1) if photometric is None else photometric
    tags = [
        (256, SHORT, [width]),
        (257, SHORT, [height]),
        (258, SHORT, [bits or pixels.dtype.itemsize * 8] * samples),
        (259, SHORT, [1]),
        (262, SHORT, [photometric]),
        (273, LONG, [0]),
        (277, SHORT, [samples]),
        (278, SHORT, [height]),
        (279, LONG, [len(data)]),
        (284, SHORT, [planar]),
        (339, SHORT, [CODES[pixels.dtype.kind]] * samples),
    ]
    place = 8 + 2 + 12 * len(tags) + 4
    entries, behind = b"", b""
    long_ones = {tag: values for tag, _, values in tags if len(values) > 2}
    first_pixel = place + sum(2 * len(values) for values in long_ones.values())
    for tag, kind, values in tags:
        values = [first_pixel] if tag == 273 else values
        packed = struct.pack(order + ("H" if kind == SHORT else "I") * len(values), *values)
        if len(packed) > 4:
            behind, packed = behind + packed, struct.pack(f"{order}I", place + len(behind))
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return start + entries + struct.pack(f"{order}I", 0) + behind + data
