"""How well each class was told from the others, for the terminal."""

from collections.abc import Mapping, Sequence

import numpy as np
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from common.printable import printable
from measures.per_class import class_report, confusion_counts

# of more classes than this, those of the lowest F1 are shown
SHOWN_CLASSES = 20


def class_table(predictions: Mapping[str, Tensor], class_names: Sequence[str], split: str = "test") -> Table:
    """Build the table of precision, recall, F1 and support of each class.

    Args:
        predictions: columns by `split/name`
        class_names: the name of each class
        split: of the predictions
    """
    labels, predicted = predictions[f"{split}/label"].numpy(), predictions[f"{split}/logits"].argmax(1).numpy()
    report = class_report(confusion_counts(labels, predicted, len(class_names)))
    order = np.arange(len(class_names))
    title = f"{split} split by class"
    if len(order) > SHOWN_CLASSES:
        seen = np.flatnonzero((report.support > 0) | (report.predicted > 0))
        order = seen[np.argsort(report.f1[seen], kind="stable")][:SHOWN_CLASSES]
        title += f": the {len(order)} of lowest F1 of {len(class_names):,} classes"
    table = Table(title=title)
    for name in ("class", "precision", "recall", "F1", "support"):
        table.add_column(name, justify="left" if name == "class" else "right", no_wrap=name != "class")
    for number in order.tolist():
        scores = (report.precision[number], report.recall[number], report.f1[number])
        cells = [f"{score:.4f}" for score in scores]
        table.add_row(escape(printable(class_names[number])), *cells, f"{report.support[number]:,}")
    return table
