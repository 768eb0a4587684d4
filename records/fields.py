"""What a file must hold, as a table: one check of all fields, which names those that are missing or something else."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from records.damaged import damaged
from records.json_files import read_json

# a name that ends so need not be there; ANY stands for every name
OPTIONAL, ANY = "?", "*"
# problems that a message names
NAMED = 3


def read_fields(path: Path, wanted: Mapping[str, Any], way_out: str) -> dict[str, Any] | None:
    """Read a JSON file that must hold some fields; None where there is no file.

    Args:
        path: of the file
        wanted: see `check_fields`
        way_out: what to do if it is damaged

    Raises:
        DamagedFileError: it is not what was written
    """
    if not path.is_file():
        return None
    content = read_json(path, way_out)
    check_fields(content, wanted, path, way_out)
    return content


def check_fields(content: Mapping[Any, Any], wanted: Mapping[str, Any], path: Path | str, way_out: str) -> None:
    """Refuse what lacks a field, or holds something else in its place.

    Args:
        content: of the file
        wanted: a table, such as `CHECKPOINT` of lightning_modules/checkpoint_fields.py
        path: its file
        way_out: what to do then

    Raises:
        DamagedFileError: the message names the first few problems
    """
    found = list(problems(content, wanted, ""))
    if found:
        more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise damaged(path, ", ".join(found[:NAMED]) + more, way_out)


def problems(value: Any, wanted: Any, place: str) -> Iterator[str]:
    """Yield what is wrong with a value.

    Args:
        value: from a file
        wanted: a type, a list with what each element must be, or what a dict must hold by name
        place: what to call it

    Example:
        >>> list(problems({"a": [1, "x"], "c": 1.5}, {"a": [int], "b": str, "c?": float}, ""))
        ['a[1] is of type str and must be of type int', 'b is missing']
    """
    if isinstance(wanted, dict):
        yield from problems_of_dict(value, wanted, place)
    elif isinstance(wanted, list):
        if isinstance(value, list | tuple):
            for number, element in enumerate(value):
                yield from problems(element, wanted[0], f"{place}[{number}]")
        else:
            yield wrong(place, value, "list")
    # bool is an int, and an int will do for a float
    elif isinstance(value, bool) is not (wanted is bool) or not isinstance(
        value, int | float if wanted is float else wanted
    ):
        yield wrong(place, value, wanted.__name__)


def problems_of_dict(value: Any, wanted: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield what is missing in a dict, and what is wrong with what is there."""
    if not isinstance(value, dict):
        yield wrong(place or "it", value, "dict")
        return
    named = {name.removesuffix(OPTIONAL): inner for name, inner in wanted.items() if name != ANY}
    for name, inner in named.items():
        where = f"{place}.{name}" if place else name
        if name in value:
            yield from problems(value[name], inner, where)
        elif name + OPTIONAL not in wanted:
            yield f"{where} is missing"
    if ANY in wanted:
        for name in value.keys() - named.keys():
            yield from problems(value[name], wanted[ANY], f"{place}.{name}")


def wrong(place: str, value: Any, wanted: str) -> str:
    """Say what a value is, where something else was expected."""
    return f"{place} is of type {type(value).__name__} and must be of type {wanted}"
