"""The settings of a cell: one that was trained with other settings is not continued.

Workers on other machines import this module: it must not import what is slow to import.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from common.settings import IGNORED_IN_COMPARISON

# changes that are named before the rest is left out
SHOWN = 4


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the settings that differ and matter for what is trained.

    Args:
        before: settings of an earlier run
        now: settings of the next; those that only one of both has come from another version of a class

    Example:
        >>> changed({"trainer.max_epochs": 2, "data.fold": 0}, {"trainer.max_epochs": 3, "data.fold": 0})
        ['trainer.max_epochs was 2, is 3']
    """
    return [
        f"{name} was {before[name]}, is {now[name]}"
        for name in before
        if name in now and before[name] != now[name] and not name.startswith(IGNORED_IN_COMPARISON)
    ]


def named(changes: Sequence[str]) -> str:
    """Name the first few changes, and count the others.

    Example:
        >>> named(["a was 1, is 2", "b was 1, is 2", "c was 1, is 2", "d was 1, is 2", "e was 1, is 2"])
        'a was 1, is 2; b was 1, is 2; c was 1, is 2; d was 1, is 2, and 1 more'
    """
    more = f", and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "; ".join(changes[:SHOWN]) + more
