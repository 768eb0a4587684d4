"""How well each class is recognised."""

from typing import ClassVar

from callbacks.drawing import Drawn, Evaluated, EvaluationDrawing
from datamodules.whole_file import write_whole


class PerClassReport(EvaluationDrawing):
    """Draw precision, recall, F1, error rate and support of each class, and write them as text with four digits.

    Args:
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    subject: ClassVar[str] = "per-class report"

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Write the text and yield the figure."""
        from figures import per_class
        from figures.statistics import class_report, confusion_counts, text_report

        labels, predicted, names = evaluated.labels, evaluated.predicted, evaluated.class_names
        text = text_report(labels, predicted, names)
        path = self.files.path(evaluated.trainer, f"{evaluated.split}_classification_report.txt")
        with write_whole(path) as partial:
            partial.write_text(f"{evaluated.title}\n\n{text}", encoding="utf-8")
        report = class_report(confusion_counts(labels, predicted, len(names)))
        yield "per_class", per_class(report, names, evaluated.title)
