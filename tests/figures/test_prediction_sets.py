from figures.prediction_sets import SHOWN_CLASSES, prediction_sets
from measures.conformal import calibrate
from measures.set_coverage import set_report
from measures.set_options import SetOptions
from tests.measures.test_conformal import draw, names


def report(classes=10, size=600, **options):
    logits, labels = draw(400 + size, classes)
    calibration = calibrate(logits[:400], labels[:400], "val")
    return set_report(calibration, SetOptions(**options), logits[400:], labels[400:], names(classes))


def test_prediction_sets__bars_are_the_sizes_and_points_the_classes():
    found = report()
    sizes, coverage = prediction_sets(found, "a title").axes
    assert [bar.get_height() for bar in sizes.patches] == [row["samples"] for row in found["size"]["sizes"]]
    assert [text.get_text() for text in sizes.get_xticklabels()] == [
        str(row["classes"]) for row in found["size"]["sizes"]
    ]
    drawn = list(coverage.lines[0].get_xdata())
    assert drawn == sorted(row["covered"]["value"] for row in found["classes"])


def test_prediction_sets__of_many_classes_and_sizes():
    """The sizes beyond the first are one bar, and classes that few samples have are drawn without an interval."""
    found = report(classes=100, method="aps", coverage=0.97)
    sizes, coverage = prediction_sets(found).axes
    assert sum(bar.get_height() for bar in sizes.patches) == 600
    assert sizes.get_xticklabels()[-1].get_text().endswith("and more")
    assert len(coverage.lines[0].get_xdata()) == SHOWN_CLASSES


def test_prediction_sets__empty_ones():
    found = report(empty=True, coverage=0.2)
    sizes, _ = prediction_sets(found).axes
    assert sizes.get_xticklabels()[0].get_text() == "0"
