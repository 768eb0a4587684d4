"""Shards written from the images of any data set, with all that later runs must know of each image."""

import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor

from datamodules.dataset import Dataset
from datamodules.image_data import ImageDataModule
from datamodules.samples import OPTIONAL, Samples
from datamodules.shards.layout import (
    DESCRIPTION,
    INDEX,
    TABLE,
    Description,
    SampleLayout,
    read_index,
    write_table,
)
from records.partial_files import partial_path, remove_abandoned

# images gathered at once
BLOCK = 256


def need_litdata(what: str) -> None:
    """Refuse what needs litdata where it is not installed.

    Args:
        what: needs it

    Raises:
        ModuleNotFoundError: the message names the extra
    """
    if find_spec("litdata") is None:
        raise ModuleNotFoundError(f"{what} needs litdata: pip install -e '.[streamed]'")


def write_shards(data: ImageDataModule, folder: Path, shard_mb: float = 64.0) -> Description:
    """Write the images of a data set into shards, as they are served, with labels, keys, groups and sources.

    The splits that the data set brings are kept, and none is drawn: what reads the shards draws as it is asked to.
    Images are written in an order that has nothing to do with their classes, so that a shard holds some of all.

    Args:
        data: whose images they are
        folder: to write, which must not be there, or be empty
        shard_mb: megabytes of a shard

    Returns:
        the description that lies in the folder

    Raises:
        FileExistsError: there is something in the folder
        ModuleNotFoundError: litdata is not installed
        OSError: it cannot be written, or there is no room
    """
    need_litdata("to write shards")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: name a new folder, or remove it")
    dataset = data.dataset
    found = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    parts = {split: samples for split, samples in found.items() if samples is not None and len(samples)}
    height, width, channels = _shape(parts["train"])
    record = SampleLayout((height, width, channels))
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    _check_room(folder.parent, sum(map(len, parts.values())) * record.size)
    partial = partial_path(folder)
    try:
        checksums = {
            split: _write_split(samples, partial / split, record, max(1, int(shard_mb * 1e6) // record.size))
            for split, samples in parts.items()
        }
        description = replace(_describe(dataset, record, data.pixel_key(parts["train"])), splits=checksums)
        description.write(partial / DESCRIPTION)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return description


def _shape(samples: Samples) -> tuple[int, int, int]:
    channels, height, width = samples.source.gather(samples.rows[:1]).shape[1:]
    return height, width, channels


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"there is no room in {folder}: {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are free: choose "
            f"another --out, or a smaller --data.image_size"
        )


def _write_split(samples: Samples, folder: Path, record: SampleLayout, count: int) -> str:
    """Write the shards and the table of a split, and return the table's checksum.

    Args:
        samples: of the split
        folder: to write
        record: of its samples
        count: samples of a shard
    """
    # slow to import
    from litdata.streaming import Cache

    # ids are hashes of names: their order has nothing to do with classes, and is the same on every machine
    by_id = samples.ids.argsort()
    samples = samples.subset(by_id)
    folder.mkdir(parents=True)
    rank_zero_info(f"Writing {len(samples):,} images into {folder.name}/")
    shards, checks, moments = Cache(str(folder), chunk_size=count), [], []
    for start, images in _blocks(samples, record):
        for number, image in enumerate(images, start=start):
            shards[number] = {
                "image": image,
                "label": int(samples.labels[number]),
                "id": int(samples.ids[number]),
            }
            checks.append(zlib.crc32(image.data))
        moments.append(_moments(images))
    shards.done()
    shards.merge()
    names, counts = read_index(folder / INDEX, record)
    sizes = [(folder / name).stat().st_size for name in names]
    if sum(counts) != len(samples) or sizes != [record.begin(each, each) for each in counts]:
        raise OSError(f"{folder} does not hold what was written: is the disk full?")
    columns = {name: getattr(samples, name) for name in ("ids", "keys", "labels")}
    columns |= {name: column for name in OPTIONAL if (column := getattr(samples, name)) is not None}
    columns |= {"order": by_id.argsort(), "checks": torch.tensor(checks), "moments": torch.cat(moments)}
    return write_table(folder / TABLE, columns, samples.sample_names())


def _blocks(samples: Samples, record: SampleLayout) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the images in blocks, `(sample, height, width, channel)`, and the number of the first of each."""
    for start in range(0, len(samples), BLOCK):
        images = samples.source.gather(samples.rows[start : start + BLOCK])
        if tuple(images.permute(0, 2, 3, 1).shape[1:]) != record.shape or images.dtype != torch.uint8:
            raise ValueError(
                f"shards hold images of one size, and there are some of {record.shape[0]}x{record.shape[1]} and of "
                f"{images.shape[2]}x{images.shape[3]}: set --data.image_size"
            )
        yield start, np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def _moments(images: NDArray[np.uint8]) -> Tensor:
    """Return mean and mean square of each channel of each image on the scale [0, 1], `(sample, 2 * channel)`."""
    pixels = images.reshape(len(images), -1, images.shape[3]).astype(np.float32) / 255
    moments = [pixels.mean(1, dtype=np.float64), np.square(pixels).mean(1, dtype=np.float64)]
    return torch.from_numpy(np.concatenate(moments, axis=1))


def _describe(dataset: Dataset, record: SampleLayout, pixel_key: str) -> Description:
    columns: list[Any] = [(column.name, sorted(column.texts.items())) for column in dataset.columns]
    return Description(
        splits={},
        shape=record.shape,
        pixel_key=pixel_key,
        class_names=list(dataset.class_names),
        source_names=list(dataset.source_names),
        group_names=sorted(dataset.group_names.items()),
        columns=columns,
        skipped=list(dataset.skipped),
        left_out=dict(dataset.left_out),
        notes=list(dataset.notes),
        values=dataset.values,
        value_range=dataset.value_range,
    )
