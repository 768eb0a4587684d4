import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.classification import multiclass_calibration_error

from ensembling.judging.rejection import risk_coverage
from measures import curves as statistics
from measures import per_class, reliability
from measures.classification import classification_metrics


def predictions(samples=400, classes=5, seed=0):
    """Labels, probabilities and logits of a model that is often right and sometimes sure."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    logits = rng.normal(size=(samples, classes)) * 1.5
    logits[np.arange(samples), labels] += rng.normal(1.5, 2, samples)
    return labels, reliability.softmax(logits), logits


def test_confusion_counts__equal_scikit_learns():
    labels, probabilities, _ = predictions()
    predicted = probabilities.argmax(1)
    counts = per_class.confusion_counts(labels, predicted, 5)
    assert np.array_equal(counts, metrics.confusion_matrix(labels, predicted))


def test_class_report__equals_scikit_learns_with_absent_classes():
    labels, probabilities, _ = predictions(classes=6)
    # class 2 is predicted but absent, class 5 is neither
    labels[labels == 2] = 1
    labels[labels == 5] = 0
    predicted = np.where(probabilities.argmax(1) == 5, 4, probabilities.argmax(1))
    report = per_class.class_report(per_class.confusion_counts(labels, predicted, 6))
    options = {"labels": range(6), "zero_division": 0}
    expected = metrics.precision_recall_fscore_support(labels, predicted, **options)
    for ours, theirs in zip((report.precision, report.recall, report.f1, report.support), expected, strict=True):
        assert np.allclose(ours, theirs, atol=1e-12)
    assert np.isnan(report.error_rate[[2, 5]]).all()
    assert np.allclose(report.error_rate[[0, 1]], 1 - expected[1][[0, 1]])


def test_text_report__is_scikit_learns_and_names_what_is_absent():
    labels, probabilities, _ = predictions(classes=3)
    predicted = probabilities.argmax(1)
    text = per_class.text_report(labels, predicted, ["cat", "dog", "eel", "fox"])
    expected = metrics.classification_report(labels, predicted, target_names=["cat", "dog", "eel"], digits=4)
    assert text == expected + "\nwithout a sample: fox\n"


def test_text_report__its_averages_are_those_of_the_result():
    labels, probabilities, logits = predictions(classes=6)
    labels[labels == 2] = 1
    text = per_class.text_report(labels, probabilities.argmax(1), list("abcdef"))
    result = classification_metrics(torch.from_numpy(logits), torch.from_numpy(labels))
    macro = next(line for line in text.splitlines() if "macro avg" in line).split()
    assert macro[2:5] == [f"{result[name]:.4f}" for name in ("precision_macro", "recall_macro", "f1_macro")]


def test_most_confused__most_frequent_first_with_shares():
    counts = np.array([[8, 2, 0], [5, 5, 0], [1, 0, 0]])
    pairs = per_class.most_confused(counts, 2)
    assert [(p.true, p.predicted, p.count, p.share) for p in pairs] == [(1, 0, 5, 0.5), (0, 1, 2, 0.2)]
    assert len(per_class.most_confused(counts, 9)) == 3
    assert per_class.most_confused(np.eye(3, dtype=np.int64)) == []


def test_reliability_bins__ece_is_the_results():
    labels, probabilities, _ = predictions()
    # some exactly sure, right and wrong
    probabilities[:4] = np.eye(5)[labels[:4]]
    probabilities[4:6] = np.eye(5)[(labels[4:6] + 1) % 5]
    bins = reliability.reliability_bins(labels, probabilities)
    expected = multiclass_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels), 5, n_bins=15)
    assert bins.ece == pytest.approx(float(expected), abs=1e-7)
    assert bins.counts.sum() == len(labels)
    filled = bins.counts > 0
    assert bins.accuracy[filled] @ bins.counts[filled] == pytest.approx((probabilities.argmax(1) == labels).sum())
    assert bins.confidence[filled] @ bins.counts[filled] == pytest.approx(probabilities.max(1).sum())
    assert np.isnan(bins.accuracy[~filled]).all()


def test_reliability_bins__almost_sure_is_sure_in_single_precision():
    margins = torch.cat([torch.linspace(20, 30, 40), torch.linspace(3, 5, 40)])
    logits = torch.stack([margins, torch.zeros(80), torch.full((80,), -50.0)], 1)
    # the surer half is wrong at times, the other one never: in one bin the two would make up for each other
    labels = torch.tensor([0, 0, 0, 1] * 10 + [0] * 40)
    bins = reliability.reliability_bins(labels.numpy(), logits.double().softmax(1).numpy())
    assert bins.ece == pytest.approx(classification_metrics(logits, labels)["ece"], abs=1e-7)


@pytest.mark.parametrize("absent", [(), (1, 3)])
def test_roc_curves__areas_equal_scikit_learns(absent):
    labels, probabilities, _ = predictions()
    labels = np.where(np.isin(labels, absent), 0, labels)
    curves = statistics.roc_curves(labels, probabilities)
    present = [number for number in range(5) if number not in absent]
    expected = {n: metrics.roc_auc_score(labels == n, probabilities[:, n]) for n in present}
    assert {n: curve.area for n, curve in curves.classes.items()} == pytest.approx(expected)
    assert curves.macro.area == pytest.approx(np.mean(list(expected.values())))
    one_hot = labels[:, None] == np.array(present)
    micro = metrics.roc_auc_score(one_hot, probabilities[:, present], average="micro")
    assert curves.micro.area == pytest.approx(micro)
    assert curves.absent == list(absent)
    # the mean curve has the mean area, but for the grid
    assert metrics.auc(curves.macro.x, curves.macro.y) == pytest.approx(curves.macro.area, abs=3e-3)


def test_precision_recall_curves__areas_equal_scikit_learns():
    labels, probabilities, _ = predictions()
    curves = statistics.precision_recall_curves(labels, probabilities)
    expected = {n: metrics.average_precision_score(labels == n, probabilities[:, n]) for n in range(5)}
    assert {n: curve.area for n, curve in curves.classes.items()} == pytest.approx(expected)
    one_hot = np.eye(5)[labels]
    assert curves.macro.area == pytest.approx(metrics.average_precision_score(one_hot, probabilities))
    assert curves.micro.area == pytest.approx(metrics.average_precision_score(one_hot, probabilities, average="micro"))
    assert np.trapezoid(curves.macro.y, curves.macro.x) == pytest.approx(curves.macro.area, abs=3e-3)
    steps = curves.classes[0]
    assert (np.diff(steps.x) * steps.y[1:]).sum() == pytest.approx(steps.area)


def test_curves__one_class_has_none():
    labels, probabilities = np.zeros(4, dtype=int), np.full((4, 2), 0.5)
    for curves in (
        statistics.roc_curves(labels, probabilities),
        statistics.precision_recall_curves(labels, probabilities),
    ):
        assert curves.classes == {}
        assert curves.macro is curves.micro is None
        assert curves.absent == [0, 1]


def test_risk_coverage_curve__error_among_the_most_confident():
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    curve = statistics.risk_coverage_curve(np.array([0, 1, 0, 1]), probabilities)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)


def test_risk_coverage_curve__order_of_equals_does_not_matter():
    probabilities = np.array([[0.9, 0.1]] * 2 + [[0.6, 0.4]] * 4)
    labels = np.array([0, 0, 0, 1, 1, 0])
    shuffled = np.array([5, 3, 0, 2, 1, 4])
    one, other = (statistics.risk_coverage_curve(labels[o], probabilities[o]) for o in (np.arange(6), shuffled))
    assert one.coverage.tolist() == other.coverage.tolist() == pytest.approx([2 / 6, 1])
    # one of two, one of six: 0 0 | 1/4 of an error more with each of the four equals, two of which are wrong
    assert one.area == pytest.approx(other.area) == np.mean([0, 0, 0.5 / 3, 1 / 4, 1.5 / 5, 2 / 6])


def test_risk_coverage_curve__is_that_of_a_stacks_report():
    rng = np.random.default_rng(0)
    # coarse confidences, with many equals
    probabilities = rng.integers(1, 5, (200, 3)).astype(float)
    probabilities /= probabilities.sum(1, keepdims=True)
    labels = rng.integers(0, 3, 200)
    curve = statistics.risk_coverage_curve(labels, probabilities)
    report = risk_coverage(torch.tensor(probabilities), torch.tensor(labels))
    assert curve.area == pytest.approx(report["aurc"])
    assert curve.risk[-1] == pytest.approx(report["risk"][-1])


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "1 of 2 samples are NaN"),
        ([0, 1], [[0.5, 0.5]], "do not fit"),
        ([], np.empty((0, 3)), "no predictions"),
        ([0], [[3.0, -2.0]], "are these logits"),
        ([2], [[0.5, 0.5]], "from 0 to 1"),
    ],
)
def test_check_predictions__refuses(labels, probabilities, message):
    with pytest.raises(ValueError, match=message):
        reliability.check_predictions(np.array(labels), np.array(probabilities))


def test_softmax__of_large_logits():
    assert reliability.softmax(np.array([[1e4, 0.0, -1e4]])).tolist() == [[1, 0, 0]]
