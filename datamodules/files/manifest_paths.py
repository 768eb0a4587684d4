"""The paths of a manifest: as they are on this system, inside the root, each of a file and each once."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from common.few import count_of, few, shortened
from datamodules.files.cell_values import is_missing
from datamodules.names import shown
from datamodules.provenance import sample_ids

# a path that needs a closer look, of a million that do not
ODD = re.compile(r"^$|^/|/$|//|(^|/)\.\.?(/|$)|\\|\0|:")
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class PathCheck:
    """Look at each path of a manifest.

    Args:
        root: folder that the paths are relative to
        follow: take files that links lead to outside the root
        need_files: a path without a file is a fault
    """

    def __init__(self, root: Path, follow: bool, need_files: bool) -> None:
        self.root, self.follow, self.need_files = str(root), follow, need_files
        # the root as it is called and as it is, where a link leads to it
        self.bases = [str(root.absolute()), str(root.resolve())]
        self.faults: dict[str, list[tuple[int, str]]] = {}
        self._folders: dict[str, bool] = {}

    def names(self, paths: Sequence[str]) -> list[str]:
        """Return the paths relative to the root, in their shortest form; `faults` holds what is wrong, by kind."""
        names = []
        for number, path in enumerate(paths, start=1):
            name, fault = self._look_at(path)
            if fault:
                self.faults.setdefault(fault, []).append((number, path))
            names.append(name)
        return names

    def messages(self) -> Iterator[str]:
        """Say what is wrong: for each kind the first row in full, and the number of the others."""
        for fault, rows in self.faults.items():
            number, path = rows[0]
            others = f" ({len(rows)} such rows: {few(number for number, _ in rows)})" if len(rows) > 1 else ""
            yield (
                f"row {number}: "
                + fault.format(path=shown(shortened(path)), file=Path(self.root, shortened(path)))
                + others
            )

    def _look_at(self, path: str) -> tuple[str, str]:
        """Return the name of a file, and what is wrong with it, if anything is."""
        name = path
        if ODD.search(path):
            if "\0" in path:
                return path, "path {path} holds a zero byte: mend it"
            if WINDOWS.match(path):
                return path, (
                    "path {path} is one of a Windows drive: make it relative to the manifest, or to --data.root"
                )
            if ADDRESS.match(path):
                return path, "path {path} is an address: download the file, and name it by its path"
            name = self._shortest(path.replace("\\", "/") if self._has_backslashes(path) else path)
        if is_missing(path.strip()) and not (path and os.path.lexists(f"{self.root}/{path}")):
            return path, "the path is missing ({path}): give it, or leave the row out"
        if not name:
            return path, self._outside()
        try:
            mode = os.lstat(f"{self.root}/{name}").st_mode
        except OSError as error:
            other = self._other_spelling(name)
            if other is None:
                return (
                    name,
                    f"{{file}} cannot be read ({error.strerror}): mend the path, or set --data.root" * self.need_files,
                )
            return self._look_at(other)
        if not self.follow and not self._is_inside(name, mode):
            return name, (
                "path {path} leads out of the root by a link: copy the file, or set --data.outside_links follow if you "
                "trust it"
            )
        if stat.S_ISDIR(mode) and self.need_files:
            return name, "path {path} is a folder, not a file: mend it"
        return name, ""

    def _outside(self) -> str:
        root = self.root.replace("{", "{{").replace("}", "}}")
        return f"path {{path}} is not inside {root!r}: move the file, or set --data.root"

    def _has_backslashes(self, path: str) -> bool:
        # a name may hold one here, but Windows means a folder by it
        return "\\" in path and not os.path.lexists(f"{self.root}/{path}")

    def _shortest(self, path: str) -> str:
        """Return the shortest form of a path relative to the root; an empty one if it is not inside."""
        name = os.path.normpath(path) if path else ".."
        if name.startswith("/"):
            inside = [base for base in self.bases if name.startswith(f"{base.rstrip('/')}/")]
            name = os.path.relpath(name, inside[0]) if inside else ".."
        return "" if name == ".." or name.startswith("../") else name

    def _is_inside(self, name: str, mode: int) -> bool:
        folder = name.rpartition("/")[0]
        if folder not in self._folders:
            self._folders[folder] = self._leads_inside(folder)
        return self._folders[folder] and (not stat.S_ISLNK(mode) or self._leads_inside(name))

    def _leads_inside(self, name: str) -> bool:
        real = os.path.realpath(f"{self.root}/{name}")
        return real == self.bases[1] or real.startswith(f"{self.bases[1].rstrip('/')}/")

    def _other_spelling(self, name: str) -> str | None:
        """Find the file under another spelling of its name: without space around it, or as another system writes it."""
        texts = [name, name.strip()]
        for other in (unicodedata.normalize(form, text) for text in texts for form in ("NFC", "NFD")):
            if other and other != name and os.path.lexists(f"{self.root}/{other}"):
                return other
        return None


def unique_ids(names: Sequence[str], labels: Sequence[str], manifest: Path) -> Tensor:
    """Return the id of each path.

    Args:
        names: the paths
        labels: of the same rows
        manifest: for the message

    Raises:
        ValueError: a path comes twice
    """
    try:
        return sample_ids(names)
    except ValueError:
        first: dict[str, int] = {}
        again: list[tuple[int, int]] = []
        for row, name in enumerate(names):
            if first.setdefault(name, row) != row:
                again.append((first[name], row))
        if not again:
            raise
    different = {names[row] for earlier, row in again if labels[earlier] != labels[row]}
    count = len({names[row] for _, row in again})
    told = f" ({count_of(count, 'path')} in all, {len(different)} with different labels)" if count > 1 else ""
    earlier, row = next((pair for pair in again if names[pair[1]] in different), again[0])
    raise ValueError(
        f"{manifest}, row {row + 1}: path {shown(names[row])} comes more than once, first in row {earlier + 1}, with "
        f"labels {shown(labels[earlier])} and {shown(labels[row])}{told}: leave one of them out"
    )
