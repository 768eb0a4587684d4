"""The command line of `submit`, divided into its own options and the command that the job runs."""

from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from common.few import few
from common.jsonargparse_seam import use_project_yaml
from common.spelling import nearest
from common.yaml_files import read_mapping
from pipelines.cli.config_files import check_configs, is_file
from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.submit.options import NAMES, ClusterOptions

# what a job can run
COMMANDS = ("fit", "stack", "sweep", "distill")
DESCRIPTION = """Run a command as a job of a SLURM cluster: write the script into the run's folder, and submit it.

The options below may stand anywhere in the line; all others belong to the command. A config file whose entries are
such options, as those of configs/cluster, may stand anywhere, too.
"""
USAGE = "train.py submit [options] fit|stack|sweep|distill [options of the command]"


def divide(args: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Divide a command line.

    Args:
        args: after `submit`

    Returns:
        the options of `submit`, the command, and its options

    Raises:
        UsageError: there is no command, or a config file belongs to both
    """
    own: list[str] = []
    command, theirs = "", []
    words = list(args)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        takes = [] if equals or not words else words[:1]
        if name == "--dry_run":
            own.append(word if equals else "--dry_run=true")
            if not equals and takes and takes[0].lower() in ("true", "false"):
                own[-1] = f"--dry_run={words.pop(0)}"
        elif name.removeprefix("--") in NAMES and name.startswith("--"):
            own += [word, *takes]
            del words[: len(takes)]
        elif name in ("--config", "-c") and is_of_cluster(value if equals else "".join(takes)):
            own += [f"--config={value if equals else takes[0]}"]
            del words[: len(takes)]
        elif not command and word in ("-h", "--help"):
            own.append("--help")
        elif not command and name in ("--config", "-c"):
            file = value if equals else "".join(takes)
            what = "holds no option of submit: put it after the command" if is_file(file) else "is no file"
            raise UsageError(f"--config {file} {what}")
        elif not command and word.startswith("-"):
            raise UsageError(f"{name} is no option of submit{nearest(name, [f'--{each}' for each in NAMES])}")
        elif not command:
            command = word
        else:
            theirs.append(word)
    if "--help" not in own and command not in COMMANDS:
        what = f"{command!r} cannot be submitted{nearest(command, COMMANDS)}" if command else "no command is given"
        raise UsageError(f"{what}: python {USAGE}")
    return own, command, theirs


def is_of_cluster(name: str) -> bool:
    """Tell whether a config file holds options of `submit`.

    Args:
        name: of the file

    Raises:
        UsageError: it also holds others
        YAMLFileError: it cannot be read
    """
    if not is_file(name):
        return False
    content = read_mapping(Path(name))
    others = [key for key in content if key not in NAMES]
    if not content or len(others) == len(content):
        return False
    if others:
        raise UsageError(
            f"{name} holds options of submit ({few(key for key in content if key in NAMES)}) and others "
            f"({few(others)}{nearest(str(others[0]), NAMES)}): put them into files of their own"
        )
    return True


def read_options(args: list[str]) -> ClusterOptions:
    """Read the options of `submit`.

    Args:
        args: see `divide`

    Raises:
        UsageError: one is wrong
    """
    use_project_yaml()
    check_configs(args)
    parser = ArgumentParser(
        prog="train.py submit", usage=USAGE, description=DESCRIPTION, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="Options such as those of configs/cluster/one_node.yaml.")
    parser.add_class_arguments(ClusterOptions)
    try:
        parsed = parser.parse_args(args)
    except ArgumentError as error:
        raise UsageError(explain_parsing(str(error), parser, args)) from error
    return ClusterOptions(**{name: parsed[name] for name in NAMES})
