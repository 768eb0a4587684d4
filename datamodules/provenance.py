"""Stable sample ids, content keys, and the record of what a model was fitted and selected on."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.samples import Samples

BLOCK = 10_000
# columns of a record of what a model has seen
ROLES = ("fitted", "selected", "calibrated", "fitted_groups", "selected_groups", "calibrated_groups")


def _hash64(*parts: bytes) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little", signed=True)


def text_hashes(texts: Sequence[str]) -> NDArray[np.int64]:
    """Hash texts to numbers that are the same everywhere, int64, shape `(text,)`."""
    hashes = np.empty(len(texts), dtype=np.int64)
    # hashed in blocks, because a million digests at once take more memory than the texts
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
        unknown: weights that it derives from and that do not say what they were fitted on, by their files
        published: data sets that it derives from, whose samples have no keys here, such as ImageNet
    """

    fitted: Tensor
    selected: Tensor
    calibrated: Tensor
    fitted_groups: Tensor
    selected_groups: Tensor
    calibrated_groups: Tensor
    unknown: tuple[str, ...] = ()
    published: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        fitted: Iterable[Tensor] = (),
        selected: Iterable[Tensor] = (),
        calibrated: Iterable[Tensor] = (),
        fitted_groups: Iterable[Tensor] = (),
        selected_groups: Iterable[Tensor] = (),
        calibrated_groups: Iterable[Tensor] = (),
        unknown: Iterable[str] = (),
        published: Iterable[str] = (),
    ) -> "Provenance":
        """Join several lists a role."""
        roles = (fitted, selected, calibrated, fitted_groups, selected_groups, calibrated_groups)
        columns = [torch.cat([torch.empty(0, dtype=torch.int64), *lists]).unique() for lists in roles]
        record = cls(**dict(zip(ROLES, columns, strict=True)))
        return replace(record, unknown=tuple(dict.fromkeys(unknown)), published=tuple(dict.fromkeys(published)))

    @classmethod
    def of_samples(
        cls, fitted: Iterable[Samples] = (), selected: Iterable[Samples] = (), calibrated: Iterable[Samples] = ()
    ) -> "Provenance":
        """Record the samples of each role, with their groups."""
        roles = [list(samples) for samples in (fitted, selected, calibrated)]
        keys = [[part.keys for part in samples] for samples in roles]
        groups = [[part.groups for part in samples if part.groups is not None] for samples in roles]
        return cls.of(keys[0], keys[1], keys[2], groups[0], groups[1], groups[2])

    @classmethod
    def from_plain(cls, values: Mapping[str, Any] | None, origin: str = "a checkpoint") -> "Provenance":
        """Rebuild from a checkpoint's entry.

        Args:
            values: the entry; one that is missing, or names no sample that the weights were fitted on, says that they
                were fitted on unknown images
            origin: what to call the checkpoint
        """
        values = values or {}
        columns = {name: [values[name]] for name in ROLES if name in values}
        texts = {name: list(values[name]) for name in ("unknown", "published") if name in values}
        if not texts.get("unknown") and not any(len(keys) for keys in columns.get("fitted", [])):
            texts["unknown"] = [origin]
        return cls.of(**columns, **texts)

    def plain(self) -> dict[str, Any]:
        """Return the record as it stands in a checkpoint."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in ROLES}
        return columns | {"unknown": list(self.unknown), "published": list(self.published)}

    def origins(self) -> dict[str, list[str]]:
        """Return what result.json says of unknown and published weights that a model derives from, if any."""
        found = {"unknown_images": self.unknown, "published_data": self.published}
        return {name: list(values) for name, values in found.items() if values}

    def union(self, *others: "Provenance | None") -> "Provenance":
        """Add the samples of other records, for a run that continues one or a model that is made of several."""
        records = [self, *(record for record in others if record is not None)]
        if len(records) == 1:
            return self
        columns = {name: [getattr(record, name) for record in records] for name in ROLES}
        texts = {n: [text for record in records for text in getattr(record, n)] for n in ("unknown", "published")}
        return Provenance.of(**columns, **texts)


def fingerprint(*arrays: Tensor) -> str:
    """Hash int64 tensors (ids, keys, labels) into 16 hex digits that name a data set or a split."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(array.contiguous().numpy().tobytes())
    return digest.hexdigest()
