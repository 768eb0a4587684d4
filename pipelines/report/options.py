"""Options of `python train.py report`."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class ReportOptions:
    """Where the report goes, and of what it is.

    Args:
        out: folder of the page; an earlier report there is replaced, anything else never
        split: of the samples that runs are compared on; val for a choice that the test split must not make
        performance: CSV file to which a row for each tested run is appended; null puts it into the folder of the page
    """

    out: str = "report"
    split: Literal["test", "val"] = "test"
    performance: str | None = None
