"""Looking for the range of values that images use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.files.formats import open_image
from datamodules.files.value_range import FULL_16, Range, as_text, depth_range, pixels_of, read_values


@dataclass(frozen=True)
class Found:
    """What some files hold.

    Args:
        looked_at: number of files
        deep: number of those whose pixels have other than 8 bits
        kinds: what the pixels of these are, such as 16-bit
        least: of the values in them
        most: of the values in them
        chosen: the range of a usual depth that holds them; None for all that their pixels can hold
        known: whether it is known what all their pixels can hold
    """

    looked_at: int
    deep: int = 0
    kinds: tuple[str, ...] = ()
    least: float = 0.0
    most: float = 0.0
    chosen: Range | None = None
    known: bool = True

    def line(self, served: Range | None) -> str:
        """Say what was found, and what is made of it.

        Args:
            served: the range that becomes 0 to 255; None for all that a pixel can hold
        """
        what = "all that their pixels can hold" if served is None else as_text(served)
        return (
            f"{' and '.join(self.kinds)} pixels in {self.deep} of {self.looked_at} files looked at, with values from "
            f"{self.least:g} to {self.most:g}: {what} becomes 0 to 255 (--data.value_range)"
        )


def find_range(paths: Sequence[Path]) -> Found:
    """Look at the values in some files, and choose a range for those of 16 bits.

    Files that cannot be read are left out here: reading all of them names them.

    Args:
        paths: of the files
    """
    kinds: set[str] = set()
    ends: list[float] = []
    # what the range must hold: a file that says that it has 12 bits is believed
    depth, known = 0.0, True
    for path in paths:
        try:
            with open_image(path) as file:
                pixels = pixels_of(file)
                if not pixels.deep or not pixels.whole:
                    continue
                values = read_values(file, pixels, lambda path=path: open_image(path))
        except Exception:  # noqa: S112 (as in `decode`, which says what is wrong)
            continue
        kinds.add(pixels.text)
        ends += [float(values.min()), float(values.max())]
        known = known and pixels.range is not None
        if pixels.range is not None and pixels.range[0] == 0 and pixels.range[1] < FULL_16[1]:
            depth = max(depth, pixels.range[1])
    if not ends:
        return Found(len(paths))
    least, most = min(ends), max(ends)
    chosen = depth_range(max(most, depth)) if known and least >= 0 else None
    return Found(len(paths), len(ends) // 2, tuple(sorted(kinds)), least, most, chosen, known)
