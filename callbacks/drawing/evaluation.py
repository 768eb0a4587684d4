"""Figures of the predictions on a split: calibration, classes, ranking curves and confusions.

Each function yields figures with their names, which the name of the split precedes. The first line of its docstring is
the help text of its option.
"""

from callbacks.drawing.base import Decisions, Drawn, Evaluated
from callbacks.evaluation_facts import with_groups
from measures.set_coverage import spoken
from records.whole_file import write_whole


def confusion_matrix(evaluated: Decisions) -> Drawn:
    """Draw the confusion matrix, as counts and as shares, and the most confused pairs of classes."""
    from figures.confusion_matrix import NAMED_CLASSES, confused_pairs, confusion_matrix
    from measures.per_class import confusion_counts, most_confused

    names, title = evaluated.class_names, evaluated.title
    counts = confusion_counts(evaluated.labels, evaluated.predicted, len(names))
    yield "confusion_matrix", confusion_matrix(counts, names, title=title)
    yield "confusion_matrix_normalized", confusion_matrix(counts, names, normalized=True, title=title)
    if len(names) > NAMED_CLASSES:
        whole = confusion_matrix(counts, names, normalized=True, title=title, summarised=False)
        yield "confusion_matrix_all_classes", whole
    yield "confused_pairs", confused_pairs(most_confused(counts), names, title)


def per_class_report(evaluated: Decisions) -> Drawn:
    """Draw precision, recall, F1, error rate and support of each class, and write them as text with four digits."""
    from figures.per_class import per_class
    from measures.per_class import class_report, confusion_counts, text_report

    labels, predicted, names = evaluated.labels, evaluated.predicted, evaluated.class_names
    text = text_report(labels, predicted, names)
    with write_whole(evaluated.path("classification_report.txt")) as partial:
        partial.write_text(f"{evaluated.title}\n\n{text}", encoding="utf-8")
    report = class_report(confusion_counts(labels, predicted, len(names)))
    yield "per_class", per_class(report, names, evaluated.title)


def calibration(evaluated: Evaluated) -> Drawn:
    """Draw the reliability diagram with the ECE, and the confidence of right and wrong predictions."""
    from figures.reliability import confidence, reliability
    from measures.reliability import reliability_bins

    labels, probabilities = evaluated.labels, evaluated.probabilities
    yield "reliability", reliability(reliability_bins(labels, probabilities), evaluated.title)
    yield "confidence", confidence(labels, probabilities, evaluated.title)


def curves(evaluated: Evaluated) -> Drawn:
    """Draw ROC and precision-recall curves per class and averaged, and the risk-coverage curve."""
    from figures.ranking import precision_recall, risk_coverage, roc
    from measures.curves import precision_recall_curves, risk_coverage_curve, roc_curves

    labels, probabilities, names = evaluated.labels, evaluated.probabilities, evaluated.class_names
    yield "roc", roc(roc_curves(labels, probabilities), names, evaluated.title)
    averaged = precision_recall_curves(labels, probabilities)
    yield "precision_recall", precision_recall(averaged, names, evaluated.title)
    risk = {evaluated.split: risk_coverage_curve(labels, probabilities)}
    yield "risk_coverage", risk_coverage(risk, evaluated.title)


def prediction_sets(evaluated: Evaluated) -> Drawn:
    """Draw the sizes of the prediction sets, and how often they hold the true class, by size and by class."""
    # those of the validation samples are calibrated on themselves
    if evaluated.split != "test" or evaluated.model.calibration is None:
        return
    from figures.prediction_sets import prediction_sets

    data = evaluated.trainer.datamodule  # type: ignore[attr-defined]
    rows = with_groups(
        {name: column.cpu() for name, column in evaluated.model.predictions.items()}, data.served("test")
    )
    report = evaluated.model.tested_sets(data, rows)
    if "missing" not in report:
        yield "prediction_sets", prediction_sets(report, f"{evaluated.title}\n{spoken(report)}")
