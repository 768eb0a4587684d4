"""The files of a folder of shards: on a disk, or fetched from an object store and kept within a limit."""

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from common.few import ALL, count_of, few, shortened
from datamodules.shards.layout import DESCRIPTION, WAY_OUT
from datamodules.shards.writing import need_litdata
from records.damaged import damaged
from records.partial_files import partial_path, remove_abandoned

# what litdata can fetch from; `local:` is a folder that is fetched from as from a store
SCHEMES = ("s3://", "gs://", "azure://", "hf://", "r2://", "local:")
# share of a disk's room that fetched shards may take where no limit is given
SHARE = 0.75
SPEAKS_PYTHON = re.compile(r":? *\b\w+(?:Error|Exception)\b|:? *\bDebug source\b")


class Shelf(Protocol):
    """Where shards and their tables are found."""

    @property
    def fetches(self) -> bool:
        """Whether files have to be fetched first."""

    def file(self, name: str) -> Path:
        """Return where a file lies on a disk of this machine; one that is fetched may be removed again later."""

    def again(self, name: str) -> bool:
        """Fetch a damaged file once more; False where there is no place to fetch it from."""

    def expect_sizes(self, split: str, sizes: Mapping[str, int]) -> None:
        """Take note of the bytes that each shard of a split must have."""


def shelf_of(root: str, cache_dir: Path, limit: float | None) -> Shelf:
    """Return where the files of `--data.root` are found.

    Args:
        root: a folder, or an address that litdata knows
        cache_dir: keeps what is fetched
        limit: bytes of shards that may be kept there; None takes three quarters of the room on the disk

    Raises:
        ValueError: no such kind of address
        FileNotFoundError: no folder of shards
        OSError: what describes them cannot be fetched
    """
    if root.startswith(SCHEMES):
        need_litdata(f"--data.root {root}")
        return RemoteShelf(root.rstrip("/"), cache_dir, limit)
    if "://" in root:
        raise ValueError(
            f"--data.root {root!r} is no address that litdata knows: use a folder, or one of {few(SCHEMES, ALL)}"
        )
    folder = Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"--data.root {root!r} is not a folder, nor an address such as s3://bucket/shards")
    if not (folder / DESCRIPTION).is_file():
        what = "is empty" if not any(folder.iterdir()) else f"holds no {DESCRIPTION}"
        raise FileNotFoundError(
            f"--data.root {root!r} {what}: write shards with `python train.py shards --data ... --out FOLDER`, and "
            f"name that folder"
        )
    return LocalShelf(folder)


class LocalShelf:
    """Files of a folder.

    Args:
        folder: of the shards
    """

    fetches = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str) -> Path:
        """Return the path of a file, which must be there."""
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {WAY_OUT}")
        return path

    def again(self, name: str) -> bool:
        """Return False: there is nothing to fetch."""
        return False

    def expect_sizes(self, split: str, sizes: Mapping[str, int]) -> None:
        """Look at all shards of a split at once.

        Raises:
            FileNotFoundError: some are missing
            DamagedFileError: some are of another length
        """
        folder = self.folder / split
        found = {name: path.stat().st_size if (path := folder / name).is_file() else -1 for name in sizes}
        if missing := [name for name, size in found.items() if size < 0]:
            raise FileNotFoundError(f"{folder} lacks {len(missing)} of {len(sizes)} shards ({few(missing)}): {WAY_OUT}")
        if wrong := [name for name, size in found.items() if size != sizes[name]]:
            more = f"; {count_of(len(wrong) - 1, 'other')} of {len(sizes)} likewise" if len(wrong) > 1 else ""
            what = f"it has {found[wrong[0]]:,} bytes in place of {sizes[wrong[0]]:,}{more}"
            raise damaged(folder / wrong[0], what, WAY_OUT)


class RemoteShelf:
    """Files of an object store, kept on the local disk.

    The processes of a node share what is kept. A shard that another process removes while it is read stays readable;
    one that is needed later is fetched again.

    Args:
        address: of the shards
        cache_dir: keeps them in a folder for this address and what is there
        limit: bytes; None takes three quarters of the room on the disk
    """

    fetches = True

    def __init__(self, address: str, cache_dir: Path, limit: float | None) -> None:
        from litdata.streaming.downloader import get_downloader

        self.address, self.limit = address, limit
        cache_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._store = get_downloader(address, str(cache_dir), [])
        except Exception as error:
            raise self._unreachable(DESCRIPTION, error) from error
        # the description is fetched by every run: it says whether what was kept is of the same shards
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".description.") as place:
            fetched = Path(place) / DESCRIPTION
            self._fetch(DESCRIPTION, fetched)
            content = fetched.read_bytes()
            digest = hashlib.blake2b(address.encode() + b"\0" + content, digest_size=8).hexdigest()
            self.folder = cache_dir / f"shards-{digest}"
            self.folder.mkdir(exist_ok=True)
            fetched.replace(self.folder / DESCRIPTION)
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._sizes: dict[str, int] = {}
        # bytes of shards that are being fetched
        self._coming = 0

    def file(self, name: str) -> Path:
        """Return the path of a file, fetched if need be."""
        path = self.folder / name
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            if path.is_file():
                with suppress(FileNotFoundError):
                    # the one that was not used for longest is removed first
                    os.utime(path)
                return path
            size = self._sizes.get(name, 0)
            # litdata leaves files of its own beside what it fetches
            place = partial_path(path)
            self._make_room(size)
            try:
                remove_abandoned(path)
                place.mkdir(parents=True, exist_ok=True)
                self._fetch(name, place / path.name)
                (place / path.name).replace(path)
            finally:
                shutil.rmtree(place, ignore_errors=True)
                with self._lock:
                    self._coming -= size
        return path

    def again(self, name: str) -> bool:
        """Remove a damaged file, so that it is fetched once more."""
        (self.folder / name).unlink(missing_ok=True)
        return True

    def expect_sizes(self, split: str, sizes: Mapping[str, int]) -> None:
        """Take note of how much room each shard needs."""
        self._sizes |= {f"{split}/{name}": size for name, size in sizes.items()}

    def _fetch(self, name: str, place: Path) -> None:
        try:
            self._store.download_file(f"{self.address}/{name}", str(place))
        except Exception as error:
            # each store has errors of its own
            raise self._unreachable(name, error) from error
        if not place.is_file():
            raise self._unreachable(name, None)

    def _unreachable(self, name: str, error: Exception | None) -> OSError:
        reason = " ".join(str(error).split()) if error is not None else "nothing came"
        # stores end with what went wrong within them
        reason = shortened(SPEAKS_PYTHON.split(reason)[0], 200) or "the store does not say why"
        return OSError(
            f"{self.address}/{name} cannot be fetched ({reason}): check --data.root, the network, and what the store "
            f"needs to let you in"
        )

    def _make_room(self, needed: int) -> None:
        """Remove shards that were not used for longest, so that another one keeps within the limit."""
        with self._lock:
            kept: list[tuple[float, int, Path]] = []
            for path in self.folder.glob("*/*.bin"):
                with suppress(FileNotFoundError):
                    # another process may have removed it
                    status = path.stat()
                    kept.append((status.st_mtime, status.st_size, path))
            used = sum(size for _, size, _ in kept) + self._coming
            limit = self.limit if self.limit is not None else SHARE * (used + shutil.disk_usage(self.folder).free)
            for _, size, path in sorted(kept):
                if used + needed <= limit:
                    break
                path.unlink(missing_ok=True)
                used -= size
            self._coming += needed


class Ahead:
    """Fetches shards before they are needed, a few at a time.

    Args:
        shelf: to fetch from
        count: shards that are fetched beyond those in use
    """

    def __init__(self, shelf: Shelf, count: int) -> None:
        self.shelf, self.count = shelf, count
        self._pool = ThreadPoolExecutor(max(1, count), "fetch")
        self._coming: Iterator[str] = iter(())
        self._pending: dict[str, Future[Path]] = {}
        self._lock = threading.Lock()

    def expect(self, names: Iterable[str]) -> None:
        """Say which shards will be needed from now on, in the order of their first use."""
        with self._lock:
            for future in self._pending.values():
                future.cancel()
            self._pending, self._coming = {}, iter(list(names))
        self._go_on()

    def file(self, name: str) -> Path:
        """Return the path of a shard that is needed now."""
        with self._lock:
            future = self._pending.pop(name, None)
        if future is not None:
            self._go_on()
            path = future.result()
            if path.is_file():
                return path
        return self.shelf.file(name)

    def _go_on(self) -> None:
        with self._lock:
            while len(self._pending) < self.count and (name := next(self._coming, None)) is not None:
                self._pending[name] = self._pool.submit(self.shelf.file, name)
