"""How well samples of a class are ranked above others, and mistakes below hits."""

from typing import ClassVar

from callbacks.drawing import Drawn, Evaluated, EvaluationDrawing


class Curves(EvaluationDrawing):
    """Draw ROC and precision-recall curves per class and averaged, and the risk-coverage curve.

    Args:
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    subject: ClassVar[str] = "curves"

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        from figures import precision_recall, risk_coverage, roc
        from figures.statistics import precision_recall_curves, risk_coverage_curve, roc_curves

        labels, probabilities, names = evaluated.labels, evaluated.probabilities, evaluated.class_names
        yield "roc", roc(roc_curves(labels, probabilities), names, evaluated.title)
        curves = precision_recall_curves(labels, probabilities)
        yield "precision_recall", precision_recall(curves, names, evaluated.title)
        risk = {evaluated.split: risk_coverage_curve(labels, probabilities)}
        yield "risk_coverage", risk_coverage(risk, evaluated.title)
