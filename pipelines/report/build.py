"""The report: built from runs that were found, and summarised on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from common.few import count_of, few
from common.terminal import print_whole
from pipelines.cli.errors import UsageError
from pipelines.report.baseline import find_baseline
from pipelines.report.comparison import ComparedRun, Comparison, compare
from pipelines.report.exports import exports_section
from pipelines.report.intervals import add_intervals
from pipelines.report.looks import looks_of
from pipelines.report.options import ReportOptions
from pipelines.report.output import PAGE, check_out, write_report
from pipelines.report.page import Section, Text, render
from pipelines.report.performance import append_rows, check_columns, performance_row, read_text
from pipelines.report.runs import FoundRun, Missing, find_runs, missing
from pipelines.report.search_section import find_searches, search_section, search_verdict
from pipelines.report.sections import DRAWN_COMPARISONS, among_best, comparison_section, folds_section
from pipelines.report.stack import is_stack, member_names, stack_section
from pipelines.report.sweep_section import figure_cell, ranking, study_section, study_verdict
from pipelines.report.sweeps import FoundStudy, find_studies, pairs_of
from pipelines.report.tables import comparison_csv, missing_table, spoken
from pipelines.report.verdicts import verdicts_of

# how many stacks have a section, and lines of each kind on the terminal
SHOWN_STACKS, PRINTED = 5, 10
SHOWN_STUDIES = 5


def make_report(paths: Sequence[Path], options: ReportOptions, console: Console) -> None:
    """Build the report, write it, and print its summary.

    Args:
        paths: run folders, or folders above them
        options: of the report
        console: where to print
    """
    out = Path(options.out)
    performance = Path(options.performance) if options.performance else out / "performance.csv"
    # wrong paths are refused before anything is computed
    check_out(out)
    check_performance(performance)
    runs, planned = find_runs(paths)
    groups, absent, studies, files = build(runs, planned, options)
    write_report(out, files)
    tested = [performance_row(run) for run in runs if run.metrics("test")]
    appended = append_rows(performance, tested)
    print_summary(console, groups, absent)
    for study in studies:
        print_study(console, study)
    for run in runs:
        for problem in run.problems:
            console.print(f"[yellow]note:[/] {escape(problem)}", soft_wrap=True, highlight=False)
    console.print(f"\n{performance}: {appended:,} rows appended", soft_wrap=True, highlight=False, markup=False)
    console.print(f"report: {out / PAGE}", soft_wrap=True, highlight=False, markup=False)


def write_page(folder: Path, out: Path, split: Literal["test", "val"] = "test", console: Console | None = None) -> Path:
    """Write the report of the runs below a folder; print what a study found, and nothing else.

    Args:
        folder: of an experiment
        out: folder of the page; an earlier report there is replaced
        split: which is reported on
        console: where to print; None prints nothing

    Returns:
        the page
    """
    check_out(out)
    _, _, studies, files = build(*find_runs([folder]), ReportOptions(str(out), split))
    write_report(out, files)
    for study in studies if console is not None else ():
        assert console is not None
        print_study(console, study)
    return out / PAGE


def build(
    runs: Sequence[FoundRun], planned: Sequence[Missing], options: ReportOptions
) -> tuple[list[Comparison], list[Missing], list[FoundStudy], dict[str, bytes]]:
    """Build the whole report.

    Args:
        runs: as found
        planned: runs that were planned and have no folder
        options: of the report

    Returns:
        the comparisons, the runs without a result, the studies, and contents of files by their paths
    """
    split = options.split
    absent = [found for run in runs if (found := missing(run, split)) is not None] + list(planned)
    searches, unread = find_searches(runs, planned)
    # their section says how their trials stand
    absent = [run for run in absent if not any(search.holds(run.folder) for search in searches)]
    groups = compare(runs, split, options.columns, options.rank_by)
    compared = {id(run.run): run for group in groups for run in group.runs}
    studies, notes = find_studies(runs, planned, compared, split)
    # parts of one data set are no data sets of their own
    parts = {id(run) for study in studies if study.file.pooled is not None for run in study.runs.values()}
    every, groups = groups, [group for group in groups if not all(id(run) in parts for run in group.runs)]
    baseline = None if options.baseline is None else find_baseline(groups, options.baseline)
    for group in groups:
        group.looks = looks_of(group) if split == "test" else None
    add_intervals(groups, split)
    sections, pictures = [], []
    of_studies = [study_section(study, f"study_{number}") for number, study in enumerate(studies[:SHOWN_STUDIES], 1)]
    of_searches = [
        search_section(found, f"search_{number}") for number, found in enumerate(searches[:SHOWN_STUDIES], 1)
    ]
    for section, added in (*of_searches, *of_studies):
        sections.append(section)
        pictures += added
    if folds := folds_section(groups):
        sections.append(folds)
    for number, group in enumerate(groups, 1):
        section, added = comparison_section(group, number, len(groups), options, baseline)
        sections.append(section)
        pictures += added
    stacks = [run for group in groups for run in group.runs if is_stack(run)]
    cells = [run for run in absent if is_cell(run, stacks)]
    absent = [run for run in absent if run not in cells]
    of_stacks = [stack_section(run, f"stack_{number}") for number, run in enumerate(stacks[:SHOWN_STACKS], 1)]
    pictures += [picture for _, added in of_stacks for picture in added]
    # a stack by itself says more than a comparison of one run
    place = len(of_searches) + len(of_studies) if all(len(group.runs) == 1 for group in groups) else len(sections)
    sections[place:place] = [section for section, _ in of_stacks]
    if (exports := exports_section(runs)) is not None:
        sections.append(exports)
    if absent:
        section = Section("what is missing", "missing")
        section.say("These runs have no result, so the page gives no numbers for them.")
        section.blocks.append(missing_table(absent))
        sections.append(section)
    said = summary(every, absent, stacks, len(cells), split, len(groups)) + [
        Text(note, "warn") for note in (*notes, *unread)
    ]
    told = [search_verdict(found, section.anchor) for found, (section, _) in zip(searches, of_searches, strict=False)]
    told += [study_verdict(study, section.anchor) for study, (section, _) in zip(studies, of_studies, strict=False)]
    verdicts = [verdict for verdict in told if verdict is not None] + verdicts_of(groups, stacks[:SHOWN_STACKS])
    page = render(title_of(every), said, sections, verdicts)
    table = comparison_csv(every, absent, split)
    # paths may hold what is no text
    files = {PAGE: page.encode(errors="replace"), "comparison.csv": table.encode(errors="replace")}
    for picture in pictures:
        files |= {f"figures/{picture.name}.png": picture.png, f"figures/{picture.name}.svg": picture.svg}
    return groups, absent, studies, files


def is_cell(run: Missing, stacks: Sequence[ComparedRun]) -> bool:
    """Tell whether a run without a result is a cell of a finished stack, which has its numbers.

    Args:
        run: one without a result
        stacks: those that were tested
    """
    return any(
        stack.run.files.folder.resolve().parent == run.folder.resolve().parent
        and run.folder.name in member_names(stack)
        for stack in stacks
    )


def title_of(groups: Sequence[Comparison]) -> str:
    """Name the page after what it compares."""
    names = dict.fromkeys(run.run.experiment for group in groups for run in group.runs)
    return f"{few(names, 3)}: runs compared" if names else "Runs compared"


def summary(
    groups: Sequence[Comparison],
    absent: Sequence[Missing],
    stacks: Sequence[object],
    cells: int,
    split: str,
    shown: int,
) -> list[Text]:
    """Say in a few sentences what the page shows.

    Args:
        groups: all comparisons
        absent: runs without a result
        stacks: those that were tested
        cells: runs without a result that are cells of stacks
        split: which is reported on
        shown: comparisons that have a section
    """
    count = sum(len(group.runs) for group in groups)
    said = "tested" if split == "test" else "validated"
    texts = [Text(f"{count_of(count, 'run')} {said}{f', and {len(absent):,} have no result of it' if absent else ''}.")]
    if cells:
        texts.append(
            Text(f"Cells of stacks have no {split} result of their own ({cells:,}): the stacks' sections have theirs.")
        )
    if shown > 1:
        texts.append(Text(f"They saw {shown} different sets of samples; only runs that saw the same are compared."))
    if split == "val":
        texts.append(Text("These are validation results: the best epoch of each run was chosen by them."))
    leaking = [run.run.label for group in groups for run in group.runs if run.leaks]
    if leaking:
        texts.append(
            Text(
                f"Leakage: {few(leaking, 10)}. Their numbers look better than they are; none is marked as best.", "warn"
            )
        )
    if shown > DRAWN_COMPARISONS:
        texts.append(Text(f"Pictures are of the {DRAWN_COMPARISONS} sets of samples with the most runs."))
    if len(stacks) > SHOWN_STACKS:
        texts.append(Text(f"Of {len(stacks)} stacks the first {SHOWN_STACKS} have a section."))
    return texts


def print_summary(console: Console, groups: Sequence[Comparison], absent: Sequence[Missing]) -> None:
    """Print the best runs of each comparison."""
    for group in groups[:DRAWN_COMPARISONS]:
        table = RichTable(title=escape(group.title))
        # narrow enough for a terminal
        first, *others = group.few_metrics
        others = [metric for metric in others if metric != "balanced_accuracy"][:2]
        for column in ("run", first, "95 % interval", *others):
            table.add_column(spoken(column), justify="left" if column == "run" else "right", overflow="fold")
        best = group.best
        for run in group.runs[:PRINTED]:
            interval = run.metrics.get(first, {})
            low, high = interval.get("low"), interval.get("high")
            cells = []
            for metric in (first, *others):
                value = run.value(metric)
                text = "–" if value is None else f"{value:.4f}"
                cells.append(f"[bold]{text}[/]" if not run.leaks and value == best.get(metric, "") else text)
            between = f"{low:.4f} to {high:.4f}" if low is not None and high is not None else "–"
            label = f"[bold red]{escape(run.label)}[/]" if run.leaks else escape(run.label)
            mark = "≈ " if first == "accuracy" and run.to_best is not None and group.is_among_best(run) else ""
            table.add_row(label, mark + cells[0], between, *cells[1:])
        if len(group.runs) > PRINTED:
            table.add_row(f"... {len(group.runs) - PRINTED:,} more runs")
        if any(run.metrics.get(first, {}).get("low") is not None for run in group.runs[:PRINTED]):
            table.caption = "95 %: of one training each, on other images"
        console.print(table)
        if any(run.to_best for run in group.runs):
            console.print(escape(among_best(group)), highlight=False)
    if len(groups) > DRAWN_COMPARISONS:
        console.print(f"... and {len(groups) - DRAWN_COMPARISONS} more sets of samples")
    if absent:
        console.print(f"{len(absent):,} runs have no result:", highlight=False)
        for found in absent[:PRINTED]:
            console.print(f"  {escape(found.label)}: {escape(found.state)}", soft_wrap=True, highlight=False)
        if len(absent) > PRINTED:
            console.print(f"  ... and {len(absent) - PRINTED:,} more", highlight=False)


def print_study(console: Console, study: FoundStudy) -> None:
    """Print the best lines of a study, and how many of its cells have no result."""
    metrics = study.file.metrics[:3]
    table = RichTable(title=escape(f"{study.folder.name}, measured on {study.file.split}"))
    for column in (*(study.own_axes or [""]), "runs", *metrics):
        table.add_column(spoken(column), justify="right" if column in ("runs", *metrics) else "left", overflow="fold")
    for line in study.lines[:PRINTED]:
        runs = f"{len(line.runs)} of {line.planned}" if len(line.runs) < line.planned else str(line.planned)
        cells = [figure_cell(study.figure(line, metric)) for metric in metrics]
        shown = [f"{cell.text}\n{cell.small}" if cell.small else cell.text for cell in cells]
        table.add_row(*(escape(label) for label in line.labels or ("all cells",)), runs, *shown)
    if len(study.lines) > PRINTED:
        table.add_row(f"... {len(study.lines) - PRINTED:,} more")
    print_whole(console, table)
    pairs, _ = pairs_of(study)
    if pairs:
        console.print(escape(ranking(study, pairs)), highlight=False)
    if study.missing:
        count = f"{len(study.missing):,} of {len(study.file.cells):,} cells have no result"
        console.print(escape(f"{count}: {few(study.missing, PRINTED)}"), highlight=False)


def check_performance(path: Path) -> None:
    """Refuse a file of performance that has other columns.

    Raises:
        UsageError: it has
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: --performance takes a file")
    text = read_text(path) if path.is_file() else ""
    if text.strip():
        check_columns(path, text)
