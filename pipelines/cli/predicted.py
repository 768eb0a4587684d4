"""What `predict` writes and says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from torch import Tensor

from lightning_modules import Classifier, Model
from lightning_modules.model import WrittenTable
from measures.conformal import NoSetsError, set_rule
from measures.set_coverage import named
from pipelines.cli.after_run import print_history
from records.result_files import keep_earlier
from records.run_dir import RunDir

# between the classes of a set
BETWEEN = " | "


@dataclass(frozen=True)
class PredictedSets:
    """The prediction sets of the images that were predicted on.

    Args:
        sentence: what they are, or why there are none
        texts: the names of each set's classes, the most probable first, in the order of the predictions; None without
            sets
        notes: what is to be borne in mind with them
    """

    sentence: str
    texts: list[str] | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, model: Classifier, source_names: Sequence[str] = ()) -> "PredictedSets":
        """Make the sets that a model's options ask for.

        Args:
            model: holds the predictions
            source_names: of the images' sources
        """
        calibration, names, rows = model.calibration, model.info.class_names, model.predictions
        try:
            rule = set_rule(calibration, model.set_options, names)
        except NoSetsError as reason:
            return cls(f"no prediction sets: {reason}")
        assert calibration is not None
        sources, notes = calibration.sources_of(rows.get("source"), source_names), list(rule.notes)
        unknown = len(rows["logits"]) if sources is None else int((sources < 0).sum())
        if rule.by_source is not None and unknown:
            notes.append(f"{unknown:,} images are of no known source: they have the sets of all images")
        logits = rows["logits"].cpu()
        inside = rule.sets(logits, sources)
        size = inside.sum(1)
        kind = named(model.set_options.coverage, model.set_options.method, model.set_options.by)
        sentence = (
            f"{kind}, calibrated on {rule.samples:,} {rule.of} samples: {float(size.double().mean()):.2f} classes on "
            f"average, {int(size.max())} at most; column set"
        )
        return cls(sentence, set_texts(inside, logits, names), notes)


def set_texts(inside: Tensor, logits: Tensor, names: Sequence[str]) -> list[str]:
    """Write the classes of each set, the most probable first.

    Args:
        inside: which classes are in it, bool, shape `(sample, class)`
        logits: shape `(sample, class)`
        names: of the classes
    """
    order = logits.argsort(dim=1, descending=True)
    quoted = [name.replace("\\", "\\\\").replace("|", "\\|") for name in names]
    # the places of a set's classes, among all classes from the most probable down, row by row
    row, place = inside.gather(1, order).nonzero().unbind(1)
    found = iter(order[row, place].tolist())
    return [BETWEEN.join(quoted[next(found)] for _ in range(count)) for count in inside.sum(1).tolist()]


def write_predicted(run: RunDir, table: WrittenTable) -> str:
    """Write the predictions, and keep those that are there under a number.

    Args:
        run: where to write
        table: what to write
    """
    keep_earlier(run.predicted)
    table.write(run.predicted)
    return str(run.predicted)


def print_predicted(console: Console, path: str, model: Model, notes: Sequence[str] = (), sets: str = "") -> None:
    """Say where the predictions are, and what to bear in mind with them.

    Args:
        console: where to print
        path: of the table
        model: holds the predictions
        notes: lines on the files that were predicted on
        sets: a line on the prediction sets
    """
    console.print(f"{len(model.predictions['id'])} predictions: {path}", soft_wrap=True)
    if sets:
        console.print(escape(sets), soft_wrap=True, highlight=False)
    leakage = {"leakage": model.leakage.plain()} if model.leakage is not None else {}
    origins = model.provenance.origins() if model.provenance is not None else {}
    print_history(console, {**origins, **leakage})
    for note in (*notes, *model.rejection_notes):
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
