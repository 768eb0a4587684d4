"""What a machine may lack: room on a disk, leave to write, open files, shared memory."""

import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

# of Linux: a process gets mounts of its own
OWN_MOUNTS = 0x00020000


class CannotError(Exception):
    """This machine does not let the tests do it."""


def mount(*words: object) -> None:
    """Run `mount`.

    Raises:
        CannotError: this process may not
    """
    try:
        subprocess.run(["mount", *map(str, words)], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotError("there is no mount here") from error
    except subprocess.CalledProcessError as error:
        raise CannotError(f"this process may not mount ({error.stderr.strip()})") from error


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "16m") -> Iterator[Path]:
    """Mount a disk of a few megabytes, in memory.

    Raises:
        CannotError: this process may not
    """
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        # lazily: what was read through a map may live on a while
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write into a folder; permissions do not keep root out, a mount does.

    Raises:
        CannotError: this process is root's, and may not mount
    """
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,ro,bind", folder)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def room(folder: Path) -> int:
    """Return how many bytes are free on a disk."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def fill(folder: Path, leave: int) -> Path:
    """Write a file that leaves so many bytes free; return it."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        for _ in range(max(0, room(folder) - leave) // 4096):
            file.write(bytes(4096))
    return ballast


@contextlib.contextmanager
def limit(what: int, number: int) -> Iterator[None]:
    """Lower a limit of this process, such as `resource.RLIMIT_FSIZE`."""
    before, most = resource.getrlimit(what)
    resource.setrlimit(what, (number, most))
    try:
        yield
    finally:
        resource.setrlimit(what, (before, most))


def without_shared_memory() -> None:
    """Leave this process, and those that it starts, a /dev/shm that is full.

    Raises:
        CannotError: this process may not
    """
    if ctypes.CDLL(None, use_errno=True).unshare(OWN_MOUNTS):
        raise CannotError("this process may not have mounts of its own")
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "size=4096", "tmpfs", "/dev/shm")
    (Path("/dev/shm") / "ballast").write_bytes(bytes(4096))


def emptied(folder: Path) -> Path:
    """Remove all that is in a folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder
