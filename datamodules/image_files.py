"""ImageFiles: what data sets of image files share, however their files are listed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from datamodules.base import ImageDataModule
from datamodules.dataset import Dataset
from datamodules.files import FileSource, read_header, walk_images
from datamodules.image_store import Reading, read_into_memory, read_through_store
from datamodules.names import AlikeNames
from datamodules.provenance import sample_ids
from datamodules.samples import Samples, Source, TensorSource
from datamodules.transforms import Step

# above this, `cache: auto` decodes from disk each time
RAM_LIMIT_BYTES = 2 * 2**30
# what is served where files differ in size and no image_size is given
DEFAULT_SIZE = 224
TRAIN, VAL, TEST = range(3)


@dataclass(frozen=True)
class Listing:
    """Files and what is known of them before they are read.

    Args:
        root: folder that the names are relative to
        names: one file a sample
        labels: class of each sample, int64, shape `(sample,)`
        class_names: the name of each class, in label order
        splits: TRAIN, VAL or TEST for each sample, int64, shape `(sample,)`
        sources: index of where each sample comes from, int64, shape `(sample,)`; None if that is not known
        source_names: the name of each source
        groups: group of each sample, or -1, int64, shape `(sample,)`; None takes each for itself
        ids: id of each sample, where that is known already, int64, shape `(sample,)`
    """

    root: Path
    names: list[str]
    labels: NDArray[np.int64]
    class_names: list[str]
    splits: NDArray[np.int64]
    sources: Tensor | None = None
    source_names: tuple[str, ...] = ()
    groups: Tensor | None = None
    ids: Tensor | None = None


@dataclass(eq=False, kw_only=True, repr=False)
class ImageFiles(ImageDataModule):
    """Image files, each decoded once, at the size that they are served at.

    Args:
        test_fraction: share of the images held out as the test split, stratified; ignored where the data set brings
            one, or where `held_out` is test
        channels: 1 (grey) or 3 (RGB); null serves grey only if all files looked at are grey
        cache: ram keeps the decoded images in memory; disk maps them from a file, which later runs and other processes
            share; none decodes on every use; auto takes ram up to 2 GiB, else none
        cache_dir: folder for what disk and none keep from run to run: decoded images, and content keys
        on_unreadable: error stops at the first file that is no whole image; skip leaves such files out and lists them
        alike_names: what becomes of classes or sources whose names differ in case, space or invisible characters alone:
            error, or allow if they are different ones
        predict_root: folder of images without labels, at any depth, for `predict`; null predicts on the test split
    """

    test_fraction: float = 0.2
    channels: Literal[1, 3] | None = None
    cache: Literal["auto", "ram", "disk", "none"] = "auto"
    cache_dir: str = "runs/.cache"
    on_unreadable: Literal["error", "skip"] = "error"
    alike_names: AlikeNames = "error"
    predict_root: str | None = None
    augmentation: tuple[Step, ...] = ("crop", "flip")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.test_fraction < 1:
            raise ValueError(f"--data.test_fraction must be in [0, 1), not {self.test_fraction}")

    def list_files(self) -> Listing:
        """List the files with their labels; the only method that a subclass overrides."""
        raise NotImplementedError(f"{type(self).__name__} must override list_files()")

    def load(self) -> Dataset:
        """Read the files that are listed, and draw a test split where there is none."""
        listing = self.list_files()
        every, skipped = self._read(listing.root, listing.names, torch.from_numpy(listing.labels), listing.ids)
        more = f"; and {len(skipped) - 5} more, listed in result.json" if len(skipped) > 5 else ""
        _warn_of_skipped(skipped[:5], len(skipped), len(listing.names), more)
        splits = listing.splits[every.rows.numpy()]
        extra = {n: c[every.rows] for n in ("sources", "groups") if (c := getattr(listing, n)) is not None}
        if "groups" in extra:
            # a sample without a group is one of its own, by content: names are those of other images in other data
            extra["groups"] = torch.where(extra["groups"] == -1, every.keys, extra["groups"])
        every = Samples(every.source, every.rows, every.labels, every.ids, every.keys, every.names, **extra)
        train, val, test = (every.subset(np.flatnonzero(splits == part)) for part in (TRAIN, VAL, TEST))
        found = torch.bincount(train.labels, minlength=len(listing.class_names))
        if skipped and not found.all():
            empty = listing.class_names[int((found == 0).nonzero()[0, 0])]
            raise ValueError(f"class {empty!r} has no readable image in the training split; {skipped[0]}")
        for part, name in ((VAL, "val"), (TEST, "test")):
            if (listing.splits == part).any() and not (splits == part).any():
                raise ValueError(f"the data set's {name} split has no readable image; {skipped[0]}")
        given: Samples | None = test if len(test) else None
        if given is None and self.test_fraction and self.held_out != "test":
            train, given = self.draw(train, [self.test_fraction], listing.class_names)
        return Dataset(
            train, given, listing.class_names, val if len(val) else None, listing.source_names, tuple(skipped)
        )

    def load_predict(self) -> Samples | None:
        """List the images of `predict_root`; their labels are -1."""
        if self.predict_root is None:
            return None
        root = Path(self.predict_root)
        paths = sorted(walk_images(root)) if root.is_dir() else [root] if root.is_file() else []
        if not paths:
            raise FileNotFoundError(f"--data.predict_root {self.predict_root!r} holds no image")
        samples, skipped = self._read(Path(), [p.as_posix() for p in paths], torch.full((len(paths),), -1))
        _warn_of_skipped(skipped, len(skipped), len(paths))
        return samples

    def _read(
        self, root: Path, names: list[str], labels: Tensor, ids: Tensor | None = None
    ) -> tuple[Samples, list[str]]:
        ids = sample_ids(names) if ids is None else ids
        size, channels = self._format(root, names)
        files = FileSource(root, names, size, channels, self.num_workers)
        in_memory = len(names) * channels * size[0] * size[1] <= RAM_LIMIT_BYTES
        cache = self.cache if self.cache != "auto" else "ram" if in_memory else "none"
        stop = self.on_unreadable == "error"
        if cache == "ram":
            reading = read_into_memory(files, stop)
        else:
            reading = read_through_store(Path(self.cache_dir), files, ids, stop, keep_images=cache == "disk")
        source: Source = files
        if reading.images is not None:
            source = TensorSource(reading.images, in_memory=cache == "ram")
        samples = Samples(source, torch.arange(len(names)), labels, ids, reading.keys, names)
        return self._without_problems(samples, reading)

    def _without_problems(self, samples: Samples, reading: Reading) -> tuple[Samples, list[str]]:
        if not reading.problems:
            return samples, []
        kept = np.setdiff1d(np.arange(len(samples)), list(reading.problems))
        if not len(kept):
            raise ValueError(f"no file can be read; {next(iter(reading.problems.values()))}")
        skipped = [reading.problems[number] for number in sorted(reading.problems)]
        return samples.subset(kept), skipped

    def _format(self, root: Path, names: Sequence[str]) -> tuple[tuple[int, int], int]:
        sizes, modes = set(), set()
        # the headers of a few files tell; decoding makes the rest alike, and finds the broken ones
        for name in names[:: max(1, len(names) // 64)]:
            header = read_header(root / name)
            if header is not None:
                sizes.add(header[0])
                modes.add(header[1])
        channels = self.channels or (1 if modes and modes <= {"1", "L", "I", "I;16"} else 3)
        if self.image_size is not None:
            return (self.image_size, self.image_size), channels
        if len(sizes) == 1:
            return sizes.pop(), channels
        if sizes:
            rank_zero_info(f"Images differ in size: serving them at {DEFAULT_SIZE}x{DEFAULT_SIZE} (--data.image_size)")
        return (DEFAULT_SIZE, DEFAULT_SIZE), channels


def _warn_of_skipped(shown: Sequence[str], count: int, files: int, more: str = "") -> None:
    if count:
        rank_zero_warn(f"{count} of {files} files are left out (--data.on_unreadable skip): {'; '.join(shown)}{more}")
