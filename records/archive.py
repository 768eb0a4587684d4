"""Checks of the archives that `torch.save` writes: their CRC-32 shows every damage, and torch does not look at it."""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# local header, entry of the directory, and the three records at the end; see APPNOTE.TXT of PKWARE
LOCAL = struct.Struct("<4s5H3L2H")
ENTRY = struct.Struct("<4s6H3L5H2L")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")
END = struct.Struct("<4s4H2LH")
# the version of zip that torch's library calls itself
MADE = 0x031E
# what stands in place of a number that needs 64 bits
BEYOND = 0xFFFFFFFF
# flag of a member whose CRC and sizes follow its content
FOLLOWED = 8
# field of the local header that brings content to a round address
PADDING = b"FB"
# field of numbers that need 64 bits
WIDE = b"\1\0"


class ArchiveError(ValueError):
    """A file is not the whole archive that `torch.save` wrote."""


@dataclass(frozen=True)
class Entry:
    """What the directory says of a member.

    Args:
        name: of the member
        shared: version, flags, method, time and date, which the local header repeats
        same: what is alike in all entries of an archive
        crc: CRC-32 of its content
        size: of its content, in bytes
        start: of its local header, in bytes from the file's start
        extra: the numbers among these that need 64 bits
    """

    name: bytes
    shared: tuple[int, ...]
    same: tuple[int, ...]
    crc: int
    size: int
    start: int
    extra: bytes

    @property
    def length(self) -> int:
        """Bytes of the entry itself."""
        return ENTRY.size + len(self.name) + len(self.extra)


def check_archive(path: Path) -> None:
    """Read every byte of an archive of `torch.save`, and compare it with what the archive says of itself.

    Args:
        path: of the file

    Raises:
        ArchiveError: a byte was changed, or some are missing; the message says where
    """
    if not path.stat().st_size:
        raise ArchiveError("it is empty")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole,
        memoryview(whole) as view,
    ):
        check_content(view)


def check_content(view: memoryview) -> None:
    """Check an archive that is in memory; see `check_archive`."""
    if bytes(view[:4]) != b"PK\3\4":
        raise ArchiveError("it does not begin as a file of torch.save does")
    try:
        check_members(view)
    except struct.error:
        # a header or a record would lie beyond the end
        raise ArchiveError("it was cut off, or changed where it says what it holds") from None


def check_members(view: memoryview) -> None:
    """Check that an archive consists of what its directory says, without a gap."""
    start, size, count, end = directory_place(view)
    entries = list(directory(view, start, end))
    if len(entries) != count or sum(entry.length for entry in entries) != size:
        raise ArchiveError("its directory does not fit its end")
    if len({entry.same for entry in entries}) > 1 or len({entry.name for entry in entries}) != count:
        raise ArchiveError("its directory has changed")
    place = 0
    for entry in sorted(entries, key=lambda entry: entry.start):
        if entry.start != place:
            raise ArchiveError(f"{shown(entry)} is not where the directory says")
        place = check_member(view, entry, start)
    if place != start:
        raise ArchiveError("its directory is not where the last member ends")


def directory_place(view: memoryview) -> tuple[int, int, int, int]:
    """Return where the directory starts, its size in bytes, how many entries it has, and where it must end."""
    end = len(view) - END.size
    signature, disk, disk_of_start, here, count, size, start, comment = END.unpack(tail(view, end, END.size))
    if signature != b"PK\5\6" or comment:
        raise ArchiveError("its end is missing: it was cut off, or changed there")
    short = (disk, disk_of_start, here, count, size, start)
    locator = LOCATOR.unpack(tail(view, end - LOCATOR.size, LOCATOR.size))
    if locator[0] == b"PK\6\7":
        end -= LOCATOR.size + END64.size
        signature, length, made, needed, *long = END64.unpack(tail(view, end, END64.size))
        if (signature, length, made, needed, locator[1:]) != (b"PK\6\6", END64.size - 12, MADE, 45, (0, end, 1)):
            raise ArchiveError("its end has changed")
        beyond = (0, 0, 0xFFFF, 0xFFFF, BEYOND, BEYOND)
        if any(a not in (b, c) for a, b, c in zip(short, long, beyond, strict=True)):
            raise ArchiveError("its end has changed")
        disk, disk_of_start, here, count, size, start = long
    if disk or disk_of_start or here != count or start + size != end:
        raise ArchiveError("its end has changed")
    return start, size, count, end


def tail(view: memoryview, start: int, size: int) -> memoryview:
    """Return some bytes; a place before the file's start has none."""
    return view[start : start + size] if start >= 0 else view[:0]


def directory(view: memoryview, place: int, end: int) -> Iterator[Entry]:
    """Yield the entries of the directory between two places."""
    while place < end:
        signature, made, *fields = ENTRY.unpack(view[place : place + ENTRY.size])
        shared, (crc, packed, size), (names, extras, comments) = fields[:5], fields[5:8], fields[8:11]
        disk, internal, external, start = fields[11:]
        after = place + ENTRY.size + names
        name, extra = bytes(view[place + ENTRY.size : after]), bytes(view[after : after + extras])
        if signature != b"PK\1\2" or comments or (extra and extra[:4] != WIDE + struct.pack("<H", extras - 4)):
            raise ArchiveError("its directory has changed")
        # the numbers that need 64 bits, in this order
        numbers = iter(struct.unpack(f"<{max(0, extras - 4) // 8}Q", extra[4:]))
        size, packed, start = (next(numbers, -1) if number == BEYOND else number for number in (size, packed, start))
        if packed != size or next(numbers, None) is not None:
            raise ArchiveError("its directory has changed")
        entry = Entry(name, tuple(shared), (made, disk, internal, external), crc, size, start, extra)
        yield entry
        place += entry.length


def check_member(view: memoryview, entry: Entry, limit: int) -> int:
    """Check a member's header and content; return where it ends.

    Args:
        view: the file
        entry: what the directory says of it
        limit: where the directory starts
    """
    signature, *shared, crc, packed, size, names, extras = LOCAL.unpack(view[entry.start : entry.start + LOCAL.size])
    after = entry.start + LOCAL.size + names
    start = after + extras
    name, extra = bytes(view[entry.start + LOCAL.size : after]), bytes(view[after:start])
    numbers = (entry.crc, entry.size, entry.size)
    follows = entry.shared[1] & FOLLOWED
    if (
        (signature, tuple(shared), name) != (b"PK\3\4", entry.shared, entry.name)
        or (crc, packed, size) != ((0, 0, 0) if follows else numbers)
        or not is_expected(extra, entry.extra)
    ):
        raise ArchiveError(f"the header of {shown(entry)} has changed")
    end = start + entry.size
    if end > limit or zlib.crc32(view[start:end]) != entry.crc:
        raise ArchiveError(f"the content of {shown(entry)} has changed")
    if not follows:
        return end
    repeated = struct.pack("<4sL2Q" if entry.extra else "<4s3L", b"PK\7\x08", *numbers)
    if view[end : end + len(repeated)] != repeated:
        raise ArchiveError(f"what follows {shown(entry)} has changed")
    return end + len(repeated)


def is_expected(extra: bytes, wide: bytes) -> bool:
    """Tell whether a local header repeats the numbers that need 64 bits, and else brings content to a round address.

    Args:
        extra: what stands behind the name in the local header
        wide: likewise in the directory; of two sizes the local header does not know the second yet
    """
    before = wide[:12] + bytes(8) + wide[20:] if len(wide) >= 20 else wide
    padding, rest = extra[len(wide) :], len(extra) - len(wide) - 4
    known = extra[: len(wide)] in (wide, before)
    return known and (not padding or padding == PADDING + struct.pack("<H", max(0, rest)) + b"Z" * rest)


def shown(entry: Entry) -> str:
    """Name a member without the folder that all share."""
    return entry.name.decode(errors="replace").partition("/")[2] or "a member"
