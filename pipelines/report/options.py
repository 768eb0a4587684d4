"""Options of `python train.py report`."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class ReportOptions:
    """Where the report goes, and what it reports on.

    Args:
        out: folder of the page; an earlier report there is replaced, anything else never
        split: the split that runs are compared on; choose settings by val, never by the test split
        performance: CSV file to which a row for each tested run is appended; null puts it into the folder of the page
    """

    out: str = "report"
    split: Literal["test", "val"] = "test"
    performance: str | None = None
