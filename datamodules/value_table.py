"""Predicted numbers as a table for a spreadsheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from datamodules.prediction_table import write_columns
from datamodules.samples import Samples


@dataclass(frozen=True)
class ValueTable:
    """What number is predicted of some samples, and what is known of them.

    Args:
        samples: what was predicted on; only a part of them may have been
        ids: of the predicted samples, shape `(sample,)`
        predictions: shape `(sample,)`
        target: name of what is predicted
    """

    samples: Samples
    ids: Tensor
    predictions: Tensor
    target: str

    def write(self, path: Path) -> None:
        """Write a row for each predicted sample, in the order of the data.

        Args:
            path: of the CSV file
        """
        write_columns(path, self.columns())

    def columns(self) -> dict[str, Sequence[Any]]:
        """Return the columns by name: sample, prediction, and the true number where it is known."""
        place = {sample: row for row, sample in enumerate(self.ids.tolist())}
        kept = [row for row, sample in enumerate(self.samples.ids.tolist()) if sample in place]
        samples = self.samples.subset(kept)
        predicted = self.predictions.cpu()[[place[sample] for sample in samples.ids.tolist()]]
        found: dict[str, Sequence[Any]] = {"name": samples.sample_names(), self.target: predicted.tolist()}
        if samples.values is not None:
            found[f"true_{self.target}"] = samples.values.tolist()
            found["error"] = (predicted - samples.values).tolist()
        return found
