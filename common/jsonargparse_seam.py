"""What the project replaces inside jsonargparse, in one place: a new version that has changed it fails at import."""

import inspect
from argparse import Action
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args
from weakref import WeakKeyDictionary

import jsonargparse._actions
import jsonargparse._core
import jsonargparse._loaders_dumpers
import jsonargparse._paths
import jsonargparse._subcommands
import jsonargparse._typehints
import jsonargparse._util
import yaml
from jsonargparse import ArgumentParser, Namespace, set_dumper, set_loader, set_parsing_settings

from common import yaml_files
from common.class_paths import current, judge, up_to_date
from common.yaml_loader import checked_loader, load

# mode of a parser whose mappings `options` hold what a command line would
TYPED_OPTIONS = "yaml with options as typed"

# how a command line says that there is no value
NULLS = ("null", "Null", "NULL", "~")

# what is replaced: the module, the name in it, and the parameters that it is called with
REPLACED = (
    (jsonargparse._typehints, "discard_init_args_on_class_path_change", ("parser_or_action", "prev_val", "value")),
    (jsonargparse._typehints, "check_import_path", None),
    (jsonargparse._util, "check_import_path", None),
    (jsonargparse._actions, "import_object", ("name", "check_path")),
    (jsonargparse._typehints, "import_object", ("name", "check_path")),
    (jsonargparse._subcommands, "find_action_and_subcommand", ("parser", "dest", "exclude")),
    (jsonargparse._core, "find_action_and_subcommand", ("parser", "dest", "exclude")),
    (jsonargparse._loaders_dumpers, "yaml_default_loader", None),
    (jsonargparse._paths.Path, "read_text", None),
)


def check_version() -> None:
    """Refuse a jsonargparse in which something that is replaced here has another name or other parameters.

    Raises:
        RuntimeError: it has; the message names it
    """
    for owner, name, parameters in REPLACED:
        if not hasattr(owner, name) or (
            parameters and tuple(inspect.signature(getattr(owner, name)).parameters) != parameters
        ):
            raise RuntimeError(
                f"this version of jsonargparse has no {owner.__name__}.{name} as it was: install the one in "
                f"constraints.txt"
            )


def guard_imports() -> None:
    """Let jsonargparse ask us before it imports what a value names, and look where a class is by now.

    It has a list of what is refused and none of what is allowed, and says nothing of the way out.

    Raises:
        RuntimeError: this version of it does not ask before it imports
    """
    asks = inspect.signature(jsonargparse._util.import_object).parameters.get("check_path")
    if asks is None or asks.default is not True:
        raise RuntimeError("this version of jsonargparse imports classes unasked: install the one in constraints.txt")
    jsonargparse._util.check_import_path = judge
    jsonargparse._typehints.check_import_path = judge
    jsonargparse._actions.import_object = import_current
    jsonargparse._typehints.import_object = import_current


def import_current(name: Any, check_path: bool = True) -> Any:
    """Import what a value names, if it may be imported, under its name of today.

    Args:
        name: dotted
        check_path: whether it comes from a value, and not from code
    """
    if check_path and isinstance(name, str):
        name = current(name)
    return jsonargparse._util.import_object(name, check_path)


def reset_options_with_class() -> None:
    """Let a class start from its own defaults when it takes another one's place.

    jsonargparse keeps every option of the class before that the new one accepts, defaults included: CIFAR-10 would be
    served at the size of the digits, and SGD would get AdamW's weight decay. There is no setting for it.
    """
    jsonargparse._typehints.discard_init_args_on_class_path_change = _discard_all


def _discard_all(parser_or_action: Any, prev_val: Any, value: Any) -> None:
    if prev_val and "init_args" in prev_val and prev_val["class_path"] != value["class_path"]:
        prev_val["init_args"] = Namespace()


@dataclass(frozen=True)
class _Options:
    """The options of a parser.

    Args:
        actions: all of them: an identity is never another's while it is held here
        numbers: their identities
        commands: actions that hold subcommands
        by_name: the others, by what they may be looked up by
    """

    actions: tuple[Action, ...]
    numbers: tuple[int, ...]
    commands: list[Any]
    by_name: dict[str, Action]

    @classmethod
    def of(cls, actions: list[Action], numbers: tuple[int, ...]) -> "_Options":
        """Sort a parser's actions; of those with one name the first counts, and one that reads configs only at last."""
        parsing = jsonargparse._actions.filter_non_parsing_actions(actions)
        late = (jsonargparse._actions._ActionConfigLoad, jsonargparse._actions.ActionFail)
        first: dict[str, Action] = {}
        last: dict[str, Action] = {}
        for action in parsing:
            for name in (action.dest, *(option[2:] for option in action.option_strings if option.startswith("--"))):
                if isinstance(action, late):
                    last[name] = action
                else:
                    first.setdefault(name, action)
        commands = [action for action in parsing if isinstance(action, jsonargparse._subcommands.ActionSubCommands)]
        return cls(tuple(actions), numbers, commands, last | first)


_options: "WeakKeyDictionary[Any, _Options]" = WeakKeyDictionary()


def find_quickly() -> None:
    """Let jsonargparse look an option up by its name.

    It goes through all options of a parser for each name of a configuration, several times.
    """
    jsonargparse._subcommands.find_action_and_subcommand = _find_action
    jsonargparse._core.find_action_and_subcommand = _find_action


def _find_action(parser: Any, dest: str, exclude: Any = None) -> tuple[Any, str | None]:
    """Find an action by its name, and the subcommand that it belongs to, as jsonargparse does."""
    if exclude is not None:
        return _find_slowly(parser, dest, exclude)
    actions = parser._actions
    numbers = tuple(map(id, actions))
    known = _options.get(parser)
    if known is None or known.numbers != numbers:
        known = _options[parser] = _Options.of(actions, numbers)
    for commands in known.commands:
        if dest in commands._name_parser_map:
            return commands, None
        command, _, rest = dest.partition(".")
        if command in commands._name_parser_map:
            action, inner = _find_action(commands._name_parser_map[command], rest)
            return action, command if inner is None else f"{command}.{inner}"
    return known.by_name.get(dest), None


def use_project_yaml() -> None:
    """Let every parser of this process read and write YAML by this project's one reader and writer.

    jsonargparse writes by PyYAML, which leaves `12e4` without quotes, and reads by a loader that takes it for a number.
    """
    jsonargparse._loaders_dumpers.yaml_default_loader = checked_loader  # type: ignore[assignment]
    jsonargparse._paths.Path.read_text = _read_text  # type: ignore[assignment,method-assign]
    set_dumper("yaml", yaml_files.dump)
    set_loader("yaml", load_option, (yaml.YAMLError,))
    set_loader(TYPED_OPTIONS, load_typed_options, (yaml.YAMLError,))


def load_option(text: str) -> Any:
    """Read a value; a text that is a comment to YAML, such as `#1`, is no missing value.

    Args:
        text: of a command line, or of a whole config
    """
    value = up_to_date(jsonargparse._loaders_dumpers.yaml_load(text))
    return text if value is None and text.strip() not in NULLS else value


def load_typed_options(text: str) -> Any:
    """Read a plan: its `options` are handed to command lines, which know best what is a number.

    Args:
        text: the plan, or a value of a command line
    """
    value = load(text, as_typed=("options",))
    return text if value is None and text.strip() not in NULLS else value


def _read_text(path: Any) -> str:
    """Read a config or a part of one, whose encoding and file no error of jsonargparse would name."""
    if path.is_url or path.is_fsspec or str(path) == "-":
        return _read_any(path)
    file = Path(path.absolute)
    if file.suffix in (".yaml", ".yml"):
        yaml_files.read(file)
    return yaml_files.read_text(file)


def option_names(parser: ArgumentParser) -> list[str]:
    """Return the options of a parser, such as --config."""
    return [option for action in parser._actions for option in action.option_strings if option.startswith("--")]


def whole_numbers_first(parser: ArgumentParser) -> None:
    """Let options that take an int or a float read 2 as the int that it is.

    typing remembers `Optional[Union[float, int]]` and returns it for `Optional[Union[int, float]]` too, because the two
    compare equal. Which came first depends on what was imported before; jsonargparse tries the types in their order,
    and `--trainer.limit_train_batches 1` would be all batches, and not one.

    Args:
        parser: whose options' types are put in order
    """
    for action in parser._actions:
        kinds = get_args(getattr(action, "_typehint", None))
        if float in kinds and int in kinds and kinds.index(float) < kinds.index(int):
            ordered = sorted(kinds, key=lambda kind: (kind is float) + 2 * (kind is type(None)))
            action._typehint = Union[tuple(ordered)]  # type: ignore[attr-defined]  # noqa: UP007


# a config is a file of this machine, and a value that may be anything is left as it is written
set_parsing_settings(
    config_read_mode_urls_enabled=False, config_read_mode_fsspec_enabled=False, instantiate_subclass_spec_in_any=False
)
check_version()
_read_any = jsonargparse._paths.Path.read_text
guard_imports()
_find_slowly = jsonargparse._subcommands.find_action_and_subcommand
find_quickly()
