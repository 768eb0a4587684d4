"""What a person reads of a data set."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.few import count_of, few
from datamodules.files.found_files import describe_left_out

# classes and sources that the terminal shows, classes that have a column each, and unreadable files
SHOWN_CLASSES, SHOWN_COLUMNS, SHOWN_BROKEN = 40, 8, 5


def print_findings(console: Console, findings: dict[str, Any], unreadable: Path) -> None:
    """Show the counts and what was found.

    Args:
        console: where to print
        findings: of `inspect`
        unreadable: the file that lists all files that cannot be read
    """
    counts, names = findings["images"], findings["class_names"]
    table = Table(title="images of each class")
    for column in ("class", *counts):
        table.add_column(column, justify="left" if column == "class" else "right")
    for number, name in enumerate(names[:SHOWN_CLASSES]):
        table.add_row(escape(name), *(f"{values[number]:,}" for values in counts.values()))
    if len(names) > SHOWN_CLASSES:
        table.add_row(f"... {len(names) - SHOWN_CLASSES} more classes", *("" for _ in counts))
    table.add_section()
    table.add_row("all", *(f"{sum(values):,}" for values in counts.values()))
    console.print(table)
    if sources := findings.get("sources"):
        console.print(source_table(sources, names))
    for name, text in sentences(findings, unreadable):
        console.print(f"[bold]{name}:[/] {escape(text)}", highlight=False, soft_wrap=True)


def source_table(sources: dict[str, dict[str, list[int]]], names: list[str]) -> Table:
    """Build the table of images of each class by split and source; many classes are added up.

    Args:
        sources: images of each class, by split and source
        names: of the classes
    """
    shown = names if len(names) <= SHOWN_COLUMNS else []
    table = Table(title="images of each source")
    for column in ("split", "source", *map(escape, shown), "all", "classes"):
        table.add_column(column, justify="left" if column in ("split", "source") else "right")
    for split, rows in sources.items():
        table.add_section()
        largest = sorted(rows, key=lambda name: -sum(rows[name]))[:SHOWN_CLASSES]
        for name in [name for name in rows if name in largest]:
            counts = rows[name]
            cells = [f"{count:,}" for count in counts] if shown else []
            present = sum(count > 0 for count in counts)
            table.add_row(split, escape(name), *cells, f"{sum(counts):,}", f"{present} of {len(counts)}")
        if len(rows) > len(largest):
            table.add_row(split, f"... {len(rows) - len(largest)} more sources")
    return table


def source_lines(sources: dict[str, dict[str, list[int]]], names: list[str]) -> list[tuple[str, str]]:
    """Name what a model could learn from the source alone: classes that one source alone has in the training split.

    Args:
        sources: images of each class, by split and source
        names: of the classes
    """
    train = {source: counts for source, counts in sources["train"].items() if sum(counts)}
    if len(train) < 2:
        return []
    alone = {}
    for number, name in enumerate(names):
        holding = [source for source, counts in train.items() if counts[number]]
        if len(holding) == 1:
            alone[name] = holding[0]
    if not alone:
        return []
    told = few((f"{name} ({source})" for name, source in alone.items()), shown=10)
    return [("classes of one source alone", f"{told}: a model may learn the source in their place")]


def group_lines(groups: dict[str, Any]) -> list[tuple[str, str]]:
    """Put what was found of groups into lines.

    Args:
        groups: `groups` of the findings
    """
    parts = [
        f"{found['groups']:,} in {split} (largest {count_of(found['largest'], 'image')}; {found['of_one_image']:,} of "
        f"one image)"
        for split, found in groups["by_split"].items()
    ]
    lines = [("groups", ", ".join(parts))]
    if divided := groups["divided"]:
        where = ", ".join(f"{count} by {splits}" for splits, count in divided.items())
        first = f"; the first has {groups['divided_list'][0]}"
        lines.append(("groups divided by the data's own splits", f"{where}{first}"))
    return lines


def sentences(findings: dict[str, Any], unreadable: Path) -> list[tuple[str, str]]:
    """Put what was found into a line each.

    Args:
        findings: of `inspect`
        unreadable: the file that lists all files that cannot be read
    """
    train = findings["images"]["train"]
    height, width = findings["served_size"]
    lines = [
        ("imbalance", f"{max(train) / max(1, min(train)):.3g} to 1 in the training split"),
        ("splits", "; ".join(f"{split}: {drawn}" for split, drawn in findings["drawn"].items()) or "all is training"),
        ("served at", f"{width}x{height} pixels, {findings['channels']} channel(s)"),
    ]
    if files := findings.get("files"):
        sizes = list(files["sizes"].items())
        more = f" and {len(sizes) - 5} more" if len(sizes) > 5 else ""
        least, most = findings["values"]
        if left_out := describe_left_out(files["count"], files["left_out"]):
            lines.append(("files", left_out))
        lines += [
            ("file sizes", ", ".join(f"{size} ({count:,})" for size, count in sizes[:5]) + more),
            ("modes", ", ".join(f"{mode} ({count:,})" for mode, count in files["modes"].items())),
            ("values", f"{least} to {most} of 0 to 255, as served (value_range {findings['value_range']})"),
            ("bytes", f"{files['bytes']['together']:,} in {files['count']:,} files"),
        ]
    lines += [("note", note) for note in findings.get("notes", [])]
    if sources := findings.get("sources"):
        lines += source_lines(sources, findings["class_names"])
    if groups := findings.get("groups"):
        lines += group_lines(groups)
    broken = findings["unreadable"]
    shown = broken[:SHOWN_BROKEN]
    more = f"\n  and {len(broken) - len(shown)} more" if len(broken) > len(shown) else ""
    listed = f"{more}\n  all of them: {unreadable}" if broken else ""
    lines.append(("unreadable files", f"{len(broken)}" + "".join(f"\n  {line}" for line in shown) + listed))
    exact = findings["exact_duplicates"]
    where = ", ".join(f"{count} in {splits}" for splits, count in exact["by_splits"].items())
    found = f"{exact['images']} images in {exact['groups']} groups"
    lines.append(("exact duplicates", f"{found} ({where})" if where else found))
    lines.append(("label conflicts between them", str(exact["label_conflicts"])))
    if near := findings.get("near_duplicates"):
        partly = "" if near["complete"] else " (of the pairs that were compared; there are too many to compare all)"
        found = f"{near['pairs']} pairs, {near['pairs_with_other_labels']} with other labels{partly}"
        lines.append(("near-duplicates", found))
        for splits, counts in near["by_splits"].items():
            images = ", ".join(f"{count} images of {split}" for split, count in counts["images"].items())
            lines.append((f"  {splits}", f"{counts['pairs']} pairs: {images}"))
    return lines
