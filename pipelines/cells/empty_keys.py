"""Keys of a plan that do not exist and hold an empty mapping: the parser sees no value there, and says nothing."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

from common.class_paths import PROJECT
from pipelines.cli.config_files import is_empty, suggestion
from pipelines.cli.errors import UsageError

CLASS, OPTIONS = "class_path", "init_args"


def refuse_unknown(content: Mapping[str, Any], kind: type, place: str) -> None:
    """Refuse empty mappings under names that no option has.

    Args:
        content: of a plan, or of a part of it
        kind: the class whose options it holds
        place: how messages name where it stands, such as a file

    Raises:
        UsageError: there is one; the message suggests the nearest name
    """
    refuse_in(content, [kind], place, "")


def refuse_in(content: Mapping[str, Any], kinds: list[type], place: str, where: str) -> None:
    """Refuse them in the options of a class, which is one of a few; see `refuse_unknown`."""
    if CLASS in content:
        names = {CLASS, OPTIONS}
        inner: Any = content.get(OPTIONS)
        named = [kind for kind in kinds if kind.__name__ == str(content[CLASS]).rpartition(".")[2]]
        if isinstance(inner, Mapping) and named:
            refuse_in(inner, named, place, where)
    else:
        names = {name for kind in kinds for name in inspect.signature(kind).parameters}
        for kind in kinds:
            for name, hint in hints_of(kind).items():
                below = [found for named in classes_in(hint) for found in with_subclasses(named)]
                for inner in parts_of(content.get(name)) if below else ():
                    refuse_in(inner, below, place, f"{where}{name}.")
    for name, value in content.items():
        if name not in names and is_empty(value):
            raise UsageError(f"{place}, unknown option {where}{name}{suggestion(str(name), names)}")


def hints_of(kind: type) -> dict[str, Any]:
    """Return what the options of a class may be."""
    return get_type_hints(vars(kind).get("__init__", object.__init__))


def classes_in(hint: Any) -> Iterator[type]:
    """Yield the classes of this project that an option may hold, alone or in a list."""
    if isinstance(hint, type) and hint.__module__.partition(".")[0] in PROJECT:
        yield hint
    for inner in get_args(hint):
        yield from classes_in(inner)


def with_subclasses(kind: type) -> Iterator[type]:
    """Yield a class and all that are made from it."""
    yield kind
    below: list[type] = kind.__subclasses__()
    for inner in below:
        yield from with_subclasses(inner)


def parts_of(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings that a value is, or lists."""
    return [inner for inner in (value if isinstance(value, list) else [value]) if isinstance(inner, Mapping)]
