"""Figures of the predictions on a split: calibration, classes, ranking curves and confusions."""

from typing import ClassVar

from callbacks.drawing.base import Drawn, Evaluated, EvaluationDrawing
from records.whole_file import write_whole


class Calibration(EvaluationDrawing):
    """Draw the reliability diagram with the ECE, and the confidence of right and wrong predictions.

    Args:
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    subject: ClassVar[str] = "calibration"

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        from figures import confidence, reliability
        from measures.reliability import reliability_bins

        labels, probabilities = evaluated.labels, evaluated.probabilities
        yield "reliability", reliability(reliability_bins(labels, probabilities), evaluated.title)
        yield "confidence", confidence(labels, probabilities, evaluated.title)


class PerClassReport(EvaluationDrawing):
    """Draw precision, recall, F1, error rate and support of each class, and write them as text with four digits.

    Args:
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    subject: ClassVar[str] = "per-class report"

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Write the text and yield the figure."""
        from figures import per_class
        from measures.per_class import class_report, confusion_counts, text_report

        labels, predicted, names = evaluated.labels, evaluated.predicted, evaluated.class_names
        text = text_report(labels, predicted, names)
        path = self.files.path(evaluated.trainer, f"{evaluated.split}_classification_report.txt")
        with write_whole(path) as partial:
            partial.write_text(f"{evaluated.title}\n\n{text}", encoding="utf-8")
        report = class_report(confusion_counts(labels, predicted, len(names)))
        yield "per_class", per_class(report, names, evaluated.title)


class Curves(EvaluationDrawing):
    """Draw ROC and precision-recall curves per class and averaged, and the risk-coverage curve.

    Args:
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    subject: ClassVar[str] = "curves"

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        from figures import precision_recall, risk_coverage, roc
        from measures.curves import precision_recall_curves, risk_coverage_curve, roc_curves

        labels, probabilities, names = evaluated.labels, evaluated.probabilities, evaluated.class_names
        yield "roc", roc(roc_curves(labels, probabilities), names, evaluated.title)
        curves = precision_recall_curves(labels, probabilities)
        yield "precision_recall", precision_recall(curves, names, evaluated.title)
        risk = {evaluated.split: risk_coverage_curve(labels, probabilities)}
        yield "risk_coverage", risk_coverage(risk, evaluated.title)


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
        from measures.per_class import confusion_counts, most_confused

        names, title = evaluated.class_names, evaluated.title
        counts = confusion_counts(evaluated.labels, evaluated.predicted, len(names))
        yield "confusion_matrix", confusion_matrix(counts, names, title=title)
        yield "confusion_matrix_normalized", confusion_matrix(counts, names, normalized=True, title=title)
        if len(names) > NAMED_CLASSES:
            whole = confusion_matrix(counts, names, normalized=True, title=title, summarised=False)
            yield "confusion_matrix_all_classes", whole
        yield "confused_pairs", confused_pairs(most_confused(counts), names, title)
