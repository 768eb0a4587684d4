"""The ledger of test looks: which command looked at a test split when, one file a split, to which lines are added."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from common.warned import warn
from records.tensor_files import as_bytes


@dataclass(frozen=True)
class Looks:
    """What a ledger says of one test split.

    Args:
        number: looks so far at a model that was not looked at before; the newest is look `number`
        models: different models that were looked at
        repeated: looks at models that had all been looked at before; they teach nothing new, and are not in `number`
        unreadable: lines that cannot be read; each counts as a look, because it was one
    """

    number: int
    models: int
    repeated: int
    unreadable: int = 0

    @property
    def sentence(self) -> str:
        """Say how often the split was looked at, in half a sentence."""
        parts = [f"{self.models:,} model{'s' * (self.models != 1)} so far"]
        parts += [f"{self.repeated:,} repeated, not counted"] * bool(self.repeated)
        parts += [f"{self.unreadable:,} unreadable in the ledger, counted"] * bool(self.unreadable)
        return f"look {self.number:,} at this test split ({', '.join(parts)})"

    @property
    def note(self) -> str:
        """Say what looks do to a chosen maximum; empty for the first one."""
        if self.number < 2:
            return ""
        return (
            "the best number of several looks is too high for new images, because luck on these images helped to "
            "choose it; `python train.py report` estimates by how much"
        )

    def plain(self) -> dict[str, int]:
        """Return it as it stands in result.json."""
        return asdict(self)


def looks_in(plain: object) -> Looks | None:
    """Read what `Looks.plain` has written; None where a file holds nothing or something else.

    Args:
        plain: an entry of result.json
    """
    names = ("number", "models", "repeated", "unreadable")
    if not isinstance(plain, Mapping) or not all(isinstance(plain.get(name), int) for name in names):
        return None
    return Looks(**{name: plain[name] for name in names})


def model_key(state: Mapping[str, Tensor], *beside: object) -> str:
    """Name a model by its content, so that the same model is known again in whichever file.

    Args:
        state: its weights and buffers by name
        beside: what else its predictions depend on, of plain types

    Returns:
        16 hex digits
    """
    digest = hashlib.blake2b(repr(beside).encode(), digest_size=8)
    for name in sorted(state):
        tensor = state[name].detach().cpu()
        # a compiled model says so in the names of its weights
        digest.update(repr((name.replace("_orig_mod.", ""), str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(as_bytes(tensor))
    return digest.hexdigest()


def add_look(
    folder: Path,
    fingerprint: str,
    command: str,
    run: str,
    models: Mapping[str, str],
    also: Iterable[str] = (),
    **facts: Any,
) -> Looks | None:
    """Add a look to the ledger of a test split; several processes may do so at once.

    Args:
        folder: of the ledgers, under the root of all runs
        fingerprint: of the test split
        command: that looked, such as `test`
        run: whose result holds what was seen
        models: key of each model that was looked at, by name; see `model_key`
        also: other keys of the same models, by which they are known again
        facts: what else to write down, of plain types

    Returns:
        the looks up to this one; None, with a warning, where it could not be written down: a finished test is not lost
        for it
    """
    path, entry = folder / f"{fingerprint}.jsonl", uuid.uuid4().hex
    look = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "run": run,
        "models": dict(models),
        "also": sorted(also),
        **facts,
        "entry": entry,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        append_line(path, json.dumps(look))
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        warn(
            f"{path}: this look at the test split could not be written down ({error.strerror or error}), so later "
            f"counts leave it out"
        )
        return None
    own = next((place for place, line in enumerate(lines) if entry in line), len(lines) - 1)
    return count_looks(lines[: own + 1])


def append_line(path: Path, text: str) -> None:
    """Add a line to a file in one piece, which the system never mixes with those of other processes.

    Args:
        path: of the file; it is made if need be
        text: of the line

    Raises:
        OSError: it could not be written, or not whole
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        # a full disk once left half a line: the new one must not be glued to it
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = f"{chr(10) * torn}{text}\n".encode()
        if os.write(descriptor, line) != len(line):
            raise OSError(f"{path} could not be written whole: is the disk full?")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_looks(folders: Iterable[Path], fingerprint: str) -> Looks | None:
    """Count the looks at a test split, in the ledgers of one or more roots.

    Args:
        folders: of the ledgers
        fingerprint: of the test split

    Returns:
        all looks so far; None where no ledger knows the split
    """
    lines: list[str] = []
    for folder in folders:
        path = folder / f"{fingerprint}.jsonl"
        try:
            lines += path.read_text(errors="replace").splitlines() if path.is_file() else []
        except OSError as error:
            warn(f"{path} cannot be read ({error.strerror or error}): its looks at the test are not counted")
    return count_looks(lines) if lines else None


def count_looks(lines: Iterable[str]) -> Looks:
    """Count looks at models, without those at nothing new.

    Args:
        lines: of a ledger, in order
    """
    known: set[str] = set()
    number = models = repeated = unreadable = 0
    for line in lines:
        if not line.strip():
            continue
        keys = _keys_of(line)
        if keys is None:
            unreadable += 1
            number += 1
            continue
        own, also = keys
        new = {key for key in own if key not in known}
        number, repeated = number + bool(new), repeated + (not new)
        models += len(new)
        known |= own | also
    return Looks(number, models, repeated, unreadable)


def _keys_of(line: str) -> tuple[set[str], set[str]] | None:
    try:
        look = json.loads(line)
    except (ValueError, RecursionError):
        return None
    models, also = (look.get("models"), look.get("also")) if isinstance(look, dict) else (None, None)
    if not isinstance(models, dict) or not isinstance(also, list):
        return None
    return set(map(str, models.values())), set(map(str, also))
