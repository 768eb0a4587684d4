"""All YAML that the project writes and reads: what is written reads back as it was, or is refused."""

import os
import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from common.yaml_loader import explain, load

# what each reader of YAML takes for text; all other text is written in quotes
PLAIN = re.compile(
    r"(?!(?:true|false|yes|no|on|off|y|n|null|none|nan|inf|infinity)$)[A-Za-z_/][A-Za-z0-9_./-]*", re.IGNORECASE
)
# written by their names, which the options that hold them take
NAMED = ("torch.device", "torch.dtype")


class YAMLFileError(ValueError):
    """A file is not what it should be; the message names the file and the line."""


class NoYAMLFormError(ValueError):
    """A value would be another one after it was written and read."""


# reading


def read_text(path: Path) -> str:
    """Read a text in UTF-8, or in UTF-16 that says so by its first bytes.

    Args:
        path: of the file

    Raises:
        YAMLFileError: it cannot be read, or is in another encoding
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise YAMLFileError(f"{path} cannot be read: {error.strerror}") from error
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        if not marked and b"\0" in content:
            raise UnicodeDecodeError("utf-8", content, content.index(b"\0"), len(content), "no text has zeros")
        return content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YAMLFileError(f"{path}, line {line}: the text is not UTF-8; save the file as UTF-8") from error


def read(path: Path) -> Any:
    """Read a YAML file.

    Args:
        path: of the file

    Raises:
        YAMLFileError: it cannot be read, or is not YAML
    """
    text = read_text(path)
    try:
        return load(text)
    except yaml.YAMLError as error:
        raise YAMLFileError(f"{path}{explain(error, text)}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds options by name, as configs and plans do.

    Args:
        path: of the file

    Raises:
        YAMLFileError: it cannot be read, is not YAML, or holds something else
    """
    content = read(path)
    if isinstance(content, dict):
        other = next((name for name in content if not isinstance(name, str)), None)
        if other is None:
            return content
        found = f"the name {other!r}, which is no text"
    else:
        found = "a list" if isinstance(content, list) else "nothing" if content is None else f"only {content!r:.40}"
    lines = enumerate(read_text(path).splitlines(), 1)
    first = next(
        (number for number, line in lines if line.strip() and not line.lstrip().startswith(("#", "%", "---"))), 1
    )
    raise YAMLFileError(
        f"{path}, line {first}: the file must hold options by name, such as `seed_everything: 1`; it holds {found}"
    )


# writing


def write(path: Path, value: Any, comments: tuple[str, ...] = ()) -> None:
    """Write a YAML file, and read it back.

    Args:
        path: of the file
        value: what it is to hold
        comments: lines that stand above

    Raises:
        NoYAMLFormError: it would read back as something else
    """
    lines = ["# " + "".join(c if c.isprintable() else " " for c in line) + "\n" for line in comments]
    path.write_text("".join(lines) + dump(value), encoding="utf-8")
    if changed := difference(plain(value), read(path)):
        raise NoYAMLFormError(f"{path} does not read back as it was written: {changed}")


def dump(value: Any) -> str:
    """Return a value as YAML in ASCII, a line each.

    Args:
        value: of plain types, or with enums, paths and devices in it

    Raises:
        NoYAMLFormError: it would read back as something else
    """
    return _checked(value, False)


def one_line(value: Any) -> str:
    """Return a value as YAML in one line of ASCII, for a command line.

    Args:
        value: likewise

    Raises:
        NoYAMLFormError: it would read back as something else
    """
    # a single value ends in a line of dots
    return _checked(value, True).removesuffix("\n...\n").strip()


def _checked(value: Any, flow: bool) -> str:
    content = plain(value)
    # never in two lines
    text: str = yaml.dump(content, Dumper=Writer, default_flow_style=flow, sort_keys=False, width=2**60)
    try:
        found = load(text)
    except yaml.YAMLError as error:
        raise NoYAMLFormError(f"this cannot be kept in YAML{explain(error, text)}") from error
    if changed := difference(content, found):
        raise NoYAMLFormError(f"this cannot be kept in YAML: {changed}")
    return text


class Writer(yaml.SafeDumper):
    """Puts all text into quotes that any reader might take for something else, and repeats what comes twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything where it stands."""
        return True

    def write_text(self, text: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if PLAIN.fullmatch(text) else '"')


Writer.add_representer(str, Writer.write_text)


def plain(value: Any, where: str = "") -> Any:
    """Return a value made of the types that YAML has.

    Args:
        value: of these types, or with enums, paths, tuples and devices in it
        where: its name, for the error

    Raises:
        NoYAMLFormError: it holds something else
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Enum) and not isinstance(value, str | int | float):
        return value.name
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind.__str__(value) if kind is str else kind(value)
    if isinstance(value, Mapping):
        return {plain(name): plain(inner, f"{where}.{name}" if where else str(name)) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, f"{where}[{number}]") for number, inner in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if f"{type(value).__module__}.{type(value).__name__}" in NAMED:
        return str(value)
    # without the address of an object, which is another one each time
    shown = re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    raise NoYAMLFormError(
        f"{where or 'a value'} is {shown:.80}, a {type(value).__name__}, which a config cannot hold; "
        "give it another value"
    )


def difference(wanted: Any, found: Any, where: str = "") -> str:
    """Say where a value first differs from another one, types included; empty if they are equal.

    Args:
        wanted: of plain types
        found: of plain types
        where: their name

    Example:
        >>> difference({"lr": 1.0, "name": "1e3"}, {"lr": 1.0, "name": 1000.0})
        "name: '1e3' reads back as 1000.0"
    """
    if isinstance(wanted, dict) and isinstance(found, dict) and list(wanted) == list(found):
        pairs = [(f"{where}.{name}" if where else str(name), wanted[name], found[name]) for name in wanted]
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = [(f"{where}[{number}]", *pair) for number, pair in enumerate(zip(wanted, found, strict=True))]
    # repr compares values as Python writes them: nan equals itself, and -0 differs from 0
    elif type(wanted) is type(found) and repr(wanted) == repr(found):
        return ""
    else:
        return f"{where or 'it'}: {wanted!r:.80} reads back as {found!r:.80}"
    return next((told for name, one, other in pairs if (told := difference(one, other, name))), "")
