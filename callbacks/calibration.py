"""Whether a model is right as often as it is sure."""

from typing import ClassVar

from callbacks.drawing import Drawn, Evaluated, EvaluationDrawing


class Calibration(EvaluationDrawing):
    """Draw the reliability diagram with the ECE, and the confidence of right and wrong predictions.

    Args:
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    subject: ClassVar[str] = "calibration"

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        from figures import confidence, reliability
        from figures.statistics import reliability_bins

        labels, probabilities = evaluated.labels, evaluated.probabilities
        yield "reliability", reliability(reliability_bins(labels, probabilities), evaluated.title)
        yield "confidence", confidence(labels, probabilities, evaluated.title)
