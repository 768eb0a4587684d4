"""One cell: a `fit` with its command line and folder."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from common import class_paths
from common.yaml_files import one_line
from records.run_dir import RunDir

# cells of one experiment: more would be a slip of the keyboard
MOST_CELLS = 100_000


def check_count(cells: int, what: str) -> None:
    """Refuse a plan of more cells than anybody means.

    Args:
        cells: how many there would be
        what: gives them, such as the axes

    Raises:
        ValueError: they are too many
    """
    if cells > MOST_CELLS:
        raise ValueError(f"{what} give {cells:,} cells: an experiment has at most {MOST_CELLS:,}")


def word_of(value: Any) -> str:
    """Return a value as a word of the command line, which reads lists and null from YAML."""
    if isinstance(value, str):
        return value
    # a study's cells share their values, and each is read back to check it
    return _cached(value) if isinstance(value, Hashable) else one_line(value)


@lru_cache(typed=True)
def _cached(value: Any) -> str:
    return one_line(value)


@dataclass(frozen=True)
class Cell:
    """One ordinary `train.py fit`: a member, or one of its folds.

    Args:
        name: of the run
        member: whose it is
        fragments: config files, later ones win
        options: what it sets beyond its fragments, by the names of the command line
        fold: the fold that is held out for the heads; None if none is
        refit: whether it is trained on all data, for the test alone
        starts_from: name of the cell whose weights it starts from, which must be finished before; None for no cell
    """

    name: str
    member: str
    fragments: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    fold: int | None = None
    refit: bool = False
    starts_from: str | None = None

    @property
    def settings(self) -> list[str]:
        """Its fragments and options as a command line."""
        args = [word for fragment in self.fragments for word in ("--config", fragment)]
        options = {name: word_of(value) for name, value in self.options.items()}
        return [*args, *(f"--{name}={value}" for name, value in options.items())]

    def command(self, folder: Path) -> list[str]:
        """Return the command line of `train.py` that trains it.

        Args:
            folder: the experiment's
        """
        # a name may begin with a dash
        place = [f"--run.root={folder.parent}", f"--run.experiment={folder.name}", f"--run.name={self.name}"]
        start = [] if self.starts_from is None else [f"--model.weights={RunDir(folder / self.starts_from).weights}"]
        return ["fit", *self.settings, *start, *place, *class_paths.options()]
