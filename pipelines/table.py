"""What a person reads after a run."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common import class_paths
from lightning_modules import ImageClassifier, StackingModule
from pipelines import run_dir
from pipelines.run_dir import RunDir
from pipelines.timing import MARGIN, Measurement, choose, keeps_loss


def print_fit(console: Console, run: RunDir, model: ImageClassifier) -> None:
    """Say what a fit reached, where it lies and what to run next.

    Args:
        console: where to print
        run: the run's folder
        model: what was trained
    """
    if not run.result.is_file():
        return
    result = json.loads(run.result.read_text())
    fit, val = result["fit"], result.get("val", {})
    reached = f"val/accuracy {val['accuracy']:.4f} (epoch {fit['best_epoch']})" if val else "no validation"
    console.print(f"\n[bold]{reached}[/] after {fit['epochs']} epochs and {fit['seconds']:.1f} s: {run.folder}/")
    if isinstance(model, StackingModule):
        print_leakage(console, result)
    if run.weights.is_file():
        command = f"python train.py test --ckpt_path {quote(str(run.weights))}{class_paths.suffix()}"
        console.print(f"next:  {command}", soft_wrap=True)
    console.print(f"       tensorboard --logdir {run.folder.parent.parent}", soft_wrap=True)


def print_resume(console: Console, run: RunDir) -> None:
    """Say how to go on with a run that was stopped, if there is a state to go on from."""
    if not run.last.is_file():
        console.print("\nstopped before anything was saved")
        return
    console.print(f"\nstopped; the last state saved is {run.last}", soft_wrap=True)
    config, folder = quote(str(run.config)), quote(str(run.folder))
    command = f"python train.py fit --config {config} --ckpt_path {folder}{class_paths.suffix()}"
    console.print(f"go on:  {command}", soft_wrap=True)


def print_test(console: Console, run: RunDir) -> None:
    """Say where the results lie, and show a stack beside its members."""
    if not run.result.is_file():
        return
    result = json.loads(run.result.read_text())
    if "members" in result:
        console.print(stack_table(result))
    if "leakage" in result:
        print_leakage(console, result)
    if "test_by_source" in result:
        console.print(source_table(result))
    console.print(f"results: {run.result}", soft_wrap=True)


def print_leakage(console: Console, result: dict[str, Any]) -> None:
    """Print each overlap between the bases' samples and the meta-model's."""
    for sentence in result["leakage"]["allowed"]:
        console.print(f"[bold red]LEAKAGE ALLOWED:[/] {escape(sentence)}")
    for sentence in result["leakage"]["warnings"]:
        console.print(f"[yellow]note:[/] {escape(sentence)}")


def leakage_mark(result: dict[str, Any]) -> str:
    """Return what the title of every table of a result says of overlaps; nothing if there are none.

    Args:
        result: with its `leakage`, whose sentences `print_leakage` prints
    """
    leakage = result.get("leakage") or {}
    if leakage.get("allowed"):
        return " — LEAKAGE ALLOWED"
    return " — overlaps: see the notes" if leakage.get("warnings") else ""


def kind_of_samples(leaks: bool) -> str:
    """Name the samples that heads were fitted on and choices made by: held out from the members, unless these leak."""
    return "meta" if leaks else "held-out"


def stack_table(result: dict[str, Any]) -> Table:
    """Build the table of members, their mean and the stack.

    Args:
        result: a tested stack's result.json
    """
    tested = f"test split, {result['evaluations']['test']['samples']:,} images"
    table = Table(title=f"{result['experiment']}: {tested}{leakage_mark(result)}")
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
    table = Table(title=f"{result['run']}: test split by source{leakage_mark(result)}")
    names = ("accuracy", "balanced_accuracy", "auroc")
    for name in ("source", "images", *names):
        table.add_column(name.replace("_", " "), justify="left" if name == "source" else "right")
    for source, values in result["test_by_source"].items():
        cells = ["–" if values[name] is None else f"{values[name]:.4f}" for name in names]
        table.add_row(escape(source), f"{values['samples']:,}", *cells)
    return table


def compute_table(measurements: Sequence[Measurement]) -> Table:
    """Build the table of precisions and memory formats.

    Args:
        measurements: that of eager fp32 first
    """
    reference, chosen = measurements[0], choose(measurements)
    table = Table(title="training, against eager fp32 with channels first")
    compiled = any(m.candidate.torch_compile for m in measurements)
    settings = ("precision", "memory format", *(["compiled"] if compiled else []))
    for name in (*settings, "images/s", "ratio", "loss", ""):
        table.add_column(name, justify="right" if name in ("images/s", "ratio", "loss") else "left", no_wrap=bool(name))
    for m in measurements:
        candidate, ratio = m.candidate, m.ratio(reference)
        rate = f"{statistics.median(m.rates):,.0f}" if m.rates else "–"
        loss = f"{statistics.mean(m.losses[len(m.losses) // 2 :]):.4f}" if m.losses else "–"
        if m is chosen:
            verdict = "[bold]chosen[/]"
        elif m.error is not None:
            verdict = escape(f"failed: {m.error}")
        elif not keeps_loss(m.losses, reference.losses):
            verdict = "rejected: does not keep the loss"
        else:
            verdict = "" if m is reference else "not faster" if ratio <= MARGIN else "no better"
        setting = (candidate.precision, candidate.memory_format, "yes" if candidate.torch_compile else "")
        table.add_row(*setting[: len(settings)], rate, f"{ratio:.2f}" if m.rates else "–", loss, verdict)
    return table


def fit_seconds(checkpoint: str | None) -> float | None:
    """Return how long the run of a checkpoint was trained, if its folder says so."""
    run = run_dir.of_checkpoint(Path(checkpoint)) if checkpoint else None
    if run is None or not run.result.is_file():
        return None
    seconds = json.loads(run.result.read_text()).get("fit", {}).get("seconds")
    return None if seconds is None else float(seconds)
