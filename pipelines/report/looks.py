"""What a report says of how often its test split was looked at, and of the best run that was chosen on it."""

from pathlib import Path

import numpy as np

from measures.intervals import numbered
from measures.winners_curse import winners_curse
from pipelines.report.comparison import Comparison
from pipelines.report.page import Section
from records.ledger import Looks, read_looks
from records.run_dir import RunDir


def looks_of(group: Comparison) -> Looks | None:
    """Count the looks at the test split of some runs, in the ledgers of all their roots.

    Args:
        group: runs tested on the same samples

    Returns:
        the looks so far; None where no ledger knows the split, as one of runs of earlier versions
    """
    fingerprint = next((found for run in group.runs if (found := run.run.fingerprint("test"))), None)
    folders: dict[Path, None] = {RunDir(run.run.files.folder.resolve()).ledger: None for run in group.runs}
    # a file of something else may hold anything, and no text must lead out of the folder
    if not isinstance(fingerprint, str) or Path(fingerprint).name != fingerprint:
        return None
    return read_looks(folders, fingerprint)


def curse_of(group: Comparison) -> tuple[int, float] | None:
    """Estimate by how much the most accurate run's accuracy is too high, because the run is chosen by it.

    Args:
        group: runs tested on the same samples

    Returns:
        the runs without leakage that it is chosen from, and the estimate; None for fewer than two
    """
    rows = [run.right for run in group.runs if run.right is not None and not run.leaks]
    if len(rows) < 2:
        return None
    found = winners_curse(np.stack(rows), numbered(group.groups))
    return None if found is None else (len(rows), found)


def say_looks(section: Section, group: Comparison) -> None:
    """Say how often the split was looked at, and what the best run is expected to lose.

    Args:
        section: where to say it
        group: runs tested on the same samples
    """
    if group.looks is not None:
        section.say(f"L{group.looks.sentence[1:]}.")
    curse = curse_of(group)
    if curse is not None:
        runs, lost = curse
        section.say(
            f"The most accurate of these {runs:,} runs is expected to lose {100 * lost:.2f} points of accuracy on new "
            f"samples, because luck on these samples helped to choose it (bootstrap bias correction, BBC-CV)."
        )
