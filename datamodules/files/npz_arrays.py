"""Reading of npz files from anywhere: no pickle, and no more memory than the file can fill."""

import math
import os
from collections.abc import Collection
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.lib import format as npy
from numpy.typing import NDArray

from common.few import few

GIB = 2**30


def read_arrays(path: Path, wanted: Collection[str]) -> dict[str, NDArray[np.generic]]:
    """Read some arrays of an npz file; the others are left out, by name.

    Args:
        path: of the file
        wanted: names of the arrays; those that are not there are left out

    Returns:
        by name

    Raises:
        ValueError: the file is damaged, holds Python objects, or does not fit into memory
    """
    try:
        with ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            chosen = {name: info for name, info in members.items() if name in wanted}
            _check_memory(sum(_declared_bytes(archive, name, info) for name, info in chosen.items()))
            arrays = {}
            for name, info in chosen.items():
                with archive.open(info) as file:
                    arrays[name] = npy.read_array(file, allow_pickle=False)
    except Exception as error:  # a damaged field leads the readers of zip and npy to whatever error it leads to
        detail = str(error)
        if not detail or "<ast." in detail or "malformed node" in detail:
            # numpy reads the header of an array as Python's words, and says so
            detail = "the header of an array is damaged"
        raise ValueError(f"{path} cannot be read as npz without pickle: {detail}: make it anew") from error
    if others := sorted(set(members) - set(chosen)):
        rank_zero_info(f"{path}: arrays left out: {few(others)}")
    return arrays


def _declared_bytes(archive: ZipFile, name: str, info: ZipInfo) -> int:
    """Return the bytes that an array needs, as its header tells, which must be those that are there."""
    with archive.open(info) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        header = file.tell()
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects, and unpickling them could run code")
    needed = math.prod(shape) * dtype.itemsize
    if needed != info.file_size - header:
        raise ValueError(
            f"{name} has shape {shape} by its header, {needed} bytes, but {info.file_size - header} are there"
        )
    return needed


def _check_memory(needed: int) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise ValueError(
            f"its arrays need {needed / GIB:.1f} GiB, and this machine has {memory / GIB:.1f} GiB: save the images as "
            f"uint8, or as files for --data ImageFolder"
        )
