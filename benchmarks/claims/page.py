"""docs/results.md, made of the text in docs/records/page.md and of the records."""

import re
from datetime import date

from benchmarks.claims.record import RECORDS, REPOSITORY, Record, RecordError, in_markdown

TEXT, PAGE = RECORDS / "page.md", REPOSITORY / "docs" / "results.md"
MADE = "<!-- Made by `make results` from docs/records/page.md and docs/records/*.json: change those. -->"
HEADING = re.compile(r"(?m)^(?=##+ )")
# {{NAME.KEY}}, {{NAME.table}}, {{NAME}}, {{machines}} and {{claims}}
PLACE = re.compile(r"\{\{(\w+)(?:\.(\w+))?\}\}")


def day(written: str) -> str:
    """A date as it is read: 27 November 2026."""
    then = date.fromisoformat(written)
    return f"{then.day} {then:%B %Y}"


def letters(records: dict[str, Record]) -> dict[str, str]:
    """A letter for each machine, the one with the most records first."""
    machines = [record.machine for record in records.values() if record.machine]
    ordered = sorted(dict.fromkeys(machines), key=lambda machine: (-machines.count(machine), machine))
    return {machine: chr(ord("A") + number) for number, machine in enumerate(ordered)}


def origin(record: Record, machines: dict[str, str]) -> str:
    """Where a record's figures come from, in a few words."""
    if record.not_run:
        return f"not run, {record.not_run}"
    return f"machine {machines[record.machine]}, {record.commit}, {day(record.date)}"


def entry(record: Record) -> str:
    """A record that stands by itself: claim, command, and its table if it has one."""
    said = f"{record.headline()} (`{record.command}`)"
    told = f"{said}: not run, {record.not_run}." if record.not_run else f"{said}."
    shown = record.shown_table() if record.table else ""
    return "\n\n".join(part for part in (f"{told}{' ' + record.note if record.note else ''}", shown) if part)


def sources(used: list[Record], machines: dict[str, str]) -> str:
    """The line below a section that links the records it shows."""
    links = [
        f"[{record.name}](records/{record.name}.json) ({'not run' if record.not_run else origin(record, machines)})"
        for record in used
    ]
    return "Records: " + "; ".join(links) + "."


def all_claims(records: dict[str, Record], order: list[str], machines: dict[str, str]) -> str:
    """The table of all claims: those of the page in its order, those of other pages by name, and what was not run."""
    others = sorted(set(records) - set(order), key=lambda name: (records[name].not_run != "", name))
    names = [*order, *others]
    rows = []
    for name in names:
        record = records[name]
        command = record.command.replace("|", "\\|")
        rows.append([f"[{name}](records/{name}.json)", record.headline(), f"`{command}`", origin(record, machines)])
    return in_markdown(["record", "claim", "command", "where and when"], rows)


def render(text: str, records: dict[str, Record]) -> str:
    """Fill the records into the text, and say below each section which it shows.

    Args:
        text: Markdown with places such as {{NAME.KEY}}
        records: by name

    Returns:
        the page

    Raises:
        RecordError: a place names a record or a figure that does not exist
    """
    machines = letters(records)
    order: list[str] = []
    parts = []
    for section in HEADING.split(text.strip("\n")):
        used: dict[str, Record] = {}

        def fill(match: re.Match, used: dict[str, Record] = used) -> str:
            name, key = match.groups()
            if name in ("machines", "claims"):
                return match.group()
            if name not in records:
                raise RecordError(f"page.md shows the record '{name}', but there is no {name}.json")
            record = used.setdefault(name, records[name])
            if key is None:
                return entry(record)
            return record.shown_table() if key == "table" else record.figure(key)

        filled = PLACE.sub(fill, section).strip("\n")
        order += [name for name in used if name not in order]
        parts.append("\n\n".join([filled, sources(list(used.values()), machines)] if used else [filled]))
    page = "\n\n".join([MADE, *parts]) + "\n"
    listed = "\n".join(f"- **{letter}**: `{machine}`" for machine, letter in machines.items())
    page = page.replace("{{machines}}", listed)
    return page.replace("{{claims}}", all_claims(records, order, machines))


def page_now(records: dict[str, Record]) -> str:
    """The page that the records give."""
    return render(TEXT.read_text("utf-8"), records)
