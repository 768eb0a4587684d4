"""Errors in one or two lines for the person at the prompt."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that is nearest to a misspelt one, as `; did you mean X?`, or nothing.

    Example:
        >>> nearest("--trainer.max_epoch", ["--trainer.max_epochs", "--run.name"])
        '; did you mean --trainer.max_epochs?'
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def unknown_command(command: str, known: list[str]) -> ValueError:
    """Return the error for a command that does not exist."""
    return ValueError(f"unknown command {command!r}{nearest(command, known)} (known: {', '.join(known)})")


def explain(error: Exception, args: list[str]) -> str:
    """Put an error into one or two lines.

    Args:
        error: what was raised
        args: the command line
    """
    return str(error)
