"""Which numbers of a page are measured, and which of them no record holds.

A measured number is a decimal fraction, a count of a thousand or more that is no whole number of thousands, or a number
with a unit of time, size, rate, share or gain: in prose, in a table, or in what a command printed. What is set rather
than measured, such as an option's default, is written in code font. A measured number must be held by a record that is
linked in its section, or at the top of its page: as a figure, or with all others of its line in a row of the table.
"""

import re
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
# no part of a name, a version, a date or another number
ALONE, WHOLE = r"(?<![\w.,:/])(?<!\w-)", r"(?!\w*\.\d)"
RATE = r"[kKMGT]i?B/s|[a-z]+/s|s/[a-z]+|(?:[a-z]+\s)?(?:a|an|per)\s(?:second|minute|hour)"
UNITS = rf"%|percent|[mµn]?s|seconds?|min|minutes?|h|hours?|days?|[kKMGT]i?B|bytes|[kMG]?Hz|points?|nats?|times|{RATE}"
WITH_UNIT = re.compile(
    rf"{ALONE}({NUMBER}){WHOLE}(?:\s(?:to|and|or)\s[+-]?({NUMBER}))?(?:x\b|×|[\s-]?(?:{UNITS})(?![\w/]))"
)
DECIMAL = re.compile(rf"{ALONE}((?:\d{{1,3}}(?:,\d{{3}})+|\d*)\.\d+(?:e-?\d+)?|\d+e-\d+){WHOLE}(?!\w)")
COUNT = re.compile(rf"{ALONE}(\d{{1,3}}(?:,\d{{3}})+)(?<!,000){WHOLE}")
TIMES = "(?:two|three|four|five|six|seven|eight|nine|ten|twenty|a hundred|a thousand) times"
IN_WORDS = re.compile(rf"\b(?:twice|{TIMES}) as (?:fast|quick|slow|long|large|small|much|many|accurate)\b")
# the level of every interval, and numbers that are names
NAMES = r"Python [\d.]+(?: to [\d.]+)?|(?:SLURM|torch|torchvision|version|arXiv:|CC BY) ?\d[\d.]*"
LEVEL = r"(?<![\w.])95 %"
# besides: comments, code font, and where links lead to
NOT_READ = [
    re.compile(pattern, re.DOTALL)
    for pattern in (r"<!--.*?-->", r"`(?:[^`\n]|\n(?!\n))*`", r"\]\([^)]*\)", LEVEL, NAMES)
]
HEADING = re.compile(r"(#+) +(.*)")
LINK = re.compile(r"records/(\w+)\.json")
# blocks that are written rather than printed
WRITTEN = ("python", "yaml", "c", "math", "json")
COMMAND = re.compile(
    r"\s*(#|[A-Z_]+=|\$|(python|pip|make|tar|ssh|srun|sbatch|torchrun|tensorboard|cp|mkdir|apt|\S*/python)\b)"
)


class Held(NamedTuple):
    """The numbers of a record: of its figures, and of each row of its table."""

    figures: frozenset[Decimal]
    rows: tuple[tuple[Decimal, ...], ...]


class Found(NamedTuple):
    """A measured number, and the line that it stands in."""

    number: str
    line: int


class Section(NamedTuple):
    """A heading, the number of its line, and the lines below it with what is no measurement taken out."""

    level: int
    heading: str
    first: int
    text: str
    links: frozenset[str]


def canonical(number: str) -> Decimal:
    """The value of a number as it is printed: .953, 0.953 and 0.9530 are one, and so are 1,710 and 1710."""
    return Decimal(number.replace(",", "")).normalize()


def numbers(text: str) -> tuple[Decimal, ...]:
    """All numbers in a text, in order."""
    return tuple(canonical(found) for found in re.findall(rf"(?:{NUMBER})(?:e-?\d+)?", text))


def in_order(few: list[Decimal], many: tuple[Decimal, ...]) -> bool:
    """Whether some numbers stand among others in the same order."""
    left = iter(many)
    return all(number in left for number in few)


def without_code(page: str) -> list[str]:
    """The lines of a page, with nothing in place of commands and of blocks of code that was written."""
    lines, fence, continued = [], None, False
    for line in page.splitlines():
        mark = re.match(r"\s*```(\w*)", line)
        if mark:
            fence = mark.group(1) or "printed" if fence is None else None
            continued, line = False, ""
        elif fence is not None:
            command = continued or bool(COMMAND.match(line))
            continued = command and line.rstrip().endswith("\\")
            line = "" if command or fence in WRITTEN else line
        lines.append(line)
    return lines


def sections(page: str) -> list[Section]:
    """Divide a page at its headings, without code, link targets and comments.

    Args:
        page: Markdown

    Returns:
        the sections in order, the first with what stands above the first heading
    """
    lines = without_code(page)
    starts = [0, *(number for number, line in enumerate(lines) if HEADING.match(line))]
    found = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        text = "\n".join(lines[start:end])
        heading = HEADING.match(text)
        links = frozenset(LINK.findall(text))
        # what is taken out leaves its line ends, so that lines keep their numbers
        for pattern in NOT_READ:
            text = pattern.sub(lambda match: "_" + "\n" * match.group().count("\n"), text)
        level, name = (len(heading.group(1)), heading.group(2)) if heading else (0, "the top")
        found.append(Section(level, name, start, text, links))
    return found


def measured(section: Section) -> list[Found]:
    """The measured numbers of a section.

    Args:
        section: one of `sections`

    Returns:
        each with its line, counted from 1
    """
    places: dict[int, str] = {}
    for match in WITH_UNIT.finditer(section.text):
        places |= {match.start(group): match.group(group) for group in (1, 2) if match.group(group)}
    for pattern in (DECIMAL, COUNT):
        places |= {match.start(1): match.group(1) for match in pattern.finditer(section.text)}
    return [Found(places[at], section.first + section.text.count("\n", 0, at) + 1) for at in sorted(places)]


def not_held(page: str, held: dict[str, Held]) -> list[str]:
    """What is wrong with the measured numbers of a page.

    Args:
        page: Markdown
        held: the numbers of each record, by its name

    Returns:
        a message for each measured number that no record linked in its section holds, and for each link to no record
    """
    wrong = []
    divided = sections(page)
    # what is linked above the first heading of the second level holds for the whole page
    of_page = frozenset().union(*(section.links for section in divided[:2] if section.level < 2))
    for section in divided:
        unknown = section.links - set(held)
        wrong += [f"'{section.heading}' links a record that does not exist: {link}" for link in sorted(unknown)]
        wrong += [f"'{section.heading}': '{words}' needs its figure" for words in IN_WORDS.findall(section.text)]
        linked = [held[link] for link in (section.links | of_page) & set(held)]
        figures = frozenset().union(*(record.figures for record in linked))
        rows = [row for record in linked for row in record.rows]
        for line, found in groupby(measured(section), key=lambda number: number.line):
            printed = [number.number for number in found]
            if any(in_order([canonical(number) for number in printed], row) for row in rows):
                continue
            wrong += [
                f"line {line}, '{section.heading}': no record that is linked there holds {number}"
                for number in printed
                if canonical(number) not in figures
            ]
    return wrong
