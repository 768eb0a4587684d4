"""What a person reads of a stack: the tables of its report."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.few import count_of
from ensembling.leakage import kind_of_samples, leakage_mark
from measures.frequency import PARTS
from measures.influence import METRICS
from measures.intervals import Interval
from pipelines.cli.after_run import print_leakage

TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "bal. acc.",
    "f1_macro": "macro F1",
    "auroc": "AUROC",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE",
}
# sentences that are printed where not every one is asked for
SENTENCES = 3
HIGHER = frozenset({"accuracy", "balanced_accuracy", "f1_macro", "auroc"})
PAIRED = {"disagreement": "disagree", "error_correlation": "err. corr.", "double_fault": "both wrong"}


def print_stack_report(
    console: Console, report: Mapping[str, Any], title: str, every: bool = False, beside: Sequence[str] = ()
) -> None:
    """Print what a stack found: one table, and three sentences at most; the report's page has all the rest.

    Args:
        console: where to print
        report: what `stack_report` returned
        title: such as the experiment's name
        every: print every table and note of the report instead; they fit into 100 columns unless names are long
        beside: sentences that are not of the report, such as the look at the test split, most important first
    """
    calibrated = [calibration_table] * any(row["uncalibrated"] for row in report["models"])
    tables = (models_table, *calibrated, differences_table, members_table, cost_table) if every else (summary_table,)
    for build in tables:
        console.print(build(report, title))
    if any(row.get("by_frequency") for row in report["models"]):
        console.print(frequency_table(report, title))
    if control := report.get("negative_control"):
        if every:
            console.print(control_table(report, title))
        console.print(f"[{'bold red' if control['alarms'] else 'default'}]{escape(control['sentence'])}[/]")
    if repeats := report.get("repeats"):
        console.print(f"[bold]{escape(repeats['sentence'])}[/]", highlight=False)
    told = [*report["leakage"]["warnings"], *report["notes"]]
    alarms = dict(report["leakage"]) | {"warnings": told if every else []}
    print_leakage(console, {"leakage": alarms})
    said = [f"[bold]{escape(report['recommendation']['sentence'])}[/]"]
    if told and not every:
        more = f" ({count_of(len(told) - 1, 'more note')} on the page and in result.json)" if told[1:] else ""
        said.append(f"[yellow]note:[/] {escape(told[0])}{more}")
    said += map(escape, beside)
    console.print()
    for sentence in said if every else said[:SENTENCES]:
        console.print(sentence, highlight=False)


def summary_table(report: Mapping[str, Any], title: str) -> Table:
    """Build the table of what decides between models: test and held-out numbers, and cost, one line a model.

    Args:
        report: what `stack_report` returned
        title: such as the experiment's name
    """
    columns = ("model", "accuracy", "95 %", "NLL", "ECE", _kind(report), "ms/image")
    table = _table(report, f"{title}: test split, {report['samples']:,} images", *columns)
    table.caption = (
        f"{_kind(report)}: accuracy on the samples that heads are compared on; all else is of the test split\n"
        f"95 %: of this training, on other images"
    )
    for column in table.columns[1:]:
        # names may be folded where a terminal is narrow, and numbers never
        column.no_wrap = True
    best = {metric: _best(report, metric) for metric in ("accuracy", "nll", "ece")}
    for row in _rows(table, report):
        values = row["metrics"]
        shown = {metric: _value(values[metric], values[metric]["value"] == best[metric]) for metric in best}
        table.add_row(
            _name(report, row["name"]),
            shown["accuracy"],
            _between(values["accuracy"]),
            shown["nll"],
            shown["ece"],
            _value(row["held_out"]["accuracy"]),
            _number(row["ms_per_image"], ".3f"),
        )
    return table


def frequency_table(report: Mapping[str, Any], title: str) -> Table:
    """Build the table of accuracy on frequent and on rare classes apart, of long-tailed data.

    Args:
        report: what `stack_report` returned
        title: such as the experiment's name
    """
    table = _table(report, f"{title}: classes by their training images", "model", "bal. acc.", *PARTS)
    table.caption = f"{', '.join(PARTS)}: mean accuracy of the classes of each third, from the most frequent classes on"
    best = _best(report, "balanced_accuracy")
    for row in _rows(table, report):
        accuracy = row["metrics"]["balanced_accuracy"]
        parts = row.get("by_frequency") or {}
        cells = [_number(parts.get(part), ".4f") for part in PARTS]
        table.add_row(_name(report, row["name"]), _value(accuracy, accuracy["value"] == best), *cells)
    return table


def models_table(report: Mapping[str, Any], title: str) -> Table:
    """Build the table of all models' metrics on the test split, each as it is delivered: after its temperature.

    Args:
        report: what `stack_report` returned
        title: such as the experiment's name
    """
    table = _table(report, f"{title}: test split, {report['samples']:,} images", "model", *TITLES.values())
    table.caption = (
        "below each value its 95 % interval, of this training on other images; bold is the best of its column"
    )
    best = {metric: _best(report, metric) for metric in METRICS}
    for row in _rows(table, report):
        values = row["metrics"]
        cells = [_cell(values[metric], bold=values[metric]["value"] == best[metric]) for metric in METRICS]
        table.add_row(_name(report, row["name"]), *cells)
    # earlier reports know of none
    for name in report.get("failed_heads", []):
        table.add_row(f"{escape(name)}\nfailed", *("–" for _ in METRICS))
    return table


def calibration_table(report: Mapping[str, Any], title: str) -> Table:
    """Build the table of what each model's temperature changes on the test split.

    Args:
        report: what `stack_report` returned
        title: such as the experiment's name
    """
    columns = [f"{TITLES[metric]}{when}" for metric in ("nll", "brier", "ece") for when in (" at T=1", " at T")]
    table = _table(report, f"{title}: calibration by temperature", "model", "T", *columns)
    table.caption = f"T is fitted on {_kind(report)} samples, never on test; all other tables show the models at T"
    for row in _rows(table, report):
        before = row["uncalibrated"] or {}
        cells = [_cell(values.get(metric)) for metric in ("nll", "brier", "ece") for values in (before, row["metrics"])]
        table.add_row(_name(report, row["name"]), _number(row["temperature"], ".3f"), *cells)
    return table


def differences_table(report: Mapping[str, Any], title: str) -> Table:
    """Build the table of each head's paired differences to the best member and to the tuned mean.

    Args:
        report: what `stack_report` returned
        title: such as the experiment's name
    """
    metrics = {"accuracy": "accuracy", "nll": "NLL", "nll_uncalibrated": "NLL at T=1"}
    if not any(row["nll_uncalibrated"] for row in report["differences"]):
        del metrics["nll_uncalibrated"]
    columns = ("model", *metrics.values(), "right alone", "McNemar p")
    table = _table(report, f"{title}: paired differences on the test split", *columns)
    best = report["best_member"]
    table.caption = (
        f"* the 95 % interval leaves out 0. The best member on {_kind(report)} samples is {escape(best['held_out'])}"
        + (f"; on test it would be {escape(best['test'])}" if best["test"] != best["held_out"] else "")
        + ".\nRight alone: images on which only the model is right, and images on which only the other is."
    )
    last = None
    for row in report["differences"]:
        if last not in (None, row["reference"]):
            table.add_section()
        last = row["reference"]
        table.add_row(
            escape(f"{row['model']}\n- {row['to']}"),
            *(_change(row[name]) for name in metrics),
            f"{row['only_this_right']:,} : {row['only_other_right']:,}",
            f"{row['mcnemar_p']:.2g}",
        )
    return table


def members_table(report: Mapping[str, Any], title: str) -> Table:
    """Build the table of what each member adds to the mean, and how its errors go with the others'.

    Args:
        report: what `stack_report` returned
        title: such as the experiment's name
    """
    columns = ("member", "acc. without", "NLL without", "greedy", *PAIRED.values())
    table = _table(report, f"{title}: worth and diversity of members", *columns)
    table.caption = (
        "Without: how much the mean of the members' probabilities changes if the member is left out"
        f"{', each mean at its T' * any(row['uncalibrated'] for row in report['models'])}, on\n"
        f"{report['held_out_samples']:,} {_kind(report)} samples; * the 95 % interval leaves out 0.\n"
        "Greedy: its share in the greedy selection. The rest: means over its pairs with the others on\n"
        "test (predict other classes, correlation of errors, both wrong)."
    )
    diversity = report["diversity"]
    for row in report["worth"]:
        own = [pair for pair in diversity["pairs"] if row["member"] in pair["members"]]
        table.add_row(
            escape(row["member"]),
            _change(row["accuracy"]),
            _change(row["nll"]),
            _number(row["greedy_share"], ".0%"),
            *(_number(_mean([pair[measure] for pair in own])) for measure in PAIRED),
        )
    table.add_section()
    table.add_row("all pairs", "", "", "", *(_number(diversity["mean"][measure]) for measure in PAIRED))
    return table


def cost_table(report: Mapping[str, Any], title: str) -> Table:
    """Build the table of cost against held-out accuracy, and of what may be rejected.

    Args:
        report: what `stack_report` returned
        title: such as the experiment's name
    """
    limited = any(row["rejection"] for row in report["models"])
    columns = ["model", "parameters", "ms/image", f"{_kind(report)} acc.", "Pareto", "AURC"]
    table = _table(report, f"{title}: cost and rejection", *columns, *(["accepted", "right of these"] * limited))
    table.caption = (
        f"Pareto: no model is as cheap and as accurate on {_kind(report)} samples, and better in one.\n"
        "AURC: error among the accepted on test, averaged over all coverages"
    )
    for row in _rows(table, report):
        cells = [
            _number(row["parameters"], ","),
            _number(row["ms_per_image"], ".3f"),
            _cell(row["held_out"]["accuracy"]),
            {True: "yes", False: "no", None: "–"}[row["pareto"]],
            _number(row["risk_coverage"]["aurc"]),
        ]
        kept = row["rejection"] or {"coverage": None, "accuracy": None}
        limits = [_number(kept["coverage"], ".1%"), _number(kept["accuracy"])]
        table.add_row(_name(report, row["name"]), *cells, *(limits * limited))
    return table


def control_table(report: Mapping[str, Any], title: str) -> Table:
    """Build the table of what a negative control claims.

    Args:
        report: what `stack_report` returned, with `negative_control`
        title: such as the experiment's name
    """
    table = _table(report, f"{title}: negative control", "control", "claim", _kind(report), "chance", "test")
    for row in report["negative_control"]["rows"]:
        numbers = [_number(row["expected"]), _number(row["test"])]
        table.add_row(escape(row["name"]), escape(row["what"]), _cell(row), *numbers)
    table.caption = "a head that learnt permuted labels, a member of noise, and a head that was given it"
    return table


def _kind(report: Mapping[str, Any]) -> str:
    return kind_of_samples(bool(report["leakage"]["allowed"]))


def _table(report: Mapping[str, Any], title: str, *columns: str) -> Table:
    table = Table(title=escape(title) + escape(leakage_mark(dict(report))), caption_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def _rows(table: Table, report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("member", "head"):
        yield from (row for row in report["models"] if row["kind"] == kind)
        table.add_section()


def _name(report: Mapping[str, Any], name: str) -> str:
    if name == report["recommendation"]["model"]:
        return f"{escape(name)}\nrecommended"
    return f"{escape(name)}\nbest member" if name == report["best_member"]["held_out"] else escape(name)


def _best(report: Mapping[str, Any], metric: str) -> float | None:
    values = [row["metrics"][metric]["value"] for row in report["models"]]
    known = [value for value in values if value is not None]
    return (max if metric in HIGHER else min)(known) if known else None


def _cell(interval: Interval | None, bold: bool = False) -> str:
    between = _between(interval)
    return f"{_value(interval, bold)}\n{between}" if between else _value(interval, bold)


def _value(interval: Interval | None, bold: bool = False) -> str:
    if interval is None or interval["value"] is None:
        return "–"
    value = f"{interval['value']:.4f}"
    return f"[bold]{value}[/]" if bold else value


def _between(interval: Interval | None) -> str:
    if interval is None or interval["value"] is None or interval["low"] is None or interval["high"] is None:
        return ""
    return f"{_short(interval['low'], '.3f')}–{_short(interval['high'], '.3f')}"


def _change(interval: Interval | None) -> str:
    if interval is None or interval["value"] is None:
        return "–"
    value, low, high = f"{interval['value']:+.4f}", interval["low"], interval["high"]
    if low is None or high is None:
        return value
    mark = "* " if low > 0 or high < 0 else ""
    return f"{mark}{value}\n{_short(low, '+.4f')} to {_short(high, '+.4f')}"


def _short(value: float, form: str) -> str:
    # the zero before the point would cost two columns an interval
    text = f"{value:{form}}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def _number(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else f"{value:{form}}"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None
