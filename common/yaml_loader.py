"""How a text of YAML becomes values: which words are numbers, and what is refused before anything is built."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import yaml

# how deeply values may be nested
MAX_DEPTH = 100
# values that a text may add by aliases
MAX_ALIASED = 10_000
# halves of characters: Python's stand-ins for bytes of file names that are not UTF-8
HALVES = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")
TAG = "tag:yaml.org,2002:"
# what stands without quotes and is no text; dates, 1:30 and = are text here
WORDS = {
    "bool": r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
    "int": r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)",
    "float": r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
    "null": r"~|null|Null|NULL|",
    "merge": r"<<",
}


def load(text: str, as_typed: Collection[str] = ()) -> Any:
    """Read a value from YAML.

    Args:
        text: YAML
        as_typed: keys of mappings whose numbers and truth values stay the text that the user typed

    Raises:
        yaml.YAMLError: it is not YAML, holds a key twice, or would grow beyond measure
    """
    loader = checked_loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if as_typed:
            keep_typed(node, as_typed)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def checked_loader(text: str) -> Any:
    """Return PyYAML's loader of a text, after a look through the text.

    Args:
        text: YAML

    Raises:
        yaml.YAMLError: it is not YAML, holds a key twice, or would grow beyond measure
    """
    # the faster one refuses halves of characters
    kind = HalvesLoader if HALVES.search(text) else Loader
    look_through(text, kind)
    return kind(text)


def look_through(text: str, kind: Any) -> None:
    """Refuse what would take forever, or crash, or lose a value, before anything is built.

    Args:
        text: YAML
        kind: of the loader

    Raises:
        yaml.YAMLError: values are nested too deeply, repeated too often by aliases, or a key comes twice
    """
    sizes: dict[str, int] = {}
    frames, aliased = [Frame()], 0
    for event in yaml.parse(text, Loader=kind):
        if isinstance(event, yaml.CollectionEndEvent):
            ended = frames.pop()
            frames[-1].size += ended.size
            sizes[ended.anchor] = ended.size
        elif isinstance(event, yaml.CollectionStartEvent):
            frames[-1].take(event)
            frames.append(Frame(event.anchor or "", isinstance(event, yaml.MappingStartEvent)))
            if len(frames) > MAX_DEPTH:
                raise refused(f"more than {MAX_DEPTH} values lie inside one another", event)
        elif isinstance(event, yaml.NodeEvent):
            size = 1
            if isinstance(event, yaml.AliasEvent):
                size = sizes.get(event.anchor or "", 1)
                aliased += size
                if any(frame.anchor == event.anchor for frame in frames):
                    raise refused(f"*{event.anchor} lies inside of what it stands for", event)
                if aliased > MAX_ALIASED:
                    raise refused(f"aliases such as *{event.anchor} repeat more than {MAX_ALIASED:,} values", event)
            frames[-1].take(event)
            frames[-1].size += size


@dataclass
class Frame:
    """A list or mapping that is being looked through.

    Args:
        anchor: by which aliases refer to it
        is_mapping: whether it is a mapping
    """

    anchor: str = ""
    is_mapping: bool = False
    size: int = 1
    keys: set[str] = field(default_factory=set)
    at_key: bool = True

    def take(self, event: yaml.NodeEvent) -> None:
        """Note what comes next in it.

        Args:
            event: where the value begins

        Raises:
            yaml.YAMLError: it is a key that the mapping has
        """
        if not self.is_mapping:
            return
        if self.at_key and isinstance(event, yaml.ScalarEvent):
            if event.value in self.keys:
                raise refused(f"the key {event.value!r} comes twice", event)
            self.keys.add(event.value)
        self.at_key = not self.at_key


def refused(reason: str, event: yaml.NodeEvent) -> yaml.YAMLError:
    """Return the error for a place in a text."""
    return yaml.MarkedYAMLError(problem=reason, problem_mark=event.start_mark)  # type: ignore[arg-type]


def keep_typed(node: yaml.Node, keys: Collection[str]) -> None:
    """Make text of the numbers and truth values in some mappings, as they are on a command line.

    Args:
        node: what was read
        keys: under which the mappings stand
    """
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            keep_typed(item, keys)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value in keys and isinstance(value, yaml.MappingNode):
                _to_text(value)
            else:
                keep_typed(value, keys)


def _to_text(node: yaml.MappingNode) -> None:
    for _, value in node.value:
        if isinstance(value, yaml.MappingNode):
            _to_text(value)
        elif isinstance(value, yaml.ScalarNode) and value.tag in (f"{TAG}int", f"{TAG}float", f"{TAG}bool"):
            value.tag = f"{TAG}str"


def explain(error: yaml.YAMLError, text: str) -> str:
    """Say in which line a text is not YAML and why, to stand behind the name of its file.

    Args:
        error: what reading it raised
        text: what was read
    """
    line, problem = None, " ".join(str(error).split())
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        problem = (
            f"{error.context} {error.problem}" if str(error.problem).startswith("but") else error.problem or problem
        )
    elif isinstance(error, yaml.reader.ReaderError):
        found = HalvesLoader.NON_PRINTABLE.search(text)
        line, problem = text.count("\n", 0, found.start()) + 1 if found else None, "there is a control character"
    if found := re.search(r"could not determine a constructor for the tag '([^']+)'", problem):
        problem = f"a value of the kind {found[1].rpartition(':')[2]!r} is not read here"
    if line and "cannot start any token" in problem and "\t" in text.splitlines()[line - 1]:
        problem = "there is a tab; indent with spaces"
    return (f", line {line}" if line else "") + f": {problem}"


def _construct_number(name: str) -> Any:
    construct = getattr(yaml.constructor.SafeConstructor, f"construct_yaml_{name}")

    def construct_or_text(loader: Any, node: yaml.ScalarNode) -> Any:
        try:
            return construct(loader, node)
        except (ValueError, KeyError):
            # a number of more than 4,300 digits, or of no digit at all
            return loader.construct_scalar(node)

    return construct_or_text


def _of_this_project(base: Any) -> Any:
    """Return a loader class with the words above, and without tags that make other objects."""
    safe = yaml.constructor.SafeConstructor
    kind: Any = type("Loader", (base,), {"yaml_implicit_resolvers": {}, "yaml_constructors": {}})
    for name, pattern in WORDS.items():
        kind.add_implicit_resolver(f"{TAG}{name}", re.compile(rf"^(?:{pattern})$"), None)
    for name in ("map", "seq", "str", "null"):
        kind.add_constructor(f"{TAG}{name}", getattr(safe, f"construct_yaml_{name}"))
    for name in ("int", "float", "bool"):
        kind.add_constructor(f"{TAG}{name}", _construct_number(name))
    kind.add_constructor(None, safe.construct_undefined)
    return kind


def _join_halves(loader: Any, node: yaml.ScalarNode) -> str:
    # JSON writes a character beyond the first 65,536 as two halves
    text: str = loader.construct_scalar(node)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


Loader = _of_this_project(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
HalvesLoader = _of_this_project(yaml.SafeLoader)
HalvesLoader.NON_PRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ufffd\U00010000-\U0010ffff]")
HalvesLoader.add_constructor(f"{TAG}str", _join_halves)
