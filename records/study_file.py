"""What a study planned: its axes, and the values of each of its runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.damaged import damaged
from records.fields import ANY, read_fields
from records.json_files import to_json
from records.whole_file import write_whole

NAME = "study.json"
FIELDS = {
    "split": str,
    "metrics": [str],
    "axes": {ANY: [str]},
    "repeats": [str],
    "cells": {ANY: [str]},
}
WAY_OUT = "remove it, and start the study's command again"


@dataclass(frozen=True)
class StudyFile:
    """A study as `sweep` planned it.

    Args:
        split: on which it is measured
        metrics: what is shown; the first sorts
        axes: the values of each, in order
        repeats: axes along which the same is repeated
        cells: of each run, a value of each axis, in their order
        pooled: the axis over which test predictions are pooled; None where each run is tested on the same samples
        held_share: samples that a fold holds out over those that it is trained on; None where there are no folds
    """

    split: str
    metrics: list[str]
    axes: dict[str, list[str]]
    repeats: list[str]
    cells: dict[str, list[str]]
    pooled: str | None = None
    held_share: float | None = None

    def write(self, folder: Path) -> None:
        """Write it into the folder of an experiment."""
        with write_whole(folder / NAME) as partial:
            partial.write_text(to_json(vars(self)))

    @classmethod
    def read(cls, folder: Path) -> "StudyFile | None":
        """Read it from the folder of an experiment; None where there is none.

        Raises:
            DamagedFileError: it is not what was written
        """
        path = folder / NAME
        if (found := read_fields(path, FIELDS, WAY_OUT)) is None:
            return None
        if any(len(values) != len(found["axes"]) for values in found["cells"].values()):
            raise damaged(path, "a run has more or fewer values than there are axes", WAY_OUT)
        known: dict[str, Any] = {name: found.get(name) for name in cls.__dataclass_fields__}
        return cls(**known)

    def labels(self, name: str) -> dict[str, str]:
        """Return the values of a run by axis."""
        return dict(zip(self.axes, self.cells[name], strict=True))
