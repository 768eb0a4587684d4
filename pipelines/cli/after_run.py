"""What a person reads after a run."""

from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common import class_paths
from common.few import count_of
from common.terminal import print_whole
from common.warned import warn
from ensembling.leakage import leakage_mark, unknown_images
from lightning_modules.coefficients import equation
from measures.by_source import pair_rows
from measures.problem import told
from measures.set_coverage import spoken
from pipelines.cli.class_table import class_table
from records import run_dir
from records.damaged import DamagedFileError
from records.ledger import Looks, looks_in
from records.result_files import read_predictions, read_result
from records.run_dir import RunDir

# linear models that are printed, and columns that one may have for that
SHOWN_EQUATIONS, SHOWN_COLUMNS = 5, 8
PAIR_TITLES = {"auroc": "AUROC", "f1": "F1", "accuracy": "accuracy"}


def print_fit(console: Console, run: RunDir) -> None:
    """Say what a fit reached, where it lies and what to run next.

    Args:
        console: where to print
        run: the run's folder
    """
    if not run.result.is_file():
        return
    result = read_result(run.result)
    fit, val = result["fit"], result.get("val", {})
    # results of earlier versions do not say what chose the epoch
    monitor = fit.get("monitor", "val/accuracy")
    names = [name.removeprefix("val/") for name in dict.fromkeys((monitor, "val/accuracy"))]
    values = [f"val/{name} {val[name]:.4f}" for name in names if name in val]
    reached = f"best epoch {fit['best_epoch']}, by {monitor}: {', '.join(values)}" if val else "no validation"
    spent = f"{count_of(fit['epochs'], 'epoch')} and {fit['seconds']:.1f} s"
    console.print(f"\n[bold]{reached}[/] after {spent}: {run.folder}/", soft_wrap=True)
    print_coefficients(console, result)
    print_history(console, result)
    if run.weights.is_file():
        command = f"python train.py test --ckpt_path {quote(str(run.weights))}{class_paths.suffix()}"
        console.print(f"next:  {command}", soft_wrap=True)
    console.print(f"       tensorboard --logdir {run.folder.parent.parent}", soft_wrap=True)


def print_resume(console: Console, run: RunDir, queued: str | None = None) -> None:
    """Say how to continue a run that was stopped, if it has saved a state.

    Args:
        console: where to print
        run: the run's folder
        queued: the job that SLURM has queued again, which continues it; None where a person does
    """
    if queued is not None:
        console.print(f"\nstopped; job {queued} is queued again, and continues from {run.last}", soft_wrap=True)
        return
    if not run.last.is_file():
        console.print("\nstopped before anything was saved")
        return
    console.print(f"\nstopped; the last state saved is {run.last}", soft_wrap=True)
    config, folder = quote(str(run.config)), quote(str(run.folder))
    command = f"python train.py fit --config {config} --ckpt_path {folder}{class_paths.suffix()}"
    console.print(f"continue:  {command}", soft_wrap=True)


def print_test(console: Console, run: RunDir) -> None:
    """Say where the results lie, and show a stack beside its members."""
    if not run.result.is_file():
        return
    result = read_result(run.result)
    if "members" in result:
        print_whole(console, stack_table(result))
    print_history(console, result)
    if intervals := result.get("test_intervals"):
        for name, found in intervals.items():
            console.print(value_line(name, found), highlight=False)
    elif predictions := read_predictions(run.predictions):
        print_whole(console, class_table(predictions, result["class_names"]))
    print_evaluation(console, result)
    print_sets(console, result)
    if "test_threshold" in result:
        console.print(escape(told(result["test_threshold"])), soft_wrap=True, highlight=False)
    if "test_by_source" in result:
        print_whole(console, source_table(result))
    console.print(f"results: {run.result}", soft_wrap=True)


def print_coefficients(console: Console, result: dict[str, Any]) -> None:
    """Print a linear model of a few columns.

    Args:
        console: where to print
        result: a run's result.json
    """
    for found in result.get("coefficients", [])[:SHOWN_EQUATIONS]:
        if len(found["columns"]) <= SHOWN_COLUMNS:
            console.print(escape(equation(found)), soft_wrap=True, highlight=False)


def value_line(name: str, found: dict[str, float | None]) -> str:
    """Write a metric of predicted numbers with its interval.

    Args:
        name: of the metric
        found: its value, and the ends of the interval; None where there is none
    """
    value, low, high = (found[part] for part in ("value", "low", "high"))
    if value is None:
        return f"{name} is not defined: all values are equal"
    ends = "" if low is None or high is None else f" (95 %: {low:.4g} to {high:.4g}, of this training)"
    return f"{name} {value:.4g}{ends}"


def print_sets(console: Console, result: dict[str, Any]) -> None:
    """Print how often the prediction sets hold the true class of tested images, and how large they are.

    Args:
        console: where to print
        result: a run's result.json
    """
    # results of earlier versions have none
    if sets := result.get("test_sets"):
        console.print(escape(spoken(sets)), soft_wrap=True, highlight=False)
        for note in sets.get("notes", []):
            console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)


def print_validation(console: Console, run: RunDir) -> None:
    """Print the notes on a validation.

    Args:
        console: where to print
        run: the run's folder
    """
    if run.result.is_file():
        result = read_result(run.result)
        print_history(console, result)
        print_evaluation(console, result, "val")


def print_leakage(console: Console, result: dict[str, Any]) -> None:
    """Print each overlap between the members' samples and the meta-model's."""
    for sentence in result["leakage"]["allowed"]:
        console.print(f"[bold red]LEAKAGE ALLOWED:[/] {escape(sentence)}")
    for sentence in result["leakage"].get("unknown", []):
        console.print(f"[bold red]UNKNOWN IMAGES:[/] {escape(sentence)}", soft_wrap=True)
    for sentence in result["leakage"].get("changed", []):
        console.print(f"[bold red]DATA CHANGED:[/] {escape(sentence)}", soft_wrap=True)
    for sentence in result["leakage"]["warnings"]:
        console.print(f"[yellow]note:[/] {escape(sentence)}")


def print_history(console: Console, result: dict[str, Any]) -> None:
    """Print the unknown and published weights that a model derives from, and a stack's overlaps."""
    if "leakage" in result:
        print_leakage(console, result)
    elif files := result.get("unknown_images"):
        console.print(f"[bold red]UNKNOWN IMAGES:[/] the model was {escape(unknown_images(files))}", soft_wrap=True)
    if published := result.get("published_data"):
        console.print(f"[yellow]note:[/] derives from weights of {escape(', '.join(published))}", soft_wrap=True)


def print_evaluation(console: Console, result: dict[str, Any], split: str = "test") -> None:
    """Print what an evaluation says of its own data.

    Args:
        console: where to print
        result: a run's result.json
        split: test or val
    """
    tested = result.get("evaluations", {}).get(split, {})
    if changes := tested.get("data_changed"):
        told = f"the data has changed since the model was trained on it: {'; '.join(changes)}"
        console.print(f"[bold red]DATA CHANGED:[/] {escape(told)}", soft_wrap=True)
    if views := tested.get("tta"):
        console.print(f"probabilities are averaged over the views of --model.tta {views}", highlight=False)
    for note in tested.get("notes", []):
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    print_looks(console, looks_in(tested.get("look")))


def print_looks(console: Console, looks: Looks | None, note: str = "") -> None:
    """Print which look at the test split this was, and from the second on what that does to a chosen maximum.

    Args:
        console: where to print
        looks: up to this one; None prints nothing
        note: what it does, where that is known better than in general
    """
    if looks is not None:
        console.print(looks.sentence, soft_wrap=True, highlight=False)
        if looks.note:
            console.print(f"[yellow]note:[/] {note or looks.note}", soft_wrap=True, highlight=False)


def looks_sentence(looks: Looks | None, note: str = "") -> str:
    """Say in one sentence which look at the test split this was; empty where that is not known.

    Args:
        looks: up to this one
        note: what that does to a chosen maximum, where that is known better than in general
    """
    if looks is None:
        return ""
    return f"{looks.sentence}{f': {note or looks.note}' if looks.note else ''}."


def stack_table(result: dict[str, Any]) -> Table:
    """Build the table of members, their mean and the stack.

    Args:
        result: a tested stack's result.json
    """
    tested = f"test split, {result['evaluations']['test']['samples']:,} images"
    table = Table(title=f"{result['experiment']}: {tested}{escape(leakage_mark(result))}")
    for name in ("model", "accuracy", "NLL", "ECE", "parameters", "seconds"):
        table.add_column(name, justify="left" if name == "model" else "right")
    seconds = [fit_seconds(member["checkpoint"]) for member in result["members"]]
    known = [value for value in seconds if value is not None]
    # the mean costs what all members cost
    seconds[-1] = sum(known) if len(known) == len(seconds) - 1 else None
    stack = {"name": "stack", "parameters": result["parameters"], **result["test"]}
    own = result["fit"]["seconds"] if "fit" in result else None
    total = seconds[-1] + own if seconds[-1] is not None and own is not None else None
    rows = [*zip(result["members"], seconds, strict=True), (stack, total)]
    best = {name: pick(row[name] for row, _ in rows) for name, pick in (("accuracy", max), ("nll", min), ("ece", min))}
    for row, spent in rows:
        if row["name"] in ("mean of members", "stack"):
            table.add_section()
        cells = [
            f"[bold]{row[name]:.4f}[/]" if row[name] == best[name] else f"{row[name]:.4f}"
            for name in ("accuracy", "nll", "ece")
        ]
        table.add_row(row["name"], *cells, f"{row['parameters']:,}", "–" if spent is None else f"{spent:.1f}")
    return table


def source_table(result: dict[str, Any]) -> Table:
    """Build the table of a tested model's metrics for each source of images.

    Args:
        result: its result.json
    """
    table = Table(title=f"{result['run']}: test split by source{escape(leakage_mark(result))}")
    names = ("accuracy", "balanced_accuracy", "f1_macro", "auroc")
    for name in ("source", "images", *names):
        table.add_column(name.replace("_", " "), justify="left" if name == "source" else "right")
    for source, values in result["test_by_source"].items():
        cells = ["–" if values[name] is None else f"{values[name]:.4f}" for name in names]
        table.add_row(escape(source), f"{values['samples']:,}", *cells)
    table.caption = escape(weakest_pair(result))
    table.caption_justify = "left"
    return table


def weakest_pair(result: dict[str, Any], split: str = "test") -> str:
    """Name the pair of sources across which a class is told worst; empty where there are no pairs.

    Args:
        result: a run's result.json
        split: such as test
    """
    pairs = [pair for pair in pair_rows(result, split) if pair[1] != pair[2] and pair[3].get("auroc") is not None]
    if not pairs:
        return ""
    name, one, other, values = min(pairs, key=lambda pair: pair[3]["auroc"] or 0.0)
    known = [(spoken_name, values.get(metric)) for metric, spoken_name in PAIR_TITLES.items()]
    rest = [f"{spoken_name} {value:.4f}" for spoken_name, value in known if value is not None]
    return f"lowest pair of sources: {name} of {one} against other classes of {other}, {', '.join(rest)}"


def fit_seconds(checkpoint: str | None) -> float | None:
    """Return how long the run of a checkpoint was trained, if its folder says so."""
    run = run_dir.of_checkpoint(Path(checkpoint)) if checkpoint else None
    if run is None or not run.result.is_file():
        return None
    try:
        seconds = read_result(run.result).get("fit", {}).get("seconds")
    except DamagedFileError as error:
        warn(str(error))
        return None
    return None if seconds is None else float(seconds)
