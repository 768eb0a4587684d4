"""The report's sections: what is shown of runs that were tested on the same samples."""

from collections.abc import Sequence
from pathlib import Path

from measures.intervals import beyond_noise
from pipelines.report.baseline import add_baseline
from pipelines.report.comparison import ComparedRun, Comparison
from pipelines.report.confidence import confidence_table
from pipelines.report.configurations import configurations_of
from pipelines.report.looks import say_looks
from pipelines.report.options import ReportOptions
from pipelines.report.page import Part, Picture, Section
from pipelines.report.pictures import (
    add_predictions,
    bars_picture,
    curves_picture,
    heatmap_picture,
    options_picture,
    radar_picture,
    several_picture,
)
from pipelines.report.scaling import add_scaling
from pipelines.report.sets import add_sets
from pipelines.report.sources import add_sources
from pipelines.report.study import Axis, axes_of
from pipelines.report.tables import axis_table, configurations_table, facts_table, options_table, runs_table
from pipelines.report.thresholds import add_thresholds
from pipelines.report.values import add_values

# how many comparisons have pictures
DRAWN_COMPARISONS = 4
# runs that are named as not told from the best one
SHOWN_BEST = 10
# options that have a table of their own, and runs whose options are listed
AXIS_TABLES, LISTED_RUNS = 8, 1000


def comparison_section(
    group: Comparison, number: int, groups: int, options: ReportOptions, baseline: ComparedRun | None = None
) -> tuple[Section, list[Picture]]:
    """Build the section of runs that were tested on the same samples.

    Args:
        group: the runs
        number: of the section, from 1
        groups: how many there are
        options: of the report
        baseline: the run that others are compared with, if one is named

    Returns:
        the section, and the pictures in it
    """
    name, split = f"samples_{number}", options.split
    section = Section(f"{number}. {group.title}" if groups > 1 else group.title, name)
    add_remarks(section, group, split)
    say_looks(section, group)
    pictures: list[Picture] = []

    def add(part: Part, picture: Picture | None) -> None:
        if picture is not None:
            pictures.append(picture)
            part.blocks.append(picture)

    drawn, with_settings = number <= DRAWN_COMPARISONS, [run for run in group.runs if run.settings]
    configurations = configurations_of(group.runs, group.by)
    repeated = 1 < len(configurations) < len(group.runs)
    axes = axes_of([run.settings for run in with_settings])
    if repeated:
        section.part("means").blocks.append(configurations_table(configurations, group.metrics, group.by))
    # where configurations have a row each, the single runs come second
    runs = section.part("runs")
    if drawn and sum(run.value(group.by) is not None for run in group.runs) > 1:
        add(runs, bars_picture(group, f"{name}_accuracy"))
    runs.blocks += [runs_table(group), facts_table(group, Path(options.out))]
    if group.of_numbers:
        add_values(runs, group, split)
    if baseline is not None and baseline in group.runs:
        add_baseline(section.part("baseline"), group, baseline, axes, split)
    add_thresholds(section.part("threshold"), group.runs, split)
    if not drawn:
        return section, pictures
    if options.x is not None:
        pictures += add_scaling(section.part("scaling"), group, options.x, options.lines, name)
    if len(configurations) > 1:
        metrics = section.part("metrics")
        add(metrics, heatmap_picture(configurations, f"{name}_metrics", group.metrics))
        add(metrics, several_picture(configurations, f"{name}_several", group.metrics))
        add(metrics, radar_picture(configurations, f"{name}_radar", group.metrics))
    pictures += add_sources(section.part("sources"), group.runs, split, name)
    add(section.part("training"), curves_picture(configurations, f"{name}_curves"))
    if not group.of_numbers:
        pictures += add_predictions(section.part("predictions"), group, name, split)
    confidence = confidence_table(group.runs)
    section.part("confidence", is_open=False).blocks += [] if confidence is None else [confidence]
    pictures += add_sets(section.part("prediction sets", is_open=False), group.runs, name) if split == "test" else []
    pictures += add_study(section, with_settings, axes, name, group)
    return section, pictures


def add_study(
    section: Section, runs: Sequence[ComparedRun], axes: Sequence[Axis], name: str, group: Comparison
) -> list[Picture]:
    """Add the options in which runs differ, and the metrics against each.

    Args:
        section: where to add them
        runs: those that have a config
        axes: the options in which they differ
        name: beginning of the pictures' names
        group: all runs that were tested on the same samples

    Returns:
        the pictures that were added
    """
    if not axes:
        return []
    part = section.part("options")
    part.say(f"The runs differ in {len(axes)} options: {', '.join(axis.name for axis in axes)}.")
    along = [f"{axis.name} (with {', '.join(axis.together)})" for axis in axes if axis.together]
    if along:
        part.say(f"Options that vary together count as one: {'; '.join(along)}.")
    picture = options_picture(runs, axes, f"{name}_options", group.by)
    part.blocks += [] if picture is None else [picture]
    tables = section.part("tables of options", is_open=False)
    tables.blocks += [axis_table(runs, axis, group.few_metrics) for axis in axes[:AXIS_TABLES]]
    tables.blocks.append(options_table(runs[:LISTED_RUNS], axes[: 2 * AXIS_TABLES], group.by))
    return [] if picture is None else [picture]


def folds_section(groups: Sequence[Comparison]) -> Section | None:
    """Build the section of configurations whose folds were evaluated each on its own samples; None without any.

    Args:
        groups: all comparisons
    """
    runs = [run for group in groups for run in group.runs]
    place = {id(run): number for number, group in enumerate(groups) for run in group.runs}
    found = [
        configuration
        for configuration in configurations_of(runs, groups[0].by if groups else "accuracy")
        if len({place[id(run)] for run in configuration.runs}) > 1
        and len({run.settings.get("data.fold") for run in configuration.runs}) > 1
    ]
    if not found:
        return None
    section = Section("cross-validation", "folds")
    section.say(
        "Each of these configurations has folds that were evaluated on samples of their own: a row holds the mean and "
        "the standard deviation over its runs."
    )
    section.blocks.append(configurations_table(found, groups[0].metrics, groups[0].by))
    return section


def among_best(group: Comparison) -> str:
    """Say which runs these samples cannot tell from the best one.

    Args:
        group: runs tested on the same samples, with a reference
    """
    found, compared = group.among_best, sum(run.right is not None for run in group.runs)
    others = [run.label for run in found if run is not group.reference]
    if not others:
        sure = "as far as intervals that are too narrow can tell" if group.hidden_groups else beyond_noise(group.units)
        return f"The most accurate of {compared:,} runs is more accurate than each of the others {sure}."
    if compared == 2:
        return f"≈ The other run, {others[0]}, cannot be told from the most accurate one."
    shown = ", ".join(others[:SHOWN_BEST]) + (f" and {len(others) - SHOWN_BEST} more" if others[SHOWN_BEST:] else "")
    return f"≈ {len(others):,} of the other {compared - 1:,} runs cannot be told from the most accurate one: {shown}."


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
    elif group.hidden_groups:
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
            "★ is the best of its column without leakage. 'Accuracy less best' is paired with the most accurate run, "
            f"{group.reference.label}, and its intervals hold for all runs together."
        )
        section.say(among_best(group))
