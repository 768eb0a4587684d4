"""What data a run was given, sample by sample, and what has changed of it since."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from common import class_paths
from common.options import Role, options_with
from datamodules.dataset import Dataset
from datamodules.provenance import fingerprint, text_hashes
from datamodules.samples import Samples
from datamodules.splits import SPLITS
from records.damaged import DamagedFileError, damaged
from records.run_dir import DATA_FILE
from records.tensor_files import read_tensors, with_checksum
from records.whole_file import save_tensors, write_whole

WAY_OUT = "move it away; it only says which samples have changed"
# what a digest covers, in words
COVERED = {
    "id": "names of images",
    "key": "contents",
    "label": "labels",
    "split": "splits",
    "group": "groups",
    "source": "sources",
    "target": "label distributions",
    "feature": "features",
    "class_names": "class names",
    "source_names": "source names",
}


class DataChangedError(ValueError):
    """The data is not what it was when a model was trained on it."""


class Described(Protocol):
    """What a record is made of: a DataModule."""

    @property
    def dataset(self) -> Dataset:
        """What was read."""

    @property
    def splits(self) -> dict[str, Samples]:
        """The samples of each split, by name."""

    @property
    def record(self) -> "DataRecord":
        """Its record."""

    @property
    def sample_word(self) -> str:
        """What one sample is called."""


@dataclass(frozen=True, eq=False)
class DataRecord:
    """All samples of a data set, in the order of their ids.

    Args:
        columns: id, key, label and split, an index that is -1 for a sample in no split, and group and source where
            the data has them; int64, shape `(sample,)` each
        class_names: the name of each class, in label order
        source_names: the name of each source
        place: the options that say which data is meant
        draw: the options that say how it is split
    """

    columns: dict[str, Tensor]
    class_names: list[str]
    source_names: list[str]
    place: dict[str, Any]
    draw: dict[str, Any]

    @classmethod
    def of(cls, data: Described) -> "DataRecord":
        """Describe the data of a DataModule."""
        dataset = data.dataset
        parts = [part for part in (dataset.train, dataset.val, dataset.test) if part is not None]
        columns = {name: torch.cat([getattr(p, f"{name}s") for p in parts]) for name in ("id", "key", "label")}
        for name in ("group", "source"):
            found = [getattr(part, f"{name}s") for part in parts]
            if all(column is not None for column in found):
                columns[name] = torch.cat(found)
        features = [part.features for part in parts if part.features is not None]
        if len(features) == len(parts):
            columns["feature"] = row_keys(torch.cat(features))
        targets = [part.targets for part in parts if part.targets is not None]
        if len(targets) == len(parts):
            columns["target"] = row_keys(torch.cat(targets))
        order = columns["id"].argsort()
        columns = {name: column[order] for name, column in columns.items()}
        columns["split"] = torch.full_like(columns["id"], -1)
        for number, samples in enumerate(data.splits.values()):
            columns["split"][torch.isin(columns["id"], samples.ids)] = number
        place, draw = options_of(data)
        return cls(columns, list(dataset.class_names), list(dataset.source_names), place, draw)

    @cached_property
    def digests(self) -> dict[str, str]:
        """16 hex digits for each column and for the names; the order of the samples is no part of them."""
        ids = self.columns["id"]
        found = {name: fingerprint(ids, column) for name, column in self.columns.items()}
        names = {"class_names": self.class_names, "source_names": self.source_names}
        return found | {name: fingerprint(torch.from_numpy(text_hashes(texts))) for name, texts in names.items()}

    def plain(self) -> dict[str, Any]:
        """Return the entry of a checkpoint and of result.json: all but the samples themselves."""
        return {
            "samples": len(self.columns["id"]),
            "place": self.place,
            "draw": self.draw,
            "digests": self.digests,
        }

    def write(self, path: Path) -> None:
        """Write a safetensors file whole, then rename it into place."""
        names = {"class_names": self.class_names, "source_names": self.source_names}
        metadata = {name: json.dumps(value) for name, value in names.items()}
        metadata |= {"place": json.dumps(self.place), "draw": json.dumps(self.draw)}
        tensors = {name: smallest(column) for name, column in self.columns.items()}
        with write_whole(path) as partial:
            save_tensors(partial, tensors, with_checksum(tensors, metadata))

    def is_in(self, path: Path) -> bool:
        """Tell whether a file says the same; a damaged one does not."""
        try:
            return path.is_file() and type(self).read(path).plain() == self.plain()
        except DamagedFileError:
            return False

    @classmethod
    def read(cls, path: Path) -> "DataRecord":
        """Read what `write` wrote.

        Raises:
            DamagedFileError: its content has changed since; the message names it
        """
        tensors, checked = read_tensors(path, WAY_OUT)
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
        names = [f.name for f in fields(cls) if f.name != "columns"]
        if not checked or not {*names} <= said.keys():
            raise damaged(path, "it is no record of data", WAY_OUT)
        columns = {name: column.long() for name, column in tensors.items()}
        return cls(columns, **{name: json.loads(said[name]) for name in names})


def options_of(data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that say which data is meant, and those that say how it is split, as plain types.

    Args:
        data: a DataModule
    """

    def plain(role: Role | None) -> dict[str, Any]:
        return {f.name: json.loads(json.dumps(getattr(data, f.name), default=str)) for f in options_with(data, role)}

    return plain(None) | {"class": class_paths.public_name(type(data))}, plain("split")


def row_keys(rows: Tensor) -> Tensor:
    """Name the content of each row of a matrix, int64, shape `(row,)`."""
    texts = [row.tobytes().hex() for row in rows.numpy()]
    return torch.from_numpy(text_hashes(texts))


def smallest(column: Tensor) -> Tensor:
    """Return whole numbers in the narrowest type that holds them."""
    low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
    for dtype in (torch.int8, torch.int16, torch.int32):
        if torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max:
            return column.to(dtype)
    return column.contiguous()


def record_of(checkpoint: Path) -> Path:
    """Return where the run of a checkpoint keeps the record of its data."""
    return checkpoint.absolute().parent.parent / DATA_FILE


# comparison


def refuse_changed(found: list[str], checkpoint: str) -> None:
    """Stop a run from continuing with other data than it began with.

    Args:
        found: what has changed
        checkpoint: that it is to resume from

    Raises:
        DataChangedError: something has
    """
    if found:
        raise DataChangedError(
            f"{checkpoint} was trained on data that has changed since: {'; '.join(found)}. A run continues with the "
            f"data that it began with: put it back, or start a new run without --ckpt_path (from these weights by "
            f"--model.weights {checkpoint})"
        )


def only_numbered(
    class_names: list[str], trained: Mapping[str, Mapping[str, Any] | None], data: Described
) -> list[str]:
    """Warn of models whose classes may differ from the data's, because only numbers name them.

    Args:
        class_names: those that all of them have
        trained: by the models' names, what `DataRecord.plain` says of the data that each was trained on
        data: that they are used on
    """
    if class_names != [str(number) for number in range(len(class_names))]:
        return []
    elsewhere = [name for name, before in trained.items() if before is not None and not is_meant(before, data)]
    if not elsewhere:
        return []
    return [
        f"{', '.join(elsewhere)}: trained on other data, and its classes are known by number alone: class 0 there may "
        f"be another class than here (name the classes, as by --data.class_names)"
    ]


def is_meant(before: Mapping[str, Any], data: Described) -> bool:
    """Tell whether the options of some data name the same data as those that a model was trained with.

    Args:
        before: what `DataRecord.plain` returned then
        data: today's
    """
    place = dict(before["place"])
    return place | {"class": class_paths.current(place.get("class", ""))} == data.record.place


def changes(before: Mapping[str, Any], path: Path | None, data: Described, of_splits: bool = True) -> list[str]:
    """Say what has changed of the data since a model was trained on it.

    Args:
        before: what `DataRecord.plain` returned then
        path: what `DataRecord.write` wrote then, which need not exist any more
        data: today's
        of_splits: whether splits are compared too, where they are drawn by the same options

    Returns:
        one phrase for each kind of change; nothing if nothing has changed but the order of the samples
    """
    now = data.record
    # splits of earlier versions were drawn by the first way, and whole; their long tail was in training alone
    earlier = {"split_version": 1, "test_subsample": 1.0, "long_tail_in": "train"}
    earlier |= {"test_stratified": True} if "test_stratified" in now.draw else {}
    same_draw = of_splits and earlier | before["draw"] == now.draw
    compared = {name for name in (*before["digests"], *now.digests) if same_draw or name != "split"}
    differing = [name for name in COVERED if name in compared and before["digests"].get(name) != now.digests.get(name)]
    if not differing:
        return []
    then, missing = None, f"{path} would say which"
    if path is not None and path.is_file():
        try:
            then = DataRecord.read(path)
        except DamagedFileError as error:
            # a damaged record must not hide that the data differs
            missing = f"{missing}, but {error}"
    if then is not None and then.digests == before["digests"] and (found := differences(then, data, same_draw)):
        return found
    what = ", ".join(COVERED[name] for name in differing).replace("images", f"{data.sample_word}s")
    count, today = before["samples"], len(now.columns["id"])
    numbers = f" ({count:,} {data.sample_word}s then, {today:,} now)" if count != today else ""
    lost = f"; {missing}" if path is not None and then is None else ""
    return [f"{what} differ{numbers}{lost}"]


def differences(then: DataRecord, data: Described, same_draw: bool) -> list[str]:
    """Compare two records sample by sample; see `changes`."""
    now, word = data.record, data.sample_word
    found = []
    if then.class_names != now.class_names:
        found.append(f"the classes were {listed(then.class_names)} and are {listed(now.class_names)}")
    old, new = then.columns, now.columns
    kept_old, kept_new = torch.isin(old["id"], new["id"]), torch.isin(new["id"], old["id"])
    # both are sorted by id
    before = {name: column[kept_old] for name, column in old.items()}
    after = {name: column[kept_new] for name, column in new.items()}
    ids = after["id"]

    def tell(one: str, many: str, mask: Tensor, texts: tuple[list[str], list[str], str] | None = None) -> None:
        if not mask.any():
            return
        name, place = first_name(data, ids[mask]), ""
        if texts is not None:
            number = int((ids == name[1]).nonzero()[0, 0])
            names_before, names_after, column = texts
            place = f", {names_before[int(before[column][number])]} -> {names_after[int(after[column][number])]}"
        found.append(f"{counted(mask, one, many)}, first: {name[0]}{place}")

    other = before["key"] != after["key"]
    relabelled = renumbered(before["label"], then.class_names, now.class_names) != after["label"]
    tell("label differs", "labels differ", relabelled, (then.class_names, now.class_names, "label"))
    found += arrivals(old, new, ~kept_old, ~kept_new, data)
    tell(f"{word} has other content", f"{word}s have other content", other)
    if ("group" in before) != ("group" in after):
        found.append("the data has groups now, and had none" if "group" in after else "the data has lost its groups")
    elif "group" in before:
        # a sample without a group is its own, by content
        alone = (before["group"] == before["key"]) & (after["group"] == after["key"])
        tell("group differs", "groups differ", (before["group"] != after["group"]) & ~alone)
    if ("source" in before) != ("source" in after):
        found.append("the data has sources now, and had none" if "source" in after else "the data has lost its sources")
    elif "source" in before:
        moved = renumbered(before["source"], then.source_names, now.source_names) != after["source"]
        tell("source differs", "sources differ", moved, (then.source_names, now.source_names, "source"))
    if ("target" in before) != ("target" in after):
        found.append("labels are distributions now" if "target" in after else "labels are no distributions any more")
    elif "target" in before:
        told = "label distribution differs", "label distributions differ"
        tell(*told, before["target"] != after["target"])
    if ("feature" in before) != ("feature" in after):
        found.append("the data has features now" if "feature" in after else "the data has lost its features")
    elif "feature" in before:
        tell("row has other features", "rows have other features", before["feature"] != after["feature"])
    if same_draw:
        names = [*SPLITS, "none"]
        tell(
            f"{word} lies in another split",
            f"{word}s lie in another split",
            before["split"] != after["split"],
            (names, names, "split"),
        )
    return found


def renumbered(column: Tensor, then: list[str], now: list[str]) -> Tensor:
    """Return indices of names as they are numbered now; -1 for a name that is no more."""
    table = torch.tensor([now.index(name) if name in now else -1 for name in then] or [-1])
    return table[column]


def arrivals(
    old: Mapping[str, Tensor], new: Mapping[str, Tensor], gone: Tensor, come: Tensor, data: Described
) -> list[str]:
    """Say how many samples are new, are gone, or have another name.

    Args:
        old: columns of before
        new: columns of today
        gone: which of the old ones are gone, shape `(sample,)`
        come: which of the new ones are new, shape `(sample,)`
        data: today's
    """
    word = data.sample_word
    again = torch.isin(new["key"], old["key"][gone]) & come
    left = gone & ~torch.isin(old["key"], new["key"][come])
    found = []
    for one, many, mask in (
        (f"{word} is new", f"{word}s are new", come & ~again),
        (f"{word} has another name", f"{word}s have another name", again),
    ):
        if mask.any():
            found.append(f"{counted(mask, one, many)}, first: {first_name(data, new['id'][mask])[0]}")
    return [*found, counted(left, f"{word} is gone", f"{word}s are gone")] if left.any() else found


def counted(mask: Tensor, one: str, many: str) -> str:
    """Say how many samples a mask holds, shape `(sample,)`, and what of them."""
    count = int(mask.sum())
    return f"{count:,} {one if count == 1 else many}"


def first_name(data: Described, ids: Tensor) -> tuple[str, int]:
    """Return the first in the order of the alphabet of some samples' names, and its id."""
    dataset = data.dataset
    parts: list[Samples] = [part for part in (dataset.train, dataset.val, dataset.test) if part is not None]
    found = []
    for part in parts:
        chosen = part.subset(torch.isin(part.ids, ids).nonzero()[:, 0])
        found += list(zip(chosen.sample_names(), chosen.ids.tolist(), strict=True))
    return min(found)


def listed(names: list[str], limit: int = 10) -> str:
    """Name the first few."""
    more = f", ... ({len(names)})" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
