"""The axes of a study: options in which runs differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.settings import Settings

SEED = "seed_everything"
# above this many values, an axis shows only their number
SHOWN_VALUES = 12


@dataclass(frozen=True)
class Axis:
    """An option in which runs differ.

    Args:
        name: as on the command line; those that vary along with it follow
        together: other options that divide the runs in the same way
        values: of each run, in their order; None where a run has no such option
    """

    name: str
    together: list[str]
    values: list[str | None]

    @property
    def levels(self) -> list[str | None]:
        """The different values, numbers by size, and none last."""
        return sorted(set(self.values), key=level_order)

    @property
    def is_numeric(self) -> bool:
        """Whether most of its values are numbers."""
        return 2 * sum(level_order(level)[0] == 0 for level in self.levels) > len(self.levels)


def axes_of(settings: Sequence[Settings]) -> list[Axis]:
    """Find the options in which runs differ.

    An option of a class, such as the betas of Adam, that is the same in all runs of that class comes along with the
    class: it is no axis of its own.

    Args:
        settings: of each run, flat

    Returns:
        one axis for all options that divide the runs alike, named after the first; the seed last
    """
    # the seed comes last, so that an axis is named after it only if no other option varies along with it
    names = sorted(dict.fromkeys(name for one in settings for name in one), key=lambda name: name == SEED)
    varying = [name for name in names if len({one.get(name) for one in settings}) > 1]
    found: dict[tuple[int, ...], list[str]] = {}
    along: dict[str, list[str]] = {}
    for name in varying:
        if owner := owner_of(name, varying, settings):
            along.setdefault(owner, []).append(name)
            continue
        numbers: dict[str | None, int] = {}
        values = [one.get(name) for one in settings]
        for value in values:
            numbers.setdefault(value, len(numbers))
        found.setdefault(tuple(numbers[value] for value in values), []).append(name)
    axes = [
        Axis(
            same[0],
            [*same[1:], *(other for name in same for other in along.get(name, []))],
            [one.get(same[0]) for one in settings],
        )
        for same in found.values()
    ]
    return sorted(axes, key=lambda axis: axis.name == SEED)


def owner_of(name: str, varying: Sequence[str], settings: Sequence[Settings]) -> str | None:
    """Name the outermost class that an option comes along with; None if it says something of its own.

    Args:
        name: of the option
        varying: options in which the runs differ
        settings: of each run, flat
    """
    for owner in sorted(varying, key=len):
        if name.startswith(f"{owner}.") and len({(one.get(owner), one.get(name)) for one in settings}) == len(
            {one.get(owner) for one in settings}
        ):
            return owner
    return None


def level_order(value: str | None) -> tuple[int, float, str]:
    """Order values: numbers by size, then words, then none."""
    if value is None:
        return (2, 0.0, "")
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)
