"""What a folder of shards holds: a description, and for each split litdata's shards with a table of their samples."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from common.few import few
from datamodules.samples import OPTIONAL
from datamodules.table_info import ReadColumn
from records.damaged import damaged
from records.json_files import read_json
from records.result_files import write_json
from records.tensor_files import read_tensors, with_checksum
from records.whole_file import save_tensors, write_whole

DESCRIPTION, INDEX, TABLE = "shards.json", "index.json", "samples.safetensors"
SPLITS = ("train", "val", "test")
VERSION = 1
WAY_OUT = "copy the shards anew, or write them again by `python train.py shards`"
# as litdata numbers types
UINT8 = 4
# the leaves of a sample: image, label and id
LEAVES = ["numpy", "int", "int"]
NUMBERS = struct.Struct("<2q")


@dataclass(frozen=True)
class Description:
    """What is in a folder of shards, beside the samples.

    Args:
        splits: those that are there, and the checksum of the table of each
        shape: height, width and channels of the images
        pixel_key: what is made of an image's content, see `DataModule.pixel_key`
        class_names: the name of each class, in label order
        source_names: the name of each source
        group_names: number and name of each group that has one
        columns: of features: name, and number and text of each category
        skipped: files that could not be read when the shards were written, one line each
        left_out: what lay among the files and was no image: how often what
        notes: lines on what was in the files
        values: least and most of all pixels
        value_range: the values of a pixel that became 0 and 255; None for arrays
        version: of this layout
    """

    splits: dict[str, str]
    shape: tuple[int, int, int]
    pixel_key: str
    class_names: list[str]
    source_names: list[str] = field(default_factory=list)
    group_names: list[tuple[int, str]] = field(default_factory=list)
    columns: list[tuple[str, list[tuple[float, str]]]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    values: tuple[int, int] | None = None
    value_range: str | None = None
    version: int = VERSION

    def write(self, path: Path) -> None:
        """Write it as JSON with a checksum."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Description":
        """Read what `write` wrote.

        Raises:
            DamagedFileError: it is no such file, or its content has changed
            ValueError: a later version wrote it
        """
        content = read_json(path, WAY_OUT)
        if isinstance(content.get("version"), int) and content["version"] > VERSION:
            raise ValueError(f"{path} is of layout {content['version']}, and this version reads {VERSION}: update it")
        try:
            found = cls(**content)
            height, width, channels = (int(each) for each in found.shape)
            values = None if found.values is None else (int(found.values[0]), int(found.values[1]))
            is_sound = (
                min(height, width) > 0
                and channels in (1, 3)
                and "train" in found.splits
                and set(found.splits) <= set(SPLITS)
                and len(found.class_names) > 1
                and all(isinstance(name, str) for name in (*found.class_names, *found.source_names))
            )
            _ = found.read_columns, found.named_groups
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise damaged(path, "it does not describe shards", WAY_OUT) from error
        if not is_sound:
            raise damaged(path, "it does not describe shards", WAY_OUT)
        return cls(**content | {"shape": (height, width, channels), "values": values})

    @property
    def read_columns(self) -> tuple[ReadColumn, ...]:
        """The columns of features, as a data set has them."""
        return tuple(ReadColumn(name, {float(code): text for code, text in texts}) for name, texts in self.columns)

    @property
    def named_groups(self) -> dict[int, str]:
        """The name of each group that has one."""
        return {int(number): str(name) for number, name in self.group_names}


@dataclass(frozen=True)
class SampleLayout:
    """Where the bytes of a sample lie in a shard of litdata.

    A shard is: the number n of samples, where each begins and the last ends (n + 1 numbers), and the samples. All
    images have one shape, so all samples have one length: a head that is the same for all, pixels, label and id.

    Args:
        shape: height, width and channels of the images
    """

    shape: tuple[int, int, int]

    @property
    def pixels(self) -> int:
        """Bytes of an image."""
        height, width, channels = self.shape
        return height * width * channels

    @cached_property
    def head(self) -> bytes:
        """What each sample begins with: the lengths of its three parts, and the type and shape of its image."""
        array = struct.pack("<5I", UINT8, 3, *self.shape)
        return struct.pack("<3I", len(array) + self.pixels, 8, 8) + array

    @property
    def size(self) -> int:
        """Bytes of a sample."""
        return len(self.head) + self.pixels + NUMBERS.size

    def begin(self, place: int, count: int) -> int:
        """Return where a sample begins.

        Args:
            place: of the sample in its shard
            count: samples of the shard
        """
        return 4 * (count + 2) + place * self.size


def read_index(path: Path, record: SampleLayout) -> tuple[list[str], list[int]]:
    """Read and check litdata's list of the shards of a split.

    Args:
        path: of `index.json`
        record: of the samples

    Returns:
        the name of each shard, and its number of samples

    Raises:
        DamagedFileError: it lists no such shards
    """
    content = read_json(path, WAY_OUT)
    try:
        config, chunks = content["config"], content["chunks"]
        names, counts = [chunk["filename"] for chunk in chunks], [chunk["chunk_size"] for chunk in chunks]
        sizes = [chunk["chunk_bytes"] for chunk in chunks]
        # other leaves could be pickles, which nothing here loads, and a name could lead out of the folder
        is_ours = config["data_format"] == LEAVES and not config["compression"] and not config["encryption"]
        is_ours &= all(Path(name).name == name and name.endswith(".bin") for name in names)
        is_ours &= sizes == [record.begin(count, count) for count in counts] and min(counts) > 0
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, "it does not list shards of images", WAY_OUT) from error
    if not is_ours or len(set(names)) < len(names):
        raise damaged(path, "it does not list shards of these images", WAY_OUT)
    return names, counts


class Names(Sequence[str]):
    """Names of many samples, in a fraction of the memory that as many texts take.

    Args:
        text: all names in UTF-8, one after the other, uint8
        ends: where each ends, int64, shape `(sample,)`
    """

    def __init__(self, text: Tensor, ends: Tensor) -> None:
        self.text, self.ends = text.numpy(), ends.numpy()

    @classmethod
    def of(cls, names: Sequence[str]) -> "Names":
        """Pack names."""
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        text = np.frombuffer(b"".join(encoded), dtype=np.uint8).copy()
        return cls(torch.from_numpy(text), torch.tensor([len(each) for each in encoded]).cumsum(0))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        begin = int(self.ends[number - 1]) if number else 0
        return self.text[begin : int(self.ends[number])].tobytes().decode("utf-8", "surrogateescape")


def write_table(path: Path, columns: Mapping[str, Tensor], names: Sequence[str]) -> str:
    """Write the table of a split's samples, and return its checksum.

    Args:
        path: of the file
        columns: of `Samples`, with checks and moments, in the order of the shards; and `order`, the row of each sample
            as the data had them
        names: of the samples
    """
    packed = Names.of(names)
    tensors = {name: column.contiguous() for name, column in columns.items()}
    tensors |= {"name_text": torch.from_numpy(packed.text), "name_ends": torch.from_numpy(packed.ends)}
    said = with_checksum(tensors)
    with write_whole(path) as partial:
        save_tensors(partial, tensors, said)
    return next(iter(said.values()))


def read_table(path: Path, checksum: str, description: Description) -> tuple[dict[str, Tensor], Names]:
    """Read what `write_table` wrote.

    Args:
        path: of the file
        checksum: that its description knows
        description: of the shards

    Returns:
        the columns, and the names

    Raises:
        DamagedFileError: it is no such table, or another one
    """
    tensors, checked = read_tensors(path, WAY_OUT)
    known = {"ids", "keys", "labels", "order", "checks", "moments", "name_text", "name_ends"}
    if not checked or not known <= tensors.keys() or not tensors.keys() <= known | set(OPTIONAL):
        raise damaged(path, f"it is no table of samples; it holds {few(sorted(tensors))}", WAY_OUT)
    if next(iter(with_checksum(tensors).values())) != checksum:
        raise damaged(path, f"it is not the one that {DESCRIPTION} was written with", WAY_OUT)
    names = Names(tensors.pop("name_text"), tensors.pop("name_ends"))
    count, labels = len(tensors["ids"]), tensors["labels"]
    sizes = {len(column) for column in tensors.values()} | {len(names)}
    fits = sizes == {count} and tensors["moments"].shape == (count, 2 * description.shape[2])
    fits = fits and torch.equal(tensors["order"].sort().values, torch.arange(count))
    if not fits or not count or labels.min() < 0 or labels.max() >= len(description.class_names):
        raise damaged(path, "its columns do not fit each other, or the classes", WAY_OUT)
    return tensors, names
