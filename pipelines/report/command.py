"""`python train.py report`: put runs beside each other in one page."""

from argparse import ArgumentError
from dataclasses import fields
from pathlib import Path

from jsonargparse import ArgumentParser
from rich.console import Console

from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.report.options import ReportOptions


def main(args: list[str]) -> int:
    """Run `python train.py report`.

    Args:
        args: the command line after `report`

    Returns:
        the exit status
    """
    parser = ArgumentParser(prog="train.py report", description=__doc__, exit_on_error=False, allow_abbrev=False)
    parser.add_argument(
        "runs", nargs="+", type=str, help="Run folders, folders of experiments, or folders above them, such as runs."
    )
    parser.add_class_arguments(ReportOptions)
    try:
        parsed = parser.parse_args(args)
    except ArgumentError as error:
        raise UsageError(explain_parsing(str(error), parser)) from error
    options = ReportOptions(**{field.name: getattr(parsed, field.name) for field in fields(ReportOptions)})
    # slow to import, and not needed for help or a wrong option
    from pipelines.report.build import make_report

    make_report([Path(path) for path in parsed.runs], options, Console())
    return 0
