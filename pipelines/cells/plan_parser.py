"""Plans of commands with cells, read from a command line."""

from argparse import ArgumentError
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from common.jsonargparse_seam import TYPED_OPTIONS, use_project_yaml
from common.settings import dotted
from pipelines.cells import executors
from pipelines.cells.empty_keys import refuse_unknown
from pipelines.cells.executors import CellExecutor
from pipelines.cells.options import take_options
from pipelines.cli.config_files import configs_of
from pipelines.cli.errors import UsageError, explain_parsing


def plan_options(
    plan_class: type, command: str, description: str | None, example: str, args: Sequence[str]
) -> dict[str, Any]:
    """Read the options of a plan.

    Args:
        plan_class: the plan
        command: such as stack
        description: of the command, for its help
        example: a plan that is shipped
        args: the command line after the command

    Raises:
        UsageError: it asks for what does not exist
    """
    use_project_yaml()
    for path, content in configs_of(args):
        refuse_unknown(content, plan_class, str(path))
    rest, typed = take_options(args)
    parser = ArgumentParser(
        prog=f"train.py {command}",
        description=description,
        exit_on_error=False,
        allow_abbrev=False,
        parser_mode=TYPED_OPTIONS,
    )
    parser.add_argument("--config", action="config", help=f"A plan such as {example}.")
    parser.add_class_arguments(plan_class)
    try:
        parsed = parser.parse_args(rest)
    except ArgumentError as error:
        # slow to import: it knows the classes of all options
        from pipelines.cli.class_errors import offer

        offer("executor", CellExecutor, executors)
        raise UsageError(explain_parsing(str(error), parser, rest)) from error
    options = vars(parser.instantiate(parsed))
    options["options"] = dotted(options["options"]) | typed
    return {name: value for name, value in options.items() if name != "config"}
