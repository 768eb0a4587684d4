"""What `predict` writes and says."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from datamodules.samples import Samples
from lightning_modules import Classifier
from pipelines.cli.after_run import print_history
from records.csv_files import write_rows
from records.result_files import keep_earlier
from records.run_dir import RunDir
from records.whole_file import write_whole


def write_predicted(run: RunDir, samples: Samples, model: Classifier) -> str:
    """Write one row a sample: its name, the predicted class, that class's probability, and whether it is accepted.

    Only a stack with thresholds rejects; without any there is no column for it.

    Args:
        run: where to write
        samples: the samples predicted on
        model: holds the predictions
    """
    names = dict(zip(samples.ids.tolist(), samples.sample_names(), strict=True))
    confidence, label = model.predictions["logits"].double().softmax(1).max(1)
    accepted = model.accepted(model.predictions["logits"])
    verdicts = [[]] * len(label) if accepted is None else [["yes" if yes else "no"] for yes in accepted.tolist()]
    keep_earlier(run.predicted)
    with (
        write_whole(run.predicted) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        table: list[list[object]] = [["name", "class", "probability", *([] if accepted is None else ["accepted"])]]
        ids = model.predictions["id"].tolist()
        rows = dict(zip(ids, zip(label.tolist(), confidence.tolist(), verdicts, strict=True), strict=True))
        # rows are in the order of the data; only a few of its batches may have been predicted
        for sample in (sample for sample in names if sample in rows):
            number, probability, verdict = rows[sample]
            table.append([names[sample], model.info.class_names[number], f"{probability:.6f}", *verdict])
        write_rows(file, table)
    return str(run.predicted)


def print_predicted(console: Console, path: str, model: Classifier, notes: Sequence[str] = ()) -> None:
    """Say where the predictions are, and what to bear in mind with them.

    Args:
        console: where to print
        path: of the table
        model: holds the predictions
        notes: lines on the files that were predicted on
    """
    console.print(f"{len(model.predictions['id'])} predictions: {path}", soft_wrap=True)
    leakage = {"leakage": model.leakage.plain()} if model.leakage is not None else {}
    origins = model.provenance.origins() if model.provenance is not None else {}
    print_history(console, {**origins, **leakage})
    for note in (*notes, *model.rejection_notes):
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
