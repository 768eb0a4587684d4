"""The first few of many things, for messages."""

from collections.abc import Iterable

SHOWN = 5
# where each of them is to be mended, all are listed, but for what would fill screens
ALL = 100


def few(things: Iterable[object], shown: int = SHOWN, separator: str = ", ") -> str:
    """List the first few things, and count the others.

    Args:
        things: what to list, each as it is to be shown
        shown: how many are listed
        separator: what stands between two

    Example:
        >>> few(["a", "b", "c"]), few(range(30), shown=3)
        ('a, b, c', '0, 1, 2 and 27 more')
    """
    every = [str(thing) for thing in things]
    rest = len(every) - shown
    return separator.join(every[:shown]) + (f" and {rest} more" if rest > 0 else "")


def count_of(number: int, one: str, many: str = "") -> str:
    """Say how many things there are.

    Args:
        number: of the things
        one: what one of them is called
        many: what several are called; empty adds an s

    Example:
        >>> count_of(1, "row"), count_of(30, "class", "classes")
        ('1 row', '30 classes')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def shortened(text: str, length: int = 120) -> str:
    """Cut the middle out of a long text, such as a path of 5,000 characters.

    Args:
        text: to shorten
        length: what it may have

    Example:
        >>> shortened("a" * 50 + "b" * 50, length=13)
        'aaaaa...bbbbb'
    """
    side = (length - 3) // 2
    return text if len(text) <= length else f"{text[:side]}...{text[-side:]}"
