"""One process at a time: locks of the operating system, which free themselves when their process ends."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from records.owners import BEAT, owner_text

# how often a lock that another process holds is tried again, in seconds
POLL = 0.1


class BusyError(ValueError):
    """Another process is at work there."""


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Do something that takes a moment after other processes have done the same, not meanwhile.

    Args:
        path: of the lock's file, which stays
    """
    lock = FileLock(path)
    taken = _take(lock, path)
    while taken is None:
        time.sleep(POLL)
        taken = _take(lock, path)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(
    path: Path, place: str, work: str, way_out: str, short_works: tuple[str, ...] = (), patience: float = 0.0
) -> Iterator[None]:
    """Keep other processes out of a place during some work; their error says which process works there.

    Args:
        path: of the lock's file, which stays; a file beside it names the process that holds it
        place: how messages name it, such as `run runs/digits/mlp`
        work: what is done with it, such as `trained`
        way_out: what to do where another process is at work; a message says it after `wait for it`
        short_works: works of other processes that are waited for
        patience: seconds to wait for any other work

    Raises:
        BusyError: another process is at work there
    """
    lock, owner = FileLock(path), path.with_suffix(".owner")
    told, deadline = "", time.monotonic() + patience
    taken = _take(lock, path)
    while taken is None:
        who = _read(owner) or "used by another process"
        if who.partition(" ")[0] not in short_works and time.monotonic() >= deadline:
            raise BusyError(f"{place} is being {who}: wait for it, {way_out}")
        if who != told:
            print(f"{place} is being {who}: waiting for it", file=sys.stderr)
            told = who
        time.sleep(POLL)
        taken = _take(lock, path)
    ended = threading.Event()
    try:
        if taken:
            with suppress(OSError):
                # a full disk: only the others' message needs it
                owner.write_text(owner_text(work))
            threading.Thread(target=_beat, args=(owner, ended), name="sign of life", daemon=True).start()
        yield
    finally:
        ended.set()
        if taken:
            owner.unlink(missing_ok=True)
        lock.release()


def _beat(owner: Path, ended: threading.Event, said: str | None = None) -> None:
    """Touch a file now and then, by which other machines see that this process lives; what it says may be others'."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            if said is None:
                os.utime(owner)
            else:
                owner.write_text(said)


@contextmanager
def together(path: Path, place: str, work: str, way_out: str) -> Iterator[None]:
    """Keep processes that use `alone` out of a place during some work that several processes share.

    Args:
        path: of the lock's file, see `alone`
        place: how messages name it
        work: what is done with it, such as `searched`
        way_out: what to do where another process is at work; a message says it after `wait for it`

    Raises:
        BusyError: another process is at work there, alone
    """
    # some systems have none of it
    import fcntl

    owner = path.with_suffix(".owner")
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"{place} is being {_read(owner) or 'used by another process'}: wait for it, {way_out}"
            ) from None
        except OSError as error:
            # without locks two of them would take the same piece of work
            raise BusyError(
                f"{path} cannot be locked ({error.strerror}): choose a file system that has locks"
            ) from error
        ended, said = threading.Event(), owner_text(work)
        with suppress(OSError):
            owner.write_text(said)
        threading.Thread(target=_beat, args=(owner, ended, said), name="sign of life", daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            # the last one tells that nobody works there
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                owner.unlink(missing_ok=True)


def claimed(path: Path) -> FileLock | None:
    """Take a lock until it is released, or this process ends.

    Args:
        path: of the lock's file

    Returns:
        the lock; None if it is held already
    """
    lock = FileLock(path)
    return None if _take(lock, path) is None else lock


def _take(lock: FileLock, path: Path) -> bool | None:
    """Take a lock; return None if another process holds it, and False, with a warning, if there can be none."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        # some file systems of networks have no locks, and some folders cannot be written to
        reason = getattr(error, "strerror", None) or error
        # it imports Lightning, which takes seconds
        from common.warned import warn

        warn(f"{path} cannot be locked ({reason}): run one process at a time there")
        return False
    return True


def _read(owner: Path) -> str:
    try:
        return owner.read_text(errors="replace").strip()
    except OSError:
        # it has just ended, or has not written yet who it is
        return ""
