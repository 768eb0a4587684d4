"""Stable sample ids, content keys, and the record of what a model was fitted and selected on."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.samples import Samples

BLOCK = 10_000


def _hash64(*parts: bytes) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little", signed=True)


def text_hashes(texts: Sequence[str]) -> NDArray[np.int64]:
    """Hash texts to numbers that are the same everywhere, int64, shape `(text,)`."""
    hashes = np.empty(len(texts), dtype=np.int64)
    # in parts, because a million digests at once take more memory than the texts
    for start in range(0, len(texts), BLOCK):
        encoded = (text.encode("utf-8", "surrogateescape") for text in texts[start : start + BLOCK])
        digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in encoded)
        hashes[start : start + BLOCK] = np.frombuffer(digests, dtype="<i8")
    return hashes


def sample_ids(names: Sequence[str]) -> Tensor:
    """Turn sample names into ids that survive shuffling, subsampling, folds and machines.

    Args:
        names: one name a sample, unique in the data set, such as `train/cat/001.jpg`

    Returns:
        int64 ids, 0 or above, shape `(sample,)`

    Raises:
        ValueError: two samples share a name (or, very unlikely, a hash)

    Example:
        >>> sample_ids(["train/0", "train/1"]).tolist() == sample_ids(["train/0", "train/1"]).tolist()
        True
    """
    ids = text_hashes(names) & np.iinfo(np.int64).max
    if len(np.unique(ids)) != len(ids):
        unique, counts = np.unique(ids, return_counts=True)
        repeated = names[int(np.flatnonzero(ids == unique[counts > 1][0])[0])]
        raise ValueError(f"sample names must be unique: {repeated!r} occurs more than once")
    return torch.from_numpy(ids)


def array_keys(images: np.ndarray) -> Tensor:
    """Hash the pixels of each image, so that a copy under another name is recognised.

    Args:
        images: uint8, shape `(sample, height, width, channel)`

    Returns:
        int64 content keys, shape `(sample,)`
    """
    shape = np.asarray(images.shape[1:], dtype=np.int64).tobytes()
    rows = np.ascontiguousarray(images).reshape(len(images), -1)
    return torch.from_numpy(np.fromiter((_hash64(shape, row.tobytes()) for row in rows), np.int64, len(rows)))


def bytes_key(content: bytes) -> int:
    """Hash the bytes of one file; see `array_keys`."""
    return _hash64(content)


@dataclass(frozen=True)
class Provenance:
    """The samples that a model has seen, and in which role, by content key and by group; each sorted and unique.

    Args:
        fitted: keys of the samples that its weights were fitted on
        selected: keys of the samples that chose its checkpoint or stopped its training
        calibrated: keys of the samples that something beside its weights was fitted on: a temperature, thresholds, or
            the head over frozen bases
        fitted_groups: groups of the samples in `fitted`, where the data has groups
        selected_groups: likewise of those in `selected`
        calibrated_groups: likewise of those in `calibrated`
    """

    fitted: Tensor
    selected: Tensor
    calibrated: Tensor
    fitted_groups: Tensor
    selected_groups: Tensor
    calibrated_groups: Tensor

    @classmethod
    def of(
        cls,
        fitted: Iterable[Tensor] = (),
        selected: Iterable[Tensor] = (),
        calibrated: Iterable[Tensor] = (),
        fitted_groups: Iterable[Tensor] = (),
        selected_groups: Iterable[Tensor] = (),
        calibrated_groups: Iterable[Tensor] = (),
    ) -> "Provenance":
        """Join several lists a role."""
        roles = (fitted, selected, calibrated, fitted_groups, selected_groups, calibrated_groups)
        return cls(*(torch.cat([torch.empty(0, dtype=torch.int64), *lists]).unique() for lists in roles))

    @classmethod
    def of_samples(
        cls, fitted: Iterable[Samples] = (), selected: Iterable[Samples] = (), calibrated: Iterable[Samples] = ()
    ) -> "Provenance":
        """Record the samples of each role, with their groups."""
        roles = [list(samples) for samples in (fitted, selected, calibrated)]
        keys = ([part.keys for part in samples] for samples in roles)
        return cls.of(*keys, *([p.groups for p in samples if p.groups is not None] for samples in roles))

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "Provenance":
        """Rebuild from a checkpoint's entry."""
        return cls.of(**{f.name: [values[f.name]] for f in fields(cls) if f.name in values})

    def plain(self) -> dict[str, Tensor]:
        """Return the record as it stands in a checkpoint."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def union(self, *others: "Provenance | None") -> "Provenance":
        """Add the samples of other records, for a run that continues one or a model that is made of several."""
        records = [self, *(record for record in others if record is not None)]
        if len(records) == 1:
            return self
        return Provenance.of(**{f.name: [getattr(record, f.name) for record in records] for f in fields(self)})


def fingerprint(*arrays: Tensor) -> str:
    """Hash int64 tensors (ids, keys, labels) into 16 hex digits that name a data set or a split."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(array.contiguous().numpy().tobytes())
    return digest.hexdigest()
