"""Which classes are taken for which."""

from typing import ClassVar

from callbacks.drawing import Drawn, Evaluated, EvaluationDrawing


class ConfusionMatrix(EvaluationDrawing):
    """Draw the confusion matrix, as counts and as shares, and the most confused pairs of classes.

    Args:
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    subject: ClassVar[str] = "confusion matrix"

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        from figures import confused_pairs, confusion_matrix
        from figures.confusion_matrix import NAMED_CLASSES
        from figures.statistics import confusion_counts, most_confused

        names, title = evaluated.class_names, evaluated.title
        counts = confusion_counts(evaluated.labels, evaluated.predicted, len(names))
        yield "confusion_matrix", confusion_matrix(counts, names, title=title)
        yield "confusion_matrix_normalized", confusion_matrix(counts, names, normalized=True, title=title)
        if len(names) > NAMED_CLASSES:
            whole = confusion_matrix(counts, names, normalized=True, title=title, summarised=False)
            yield "confusion_matrix_all_classes", whole
        yield "confused_pairs", confused_pairs(most_confused(counts), names, title)
