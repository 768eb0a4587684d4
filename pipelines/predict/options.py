"""Options of `python train.py predict --images`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.ranges import check_range

Format = Literal["csv", "jsonl", "parquet"]
SUFFIXES: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
RANGES = {"top_k": "[1, inf)", "batch_size": "[1, inf)", "threads": "[1, inf)"}


@dataclass
class PredictOptions:
    """What to predict with, and where to.

    Args:
        ckpt_path: a run's folder, a checkpoint, or a stack's folder
        out: file of the predictions: .csv, .jsonl or .parquet (extra parquet); - writes to standard output; null takes
            predicted.csv in the run's folder. An earlier file is kept under a number
        format: of standard output
        top_k: how many classes to name of each image
        probabilities: a column of probability for each class
        coverage: of prediction sets, where the model has held-out scores; null writes none
        batch_size: images computed at once
        threads: that decode images
        device: such as cpu, cuda or cuda:1; auto takes a GPU where there is one
    """

    ckpt_path: str
    out: str | None = None
    format: Literal["csv", "jsonl"] = "csv"
    top_k: int = 1
    probabilities: bool = True
    coverage: float | None = 0.9
    batch_size: int = 64
    threads: int = 2
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, interval in RANGES.items():
            check_range(f"--{name}", getattr(self, name), interval)
        if self.coverage is not None:
            check_range("--coverage", self.coverage, "(0, 1)")
        if self.out not in (None, "-") and Path(str(self.out)).suffix not in SUFFIXES:
            raise ValueError(f"--out {self.out} must end in {', '.join(SUFFIXES)}, or be - for standard output")

        if self.format != "csv" and self.out != "-":
            raise ValueError(
                f"--format {self.format} is of standard output: set --out -, or name a .{self.format} by --out"
            )

    def written_as(self) -> Format:
        """Return the format of the file."""
        return self.format if self.out == "-" else SUFFIXES[Path(self.out or "predicted.csv").suffix]
