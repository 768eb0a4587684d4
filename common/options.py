"""What an option means to the rest of the project, written on the option's own field."""

from collections.abc import Iterator
from dataclasses import Field, field, fields
from typing import Any, Literal

# split: how the data is split; reading: how it is read, and not which data is meant; serving: how batches are made
Role = Literal["split", "reading", "serving"]


def option(default: Any, role: Role) -> Any:
    """Make the field of an option that has a role.

    Args:
        default: of the option
        role: what it is about; an option without one says which data is meant

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Data:
        ...     root: str
        ...     fold: int = option(0, "split")
        >>> [f.name for f in options_with(Data, "split")]
        ['fold']
    """
    return field(default=default, metadata={"role": role})


def options_with(kind: Any, role: Role | None) -> Iterator[Field]:
    """Yield the options of a role.

    Args:
        kind: a dataclass, or an object of one
        role: of the options; None for those without one
    """
    return (f for f in fields(kind) if f.metadata.get("role") == role)
