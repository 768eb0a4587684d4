"""What the texts in a manifest's cells mean: missing values, and whole numbers that a data frame wrote as floats."""

import re
from collections.abc import Collection

# how data frames, spreadsheets and databases write a missing value; Na is not among them, because it is sodium
MISSING = frozenset({"", "NA", "na"})
MISSING_FOLDED = frozenset(
    {"nan", "-nan", "n/a", "null", "(null)", "none", "nat", "<na>", "#na", "#n/a", "#n/a n/a", "#null!", "#ref!"}
    | {"#value!", "#div/0!", "#name?", "#num!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
)
NUMBER = re.compile(r"([+-]?\d+)(?:\.(\d*)|,(\d\d?))?")


def is_missing(text: str) -> bool:
    """Tell whether a cell holds no value.

    Example:
        >>> [is_missing(text) for text in ("", "NaN", "NA", "<NA>", "Na", "0")]
        [True, True, True, True, False, False]
    """
    return text in MISSING or text.casefold() in MISSING_FOLDED


def whole_numbers(texts: Collection[str]) -> dict[str, str]:
    """Return the short form of whole numbers that were written as floats, such as 1 for 1.0.

    Args:
        texts: all different values of a column

    Returns:
        by text, if all are whole numbers; else nothing

    Example:
        >>> whole_numbers({"0.0", "10.0"}) == {"0.0": "0", "10.0": "10"}
        True
        >>> whole_numbers({"1.0", "cat"}), whole_numbers({"1.0", "1.5"})
        ({}, {})
    """
    found = {text: NUMBER.fullmatch(text) for text in texts}
    if not all(match and not _fraction(match).strip("0") for match in found.values()):
        return {}
    return {text: _short(match[1]) for text, match in found.items() if match}


def fractions(texts: Collection[str]) -> list[str]:
    """Return the numbers that are not whole, if all are numbers; else nothing.

    Example:
        >>> fractions({"1.0", "1.5"}), fractions({"1.5", "cat"})
        (['1.5'], [])
    """
    found = [(text, NUMBER.fullmatch(text)) for text in sorted(texts)]
    if not all(match for _, match in found):
        return []
    return [text for text, match in found if match and _fraction(match).strip("0")]


def _fraction(match: re.Match[str]) -> str:
    return match[2] or match[3] or ""


def _short(number: str) -> str:
    # leading zeros stay: 01 is a name
    return "0" if number.strip("+-0") == "" and number[0] in "+-" else number
