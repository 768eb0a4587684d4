"""ImageFiles: what data sets of image files share, however their files are listed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor

from common.few import ALL, few
from common.options import configurable, option
from common.warned import warn
from datamodules.augmentation.transforms import Step
from datamodules.dataset import Dataset
from datamodules.files import value_range as ranges
from datamodules.files.decode import FileSource
from datamodules.files.decoding import read_header
from datamodules.files.formats import KINDS
from datamodules.files.found_files import describe_left_out, leaves_images_out, walk_images
from datamodules.files.image_store import Reading, read_into_memory, read_through_store
from datamodules.files.staging import stage_folder
from datamodules.files.value_range import Range
from datamodules.files.value_search import Found, find_range
from datamodules.held_test import HeldTest
from datamodules.names import AlikeNames
from datamodules.provenance import sample_ids
from datamodules.samples import Samples, Source, TensorSource
from datamodules.table_info import ReadColumn

# above this, `cache: auto` decodes from disk each time
RAM_LIMIT_BYTES = 2 * 2**30
# what is served where files differ in size and no image_size is given
DEFAULT_SIZE = 224
# files whose headers and values are looked at before all are read
LOOKED_AT = 64
# a note names the values of a data set that span less than this part of 8 bits
NARROW_SPAN = 64
TRAIN, VAL, TEST = range(3)
# Pillow's modes of grey images
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


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
        left_out: files and folders that lie among the images: how often what was left out
        group_forms: as `groups`, whatever the case of the names; None where that is the same
        group_names: the name of each group, by its number
        targets: probability of each class, float32, shape `(sample, class)`; None where labels are certain
        features: columns beside the images, float64, shape `(sample, column)`; None where there are none
        columns: what they are
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
    left_out: Mapping[str, int] = field(default_factory=dict)
    group_forms: Tensor | None = None
    group_names: Mapping[int, str] = field(default_factory=dict)
    targets: Tensor | None = None
    features: Tensor | None = None
    columns: tuple[ReadColumn, ...] = ()


@dataclass(frozen=True)
class Read:
    """What came of reading files.

    Args:
        samples: those that could be read
        skipped: one line for each file that could not
        notes: lines on what is in the files
        values: least and most of all pixels, as they are served
    """

    samples: Samples
    skipped: list[str]
    notes: list[str]
    values: tuple[int, int]


@configurable
class ImageFiles(HeldTest):
    """Image files, each decoded once, at the size that they are served at.

    Args:
        channels: 1 (grey) or 3 (RGB); null serves grey only if all files looked at are grey
        cache: ram keeps the decoded images in memory; disk maps them from a file, which later runs and other processes
            share; none decodes on every use; auto takes ram up to 2 GiB, else none
        cache_dir: folder for what disk and none keep from run to run: decoded images, and content keys
        stage_dir: folder on the local disk of each node, such as $TMPDIR, that the data is copied to, once a node: the
            store of cache disk, or the files themselves of cache none; null reads from where they are
        on_unreadable: error stops at files that are no whole images, and names them; skip leaves them out and lists
            them
        value_range: values of a pixel that become 0 and 255, for files of more than 8 bits: MIN,MAX such as 0,4095;
            full takes all that a pixel can hold; auto takes the usual depth (8, 10, 12, 14 or 16 bits) that holds what
            the training images hold, and the model's where there is one
        alike_names: what becomes of classes or sources whose names differ in case, space or invisible characters alone:
            error, or allow if they are different ones
        predict_root: folder of images without labels, at any depth, for `predict`; null predicts on the test split
    """

    channels: Literal[1, 3] | None = option(None, "reading")
    cache: Literal["auto", "ram", "disk", "none"] = option("auto", "reading")
    cache_dir: str = option("runs/.cache", "reading")
    stage_dir: str | None = option(None, "reading")
    on_unreadable: Literal["error", "skip"] = option("error", "reading")
    value_range: tuple[float, float] | str = option("auto", "reading")
    alike_names: AlikeNames = option("error", "reading")
    predict_root: str | None = option(None, "reading")
    augmentation: tuple[Step, ...] = ("crop", "flip")

    def __post_init__(self) -> None:
        super().__post_init__()
        ranges.parse(self.value_range)
        self._found: Found | None = None

    def list_files(self) -> Listing:
        """List the files with their labels; the only method that a subclass overrides."""
        raise NotImplementedError(f"{type(self).__name__} must override list_files()")

    def load(self) -> Dataset:
        """Read the files that are listed, and draw a test split where there is none."""
        listing = self.list_files()
        tell_left_out(len(listing.names), listing.left_out)
        self._find_range(listing)
        chosen = self.served_range
        read = self._read(listing.root, listing.names, torch.from_numpy(listing.labels), listing.ids, chosen)
        every, skipped = read.samples, read.skipped
        _warn_of_skipped(skipped, len(listing.names), ", listed in result.json")
        splits = listing.splits[every.rows.numpy()]
        columns = ("sources", "groups", "group_forms", "targets", "features")
        extra = {n: c[every.rows] for n in columns if (c := getattr(listing, n)) is not None}
        for name in extra.keys() & {"groups", "group_forms"}:
            # a sample without a group is one of its own, by content: names are those of other images in other data
            extra[name] = torch.where(extra[name] == -1, every.keys, extra[name])
        every = replace(every, **extra)
        train, val, test = (every.subset(np.flatnonzero(splits == part)) for part in (TRAIN, VAL, TEST))
        if skipped:
            _check_what_is_left(listing, train, splits, skipped)
        train, given = self.with_test(train, test if len(test) else None, listing.class_names)
        return Dataset(
            train,
            given,
            listing.class_names,
            val if len(val) else None,
            listing.source_names,
            tuple(skipped),
            dict(listing.left_out),
            (*self._range_lines(), *read.notes),
            read.values,
            ranges.as_text(chosen),
            listing.group_names,
            listing.columns,
        )

    def load_predict(self) -> Samples | None:
        """List the images of `predict_root`; their labels are -1."""
        if self.predict_root is None:
            return None
        left_out: Counter[str] = Counter()
        paths = find_to_predict(self.predict_root, left_out)
        left = tell_left_out(len(paths), left_out)
        labels = torch.full((len(paths),), -1)
        read = self._read(Path(), [path.as_posix() for path in paths], labels, None, self.served_range)
        _warn_of_skipped(read.skipped, len(paths))
        listed = few(read.skipped, ALL, "; ")
        skipped = f"{len(read.skipped)} of {len(paths)} files cannot be read, and were left out: {listed}"
        self.predict_notes = [*([left] if left else []), *([skipped] if read.skipped else []), *read.notes]
        return read.samples

    @property
    def served_range(self) -> Range | None:
        """The values of a pixel that become 0 and 255; None for all that a pixel can hold."""
        parsed = ranges.parse(self.value_range)
        if parsed != "auto":
            return None if parsed == "full" else parsed
        if self._found is None:
            # the training images need not be read whole for it
            self._find_range(self.list_files())
        assert self._found is not None
        return self._found.chosen

    def pixel_key(self, samples: Samples) -> str:
        """Name what is made of an image's content: its size, its channels, and the range of values."""
        return f"{super().pixel_key(samples)} of {ranges.as_text(self.served_range)}"

    def _find_range(self, listing: Listing) -> None:
        names = [listing.names[number] for number in np.flatnonzero(listing.splits == TRAIN)]
        self._found = find_range([listing.root / name for name in evenly(names)])
        for line in self._range_lines():
            rank_zero_info(line)

    def _range_lines(self) -> list[str]:
        found, served = self._found, self.served_range
        # what has no known range is refused, each file by its name
        if found is None or not found.deep or (not found.known and served is None):
            return []
        return [found.line(served)]

    def _read(
        self, root: Path, names: list[str], labels: Tensor, ids: Tensor | None, value_range: Range | None
    ) -> Read:
        ids = sample_ids(names) if ids is None else ids
        size, channels = self._format(root, names)
        files = FileSource(root, names, size, channels, self.num_workers, value_range)
        in_memory = len(names) * channels * size[0] * size[1] <= RAM_LIMIT_BYTES
        cache = self.cache if self.cache != "auto" else "ram" if in_memory else "none"
        stop = self.on_unreadable == "error"
        stage = None if self.stage_dir is None else stage_folder(self.stage_dir)
        if cache == "ram":
            if stage is not None:
                rank_zero_info("--data.stage_dir is not used: the images are held in memory (--data.cache)")
            reading = read_into_memory(files, stop)
        else:
            reading = read_through_store(Path(self.cache_dir), files, ids, stop, cache == "disk", stage)
        source: Source = reading.files or files
        if reading.images is not None:
            source = TensorSource(reading.images, in_memory=cache == "ram")
        keys, pixels, looks = reading.keys.T.contiguous()
        samples = Samples(source, torch.arange(len(names)), labels, ids, keys, names, pixels=pixels, looks=looks)
        skipped = [reading.problems[number] for number in sorted(reading.problems)]
        if len(skipped) == len(names):
            raise ValueError(f"none of {len(names)} files can be read: {few(skipped, separator='; ')}")
        kept = np.setdiff1d(np.arange(len(samples)), list(reading.problems))
        # one dark photo to predict on is nothing odd
        lines = _tell(reading, len(names), is_data_set=bool((labels >= 0).any()))
        return Read(samples.subset(kept) if skipped else samples, skipped, lines, reading.values)

    def _format(self, root: Path, names: Sequence[str]) -> tuple[tuple[int, int], int]:
        # the headers of a few files tell; decoding makes the rest alike, and finds the broken ones
        headers = [header for name in evenly(names) if (header := read_header(root / name)) is not None]
        sizes, modes = {header[0] for header in headers}, {header[1] for header in headers}
        channels = self.channels or (1 if modes and modes <= GREY_MODES else 3)
        if self.image_size is not None:
            return (self.image_size, self.image_size), channels
        if len(sizes) == 1:
            return sizes.pop(), channels
        if sizes:
            rank_zero_info(f"Images differ in size: serving them at {DEFAULT_SIZE}x{DEFAULT_SIZE} (--data.image_size)")
        return (DEFAULT_SIZE, DEFAULT_SIZE), channels


def evenly(names: Sequence[str]) -> Sequence[str]:
    """Return some names, evenly spaced, that stand for all."""
    return names[:: max(1, len(names) // LOOKED_AT)]


def find_to_predict(place: str, left_out: Counter[str]) -> list[Path]:
    """Return the images of a folder at any depth, sorted, or the one file that is named.

    Args:
        place: the option `predict_root`
        left_out: is added to: how often what was left out

    Raises:
        FileNotFoundError: there is none
    """
    root, option = Path(place), f"--data.predict_root {place!r}"
    if root.is_dir():
        paths = sorted(walk_images(root, left_out))
        if not paths:
            what = describe_left_out(0, left_out) if left_out else "it is empty"
            raise FileNotFoundError(f"{option} holds no image: {what}")
        return paths
    if root.is_file():
        return [root]
    try:
        mode = root.stat().st_mode
    except (OSError, ValueError) as error:
        raise FileNotFoundError(f"{option} does not exist: name a folder of images, or one file") from error
    kind = next((name for test, name in KINDS if test(mode)), "something else")
    raise FileNotFoundError(f"{option} is {kind}: name a folder of images, or one file")


def tell_left_out(images: int, left_out: Mapping[str, int]) -> str:
    """Say what lies among images and is left out, and return it."""
    line = describe_left_out(images, left_out)
    if line:
        _say(line, is_warning=leaves_images_out(left_out))
    return line


def _say(line: str, is_warning: bool) -> None:
    if is_warning:
        warn(line)
    else:
        rank_zero_info(line)


def _check_what_is_left(listing: Listing, train: Samples, splits: NDArray[np.int64], skipped: Sequence[str]) -> None:
    """Refuse to leave out files that cannot be read, if whole classes or splits are lost with them."""
    found = torch.bincount(train.labels, minlength=len(listing.class_names))
    if empty := [name for name, count in zip(listing.class_names, found.tolist(), strict=True) if not count]:
        held = f"class {empty[0]!r} has" if len(empty) == 1 else f"{len(empty)} classes ({few(empty)}) have"
        raise ValueError(f"{held} no readable image in the training split; {skipped[0]}")
    for part, name in ((VAL, "val"), (TEST, "test")):
        if (listing.splits == part).any() and not (splits == part).any():
            raise ValueError(f"the data set's {name} split has no readable image; {skipped[0]}")


def _tell(reading: Reading, files: int, is_data_set: bool) -> list[str]:
    """Say what is in files that were read, and return it."""
    lines = list(reading.notes.lines(files))
    least, most = reading.values
    if is_data_set and most - least < NARROW_SPAN and ranges.NARROW not in reading.notes.kinds:
        text = f"the images use values {least} to {most} of 0 to 255, less than a quarter (see --data.value_range)"
        lines.append((ranges.NARROW, text))
    for kind, line in lines:
        _say(line, is_warning=kind in ranges.WARNINGS)
    return [line for _, line in lines]


def _warn_of_skipped(skipped: Sequence[str], files: int, where: str = "") -> None:
    if skipped:
        more = f"; and {len(skipped) - 5} more{where}" if len(skipped) > 5 else ""
        shown = "; ".join(skipped[:5])
        warn(f"{len(skipped)} of {files} files are left out (--data.on_unreadable skip): {shown}{more}")
