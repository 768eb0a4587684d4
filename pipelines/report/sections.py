"""The report's sections: what is shown of runs that were tested on the same samples."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.report.comparison import ComparedRun, Comparison
from pipelines.report.looks import say_looks
from pipelines.report.page import Picture, Section
from pipelines.report.pictures import (
    add_predictions,
    bars_picture,
    curves_picture,
    heatmap_picture,
    options_picture,
    radar_picture,
)
from pipelines.report.sets import add_sets
from pipelines.report.study import axes_of
from pipelines.report.tables import axis_table, configurations_table, options_table, runs_table
from records.damaged_files import dict_at

# how many comparisons have pictures
DRAWN_COMPARISONS = 4
# runs that are named as not told from the best one
SHOWN_BEST = 10
# options that have a table of their own, and runs whose options are listed
AXIS_TABLES, LISTED_RUNS = 8, 1000


def comparison_section(
    group: Comparison, number: int, groups: int, out: Path, split: str
) -> tuple[Section, list[Picture]]:
    """Build the section of runs that were tested on the same samples.

    Args:
        group: the runs
        number: of the section, from 1
        groups: how many there are
        out: folder of the page
        split: test or val

    Returns:
        the section, and the pictures in it
    """
    name = f"samples_{number}"
    section = Section(f"{number}. {group.title}" if groups > 1 else group.title, name)
    add_remarks(section, group, split)
    say_looks(section, group)
    section.blocks.append(runs_table(group, out))
    pictures: list[Picture] = []
    if number > DRAWN_COMPARISONS:
        return section, pictures

    def add(picture: Picture | None) -> None:
        if picture is not None:
            pictures.append(picture)
            section.blocks.append(picture)

    if any(run.value("accuracy") is not None for run in group.runs):
        add(bars_picture(group, f"{name}_accuracy"))
    configurations = group.configurations
    if 1 < len(configurations) < len(group.runs):
        section.blocks.append(configurations_table(configurations))
    if len(configurations) > 1:
        add(heatmap_picture(configurations, f"{name}_metrics"))
        add(radar_picture(configurations, f"{name}_radar"))
    add(curves_picture(configurations, f"{name}_curves"))
    pictures += add_predictions(section, group, name, split)
    pictures += add_sets(section, group.runs, name) if split == "test" else []
    pictures += add_study(section, [run for run in group.runs if run.settings], name)
    return section, pictures


def add_study(section: Section, runs: Sequence[ComparedRun], name: str) -> list[Picture]:
    """Add the options in which runs differ, and the metrics against each.

    Args:
        section: where to add them
        runs: those that have a config
        name: beginning of the pictures' names

    Returns:
        the pictures that were added
    """
    axes = axes_of([run.settings for run in runs])
    if not axes:
        return []
    section.say(f"The runs differ in {len(axes)} options: {', '.join(axis.name for axis in axes)}.")
    along = [f"{axis.name} (with {', '.join(axis.together)})" for axis in axes if axis.together]
    if along:
        section.say(f"Options that vary together count as one: {'; '.join(along)}.")
    picture = options_picture(runs, axes, f"{name}_options")
    section.blocks += [] if picture is None else [picture]
    section.blocks += [axis_table(runs, axis) for axis in axes[:AXIS_TABLES]]
    section.blocks.append(options_table(runs[:LISTED_RUNS], axes[: 2 * AXIS_TABLES]))
    return [] if picture is None else [picture]


def among_best(group: Comparison) -> str:
    """Say which runs these samples cannot tell from the best one.

    Args:
        group: runs tested on the same samples, with a reference
    """
    found, compared = group.among_best, sum(run.right is not None for run in group.runs)
    others = [run.label for run in found if run is not group.reference]
    if not others:
        return f"The best of {compared:,} runs is better than each of the others beyond noise."
    shown = ", ".join(others[:SHOWN_BEST]) + (f" and {len(others) - SHOWN_BEST} more" if others[SHOWN_BEST:] else "")
    return f"≈ {len(others):,} of the other {compared - 1:,} runs cannot be told from the best: {shown}."


def add_remarks(section: Section, group: Comparison, split: str) -> None:
    """Say what must be known to read the numbers.

    Args:
        section: where to say it
        group: runs tested on the same samples
        split: test or val
    """
    for run in group.runs:
        for leak in run.leaks:
            section.say(
                f"LEAKAGE in {run.name or run.run.label}: {leak}. Its numbers look better than they are.", "warn"
            )
        for text in run.marks.values():
            section.say(f"{run.name or run.run.label}: {text}.", "warn")
    names, support = group.class_names, group.support
    absent = [names[number] for number in (support == 0).nonzero()[0]]
    if absent:
        shown = ", ".join(absent[:20]) + (f" and {len(absent) - 20} more" if len(absent) > 20 else "")
        section.say(f"{len(absent)} of {len(names)} classes have no sample: {shown}. Averages leave them out.")
    if len(support) and (support > 0).sum() == 1:
        section.say("All samples are of one class: AUROC is not defined.")
    if group.samples == 1:
        section.say("A single sample has no spread: there are no intervals.")
    if group.groups is not None:
        section.say(f"Intervals take whole groups as independent; there are {len(group.groups.unique()):,}.")
    elif any("fitted_on_groups" in dict_at(dict_at(run.run.result, "evaluations"), split) for run in group.runs):
        section.say(
            "The samples come in groups, but these predictions do not name them: the intervals are too narrow. "
            "Evaluate a run again, and its predictions will name the groups.",
            "warn",
        )
    predicted = [run for run in group.runs if run.predicted]
    known = [run for run in predicted if run.metrics["balanced_accuracy"]["low"] is not None]
    if known and len(known) < len(predicted):
        section.say(
            f"Intervals of metrics other than accuracy take long: the best {len(known)} of {len(predicted):,} runs "
            "have them."
        )
    if group.reference is not None and any(run.to_best for run in group.runs):
        section.say(
            "★ is the best of its column without leakage. 'Accuracy less best' is paired with "
            f"{group.reference.label}, and its intervals hold for all runs together."
        )
        section.say(among_best(group))
