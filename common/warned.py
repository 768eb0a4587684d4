"""Warnings to the user: one plain line each, without the place in the code that noticed."""

import warnings

# Lightning sets a format of its own as it is imported: it must come first
from lightning.pytorch.utilities import rank_zero_warn

_other_format = warnings.formatwarning


class Notice(UserWarning):
    """What the user should know, told in words for the user."""


def warn(message: str) -> None:
    """Warn the user; of several processes, the first alone does.

    Args:
        message: what is the matter, and the way out
    """
    rank_zero_warn(message, stacklevel=5, category=Notice)


def one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Write the project's own warnings plainly, and others as they were."""
    if issubclass(category, Notice):
        return f"warning: {message}\n"
    return _other_format(message, category, filename, lineno, line)


warnings.formatwarning = one_line
