"""Names of classes, sources and groups: one form of each, and names that look alike."""

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from common.few import SHOWN, count_of, few
from common.warned import warn

AlikeNames = Literal["error", "allow"]
# characters that are invisible: joiners, fillers, an empty braille cell, and variation selectors
IGNORED = frozenset(
    [*"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0", *map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))]
)


def one_form(name: str) -> str:
    """Return a name in Unicode's composed form (NFC): Macs write the same letters as base and accent.

    Example:
        >>> one_form("che\u0302ne") == "ch\u00eane"
        True
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def without_margin(text: str) -> str:
    """Return a text without spaces and invisible characters around it, in one Unicode form.

    Example:
        >>> without_margin(" ill\u00a0\u200b")
        'ill'
    """
    text = text.strip()
    if _is_plain(text):
        return text
    start, stop = 0, len(text)
    while start < stop and (text[start].isspace() or _is_invisible(text[start])):
        start += 1
    while start < stop and (text[stop - 1].isspace() or _is_invisible(text[stop - 1])):
        stop -= 1
    return unicodedata.normalize("NFC", text[start:stop])


def likeness(name: str) -> str:
    """Return what a name shares with all that look like it: without case, space, invisible characters and form.

    Example:
        >>> likeness("Cat") == likeness("cat ") == likeness("c\u200bat")
        True
    """
    if not _is_plain(name):
        # twice, because folding the case may undo the form
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        name = "".join(letter for letter in name if letter.isspace() or not _is_invisible(letter))
    return " ".join(name.split()).casefold()


def find_alike(names: Iterable[str]) -> list[list[str]]:
    """Return the names that look like another one, together.

    Example:
        >>> find_alike(["dog", "cat", "Cat", "eel"])
        [['cat', 'Cat']]
    """
    first: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    # a million groups hold few that look alike
    for name in dict.fromkeys(names):
        like = likeness(name)
        if (earlier := first.setdefault(like, name)) != name:
            found.setdefault(like, [earlier]).append(name)
    return list(found.values())


def shown(name: str) -> str:
    r"""Quote a name, with its invisible and combining characters written out.

    Example:
        >>> print(shown("ill\u00a0"), shown("chêne"))
        'ill\xa0' 'chêne'
    """
    hidden = any(unicodedata.combining(letter) or _is_invisible(letter) for letter in name)
    return ascii(name) if hidden else repr(name)


def tell_alike(
    where: str, kind: str, counts: Mapping[str, int], way_out: str, alike: AlikeNames, what: str = "images"
) -> None:
    """Refuse names that look alike, or warn of them.

    Args:
        where: the file or folder that holds them
        kind: what they name, in the plural, such as classes
        counts: how often each name comes
        way_out: what to do about it
        alike: error refuses them, allow warns
        what: is counted

    Raises:
        ValueError: there are any, and they are not allowed
    """
    found = find_alike(counts)
    if not found:
        return
    groups = (" and ".join(f"{shown(name)} ({counts[name]} {what})" for name in names) for names in found)
    text = f"{where}: {kind} with names that look alike: {few(groups)}"
    if alike == "error":
        raise ValueError(f"{text}: {way_out}")
    warn(f"{text}: they are taken for different ones")


def matching(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that an option means: the same but for Unicode form and space around it.

    Args:
        name: as the option gives it
        known: all that there are
    """
    if name in known:
        return name
    forms = {without_margin(other): other for other in known}
    return forms.get(without_margin(name))


def unknown_names(names: Iterable[str], known: Collection[str]) -> str:
    """List names that are not known, each with one that looks like it.

    Example:
        >>> unknown_names(["Cat", "eel"], ["cat", "dog"])
        "'Cat' (looks like 'cat'), 'eel'"
    """
    alike = {likeness(other): other for other in known}
    listed = []
    for name in names:
        near = alike.get(likeness(name))
        listed.append(shown(name) + (f" (looks like {shown(near)})" if near is not None else ""))
    return few(listed)


def names_differ(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Say in what two lists of names differ.

    Example:
        >>> names_differ(["Cat", "dog", "eel"], ["cat", "dog", "fox"])
        "here alone: 'Cat' (looks like 'cat'), 'eel'; there alone: 'cat' (looks like 'Cat'), 'fox'"
        >>> names_differ(["a", "b"], ["b", "a"])
        "the same in another order: number 0 is 'a' here and 'b' there"
    """
    left, right = set(ours), set(theirs)
    here, there = [name for name in ours if name not in right], [name for name in theirs if name not in left]
    if here or there:
        parts = (("here", here, theirs), ("there", there, ours))
        return "; ".join(f"{where} alone: {unknown_names(names, other)}" for where, names, other in parts if names)
    pairs = zip(range(len(ours)), ours, theirs, strict=False)
    number, one, other = next((pair for pair in pairs if pair[1] != pair[2]), (0, "", ""))
    return f"the same in another order: number {number} is {shown(one)} here and {shown(other)} there"


def classes_have(names: Sequence[str], what: str) -> str:
    """Begin a message on some classes.

    Args:
        names: of the classes
        what: they have, such as no image

    Example:
        >>> classes_have(["cat"], "no image"), classes_have(["cat", "dog"], "no image")
        ("class 'cat' has no image", "2 classes have no image: 'cat', 'dog'")
    """
    if len(names) == 1:
        return f"class {shown(names[0])} has {what}"
    return f"{count_of(len(names), 'class', 'classes')} have {what}: {few(map(shown, names), SHOWN)}"


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isprintable()


def _is_invisible(letter: str) -> bool:
    return letter in IGNORED or unicodedata.category(letter) in ("Cc", "Cf")
