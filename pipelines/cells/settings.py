"""The settings of a cell: one that was trained with other settings is not continued.

Workers on other machines import this module: it must not import what is slow to import.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.settings import IGNORED_IN_COMPARISON, flat

# changes that are named before the rest is left out
SHOWN = 4
# the setting that names the content of the file that a run starts from
WEIGHTS_DIGEST = "model.weights (SHA-256)"
# stands in settings that name what was given alone; all else then has its default
OTHERS, DEFAULT = "(all others)", "its default"


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the settings that differ and matter for what is trained.

    Args:
        before: settings of an earlier run
        now: settings of the next; those that only one of both has come from another version of a class, unless both
            name what was given alone

    Example:
        >>> changed({"trainer.max_epochs": 2, "data.fold": 0}, {"trainer.max_epochs": 3, "data.fold": 0})
        ['trainer.max_epochs was 2, is 3']
    """
    given_alone = OTHERS in before and OTHERS in now
    names = dict.fromkeys((*before, *now)) if given_alone else [name for name in before if name in now]
    pairs = {name: (before.get(name, DEFAULT), now.get(name, DEFAULT)) for name in names}
    return [
        f"{name} was {was}, is {value}"
        for name, (was, value) in pairs.items()
        if was != value and not name.startswith(IGNORED_IN_COMPARISON)
    ]


def given_settings(
    configs: Sequence[Mapping[str, Any]], options: Mapping[str, Any], digest: Callable[[Path], str]
) -> dict[str, Any]:
    """Name the settings that a cell is given, without parsing its command line, which takes half a second.

    Args:
        configs: contents of its config files, later ones win
        options: that it sets beyond them
        digest: hashes a file's content
    """
    settings: dict[str, Any] = {OTHERS: DEFAULT}
    for config in (*configs, options):
        settings |= flat(config)
    return with_digest(settings, digest)


def with_digest(settings: dict[str, Any], digest: Callable[[Path], str]) -> dict[str, Any]:
    """Add the content of the file that a cell starts from: another file may get the same name.

    Args:
        settings: flat
        digest: hashes a file's content
    """
    weights = settings.get("model.weights")
    if isinstance(weights, str) and Path(weights).is_file():
        settings[WEIGHTS_DIGEST] = digest(Path(weights))
    return settings


def check_texts(options: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse a number that became another text than the one that the user typed, such as 12e4.

    Args:
        options: as a plan gives them
        settings: as the command line has read them

    Raises:
        ValueError: there is one
    """
    for name, value in options.items():
        if isinstance(value, float | bool) and isinstance(settings.get(name), str):
            raise ValueError(f"{name} takes a text, and YAML reads yours as {value}: put it in quotes")


def named(changes: Sequence[str]) -> str:
    """Name the first few changes, and count the others.

    Example:
        >>> named(["a was 1, is 2", "b was 1, is 2", "c was 1, is 2", "d was 1, is 2", "e was 1, is 2"])
        'a was 1, is 2; b was 1, is 2; c was 1, is 2; d was 1, is 2, and 1 more'
    """
    more = f", and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "; ".join(changes[:SHOWN]) + more
