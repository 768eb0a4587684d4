import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn import metrics as reference

from measures import bootstrap as statistics
from measures.bootstrap import METRICS, bootstrap, mcnemar, resample, weighted_auroc, weighted_metrics
from measures.classification import classification_metrics


def predictions(size=200, num_classes=5, seed=0, absent=(), decimals=None):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (size,), generator=generator)
    for label in absent:
        labels[labels == label] = (label + 1) % num_classes
    logits = torch.randn(size, num_classes, generator=generator) * 2
    logits[torch.arange(size), labels] += 1.5
    return logits if decimals is None else logits.round(decimals=decimals), labels


def counts(size, replicates=6, seed=3):
    return next(resample(np.arange(size), replicates, seed))


def points(logits, labels):
    return bootstrap({"model": logits}, labels, replicates=2).points["model"]


# torchmetrics warns of the absent classes that the case is about
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("absent", [(), (2,), (0, 4)])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_points__equal_classification_metrics(absent, num_classes):
    logits, labels = predictions(num_classes=num_classes, absent=[a for a in absent if a < num_classes - 1])
    expected = classification_metrics(logits, labels)
    assert points(logits, labels) == pytest.approx({name: expected[name] for name in METRICS}, abs=1e-6, nan_ok=True)


def test_points__saturated_confidences_equal_classification_metrics():
    logits, labels = predictions()
    logits = logits * torch.linspace(0, 60, len(logits))[:, None]
    assert points(logits, labels)["ece"] == pytest.approx(classification_metrics(logits, labels)["ece"], abs=1e-6)


# scikit-learn warns of classes that a resample has lost
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("decimals", [None, 0])
@pytest.mark.parametrize("size", [12, 200])
def test_weighted_metrics__equal_scikit_learn_on_the_resampled_samples(size, decimals):
    logits, labels = predictions(size, decimals=decimals, absent=(1,))
    weights = counts(size)
    values = weighted_metrics(logits, labels, weights)
    for replicate in range(weights.shape[1]):
        rows = np.repeat(np.arange(size), weights[:, replicate].astype(int))
        y, p = labels.numpy()[rows], logits.double().softmax(1).numpy()[rows]
        top = logits.argmax(1).numpy()[rows]
        ranked = [c for c in np.unique(y) if (y != c).any()]
        expected = {
            "accuracy": reference.accuracy_score(y, top),
            "balanced_accuracy": reference.balanced_accuracy_score(y, top),
            "f1_macro": reference.f1_score(y, top, average="macro", zero_division=0),
            "auroc": np.mean([reference.roc_auc_score(y == c, p[:, c]) for c in ranked]),
            "nll": reference.log_loss(y, p, labels=range(5)),
            "brier": ((p - np.eye(5)[y]) ** 2).sum(1).mean(),
            "ece": classification_metrics(logits[rows], labels[rows])["ece"],
        }
        assert {name: values[name][replicate] for name in METRICS} == pytest.approx(expected, abs=1e-6)


def test_weighted_auroc__single_precision_is_exact():
    logits, labels = predictions(50)
    p, weights = logits.softmax(1), counts(50)
    assert np.array_equal(
        weighted_auroc(p, labels, weights), weighted_auroc(p, labels, weights.astype(np.float64)), equal_nan=True
    )


def test_resample__parts_hold_all_replicates(monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK", 100)
    parts = list(resample(np.arange(30), 10, 0))
    assert [part.shape for part in parts] == [(30, 3), (30, 3), (30, 3), (30, 1)]
    assert all((part.sum(0) == 30).all() for part in parts)
    assert len(np.unique(np.concatenate(parts, 1), axis=1).T) == 10


def test_resample__groups_are_drawn_whole():
    unit = np.array([0, 0, 0, 1, 2, 2])
    weights = next(resample(unit, 50, 0))
    for group in range(3):
        members = weights[unit == group]
        assert (members == members[0]).all()
    # as many groups are drawn as there are, whatever their sizes
    assert (weights[[0, 3, 4]].sum(0) == 3).all()


def test_bootstrap__intervals_are_quantiles_over_resampled_samples():
    logits, labels = predictions(80)
    result = bootstrap({"model": logits}, labels, ["accuracy"], replicates=200, seed=5)
    hits = (logits.argmax(1) == labels).numpy()
    naive = []
    for column in next(resample(np.arange(80), 200, 5)).T:
        naive.append(hits[np.repeat(np.arange(80), column.astype(int))].mean())
    interval = result.metric("model", "accuracy")
    assert (interval["low"], interval["high"]) == pytest.approx(tuple(np.quantile(naive, [0.025, 0.975])))


def test_bootstrap__covers_as_often_as_it_says():
    truth, covered = 0.8, 0
    logits = torch.tensor([[1.0, 0.0]] * 100)
    for seed in range(80):
        wrong = torch.from_numpy(np.random.default_rng(seed).random(100) > truth).long()
        interval = bootstrap({"m": logits}, wrong, ["accuracy"], 200, seed).metric("m", "accuracy")
        covered += interval["low"] <= truth <= interval["high"]
    # 76 expected; an interval half as wide would cover 54
    assert 70 <= covered <= 79


def test_bootstrap__a_difference_is_paired():
    logits, labels = predictions(300)
    # differs on one sample alone: far less noise than either model has
    other = logits.clone()
    wrong = int((logits.argmax(1) == labels).nonzero()[0])
    other[wrong] = -logits[wrong]
    result = bootstrap({"one": logits, "other": other}, labels, ["accuracy"], replicates=400)
    difference, own = result.difference("one", "other", "accuracy"), result.metric("one", "accuracy")
    assert difference["value"] == pytest.approx(1 / 300)
    assert 0 <= difference["low"] <= difference["high"] <= 5 / 300
    assert own["high"] - own["low"] > 0.05


def test_bootstrap__what_rounding_tells_apart_is_equal():
    logits, labels = predictions()
    rounded = (logits.softmax(1) * 0.9 + logits.softmax(1) * 0.1).log()
    drawn = bootstrap({"one": rounded, "other": logits}, labels, ["accuracy", "nll"])
    assert drawn.points["one"]["nll"] != drawn.points["other"]["nll"]
    for metric in ("accuracy", "nll"):
        assert drawn.difference("one", "other", metric) == {"value": 0, "low": 0, "high": 0}


def test_bootstrap__does_not_depend_on_what_else_is_asked():
    logits, labels = predictions()
    other, _ = predictions(seed=9)
    alone = bootstrap({"one": logits}, labels, ["nll"], replicates=50)
    together = bootstrap({"other": other, "one": logits}, labels, replicates=50)
    assert alone.metric("one", "nll") == together.metric("one", "nll")


def test_bootstrap__ece_interval_holds_its_value():
    # calibrated by construction: resampled ECEs lie above the value
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(1000, generator=generator) * 0.5 + 0.5
    labels = (torch.rand(1000, generator=generator) > p).long()
    result = bootstrap({"model": torch.stack([p, 1 - p], 1).log()}, labels, ["ece"], replicates=300)
    interval = result.metric("model", "ece")
    assert np.median(result.replicates["model"]["ece"]) > interval["value"]
    assert 0 <= interval["low"] <= interval["value"] <= interval["high"]
    # what is calibrated may have an ECE near 0
    assert interval["low"] < 0.01


def test_bootstrap__groups_widen_the_interval():
    # ten copies of each sample tell no more than one
    logits, labels = predictions(40)
    copies, same = logits.repeat(10, 1), labels.repeat(10)
    groups = torch.arange(40).repeat(10)
    naive = bootstrap({"m": copies}, same, ["accuracy"], 400).metric("m", "accuracy")
    honest = bootstrap({"m": copies}, same, ["accuracy"], 400, groups=groups).metric("m", "accuracy")
    assert honest["high"] - honest["low"] > 2 * (naive["high"] - naive["low"])


def test_bootstrap__one_sample_has_no_interval():
    result = bootstrap({"m": torch.tensor([[2.0, 0.0, 0.0]])}, torch.tensor([0]), replicates=20)
    assert result.metric("m", "accuracy") == {"value": 1.0, "low": None, "high": None}
    assert result.metric("m", "auroc") == {"value": None, "low": None, "high": None}
    assert result.difference("m", "m", "nll") == {"value": 0.0, "low": None, "high": None}


def test_bootstrap__one_class_has_no_auroc():
    result = bootstrap({"m": torch.randn(9, 3)}, torch.zeros(9, dtype=torch.int64), replicates=20)
    assert result.metric("m", "auroc")["value"] is None
    assert result.metric("m", "balanced_accuracy")["low"] is not None


def test_bootstrap__a_resample_that_loses_a_class_has_no_auroc_and_does_no_harm():
    labels = torch.tensor([0] * 6 + [1])
    result = bootstrap({"m": torch.randn(7, 2, generator=torch.Generator().manual_seed(0))}, labels, replicates=100)
    assert np.isnan(result.replicates["m"]["auroc"]).any()
    interval = result.metric("m", "auroc")
    assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1


def test_bootstrap__perfect_predictions():
    labels = torch.arange(12) % 3
    result = bootstrap({"m": torch.eye(3)[labels] * 1000}, labels, replicates=50)
    for metric in METRICS:
        best = 1.0 if metric in ("accuracy", "balanced_accuracy", "f1_macro", "auroc") else 0.0
        assert result.metric("m", metric) == {"value": best, "low": best, "high": best}


def test_bootstrap__many_classes_rank_fewer_resamples(monkeypatch):
    logits, labels = predictions(60)
    monkeypatch.setattr(statistics, "AUROC_WORK", 0)
    monkeypatch.setattr(statistics, "AUROC_REPLICATES", 7)
    monkeypatch.setattr(statistics, "CHUNK", 60 * 5)
    values = bootstrap({"m": logits}, labels, replicates=20).replicates["m"]
    assert int(np.isfinite(values["auroc"]).sum()) == 7
    assert np.isfinite(values["nll"]).all()


# torchmetrics warns of absent classes
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bootstrap__a_thousand_classes():
    logits, labels = predictions(1500, num_classes=1000)
    result = bootstrap({"m": logits}, labels, replicates=30)
    expected = classification_metrics(logits, labels)
    assert result.points["m"] == pytest.approx({name: expected[name] for name in METRICS}, abs=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.tensor([[math.nan, 0.0]]), [0], "mlp: logits hold NaN"),
        (torch.tensor([[math.inf, 0.0]]), [0], "mlp: logits hold NaN or infinite"),
        (torch.zeros(2, 3), [0], "mlp: .*do not fit"),
        (torch.zeros(0, 3), [], "mlp: .*do not fit"),
        (torch.zeros(1, 3), [3], "mlp: gives 3 classes"),
    ],
)
def test_bootstrap__what_cannot_be_measured_is_refused_by_name(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        bootstrap({"mlp": logits}, torch.tensor(labels, dtype=torch.int64))


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (0, 1), (5, 5), (1, 9), (30, 12), (400, 500), (0, 3000)])
def test_mcnemar__equals_the_binomial_test(wins, losses):
    one = torch.tensor([True] * wins + [False] * losses + [True, False])
    other = torch.tensor([False] * wins + [True] * losses + [True, False])
    expected = binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(other, one) == mcnemar(one, other)
