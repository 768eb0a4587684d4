"""Options of `python train.py report`."""

from dataclasses import dataclass
from typing import Literal

from measures.names import WITH_INTERVALS


@dataclass
class ReportOptions:
    """Where the report goes, what it reports on, and what it compares.

    Args:
        out: folder of the page; an earlier report there is replaced, anything else never
        split: the split that runs are compared on; choose settings by val, never by the test split
        performance: CSV file to which a row for each tested run is appended; null puts it into the folder of the page
        metrics: columns, separated by commas, such as accuracy,precision_weighted,f1_macro; any metric of result.json
        rank_by: metric that sorts runs, and chooses and fills the pictures
        baseline: a run, by its name or folder, that all others are compared with: a table, and a sentence an option
        x: option along which curves are drawn, such as data.subsample; or parameters, seconds, epochs, samples
        lines: option with a curve for each of its values, such as model
    """

    out: str = "report"
    split: Literal["test", "val"] = "test"
    performance: str | None = None
    metrics: str | None = None
    rank_by: str = "accuracy"
    baseline: str | None = None
    x: str | None = None
    lines: str = "model"

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics that are shown."""
        chosen = [name.strip() for name in (self.metrics or "").split(",")]
        return tuple(dict.fromkeys(filter(None, chosen))) or WITH_INTERVALS
