"""What an option means to the rest of the project, written on the option's own field."""

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, TypeVar, dataclass_transform

T = TypeVar("T")

# roles of data options: split is how the data is split, reading how it is read (not which data is meant), serving how
# batches are made. The role of a model option: training is how the model is trained and computed, not what it is.
Role = Literal["split", "reading", "serving", "training"]


def option(default: Any, role: Role) -> Any:
    """Make the field of an option that has a role.

    Args:
        default: of the option
        role: what it is about; an option without one says what the data or the model is

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


@dataclass_transform(eq_default=False, kw_only_default=True, field_specifiers=(field, option))
def configurable(kind: type[T]) -> type[T]:
    """Make a dataclass of a model or DataModule, whose fields are its options on the command line.

    It is compared by identity and shown as torch shows modules; a subclass can add options without a default.

    Args:
        kind: the class
    """
    return dataclass(eq=False, kw_only=True, repr=False)(kind)


def options_with(kind: Any, role: Role | None) -> Iterator[Field]:
    """Yield the options of a role.

    Args:
        kind: a dataclass, or an object of one
        role: of the options; None for those without one
    """
    return (f for f in fields(kind) if role_of(kind, f.name) == role)


def role_of(kind: Any, name: str) -> Role | None:
    """Return the role of an option; a class that gives it another default keeps the role.

    Args:
        kind: a dataclass, or an object of one
        name: of the option
    """
    classes = (kind if isinstance(kind, type) else type(kind)).__mro__
    own = (vars(base).get("__dataclass_fields__", {}).get(name) for base in classes)
    return next((f.metadata["role"] for f in own if f is not None and "role" in f.metadata), None)
