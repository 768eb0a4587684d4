"""The options of `python train.py inspect`."""

from dataclasses import dataclass
from pathlib import Path

from common.ranges import check_range


@dataclass
class InspectOptions:
    """What counts as a near-duplicate.

    Args:
        max_distance: bits of 64 in which the perceptual hashes of near-duplicates may differ
        min_correlation: least correlation of their thumbnails (at most 1), as they are and less the mean of their class
        near_duplicates: look for them; false saves the time on a large data set
        write_groups: a CSV file to write, a manifest of all images whose column group joins copies, near-copies and the
            data's own groups; null writes none
    """

    max_distance: int = 10
    min_correlation: float = 0.9
    near_duplicates: bool = True
    write_groups: str | None = None

    def __post_init__(self) -> None:
        check_range("--max_distance", self.max_distance, "[0, 64]")
        check_range("--min_correlation", self.min_correlation, "[-1, 1]")
        if self.write_groups is not None and not self.near_duplicates:
            raise ValueError("--write_groups needs --near_duplicates true: they are what it joins")
        if self.write_groups is not None and Path(self.write_groups).suffix.lower() != ".csv":
            raise ValueError(f"--write_groups {self.write_groups}: name a file that ends in .csv")
