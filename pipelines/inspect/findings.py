"""What is found in a data set, as plain Python types."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from common import class_paths
from datamodules import DataModule
from datamodules.duplicates import Pairs, look_at, near_duplicates, same_content
from datamodules.files.decode import FileSource
from datamodules.files.decoding import read_header
from datamodules.files.image_files import TEST, ImageFiles
from pipelines.inspect.everything import Everything
from pipelines.inspect.options import InspectOptions

# what the JSON file lists of each finding; the counts are of all
LISTED = 10_000


def inspect(data: DataModule, options: InspectOptions) -> tuple[dict[str, Any], Everything, Pairs | None]:
    """Count classes, sizes and copies.

    Args:
        data: what to look at
        options: what counts as a near-duplicate

    Returns:
        the findings as plain Python types, all samples, and the pairs that look alike
    """
    everything = Everything.of(data)
    classes = len(data.dataset.class_names)
    findings: dict[str, Any] = {
        "data": class_paths.public_name(type(data)),
        "served_size": list(data.info.image_size),
        "channels": data.info.in_channels,
        "class_names": data.dataset.class_names,
        "images": {
            name: torch.bincount(samples.labels, minlength=classes).tolist()
            for name, samples in everything.splits.items()
        },
        "drawn": how_drawn(data),
        "unreadable": list(data.dataset.skipped),
        "exact_duplicates": exact_findings(everything),
    }
    if everything.sources is not None:
        findings["sources"] = source_findings(everything, data.dataset.source_names, classes)
    if everything.groups is not None:
        findings["groups"] = group_findings(everything)
    if isinstance(data, ImageFiles):
        findings["unreadable_files"] = unreadable_files(data)
        listing = data.list_files()
        files = describe_files(FileSource(listing.root, listing.names, (1, 1), 1, data.num_workers))
        findings["files"] = files | {"left_out": dict(listing.left_out)}
        findings |= {name: getattr(data.dataset, name) for name in ("value_range", "values")}
        findings["notes"] = [*data.dataset.notes, *data.training_notes()]
    pairs = None
    if options.near_duplicates:
        looks = look_at(list(everything.splits.values()))
        pairs = near_duplicates(looks, options.max_distance, options.min_correlation)
        different = everything.keys[pairs.indices[:, 0]] != everything.keys[pairs.indices[:, 1]]
        pairs = Pairs(pairs.indices[different], pairs.correlations[different], pairs.complete)
        findings["near_duplicates"] = near_findings(everything, pairs)
    return findings, everything, pairs


def how_drawn(data: DataModule) -> dict[str, str]:
    """Say where each split but the training split comes from: the option that draws it, or the data itself."""
    if isinstance(data, ImageFiles):
        brings_test = bool((data.list_files().splits == TEST).any())
    else:
        brings_test = not hasattr(data, "test_fraction")
    own = {"val": data.dataset.val is not None, "test": brings_test}
    source = f"--data.leave_out_source {data.leave_out_source}"
    held = f"--data.num_folds {data.num_folds}" if data.num_folds else source
    found: dict[str, str] = {}
    for name in ("val", "stack", "test"):
        share = getattr(data, f"{name}_fraction", 0)
        if data.held_out == name and (data.num_folds or data.leave_out_source):
            found[name] = held
        elif own.get(name):
            found[name] = "the data's own"
        elif share:
            by_content = name == "test" and not getattr(data, "test_stratified", True)
            found[name] = f"--data.{name}_fraction {share:g}" + (", by content alone" if by_content else "")
    return found


def source_findings(everything: Everything, names: Sequence[str], classes: int) -> dict[str, dict[str, list[int]]]:
    """Count the images of each class by split and source.

    Args:
        everything: all samples, with their sources
        names: the name of each source
        classes: how many there are
    """
    assert everything.sources is not None
    counts = np.zeros((len(everything.splits), len(names), classes), dtype=np.int64)
    np.add.at(counts, (everything.owner, everything.sources, everything.labels), 1)
    return {
        split: {name: rows.tolist() for name, rows in zip(names, counts[number], strict=True)}
        for number, split in enumerate(everything.splits)
    }


def group_findings(everything: Everything) -> dict[str, Any]:
    """Count the groups of each split, and those that a split of the data's own divides."""
    assert everything.groups is not None
    values, number = np.unique(everything.groups, return_inverse=True)
    # images of each group in each split
    counts = np.zeros((len(values), len(everything.splits)), dtype=np.int64)
    np.add.at(counts, (number, everything.owner), 1)
    divided = np.flatnonzero((counts > 0).sum(1) > 1)
    order = np.argsort(number, kind="stable")
    members = np.split(order, np.cumsum(counts.sum(1))[:-1])
    return {
        "by_split": {
            split: {
                "groups": int((column > 0).sum()),
                "of_one_image": int((column == 1).sum()),
                "largest": int(column.max()),
            }
            for split, column in zip(everything.splits, counts.T, strict=True)
        },
        "divided": dict(Counter(everything.between(members[group].tolist()) for group in divided)),
        "divided_list": [everything.names[members[group][0]] for group in divided[:LISTED]],
    }


def unreadable_files(data: ImageFiles) -> list[dict[str, str]]:
    """Return the path of each file that could not be read, and why."""
    dataset = data.dataset
    parts = [part for part in (dataset.train, dataset.val, dataset.test) if part is not None]
    read = set(torch.cat([part.rows for part in parts]).tolist())
    names = [name for row, name in enumerate(data.list_files().names) if row not in read]
    return [{"path": name, "reason": reason} for name, reason in zip(names, data.dataset.skipped, strict=True)]


def exact_findings(everything: Everything) -> dict[str, Any]:
    """Say which images are the same, pixel by pixel, where they lie and whether their labels agree."""
    groups = same_content(everything.keys)
    conflicts = [group for group in groups if len({int(everything.labels[index]) for index in group}) > 1]
    return {
        "groups": len(groups),
        "images": sum(len(group) for group in groups),
        "by_splits": dict(Counter(everything.between(group) for group in groups)),
        "label_conflicts": len(conflicts),
        "list": [[everything.names[index] for index in group] for group in groups[:LISTED]],
        "label_conflict_list": [[everything.names[index] for index in group] for group in conflicts[:LISTED]],
    }


def near_findings(everything: Everything, pairs: Pairs) -> dict[str, Any]:
    """Say which images look alike, and how many images of one split have their like in another."""
    by_splits: dict[str, dict[str, Any]] = {}
    names = list(everything.splits)
    sides = everything.owner[pairs.indices]
    for one, other in itertools.combinations_with_replacement(range(len(names)), 2):
        members = pairs.indices[(sides == (one, other)).all(1)]
        if len(members):
            images = {names[one]: len(np.unique(members[:, 0])), names[other]: len(np.unique(members[:, 1]))}
            if one == other:
                images = {names[one]: len(np.unique(members))}
            by_splits["-".join(dict.fromkeys((names[one], names[other])))] = {"pairs": len(members), "images": images}
    labels = everything.labels[pairs.indices]
    return {
        "pairs": len(pairs.indices),
        "complete": pairs.complete,
        "by_splits": by_splits,
        "pairs_with_other_labels": int((labels[:, 0] != labels[:, 1]).sum()),
        "list": [
            [everything.names[one], everything.names[other], round(float(correlation), 4)]
            for (one, other), correlation in zip(pairs.indices[:LISTED], pairs.correlations[:LISTED], strict=True)
        ],
    }


def describe_files(files: FileSource) -> dict[str, Any]:
    """Read the header of each file: sizes in pixels and bytes, colour modes and formats."""
    headers = [header for header in map(read_header, map(files.path, range(len(files)))) if header is not None]
    shapes, modes, formats = (Counter(column).most_common() for column in zip(*headers, strict=True))
    sizes = [(f"{width}x{height}", count) for (height, width), count in shapes]
    weights = [path.stat().st_size for path in map(files.path, range(len(files))) if path.is_file()]
    return {
        "count": len(files),
        "sizes": dict(sizes[:LISTED]),
        "modes": dict(modes),
        "formats": dict(formats),
        "bytes": {"least": min(weights), "most": max(weights), "together": sum(weights)},
    }
