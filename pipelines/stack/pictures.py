"""Pictures of a finished stack: its members against it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from callbacks.drawing.evaluation import confusion_matrix, per_class_report
from callbacks.drawing.folder import DPI, write_figure
from common.printable import printable
from common.system_errors import in_words
from common.warned import warn
from ensembling.heads.networks import Logistic
from measures.set_coverage import spoken
from pipelines.stack.result import Stack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# all that is drawn here, in any format
PICTURES = (
    "test_stack_*.*", "head_weights_*.*", "test_prediction_sets.*", "test_confusion_matrix*.*", "test_confused_pairs.*",
    "test_per_class.*", "test_classification_report.txt",
)  # fmt: skip


@dataclass(frozen=True)
class KeptModel:
    """The decisions of the kept model on test: what a `test` of it draws too.

    Args:
        labels: class of each sample, shape `(sample,)`
        predicted: class that is predicted for each sample, shape `(sample,)`
        class_names: the name of each class
        title: of the figures
        folder: of the figures
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    class_names: list[str]
    title: str
    folder: Path

    def path(self, name: str) -> Path:
        """Return the path of a file beside the figures."""
        return self.folder / f"test_{name}"


def draw_stack(stack: Stack) -> list[str]:
    """Draw a stack into its run's folder; what cannot be drawn is reported, since the results are written by then.

    Args:
        stack: that has been written

    Returns:
        the files
    """
    files = []
    options = stack.config.get("figures", {})
    for pattern in PICTURES:
        # pictures of an earlier stack in this folder
        for old in stack.run.figures.glob(pattern):
            old.unlink()
    try:
        for name, figure in figures(stack):
            # those of the first member's fit, which the plan's options set; earlier versions had none
            path = stack.run.figures / f"{name}.{options.get('format', 'png')}"
            write_figure(figure, path, options.get("dpi", DPI))
            files.append(str(path))
    except Exception as error:
        warn(f"figures of the stack not drawn: {in_words(error)}")
    return files


def figures(stack: Stack) -> Iterator[tuple[str, "Figure"]]:
    """Yield the figures with their names: confusions, classes, repaired decisions, prediction sets, heads' weights.

    Args:
        stack: with its kept model
    """
    # slow to import
    from figures.prediction_sets import prediction_sets
    from figures.stack import class_decisions, head_weights, stack_decisions

    names, classes = stack.names, stack.data.dataset.class_names
    leaked = ", LEAKAGE ALLOWED" if stack.leakage.problems() else ""
    title = f"{stack.chosen}: {len(stack.test.ids):,} test images{leaked}"
    labels, members = stack.test.labels.numpy(), stack.test.logits.argmax(2).numpy()
    decided = stack.delivered(stack.tested).argmax(1).numpy()
    kept = KeptModel(labels, decided, [printable(name) for name in classes], title, stack.run.figures)
    for draw in (confusion_matrix, per_class_report):
        yield from ((f"test_{name}", figure) for name, figure in draw(kept))
    yield "test_stack_decisions", stack_decisions(labels, members, decided, names, title=title)
    best = str(stack.report["best_member"]["held_out"])
    against = members[:, names.index(best)]
    yield "test_stack_by_class", class_decisions(labels, against, decided, classes, best, title=title)
    if "missing" not in stack.sets:
        yield "test_prediction_sets", prediction_sets(stack.sets, f"{title}\n{spoken(stack.sets)}")
    for name, head in stack.heads.items():
        if isinstance(head.module, Logistic):
            weights = head.module.weight.detach().double().numpy().reshape(len(classes), len(names), len(classes))
            yield f"head_weights_{name.replace(' ', '_')}", head_weights(weights, names, classes, f"weights of {name}")
