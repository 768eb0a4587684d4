"""Errors in one or two lines for the person at the prompt."""

import inspect
import re
import traceback
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from jsonargparse import ArgumentParser

from common import class_paths
from common.jsonargparse_seam import option_names
from common.memory_errors import OUT_OF_MEMORY, is_out_of_memory
from common.spelling import nearest
from common.system_errors import is_full, of_torch, way_out

PACKAGES = frozenset({*class_paths.PROJECT, "train"})
FAULT = "this is a fault of francesinha, not yours: please report it with what --debug shows"
# messages of torch, and of the libraries that it calls, about what a device lacks; NotImplementedError is a
# RuntimeError
UNSUPPORTED = re.compile(r"not (implemented|supported) for '?(Half|BFloat16|Float8)|could not create a primitive")
# how torch hands over what was raised in a worker process: its trace, whose last line is the error
IN_WORKER = re.compile(r"Caught \w+ in DataLoader worker process.*\n[\w.]+: ([^\n]+)\s*$", re.S)
# raised with a message for the user; all others are mistakes of ours
EXPECTED = (ValueError, OSError, ArgumentError)


class UsageError(ValueError):
    """The command line or a config asks for what does not exist."""


class FullDiskError(OSError):
    """The disk has no room for what a run writes."""


@contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Name the file that did not fit; of a log that Lightning or TensorBoard appends to, the run: nobody says which.

    Args:
        folder: of the run

    Raises:
        FullDiskError: it did not fit
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        if error.errno is None:
            # of `write_whole`, which names the file
            told = str(error)
        elif error.filename:
            told = f"{error.filename} could not be written: {error.strerror}"
        else:
            told = f"a log in {folder} could not be written: {error.strerror}"
        raise FullDiskError(told) from error


def explain(error: BaseException) -> str:
    """Put an error into one or two lines, with what to do about it where the system has refused something.

    Args:
        error: what was raised
    """
    told, way = without_way_out(error), way_out(error)
    if not way or FAULT in told or "choose another" in told or way in told:
        return told
    return f"{told}; {way}"


def without_way_out(error: BaseException) -> str:
    """Put an error into one or two lines; see `explain`."""
    # jsonargparse wraps what a class raises when it is built
    while error.__cause__ is not None and re.search("Union subtypes|Problem with given class_path", str(error)):
        error = error.__cause__
    text = str(error).strip()
    first = text.splitlines()[0] if text else ""
    if is_out_of_memory(error):
        return f"{OUT_OF_MEMORY} ({first})" if first else OUT_OF_MEMORY
    if "loading state_dict" in first:
        detail = " ".join(text.splitlines()[1:2]).strip()
        return f"the checkpoint's weights do not fit the model's options: {detail}"
    if isinstance(error, UnicodeEncodeError):
        return (
            f"{error.object!r} cannot be written in {error.encoding}, the encoding of this terminal's locale: set the "
            f"variable PYTHONUTF8=1, or choose names that it has"
        )
    if isinstance(error, OSError) and error.errno is not None:
        # without Python's number of it
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    if isinstance(error, RuntimeError) and UNSUPPORTED.search(first):
        return (
            f"torch cannot compute this here in this precision ({first}): use --trainer.precision 32-true or bf16-mixed"
        )
    expected = isinstance(error, EXPECTED) or type(error).__name__ == "MisconfigurationException"
    if origin(error).startswith("lightning.") and (expected or isinstance(error, RuntimeError | ImportError)) and text:
        # slow to import, and loaded by now
        from pipelines.cli.option_checks import as_options

        return as_options(text)
    if isinstance(error, RuntimeError) and origin(error).startswith("torch") and (told := of_torch(error)):
        return told
    if expected and (found := IN_WORKER.match(text)):
        return f"{found[1]} (in a worker process of a DataLoader)"
    if (expected or (isinstance(error, RuntimeError) and way_out(error))) and text:
        return text if expected else first
    return f"internal error{place_of(error)}: {first or 'no reason is given'}\n{FAULT}"


def places(error: BaseException) -> list[tuple[str, str]]:
    """List the modules and functions that an error came through, the innermost last."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return [(frame.f_globals.get("__name__", ""), frame.f_code.co_name) for frame in frames]


def origin(error: BaseException) -> str:
    """Name the module that raised an error; nothing for one that was never raised."""
    return places(error)[-1][0] if error.__traceback__ else ""


def place_of(error: BaseException) -> str:
    """Name the innermost place of this project that an error came through, as ` in module.function`."""
    ours = [place for place in places(error) if place[0].partition(".")[0] in PACKAGES]
    return f" in {'.'.join(ours[-1])}" if ours else ""


def explain_parsing(message: str, parser: ArgumentParser, args: Sequence[str] = ()) -> str:
    """Put jsonargparse's account of a bad command line or config into one line.

    Args:
        message: its account
        parser: of the subcommand, which knows the options
        args: the command line, which says which configs were read

    Returns:
        the option, what is wrong with it, and the nearest name or the values that it takes
    """
    key = ".".join(re.findall(r'Parser key "([^"]+)":', message))
    known = [*option_names(parser), "--allow"]
    if refused := class_paths.refusal(message):
        name, said = refused
        return " ".join([*named_by(name, args), f"--{key}: {said}" if key else said])
    if found := re.search(r"File does not exist: '?(.+?)'?$", message, re.M):
        path = Path(found[1])
        others = [other.name for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        remote = "; a config is a file of this machine: download it before" if "://" in found[1] else ""
        return f"config file {found[1]!r} does not exist{remote or nearest(path.name, others)}"
    found = re.search(r"unrecognized arguments: (\S+)", message)
    if found and not key:
        name = found[1].partition("=")[0]
        return f"unknown option {name!r}{nearest(name, known)}"
    if found := re.search(r"ubcommand '\w+' does not accept option '([^']+)'", message):
        return f"unknown key {found[1]!r} in a config{nearest(f'--{found[1]}', known).replace('--', '')}"
    if found := re.search(r"Group '([^']+)' does not accept option '([^']+)'", message):
        name = f"--{found[1]}.{found[2]}"
        return f"unknown option {name!r}{nearest(name, known)}"
    # the second is of a class within a class, such as a model's optimizer
    if found := re.search(r"Option '([^']+)' is not accepted|unrecognized arguments: --([^\s=]+)", message):
        name = (found[1] or found[2]).split(".")[0]
        owner = re.findall(r"class_path[ =]'([^']+)'", message.split("Given value type")[0])
        options = options_of(owner[-1]) if owner else []
        if not owner and not key:
            return f"unknown option {name}{nearest(f'--{name}', known).replace('--', '')}"
        where = f"--{key}.{name}" if key else name
        whose = f" ({owner[-1].rpartition('.')[2]} has {', '.join(options)})" if options else ""
        return f"unknown option {where}{nearest(name, options) or whose}"
    # slow to import: it knows the classes of all options
    from pipelines.cli.class_errors import explain_class

    return explain_class(key, message) or wrong_value(key, message)


def options_of(path: str) -> list[str]:
    """Name the options of a class; none of a builtin one, which does not say what it takes.

    Args:
        path: dotted

    Example:
        >>> options_of("common.stopped.StoppedError"), options_of("torch.Tensor")
        (['number'], [])
    """
    kind = class_paths.import_class(path)
    try:
        # what the data tells a model is no option to choose
        return [name for name in inspect.signature(kind).parameters if name != "data_info"]
    except ValueError:
        return []


def named_by(name: str, args: Sequence[str]) -> list[str]:
    """Return the config files of a command line that hold a name, each with a comma; the only one in any case."""
    words = [word for arg in args for word in (arg.split("=", 1) if arg.startswith(("--config=", "-c=")) else [arg])]
    files = [Path(path) for option, path in pairwise(words) if option in ("--config", "-c")]
    files = [path for path in dict.fromkeys(files) if path.is_file()]
    holding = [path for path in files if name in path.read_text(errors="replace")]
    return [f"{path}," for path in (files if len(files) == 1 else holding)]


def wrong_value(key: str, message: str) -> str:
    """Say what an option takes instead of the value that it was given."""
    if found := re.search(r'Unable to load config "?(.+?)"?$', message, re.M):
        group, value = key.partition(".")[0], found[1].strip("'")
        return f"--{group} {value}: this takes a config file; its options are set one by one, as --{group}.NAME VALUE"
    inner = message.split("Given value type")[0]
    if found := re.search(r"Expected a tuple with (\d+) elements. Got value: (.*?)(\. Got value|$)", inner, re.M):
        return f"--{key} takes a list of {found[1]} values, not {found[2]}"
    if key and (found := re.search(r"the following arguments are required: (.*)", inner)):
        return f"--{key} needs {found[1]} too"
    if found := re.search(r"the following arguments are required: (?:fit|validate|test|predict)\.(\S+)", inner):
        # they have defaults, which only null takes away
        return f"--{found[1]} must not be null: leave it out for its default"
    wanted = [
        found.removeprefix("<class '").removesuffix("'>").replace("typing.", "").replace("NoneType", "null")
        for found in re.findall(r"Expected an? (<class '[^']+'>|[\w.]+\[.*?\]+)", inner)
    ]
    value = re.search(r"Got value: (.*)", inner) or re.search(r"Given value: (.*)", message)
    # the outermost choice of an optional class says nothing to the user
    wanted = wanted[:1] if re.search(r"Got value: ", inner) else wanted
    # a list that may be null
    optional = re.findall(r"Subtypes: \[(list|tuple)\[.*NoneType", inner)
    wanted = wanted or optional
    if not (key and wanted and value):
        return re.sub(r'Parser key "([^"]+)":', r"--\1:", re.sub(r"\s+", " ", inner).strip())
    given = value[1].partition(". Got value: ")[0].strip()
    if nested := re.fullmatch(r"NestedArg\(key='([^']*)', val='?(.*?)'?\)", given):
        given = nested[2]
    if given.startswith("Namespace("):
        # options below one that has none
        inside = ", ".join(f"--{key}.{name}" for name in re.findall(r"(\w+)=", given))
        return f"--{key} takes {' or '.join(wanted)}, and has no options such as {inside}"
    if wanted[0] in ("tuple", "list") or (nested and nested[1].isdecimal()):
        return f"--{key} takes a list such as [{given}], not {given!r}"
    if "str" in wanted and given.startswith("{"):
        # quotes of a command line would be part of the text
        return f"--{key} takes text, and YAML takes yours for a mapping: set it in a config file, in quotes"
    if "str" in wanted and (taken := taken_for(given)):
        return f"--{key} takes text, and without quotes YAML takes yours for {taken}: put it in quotes"
    choices = [re.sub(r"^Literal\[(.*)\]$", r"one of \1", name) for name in wanted]
    return f"--{key} takes {' or '.join(choices)}, not {given!r}"


def taken_for(value: str) -> str:
    """Say what YAML took a text without quotes for; empty if it is something else.

    Args:
        value: as Python writes it

    Example:
        >>> taken_for("False"), taken_for("120000.0"), taken_for("[0]")
        ('the truth value False', 'the number 120000.0', '')
    """
    if value in ("True", "False"):
        return f"the truth value {value}"
    if value == "None":
        return "no value (null)"
    return f"the number {value}" if re.fullmatch(r"-?(\d+(\.\d*)?(e[-+]?\d+)?|inf|nan)", value) else ""


def unknown_command(command: str, known: list[str]) -> UsageError:
    """Return the error for a command that does not exist."""
    return UsageError(f"unknown command {command!r}{nearest(command, known)} (known: {', '.join(known)})")
