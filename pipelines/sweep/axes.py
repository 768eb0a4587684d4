"""Axes of a study: options, or named sets of fragments and options, with the values that cells take."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.few import few
from common.settings import dotted
from common.spelling import nearest
from common.yaml_files import one_line

# what a named value of an axis may hold
PARTS = ("fragments", "options")
# characters of a value in a folder's name
LENGTH = 40


@dataclass(frozen=True)
class Value:
    """One value of an axis.

    Args:
        label: how tables name it
        fragments: config files that it adds
        options: that it sets, by the names of the command line
    """

    label: str
    fragments: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Axis:
    """What differs between cells.

    Args:
        name: an option, or a word for named values
        values: in order
        option: whether it is an option of the command line
    """

    name: str
    values: tuple[Value, ...]
    option: bool = False

    @classmethod
    def of(cls, name: str, given: Any) -> "Axis":
        """Read an axis as a plan gives it.

        Args:
            name: of the axis
            given: a list of values of the option of this name, or a mapping of names to fragments and options

        Raises:
            ValueError: it is something else, or empty, or holds a value twice
        """
        if isinstance(given, Mapping):
            values = tuple(_named(name, str(label), value) for label, value in given.items())
        elif isinstance(given, Sequence) and not isinstance(given, str):
            values = tuple(Value(label_of(value), (), {name: value}) for value in given)
        else:
            raise ValueError(
                f"axes: {name} takes a list of values, or names with their fragments and options, not {given!r}"
            )
        if not values:
            raise ValueError(f"axes: {name} has no value: give it some, or leave it out")
        labels = [value.label for value in values]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise ValueError(f"axes: {name} has the value {twice} twice")
        return cls(name, values, not isinstance(given, Mapping))

    def word(self, label: str) -> str:
        """Return what a cell's name says of a value: a number says which option it is of.

        Example:
            >>> axis = Axis("model.optimizer.lr", (), True)
            >>> axis.word("0.01"), Axis("loss", ()).word("class balanced"), Axis("data.sampler", (), True).word("sqrt")
            ('lr0.01', 'class_balanced', 'sqrt')
        """
        text = re.sub(r"[^\w.+-]+", "_", label).strip("_")[:LENGTH]
        # names of values are the user's own words
        says_itself = not self.option or (text[:1].isalpha() and text not in ("true", "false", "null"))
        return text if says_itself else f"{self.name.rpartition('.')[2]}{text}"


def _named(name: str, label: str, given: Any) -> Value:
    parts = {} if given is None else given
    if isinstance(parts, str):
        parts = {"fragments": [parts]}
    if not isinstance(parts, Mapping):
        raise ValueError(f"axes: {name}: {label} takes fragments and options, not {given!r}")
    if other := next((part for part in parts if part not in PARTS), None):
        raise ValueError(f"axes: {name}: {label} takes fragments and options, not {other!r}{nearest(other, PARTS)}")
    fragments = parts.get("fragments") or []
    fragments = [fragments] if isinstance(fragments, str) else fragments
    return Value(label, tuple(map(str, fragments)), dotted(parts.get("options") or {}))


def label_of(value: Any) -> str:
    """Return how tables name a value of an option.

    Example:
        >>> [label_of(value) for value in (0.00001, "focal", None, [16, 32], True)]
        ['1e-05', 'focal', 'null', '[16, 32]', 'true']
    """
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return value if isinstance(value, str) else one_line(value)


@dataclass(frozen=True)
class Condition:
    """Which cells are meant: those that have one of these values on each of these axes.

    Args:
        labels: of the values, by axis
    """

    labels: dict[str, frozenset[str]]

    @classmethod
    def of(cls, given: Mapping[str, Any], axes: Sequence[Axis], where: str) -> "Condition":
        """Read a condition as a plan gives it.

        Args:
            given: a value or a list of values, by axis
            axes: those that the plan has
            where: how messages name it, such as leave_out

        Raises:
            ValueError: it names an axis or a value that the plan does not have
        """
        known = {axis.name: [value.label for value in axis.values] for axis in axes}
        labels = {}
        for name, values in dotted(given).items():
            if name not in known:
                raise ValueError(f"{where}: there is no axis {name!r}{nearest(name, known)} (axes: {few(known, 20)})")
            wanted = [label_of(value) for value in (values if isinstance(values, list) else [values])]
            if other := next((label for label in wanted if label not in known[name]), None):
                raise ValueError(
                    f"{where}: {name} has no value {other}{nearest(other, known[name])} "
                    f"(values: {few(known[name], 20)})"
                )
            labels[name] = frozenset(wanted)
        return cls(labels)

    def holds(self, cell: Mapping[str, str]) -> bool:
        """Tell whether a cell is meant.

        Args:
            cell: the labels of its values, by axis
        """
        return all(cell.get(name) in labels for name, labels in self.labels.items())
