"""What is printed reaches a terminal of any encoding, or is lost: it never ends a run."""

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from rich import get_console
from rich.console import Console
from rich.measure import Measurement
from rich.segment import SegmentLines
from rich.table import Table

# what stands for a character that an encoding lacks; others are shown by their number
PLAIN = {"…": "...", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "±": "+-", "’": "'", "‘": "'", "“": '"', "”": '"'}
PLAIN |= dict.fromkeys("–—−", "-") | dict.fromkeys("•·★", "*") | dict.fromkeys("×✗", "x") | {"≈": "~", "✓": "ok"}
PLAIN |= dict.fromkeys("\u00a0\u202f", " ") | {"█": "#"}
# lines of tables, in whatever weight
PLAIN |= {chr(code): "+" for code in range(0x2500, 0x2580)} | dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺╼╾", "-")
PLAIN |= dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻╽╿", "|")
HANDLER = "francesinha.plain"
# how streams encode that fail, or show each character they lack by its number; any other was chosen by the user
STRICT = ("strict", "surrogateescape", "backslashreplace", "namereplace")


def plain(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks; an error handler of Python's codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    replaced = (PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in lacking)
    return "".join(replaced), error.end


codecs.register_error(HANDLER, plain)


def draws() -> bool:
    """Tell whether what is printed can be drawn anew: on a terminal or in a notebook, but not in a file or a pipe."""
    console = get_console()
    return console.is_terminal or console.is_jupyter


def print_whole(console: Console, table: Table) -> None:
    """Print a table as wide as it is: on a terminal that is narrower its lines wrap, but no number is cut.

    Args:
        console: where to
        table: to print
    """
    wide = console.options.update(max_width=10_000)
    width = max(console.width, Measurement.get(console, wide, table).maximum)
    lines = console.render_lines(table, console.options.update(width=width, max_width=width), pad=False)
    console.print(SegmentLines(lines, new_lines=True), soft_wrap=True)


class SteadyStream:
    """A text stream that silently drops text once it can no longer be written.

    The reader of a pipe leaves, a disk is full, a connection breaks: what is computed goes on.

    Args:
        stream: where to write
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.broken: OSError | ValueError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        try:
            self._try(lambda: self.stream.write(text))
        except UnicodeEncodeError as error:
            # a stream that cannot be told what to do with such characters
            known = text.encode(error.encoding, HANDLER).decode(error.encoding)
            self._try(lambda: self.stream.write(known))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write, or drop the lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand over what was written, or drop it."""
        self._try(self.stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        if self.broken is not None:
            return
        try:
            action()
        except UnicodeError:
            raise
        except (OSError, ValueError) as error:
            # a ValueError says that it is closed
            self.broken = error
            self._point_nowhere()

    def _point_nowhere(self) -> None:
        # what waits in buffers would fail once more when Python ends, which then exits with 120
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    @property
    def lost(self) -> str | None:
        """Why printed text was lost; None if nothing was, or if the reader of a pipe has left, which is no fault."""
        told = isinstance(self.broken, OSError) and self.broken.errno not in (errno.EPIPE, None)
        return str(self.broken) if told else None


def steady(stream: TextIO | None) -> SteadyStream:
    """Make a stream that takes any character and never fails.

    Args:
        stream: such as sys.stdout; None, as where it was closed before Python started, writes nowhere
    """
    if stream is None:
        nowhere = SteadyStream(io.StringIO())
        nowhere.broken = ValueError("closed")
        return nowhere
    if isinstance(stream, SteadyStream):
        return stream
    reconfigure = getattr(stream, "reconfigure", None)
    # one that is closed already will be found out by the first write
    with contextlib.suppress(OSError, ValueError):
        if reconfigure is not None and getattr(stream, "errors", None) in STRICT:
            reconfigure(errors=HANDLER)
    return SteadyStream(stream)


@contextmanager
def steady_output() -> Iterator[None]:
    """Let nothing that is printed within fail, on standard output and standard error."""
    before = sys.stdout, sys.stderr
    out, err = steady(sys.stdout), steady(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield
    finally:
        out.flush()
        if out.lost:
            err.write(f"what was printed is lost ({out.lost}); the run is not\n")
        err.flush()
        sys.stdout, sys.stderr = before
