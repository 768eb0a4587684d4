"""Safetensors files with a checksum, which the format does not have."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from records.damaged import damaged

# entry of the metadata, and what its value begins with
NAME, KIND = "content_checksum", "crc32:"


def with_checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what a file of tensors says of itself, with a checksum of all.

    Args:
        tensors: by name, on the CPU
        metadata: what it says beside
    """
    said = dict(metadata or {})
    return {**said, NAME: checksum(tensors, said)}


def read_tensors(path: Path, way_out: str) -> tuple[dict[str, Tensor], bool]:
    """Read the tensors of a file, and compare them with its checksum.

    Args:
        path: of the file
        way_out: what to do if it is damaged

    Returns:
        tensors by name, and whether there was a checksum: files of other programs have none

    Raises:
        DamagedFileError: it cannot be read, or its content has changed
        FileNotFoundError: there is no such file
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            said = file.metadata() or {}
    except FileNotFoundError:
        raise
    except Exception as error:
        # whatever a changed byte leads to, in the library or in torch
        raise damaged(path, " ".join(str(error).split()), way_out) from error
    noted = said.pop(NAME, None)
    if noted is None and not any(value.startswith(KIND) for value in said.values()):
        return tensors, False
    if noted != checksum(tensors, said):
        raise damaged(path, "its content has changed since it was written", way_out)
    return tensors, True


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Sum up names, types, shapes and bytes of tensors, and what a file says of itself.

    Args:
        tensors: by name, on the CPU
        metadata: without the checksum
    """
    kinds = [(name, str(tensors[name].dtype), tuple(tensors[name].shape)) for name in sorted(tensors)]
    total = zlib.crc32(repr((kinds, sorted(metadata.items()))).encode())
    for name in sorted(tensors):
        total = zlib.crc32(as_bytes(tensors[name]), total)
    return f"{KIND}{total:08x}"


def as_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, whatever its type."""
    if not tensor.numel():
        return memoryview(b"")
    flat: Any = tensor.contiguous().flatten().view(torch.uint8).numpy()
    return memoryview(flat)
