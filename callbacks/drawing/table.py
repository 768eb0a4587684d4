"""The table of all figures: a line here gives a figure its option and its callback."""

from collections.abc import Callable
from dataclasses import dataclass

from callbacks.drawing import evaluation
from callbacks.drawing.base import Drawing, Drawn, Evaluated, EvaluationDrawing
from callbacks.drawing.batch_picture import BatchPicture
from callbacks.drawing.class_distribution import ClassDistribution
from callbacks.drawing.embeddings import Embeddings
from callbacks.drawing.gallery import Gallery
from callbacks.drawing.grad_cam import GradCam
from callbacks.drawing.learning_curves import LearningCurves
from callbacks.drawing.stack_decisions import StackDecisions
from callbacks.drawing.table_fit import TableFit


@dataclass(frozen=True)
class Figure:
    """What draws a figure, or several of a kind.

    Args:
        kind: its callback; the first line of its docstring is the help text of the option
        default: whether a test draws it unless the option says otherwise
        takes: options of `SharedOptions` that the callback takes under the same name
    """

    kind: type[Drawing]
    default: bool = True
    takes: tuple[str, ...] = ()


def of_predictions(draw: Callable[[Evaluated], Drawn], default: bool = True) -> Figure:
    """Make a figure of a function that draws the predictions on a split.

    Args:
        draw: yields figures with their names; `confusion_matrix` gives the callback the name `ConfusionMatrix`
        default: whether a test draws it unless the option says otherwise
    """
    content = {
        "__doc__": draw.__doc__,
        "__module__": draw.__module__,
        "subject": draw.__name__.replace("_", " "),
        "draw": staticmethod(draw),
    }
    name = draw.__name__.title().replace("_", "")
    return Figure(type(name, (EvaluationDrawing,), content), default, takes=("fit",))


# by the name of the option: --figures.confusion_matrix
FIGURES = {
    "confusion_matrix": of_predictions(evaluation.confusion_matrix),
    "per_class": of_predictions(evaluation.per_class_report),
    "calibration": of_predictions(evaluation.calibration),
    "curves": of_predictions(evaluation.curves),
    "prediction_sets": of_predictions(evaluation.prediction_sets),
    "gallery": Figure(Gallery, takes=("images", "fit")),
    "stack": Figure(StackDecisions),
    "table": Figure(TableFit),
    "learning_curves": Figure(LearningCurves, takes=("fit",)),
    "embeddings": Figure(Embeddings, default=False, takes=("samples", "umap")),
    "grad_cam": Figure(GradCam, default=False),
    "batch": Figure(BatchPicture, default=False),
    "class_distribution": Figure(ClassDistribution, default=False),
}


def figure_callbacks() -> dict[str, type[Drawing]]:
    """Return the callback classes of the table by their names."""
    return {figure.kind.__name__: figure.kind for figure in FIGURES.values()}
