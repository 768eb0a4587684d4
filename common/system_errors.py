"""What the operating system refuses, and what processes beside this one do to it: the reason, and the way out."""

import errno
import os
import re
from collections.abc import Iterator

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# by the number of the system's error
WAYS_OUT = {
    **dict.fromkeys(FULL, "make room there, or choose another folder, and run the command again"),
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), and run the command again",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "ask its owner for the permission, or choose another",
    errno.EPERM: "ask its owner for the permission, or choose another",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files, as by ulimit -n 4096"),
    errno.EIO: "the disk or the connection to it is failing: ask who looks after this machine",
}
# how libraries that are not written in Python tell the number
NUMBER = re.compile(r"\((?:os error )?(\d{1,3})\)")
# what torch says in RuntimeErrors that are nobody's mistake, and what to say of it
OF_TORCH = {
    r"shared memory|/torch_\d|/dev/shm|ancdata|\bshm\b.*(open|mmap|unlink)": (
        "no shared memory is left: make room in /dev/shm (df -h /dev/shm), raise the limit of open files by ulimit -n "
        "4096, or start no worker processes (num_workers 0 of a DataLoader)"
    ),
    r"DataLoader worker .*(exited|killed)": (
        "a worker process of a DataLoader was killed, as the system does where memory runs out: start fewer of them "
        "(its num_workers), and run the command again"
    ),
    r"[Cc]onnection (was )?(closed|reset|refused)|gloo/transport|[Bb]roken pipe|NCCL|Socket|timed out|[Ww]atchdog": (
        "another process of this job has ended, or cannot be reached: what it printed last tells why. Run the command "
        "again with --ckpt_path RUN, and the run continues from its last.ckpt"
    ),
}


def reason_of(error: BaseException) -> str:
    """Say why the system has refused something, without numbers and names of Python's.

    Args:
        error: an OSError, or one of a library that tells the system's number

    Example:
        >>> reason_of(OSError(errno.ENOSPC, "No space left on device", "a.ckpt"))
        'No space left on device'
    """
    told: str | None = getattr(error, "strerror", None)
    return told or next((os.strerror(number) for number in _told(error)), str(error))


def way_out(error: BaseException) -> str:
    """Say what to do about what the system has refused; empty where that is not known.

    Args:
        error: whatever was raised; what it was raised from counts too

    Example:
        >>> way_out(OSError(errno.EROFS, "Read-only file system"))
        'choose a folder that can be written to'
    """
    return next((WAYS_OUT[number] for number in _numbers(error) if number in WAYS_OUT), "")


def in_words(error: BaseException) -> str:
    """Say what was raised, and what to do about it where that is known.

    Args:
        error: whatever was raised

    Example:
        >>> in_words(OSError("a.png could not be written"))
        'a.png could not be written'
    """
    return "; ".join(filter(None, [str(error).strip() or type(error).__name__, way_out(error)]))


def is_full(error: BaseException) -> bool:
    """Tell whether a disk had no room left.

    Args:
        error: whatever was raised; what it was raised from counts too
    """
    return any(number in FULL for number in _numbers(error))


def of_torch(error: BaseException) -> str:
    """Put into words what torch says of shared memory and of processes beside this one; empty if it says neither.

    Args:
        error: a RuntimeError of torch
    """
    text = str(error)
    first = text.strip().splitlines()[0] if text.strip() else ""
    told = next((told for pattern, told in OF_TORCH.items() if re.search(pattern, text)), "")
    return f"{told} ({first})" if told else ""


def _numbers(error: BaseException | None) -> Iterator[int]:
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            yield error.errno
        else:
            yield from _told(error)
        error = error.__cause__


def _told(error: BaseException) -> Iterator[int]:
    """Yield the numbers of the system in a text that says in words what they mean, too."""
    text = str(error)
    numbers = (int(found[1]) for found in NUMBER.finditer(text))
    yield from (number for number in numbers if os.strerror(number) in text)
