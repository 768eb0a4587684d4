"""Numbers that options take: one check for all, which names the option as the command line does."""

import math
from collections.abc import Mapping, Sequence

# the seeds that NumPy accepts
SEEDS = "[0, 4294967295]"


class OptionError(ValueError):
    """An option has a value that it cannot take.

    Args:
        option: its name on the command line
        reason: what it takes instead
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option} {reason}")
        self.option, self.reason = option, reason


def check_range(option: str, value: float | Sequence[float] | None, interval: str) -> None:
    """Refuse a number that an option cannot take, NaN among them.

    Args:
        option: its name, such as --model.loss.beta
        value: what was given, or several of these; None is no number, and stands for a default
        interval: as mathematics writes it: [0, 1) for 0 and more but less than 1; infinity itself is never taken

    Raises:
        OptionError: it is outside

    Example:
        >>> check_range("--data.batch_size", 0, "[1, inf)")
        Traceback (most recent call last):
        ...
        common.ranges.OptionError: --data.batch_size must be at least 1, not 0
    """
    for number in value if isinstance(value, Sequence) else (value,):
        if number is not None and not is_within(number, interval):
            raise OptionError(option, f"must be {in_words(interval)}, not {value}")


def check_ranges(prefix: str, options: object, intervals: Mapping[str, str]) -> None:
    """Refuse numbers that the options of a class cannot take.

    Args:
        prefix: of the options' names, such as --model.loss
        options: has them as attributes
        intervals: of each, by its name

    Raises:
        OptionError: one is outside
    """
    for name, interval in intervals.items():
        check_range(f"{prefix}.{name}", getattr(options, name), interval)


def is_within(number: float, interval: str) -> bool:
    """Tell whether a number lies in an interval such as [0, 1)."""
    low, high = bounds(interval)
    above = low <= number if interval[0] == "[" else low < number
    return math.isfinite(number) and above and (number <= high if interval[-1] == "]" else number < high)


def bounds(interval: str) -> tuple[float, float]:
    """Return the ends of an interval."""
    low, high = interval[1:-1].split(",")
    return float(low), float(high)


def in_words(interval: str) -> str:
    """Say what lies in an interval.

    Example:
        >>> [in_words(each) for each in ("[0, 1)", "[0, 64]", "[2, inf)", "(0, inf)", "(-inf, inf)")]
        ['in [0, 1)', 'from 0 to 64', 'at least 2', 'above 0', 'a finite number']
    """
    low, high = bounds(interval)
    if math.isfinite(high):
        ends = interval[1:-1].split(", ")
        return f"from {ends[0]} to {ends[1]}" if interval[0] + interval[-1] == "[]" else f"in {interval}"
    if not math.isfinite(low):
        return "a finite number"
    return f"{'at least' if interval[0] == '[' else 'above'} {interval[1:-1].split(',')[0]}"
