"""Stable sample ids, content keys, and the record of what a model was fitted and selected on."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.looks import NO_LOOK
from datamodules.samples import Samples

BLOCK = 10_000
# 8 bits become 16 by this factor
WIDER = 257
# in which way a model has seen a sample
SEEN = ("fitted", "selected", "calibrated")
# columns of a record of what a model has seen: keys of bytes, groups, content keys and perceptual hashes
ROLES = tuple(f"{role}{kind}" for kind in ("", "_groups", "_pixels", "_looks") for role in SEEN)


def _hash64(*parts: bytes | memoryview) -> int:
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


def pixel_key(pixels: NDArray[np.generic]) -> int:
    """Hash an upright picture, so that it is recognised in whatever format and with whatever metadata it is saved.

    A grey picture and its copy in RGB have one key; so have one of 8 bits and its copy in 16.

    Args:
        pixels: shape `(height, width)` or `(height, width, channel)`
    """
    # most colour pictures are told by their first row
    if pixels.ndim == 3 and (pixels.shape[2] == 1 or (_are_grey(pixels[:1]).all() and _are_grey(pixels).all())):
        pixels = pixels[..., 0]
    if pixels.dtype == np.uint16 and not (pixels % WIDER).any():
        pixels = (pixels // WIDER).astype(np.uint8)
    return _hash64(_form(pixels), np.ascontiguousarray(pixels).data)


def _are_grey(images: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Tell of each picture, or row of one, whether its channels are the same, shape `(sample,)`."""
    same = (images[..., 1:] == images[..., :1]).reshape(len(images), -1)
    return same.all(1)


def _form(pixels: NDArray[np.generic]) -> bytes:
    return f"{pixels.dtype.str} {pixels.shape}".encode()


def array_pixel_keys(images: NDArray[np.uint8]) -> Tensor:
    """Return the content key of each image in memory, int64, shape `(sample,)`; see `pixel_key`.

    Args:
        images: shape `(sample, height, width, channel)`
    """
    keys = np.empty(len(images), dtype=np.int64)
    for start in range(0, len(images), BLOCK):
        block = np.ascontiguousarray(images[start : start + BLOCK])
        grey = _are_grey(block)
        for number in np.flatnonzero(grey).tolist():
            keys[start + number] = pixel_key(block[number, ..., 0])
        form = _form(block[0])
        for number in np.flatnonzero(~grey).tolist():
            keys[start + number] = _hash64(form, block[number].data)
    return torch.from_numpy(keys)


class Columns(Protocol):
    """What a record takes of samples: see `Samples`."""

    @property
    def keys(self) -> Tensor:
        """Key of each sample's bytes."""

    @property
    def groups(self) -> Tensor | None:
        """Group of each sample."""

    @property
    def group_forms(self) -> Tensor | None:
        """Group of each sample, whatever the case of its name."""

    @property
    def pixels(self) -> Tensor | None:
        """Content key of each sample."""

    @property
    def looks(self) -> Tensor | None:
        """Perceptual hash of each sample."""


@dataclass(frozen=True)
class Provenance:
    """The samples that a model has seen, and in which role, by keys and by group; each sorted and unique.

    Records of earlier versions have no content keys and no perceptual hashes.

    Args:
        fitted: keys of the bytes of the samples that its weights were fitted on
        selected: of the samples that chose its checkpoint or stopped its training
        calibrated: of the samples that something beside its weights was fitted on: a temperature, thresholds, or the
            head over frozen bases
        fitted_groups: groups of the samples in `fitted`, where the data has groups, in both forms
        selected_groups: likewise of those in `selected`
        calibrated_groups: likewise of those in `calibrated`
        fitted_pixels: content keys of the samples in `fitted`
        selected_pixels: likewise of those in `selected`
        calibrated_pixels: likewise of those in `calibrated`
        fitted_looks: perceptual hashes of the samples in `fitted` that have one
        selected_looks: likewise of those in `selected`
        calibrated_looks: likewise of those in `calibrated`
        unknown: weights that it derives from and that do not say what they were fitted on, by their files
        published: data sets that it derives from, whose samples have no keys here, such as ImageNet
    """

    fitted: Tensor
    selected: Tensor
    calibrated: Tensor
    fitted_groups: Tensor
    selected_groups: Tensor
    calibrated_groups: Tensor
    fitted_pixels: Tensor
    selected_pixels: Tensor
    calibrated_pixels: Tensor
    fitted_looks: Tensor
    selected_looks: Tensor
    calibrated_looks: Tensor
    unknown: tuple[str, ...] = ()
    published: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        fitted: Iterable[Tensor] = (),
        selected: Iterable[Tensor] = (),
        calibrated: Iterable[Tensor] = (),
        unknown: Iterable[str] = (),
        published: Iterable[str] = (),
        **others: Iterable[Tensor],
    ) -> "Provenance":
        """Join several lists a role; `others` are those of the further columns, by name."""
        lists = {"fitted": fitted, "selected": selected, "calibrated": calibrated, **others}
        empty = torch.empty(0, dtype=torch.int64)
        columns = {name: torch.cat([empty, *lists.pop(name, ())]).unique() for name in ROLES}
        if lists:
            raise TypeError(f"a record has no columns {', '.join(lists)}")
        return cls(**columns, unknown=tuple(dict.fromkeys(unknown)), published=tuple(dict.fromkeys(published)))

    @classmethod
    def of_samples(
        cls, fitted: Iterable[Samples] = (), selected: Iterable[Samples] = (), calibrated: Iterable[Samples] = ()
    ) -> "Provenance":
        """Record the samples of each role."""
        parts = [(role, part) for role, each in zip(SEEN, (fitted, selected, calibrated), strict=True) for part in each]
        records = [cls.of_columns(role, part) for role, part in parts]
        return cls.of().union(*records)

    @classmethod
    def of_columns(cls, role: str, samples: Columns) -> "Provenance":
        """Record samples in one role.

        Args:
            role: fitted, selected or calibrated
            samples: with their keys, and the other columns where they are known
        """
        columns: dict[str, Any] = {role: [samples.keys]}
        for name, kind in (("groups", "groups"), ("group_forms", "groups"), ("pixels", "pixels"), ("looks", "looks")):
            if (column := getattr(samples, name)) is not None:
                kept = column[column != NO_LOOK] if kind == "looks" else column
                columns.setdefault(f"{role}_{kind}", []).append(kept)
        return cls.of(**columns)

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

    def knows(self, samples: Samples, *roles: str) -> Tensor:
        """Tell which samples the model has seen, or copies of them, bool, shape `(sample,)`.

        Args:
            samples: to look for
            roles: in which it has seen them
        """
        known = torch.zeros(len(samples), dtype=torch.bool)
        for role in roles:
            known |= torch.isin(samples.keys, getattr(self, role))
            if samples.pixels is not None:
                known |= torch.isin(samples.pixels, getattr(self, f"{role}_pixels"))
        return known

    def knows_group(self, samples: Samples, *roles: str) -> Tensor:
        """Tell of which samples the model has seen the group, bool, shape `(sample,)`; see `knows`."""
        known = torch.zeros(len(samples), dtype=torch.bool)
        for column in (samples.groups, samples.group_forms):
            if column is not None:
                for role in roles:
                    known |= torch.isin(column, getattr(self, f"{role}_groups"))
        return known

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
