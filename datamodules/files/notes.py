"""Notes on many files: for each kind of note, the count and the first few names."""

from collections.abc import Iterator
from typing import Any

from common.few import SHOWN


class Notes:
    """Counts things of a kind, and keeps the first few of them.

    Args:
        kinds: count and first few of each kind, as `plain` returned them
    """

    def __init__(self, kinds: dict[str, Any] | None = None) -> None:
        self.kinds: dict[str, tuple[int, list[str]]] = {
            kind: (int(count), list(map(str, first))) for kind, (count, first) in (kinds or {}).items()
        }

    def add(self, kind: str, text: str) -> None:
        """Count one thing.

        Args:
            kind: what is said of it
            text: its name, and what else is to be shown
        """
        count, first = self.kinds.get(kind, (0, []))
        self.kinds[kind] = count + 1, [*first, text] if count < SHOWN else first

    def plain(self) -> dict[str, Any]:
        """Return the counts as plain types."""
        return {kind: [count, first] for kind, (count, first) in self.kinds.items()}

    def lines(self, total: int) -> Iterator[tuple[str, str]]:
        """Put each kind into a line, such as `3 of 40 files hold more than one picture: a.tif (5 pictures), ...`.

        Args:
            total: files that were looked at

        Yields:
            the kind and its line
        """
        for kind, (count, first) in self.kinds.items():
            rest = f" and {count - len(first)} more" if count > len(first) else ""
            yield kind, f"{count} of {total} files {kind}: {', '.join(first)}{rest}"
