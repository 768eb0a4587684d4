"""Predictions as a table for a spreadsheet: from a mistake to its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from datamodules.dataset import Dataset
from datamodules.samples import Samples
from records.csv_files import write_rows
from records.whole_file import write_whole

# more probabilities than this are left to predictions.safetensors: the table would take seconds, and no spreadsheet
# would open it
MOST_PROBABILITIES = 2_000_000


@dataclass(frozen=True)
class PredictionTable:
    """What is predicted of some samples, and what is known of them.

    Args:
        samples: what was predicted on; only a part of them may have been
        ids: of the predicted samples, shape `(sample,)`
        logits: shape `(sample, class)`
        class_names: the name of each class
        source_names: the name of each source, in the order of `Samples.sources`
        group_names: the name of each group, by its number in `Samples.groups`
        accepted: whether each prediction is accepted, bool, shape `(sample,)`; None where nothing is rejected
        sets: the text of each prediction set; None without any
    """

    samples: Samples
    ids: Tensor
    logits: Tensor
    class_names: Sequence[str]
    source_names: Sequence[str] = ()
    group_names: dict[int, str] | None = None
    accepted: Tensor | None = None
    sets: Sequence[str] | None = None

    def of(self, dataset: Dataset) -> "PredictionTable":
        """Name sources and groups as a data set does.

        Args:
            dataset: that the samples are of
        """
        return replace(self, source_names=dataset.source_names, group_names=dict(dataset.group_names))

    def write(self, path: Path) -> None:
        """Write a row for each predicted sample, in the order of the data.

        Args:
            path: of the CSV file
        """
        write_columns(path, self.columns())

    def columns(self) -> dict[str, Sequence[Any]]:
        """Return the columns by name: sample, class and its probability, the true class, what else is known of it."""
        place = {sample: row for row, sample in enumerate(self.ids.tolist())}
        kept = [row for row, sample in enumerate(self.samples.ids.tolist()) if sample in place]
        samples = self.samples.subset(kept)
        order = [place[sample] for sample in samples.ids.tolist()]
        probabilities = self.logits.detach().cpu()[order].double().softmax(1)
        confidence, predicted = (
            probabilities.max(1) if len(order) else (probabilities[:, 0], probabilities[:, 0].long())
        )
        labels = samples.labels.tolist()
        found: dict[str, Sequence[Any]] = {
            "name": samples.sample_names(),
            "class": [self.class_names[number] for number in predicted.tolist()],
            "probability": digits(confidence),
        }
        if self.accepted is not None:
            found["accepted"] = words(self.accepted.cpu()[order].tolist())
        if self.sets is not None:
            found["set"] = [self.sets[row] for row in order]
        if labels and min(labels) >= 0:
            right = (predicted == samples.labels).tolist()
            found |= {"true_class": [self.class_names[number] for number in labels], "right": words(right)}
        if samples.sources is not None and self.source_names:
            found["source"] = [self.source_names[number] for number in samples.sources.tolist()]
        if samples.groups is not None:
            names = self.group_names or {}
            # each sample without a group is one of its own, which has no name
            found["group"] = [names.get(number, "" if names else number) for number in samples.groups.tolist()]
        if probabilities.numel() <= MOST_PROBABILITIES:
            columns = zip(self.class_names, probabilities.unbind(1), strict=True)
            found |= {f"p({name})": digits(column) for name, column in columns}
        return found


def digits(column: Tensor) -> list[str]:
    """Write probabilities with six digits."""
    return [f"{value:.6f}" for value in column.tolist()]


def words(column: Sequence[bool]) -> list[str]:
    """Write yes or no."""
    return ["yes" if value else "no" for value in column]


def write_columns(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write a table whole; names in it may hold bytes that are not UTF-8.

    Args:
        path: of the CSV file
        columns: by name
    """
    with (
        write_whole(path) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        write_rows(file, [columns, *zip(*columns.values(), strict=True)])
