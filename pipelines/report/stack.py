"""The report of a stack: members, heads, differences, recommendation and cost, as its result.json holds them."""

from collections.abc import Mapping, Sequence
from typing import Any

from ensembling.judging.notes import note_on_best
from ensembling.leakage import kind_of_samples
from figures.accuracy_bars import accuracy_bars
from figures.cost_accuracy import cost_accuracy
from measures.frequency import PARTS
from measures.problem import told
from pipelines.report.comparison import ComparedRun
from pipelines.report.decisions import decision_pictures
from pipelines.report.page import Picture, Section, Table, TableCell, drawn, interval_cell, number_cell
from pipelines.report.tables import spoken
from pipelines.report.thresholds import point_of
from records.damaged_files import dict_at, is_number
from records.ledger import looks_in

# of the gain over repeats
REPEATS = (
    "What stands behind ± are the standard deviations of the gain of one training: on other images, and with other "
    "seeds and splits. All other intervals of this page are of one training, and say what other images would change."
)
SHOWN_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "nll", "brier", "ece")


def is_stack(run: ComparedRun) -> bool:
    """Tell whether a run's result is that of a stack."""
    return bool(dict_at(run.run.result, "stack") or rows_of(run.run.result, "members"))


def member_names(run: ComparedRun) -> set[str]:
    """Return the names of a stack's members, and of their runs where a member has several."""
    report = [row for row in rows_of(dict_at(run.run.result, "stack"), "models") if row.get("kind") == "member"]
    runs = [
        name for names in dict_at(run.run.result, "member_runs").values() if isinstance(names, list) for name in names
    ]
    again = dict_at(dict_at(run.run.result, "stack"), "repeats").get("runs")
    runs += again if isinstance(again, list) else []
    return {str(row.get("name")) for row in [*report, *rows_of(run.run.result, "members")]} | set(map(str, runs))


def rows_of(content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of a list in a file; none if it is not there or something else."""
    found = content.get(name)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def stack_section(run: ComparedRun, anchor: str) -> tuple[Section, list[Picture]]:
    """Build the section of one stack.

    Args:
        run: a stack that was tested
        anchor: of the section

    Returns:
        the section, and the pictures in it
    """
    section = Section(f"{run.run.experiment}: {run.run.name}" + (" (LEAKAGE)" if run.leaks else ""), anchor)
    report = dict_at(run.run.result, "stack")
    allowed = [str(text) for text in dict_at(report, "leakage").get("allowed") or []]
    for text in dict.fromkeys([*run.leaks, *allowed]):
        section.say(f"LEAKAGE ALLOWED: {text}. These numbers look better than they are.", "warn")
    for text in run.marks.values():
        section.say(f"{text[0].upper()}{text[1:]}.", "warn")
    if not report:
        section.blocks.append(members_table(run))
        return section, []
    recommendation = dict_at(report, "recommendation")
    if recommendation.get("sentence"):
        section.say(f"Recommended: {recommendation.get('model')}. {recommendation['sentence']}")
    kept = run.run.result.get("kept")
    if kept is not None:
        section.say(f"Kept: {kept}, in {run.run.files.stack}.")
    if point := point_of(run, "test"):
        section.say(f"Threshold: {told(point)}.")
    notes = report.get("notes")
    for note in [*(dict_at(report, "leakage").get("warnings") or []), *(notes if isinstance(notes, list) else [])]:
        section.say(f"Note: {note}")
    pictures = []
    models = rows_of(report, "models")
    if looks := looks_in(run.run.result.get("look")):
        section.say(f"L{looks.sentence[1:]}, when this stack was made.")
    curse = report.get("winners_curse")
    if is_number(curse):
        note = note_on_best(len(models), curse)
        section.say(f"{note[0].upper()}{note[1:]}.")
    if models:
        part = section.part("members and heads")
        part.blocks += [models_table(report, models), *frequency_tables(models), costs_table(models)]
        leaks = bool(run.leaks or allowed)
        members = [str(row.get("name")) for row in models if row.get("kind") == "member"]
        pictures += [*stack_pictures(models, anchor, leaks), *decision_pictures(run, members, anchor, leaks)]
        part.blocks += pictures
    if rows_of(report, "differences"):
        section.part("paired differences").blocks.append(differences_table(rows_of(report, "differences")))
    if metrics := dict_at(dict_at(report, "repeats"), "metrics"):
        part, repeats = section.part("gain over repeats"), dict_at(report, "repeats")
        part.say(f"{repeats.get('sentence')}. {REPEATS}")
        part.blocks.append(repeats_table(metrics, dict_at(repeats, "folds")))
    control = dict_at(report, "negative_control")
    if rows_of(control, "rows"):
        part = section.part("negative control")
        part.say(f"{str(control.get('sentence', ''))[:1].upper()}{str(control.get('sentence', ''))[1:]}.")
        part.blocks.append(control_table(rows_of(control, "rows")))
    if rows_of(report, "worth"):
        section.part("worth of members").blocks.append(
            worth_table(rows_of(report, "worth"), bool(run.leaks or allowed))
        )
    if rows_of(dict_at(report, "diversity"), "pairs"):
        part = section.part("diversity of members", is_open=False)
        part.blocks.append(diversity_table(rows_of(dict_at(report, "diversity"), "pairs")))
    return section, pictures


def interval(content: Mapping[str, Any], name: str) -> TableCell:
    """Show an interval of a file, whatever it holds."""
    found = content.get(name)
    if isinstance(found, dict) and is_number(found.get("value")):
        return interval_cell(
            {key: found[key] if is_number(found.get(key)) else None for key in ("value", "low", "high")}
        )
    return number(found)


def number(found: object, digits: int = 4) -> TableCell:
    """Show a number of a file, whatever it holds."""
    if isinstance(found, int | float) and not isinstance(found, bool):
        return number_cell(found, None if isinstance(found, int) else f"{found:.{digits}f}")
    return TableCell("–")


def name_cell(row: Mapping[str, Any], name: str = "name") -> TableCell:
    """Show the name of a row."""
    return TableCell(str(row.get(name, "–")), str(row.get(name, "")))


def models_table(report: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> Table:
    """Build the table of members and heads, each after its temperature."""
    recommended = dict_at(dict(report), "recommendation").get("model")
    rows = []
    for model in models:
        name = str(model.get("name", "–"))
        shown = f"{name} (recommended)" if name == recommended else name
        metrics = delivered(model)
        rows.append(
            [
                TableCell(shown, name),
                TableCell(str(model.get("kind", "–")), str(model.get("kind", ""))),
                *(interval(metrics, metric) for metric in SHOWN_METRICS),
            ]
        )
    columns = ["model", "kind", *map(spoken, SHOWN_METRICS)]
    samples = report.get("samples")
    count = f" on {samples:,} test samples" if isinstance(samples, int) else ""
    return Table(
        f"members and heads{count}, with 95 % intervals (of this training, on other images)",
        columns,
        rows,
        [False, False, *[True] * len(SHOWN_METRICS)],
    )


def frequency_tables(models: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Build the table of accuracy on frequent and on rare classes apart; none where classes have no long tail."""
    parts = [dict_at(dict(model), "by_frequency") for model in models]
    if not any(parts):
        return []
    rows = [
        [name_cell(model), interval(delivered(model), "balanced_accuracy"), *(number(each.get(name)) for name in PARTS)]
        for model, each in zip(models, parts, strict=True)
    ]
    caption = "classes by their training images: mean accuracy of the classes of each third, from the most frequent on"
    return [Table(caption, ["model", spoken("balanced_accuracy"), *PARTS], rows, [False, *[True] * (1 + len(PARTS))])]


def costs_table(models: Sequence[Mapping[str, Any]]) -> Table:
    """Build the table of what members and heads cost, and of what their temperatures change."""
    scaled = ["nll", "ece"] if any(uncalibrated(model) for model in models) else []
    rows = []
    for model in models:
        pareto = {True: "on the front", False: "no"}.get(model.get("pareto"), "–")  # type: ignore[arg-type]
        rows.append(
            [
                name_cell(model),
                *[number(model.get("temperature"), 3)] * bool(scaled),
                *(interval(uncalibrated(model), metric) for metric in scaled),
                number(model.get("parameters")),
                number(model.get("ms_per_image"), 3),
                TableCell(pareto, pareto),
            ]
        )
    columns = [
        "model",
        *["temperature"] * bool(scaled),
        *(f"{metric} at temperature 1" for metric in scaled),
        "parameters",
        "ms an image",
        "Pareto front",
    ]
    caption = "temperature and cost" if scaled else "cost"
    return Table(caption, columns, rows, [False, *[True] * (len(columns) - 2), False])


def delivered(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's metrics after its temperature; results of earlier versions hold these apart."""
    return dict_at(dict(model), "metrics") | dict_at(dict(model), "calibrated")


def uncalibrated(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's metrics before its temperature; none if it has no temperature."""
    before = "metrics" if dict_at(dict(model), "calibrated") else "uncalibrated"
    return dict_at(dict(model), before)


def members_table(run: ComparedRun) -> Table:
    """Build the table of members where a stack says no more than their metrics."""
    members = rows_of(run.run.result, "members")
    stack = {"name": run.label, "parameters": run.run.result.get("parameters"), **run.run.metrics("test")}
    rows = [
        [name_cell(row), *(number(row.get(metric)) for metric in SHOWN_METRICS), number(row.get("parameters"))]
        for row in [*members, stack]
    ]
    columns = ["model", *map(spoken, SHOWN_METRICS), "parameters"]
    return Table("members and stack on the test samples", columns, rows, [False, *[True] * (len(columns) - 1)])


def differences_table(differences: Sequence[Mapping[str, Any]]) -> Table:
    """Build the table of heads against the best member and the tuned mean."""
    rows = [
        [
            name_cell(row, "model"),
            name_cell(row, "to"),
            interval(row, "accuracy"),
            interval(row, "nll_calibrated" if row.get("nll_calibrated") else "nll"),
            interval(row, "nll" if row.get("nll_calibrated") else "nll_uncalibrated"),
            *(number(row.get(name)) for name in ("only_this_right", "only_other_right", "mcnemar_p")),
        ]
        for row in differences
    ]
    columns = [
        "model",
        "less",
        "accuracy",
        "nll",
        "nll at temperature 1",
        "only it right",
        "only other right",
        "McNemar's p",
    ]
    return Table(
        "paired differences, with 95 % intervals (of this training, on other images)",
        columns,
        rows,
        [False, False, *[True] * 6],
    )


def repeats_table(metrics: Mapping[str, Any], folds: Mapping[str, Any]) -> Table:
    """Build the table of the gain over repeats, and of where its noise comes from."""
    rows = []
    for metric in metrics:
        found = dict_at(dict(metrics), metric)
        each = found.get("by_repeat")
        listed = ", ".join(f"{value:+.4f}" for value in each if is_number(value)) if isinstance(each, list) else "–"
        cells = [number(found.get(name)) for name in ("images", "seeds")]
        of_folds = interval(folds, metric) if metric in folds else TableCell("–")
        rows.append([TableCell(spoken(metric), metric), interval(metrics, metric), *cells, of_folds, TableCell(listed)])
    columns = ["gain in", "mean", "± images", "± seeds", "on held-out folds", "each training"]
    return Table(
        "gain over repeats, with 95 % intervals (of other trainings, on other images)",
        columns,
        rows,
        [False, True, True, True, True, False],
    )


def control_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Build the table of what a negative control claims."""
    cells = [
        [
            name_cell(row),
            name_cell(row, "what"),
            interval({"claim": dict(row)}, "claim"),
            number(row.get("expected")),
            number(row.get("test")),
        ]
        for row in rows
    ]
    columns = ["control", "claim", "on held-out samples", "chance", "on test"]
    return Table("negative control: none of it may be above chance", columns, cells, [False, False, True, True, True])


def worth_table(worth: Sequence[Mapping[str, Any]], leaks: bool) -> Table:
    """Build the table of what each member adds."""
    rows = [
        [name_cell(row, "member"), interval(row, "accuracy"), interval(row, "nll"), number(row.get("greedy_share"))]
        for row in worth
    ]
    columns = ["member", "accuracy without", "nll without", "share in greedy selection"]
    title = (
        f"worth of each member: what the mean of all changes by without it, on {kind_of_samples(leaks)} samples, with "
        "95 % intervals (of this training)"
    )
    return Table(title, columns, rows, [False, True, True, True])


def diversity_table(pairs: Sequence[Mapping[str, Any]]) -> Table:
    """Build the table of how differently members err."""
    names = ("disagreement", "error_correlation", "double_fault", "q_statistic")
    rows = []
    for row in pairs:
        members = " and ".join(map(str, row.get("members") or ["–"]))
        rows.append([TableCell(members, members), *(number(row.get(name)) for name in names)])
    columns = ["members", *(name.replace("_", " ") for name in names)]
    return Table("diversity of each pair of members", columns, rows, [False, *[True] * 4])


def stack_pictures(models: Sequence[Mapping[str, Any]], anchor: str, leaks: bool) -> list[Picture]:
    """Draw accuracy of members and heads, and what it costs where that was measured."""
    found = [(str(m.get("name")), dict_at(dict_at(dict(m), "metrics"), "accuracy"), m) for m in models]
    found = [(name, accuracy, m) for name, accuracy, m in found if is_number(accuracy.get("value"))]
    if not found:
        return []
    labels = [f"{name} (LEAKAGE)" if leaks and m.get("kind") == "head" else name for name, _, m in found]
    values = [float(accuracy["value"]) for _, accuracy, _ in found]
    lows, highs = ([accuracy.get(end) for _, accuracy, _ in found] for end in ("low", "high"))
    flagged = [leaks and m.get("kind") == "head" for _, _, m in found]
    alt = ", ".join(f"{label} {value:.4f}" for label, value in zip(labels, values, strict=True))
    bars = accuracy_bars(labels, values, lows, highs, flagged=flagged)
    pictures = [
        drawn(
            f"{anchor}_accuracy",
            "members and heads, with 95 % intervals (of this training, on other images)",
            f"bars of accuracy: {alt}",
            bars,
        )
    ]
    costed = [place for place, (_, _, m) in enumerate(found) if is_number(m.get("ms_per_image"))]
    if len(costed) > 1:
        costs = [float(found[place][2]["ms_per_image"]) for place in costed]
        front = [found[place][2].get("pareto") is True for place in costed]
        shown = [labels[place] for place in costed]
        figure = cost_accuracy(shown, costs, [values[place] for place in costed], front, "ms an image")
        caption = f"accuracy on test against cost; the front was chosen on {kind_of_samples(leaks)} samples"
        pictures.append(drawn(f"{anchor}_cost", caption, f"accuracy against cost of {', '.join(shown)}", figure))
    return pictures
