"""Near-copies as a group column: a manifest whose splits never divide images that look alike."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.few import count_of, few
from common.options import role_of
from datamodules import DataModule, Manifest
from datamodules.duplicates import Pairs, same_content
from datamodules.files.image_files import TEST, TRAIN, VAL, ImageFiles
from pipelines.inspect.everything import Everything
from records.csv_files import safe, write_rows
from records.result_files import keep_earlier
from records.whole_file import write_whole

SPLIT_NAMES = {TRAIN: "train", VAL: "val", TEST: "test"}


def write_groups(path: Path, data: DataModule, everything: Everything, pairs: Pairs | None) -> str:
    """Write a manifest of all images, whose column group joins copies, near-copies and the data's own groups.

    The data's own groups keep their names, and near-copies join them; another group is called by its first image.
    Splits are those that the data brings itself: drawn ones are left to be drawn anew by the groups.

    Args:
        path: the CSV file; an earlier one is kept under a number
        data: what was inspected
        everything: its samples
        pairs: near-copies among them

    Returns:
        what was written, for the user
    """
    component = joined(everything, np.empty((0, 2), np.int64) if pairs is None else pairs.indices)
    sizes = np.bincount(component, minlength=len(component))
    order = np.array(sorted(range(len(component)), key=lambda number: everything.names[number]), dtype=np.int64)
    named, merged = group_names(component, order, everything, data.dataset.group_names)
    columns = {
        "path": [of_a_file(name) for name in everything.names],
        "label": [data.dataset.class_names[label] for label in everything.labels.tolist()],
        **own_splits(data, everything),
        "group": [named[part] for part in component.tolist()],
    }
    if everything.sources is not None:
        columns["source"] = [data.dataset.source_names[number] for number in everything.sources.tolist()]
    if everything.targets is not None:
        shares = everything.targets.T.round(6).tolist()
        columns |= {f"p({name})": share for name, share in zip(data.dataset.class_names, shares, strict=True)}
    texts = [value for column in columns.values() for value in column if isinstance(value, str)]
    refuse_names_without_utf8(path, [*texts, *data.dataset.class_names])
    keep_earlier(path)
    with write_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [columns])
        write_rows(file, ([column[number] for column in columns.values()] for number in order.tolist()))
    groups = int((sizes > 1).sum())
    told = f"{path}: {count_of(int(sizes[sizes > 1].sum()), 'image')} in {count_of(groups, 'group')}"
    told += f", the largest of {int(sizes.max())}; each other image is a group of its own" if groups else ""
    if merged:
        told += f"; near-copies join {count_of(len(merged), 'group')} of the data's own to others: {few(merged)}"
    parts = (data.dataset.train, data.dataset.val, data.dataset.test)
    if left := sum(len(part) for part in parts if part is not None) - len(component):
        told += f"; {count_of(left, 'image')} that the options leave out of all splits are not in it"
    if not isinstance(data, ImageFiles):
        return told
    words = ["--data", "Manifest", "--data.path", str(path), "--data.root", str(data.list_files().root)]
    return f"{told}\nnext:  python train.py fit {shlex.join([*words, *further_options(data)])}"


def group_names(
    component: NDArray[np.int64], order: NDArray[np.int64], everything: Everything, own: Mapping[int, str]
) -> tuple[dict[int, str], list[str]]:
    """Name each component by the data's own group in it, or else by its first image.

    Args:
        component: of each sample, shape `(sample,)`
        order: the samples by name
        everything: all samples
        own: the name of each group of the data's own that has one, by its number

    Returns:
        the name of each component; and the data's own groups that lie in the component of another one
    """
    first: dict[int, str] = {}
    theirs: dict[int, dict[str, None]] = {}
    groups = [] if everything.groups is None else everything.groups.tolist()
    for number in order.tolist():
        part = int(component[number])
        first.setdefault(part, everything.names[number])
        if groups and groups[number] in own:
            theirs.setdefault(part, {})[own[groups[number]]] = None
    merged = [name for names in theirs.values() for name in list(names)[1:]]
    taken = {next(iter(names)) for names in theirs.values()}
    named = {}
    for part, image in first.items():
        # an image may be called as a group is
        while part not in theirs and image in taken:
            image = f"{image}~"
        named[part] = next(iter(theirs[part])) if part in theirs else image
    return named, merged


def refuse_names_without_utf8(path: Path, names: Sequence[str]) -> None:
    """Refuse names that a manifest, which is UTF-8, cannot hold.

    Args:
        path: of the manifest
        names: of images, classes and sources

    Raises:
        ValueError: there are some
    """
    wrong = [name for name in dict.fromkeys(names) if re.search(r"[\ud800-\udfff]", name)]
    if wrong:
        raise ValueError(
            f"--write_groups {path}: {count_of(len(wrong), 'name')} cannot be written as UTF-8, which manifests are: "
            f"rename {few(map(ascii, wrong))}"
        )


def further_options(data: DataModule) -> list[str]:
    """Return the options with which a manifest is split, read and served as other data is, where they are no defaults.

    Args:
        data: the other data

    Example:
        >>> from datamodules import ImageFolder
        >>> further_options(ImageFolder(root="photos", test_fraction=0.3, augmentation=("flip",)))
        ['--data.augmentation', '["flip"]', '--data.test_fraction', '0.3']
    """
    words = []
    for field in fields(Manifest):
        # inspect skips unreadable files, and a manifest of groups, which is UTF-8, lists none
        if role_of(Manifest, field.name) is None or field.name in {"on_unreadable", "predict_root", "encoding"}:
            continue
        value = getattr(data, field.name, field.default)
        if value != field.default:
            words += [f"--data.{field.name}", value if isinstance(value, str) else json.dumps(value)]
    return words


def joined(everything: Everything, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join samples that are copies, near-copies or of one group, however indirectly.

    Args:
        everything: all samples
        pairs: of near-copies, shape `(pair, 2)`

    Returns:
        number of the component of each sample, shape `(sample,)`
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    columns = [everything.keys] if everything.groups is None else [everything.keys, everything.groups]
    alike = [np.array(group) for column in columns for group in same_content(column)]
    edges = np.concatenate([pairs, *(np.stack([group[:-1], group[1:]], 1) for group in alike)])
    size = len(everything.labels)
    graph = coo_array((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def of_a_file(name: str) -> str:
    """Return a path that no spreadsheet takes for a formula, and that leads to the same file."""
    return name if safe(name) == name else f"./{name}"


def own_splits(data: DataModule, everything: Everything) -> dict[str, list[str]]:
    """Return the column split where the data brings splits of its own; nothing where all are drawn."""
    if not isinstance(data, ImageFiles):
        return {}
    listing = data.list_files()
    if (listing.splits == TRAIN).all():
        return {}
    found = {name: SPLIT_NAMES[split] for name, split in zip(listing.names, listing.splits.tolist(), strict=True)}
    return {"split": [found[name] for name in everything.names]}
