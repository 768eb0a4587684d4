import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest

from measures.influence import METRICS
from measures.intervals import mcnemar, measure, rate_interval, standard_error, t_quantile
from tests.helpers.scores import scored

WITH_INTERVALS = [name for name in METRICS if name != "ece"]


def binary(right):
    """Predictions of one class with labels so that some are right."""
    return torch.tensor([[1.0, 0.0]] * len(right)), torch.from_numpy(~np.asarray(right)).long()


@pytest.mark.parametrize(("hits", "size"), [(50, 50), (99, 100), (0, 10), (187, 359)])
def test_rate_interval__is_the_score_interval(hits, size):
    expected = binomtest(hits, size).proportion_ci(method="wilson")
    found = rate_interval(hits / size, size, 1.959964)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("accuracy", [0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize("size", [100, 300])
def test_accuracy__covers_as_often_as_it_says(size, accuracy):
    # exact, averaged over accuracies near by: at a single one, whole counts make coverage jump
    hits = np.arange(size + 1)
    low, high = np.array([rate_interval(hit / size, size, t_quantile(size - 1)) for hit in hits]).T
    near = accuracy + np.linspace(-0.25, 0.25, 21) * (1 - accuracy)
    covered = [binom.pmf(hits, size, truth)[(low <= truth) & (truth <= high)].sum() for truth in near]
    assert 0.94 <= np.mean(covered) <= 0.97


def test_metric__intervals_hold_their_values():
    logits, labels = scored(80, absent=(1,))
    result = measure({"m": logits}, labels)
    for name in WITH_INTERVALS:
        interval = result.metric("m", name)
        assert interval["low"] < interval["value"] < interval["high"], name


def test_metric__an_ece_has_no_interval():
    logits, labels = scored()
    interval = measure({"m": logits}, labels).metric("m", "ece")
    assert interval["value"] > 0
    assert (interval["low"], interval["high"]) == (None, None)


def test_metric__a_model_that_is_always_right():
    labels = torch.arange(100) % 4
    result = measure({"m": torch.eye(4)[labels] * 9}, labels)
    for name in ("accuracy", "balanced_accuracy", "f1_macro"):
        interval = result.metric("m", name)
        assert (interval["value"], interval["high"]) == (1, 1)
        assert interval["low"] == pytest.approx(0.963, abs=0.001), name
    for name in ("auroc", "nll", "brier"):
        assert result.metric("m", name)["low"] is None


def test_metric__groups_widen_the_interval():
    # ten copies of each sample tell no more than one
    logits, labels = scored(40)
    copies, same = logits.repeat(10, 1), labels.repeat(10)
    groups = torch.arange(40).repeat(10)
    naive, honest = measure({"m": copies}, same), measure({"m": copies}, same, groups=groups)
    for name in WITH_INTERVALS:
        wide, narrow = (found["high"] - found["low"] for found in (honest.metric("m", name), naive.metric("m", name)))
        assert wide > 2 * narrow, name


def test_metric__groups_of_one_are_samples():
    logits, labels = scored(60)
    alone, grouped = measure({"m": logits}, labels), measure({"m": logits}, labels, groups=torch.randperm(60))
    for name in WITH_INTERVALS:
        assert grouped.metric("m", name) == pytest.approx(alone.metric("m", name), rel=0.02), name


def test_metric__few_samples_or_groups_have_no_interval():
    logits, labels = scored(200)
    for result in (
        measure({"m": logits[:5]}, labels[:5]),
        measure({"m": logits}, labels, groups=torch.arange(200) % 5),
    ):
        assert result.metric("m", "accuracy")["low"] is None
        assert result.difference("m", "m", "nll")["low"] is None
    assert measure({"m": logits}, labels, groups=torch.arange(200) % 6).metric("m", "accuracy")["low"] is not None


def test_metric__one_class_has_no_auroc():
    result = measure({"m": torch.randn(9, 3)}, torch.zeros(9, dtype=torch.int64))
    assert result.metric("m", "auroc") == {"value": None, "low": None, "high": None}
    assert result.metric("m", "balanced_accuracy")["low"] is not None


def test_standard_error__is_that_of_the_mean():
    values = np.random.default_rng(0).normal(size=400)
    error, quantile = standard_error(values - values.mean(), None)
    assert error == pytest.approx(values.std(ddof=1) / 20)
    assert quantile == pytest.approx(1.966, abs=0.003)


def test_standard_error__what_rests_on_few_samples_is_uncertain():
    values = np.zeros(400)
    values[:2] = 5.0
    assert standard_error(values - values.mean(), None)[1] > 2.5


def test_standard_error__groups_are_summed():
    values, unit = np.random.default_rng(0).normal(size=60), np.arange(60) // 6
    means = (values - values.mean()).reshape(10, 6).mean(1)
    assert standard_error(values - values.mean(), unit)[0] == pytest.approx(means.std(ddof=1) / np.sqrt(10))


@pytest.mark.parametrize("metric", ["nll", "brier", "auroc"])
def test_metric__covers_as_often_as_it_says(metric):
    # 100 samples, 95 % right: the percentiles of resamples cover .85 of the NLL
    rng, covered, shown = np.random.default_rng(0), 0, 0
    strength = 2.33

    def draw(size):
        labels = rng.integers(0, 2, size)
        scores = rng.standard_normal((size, 2))
        scores[np.arange(size), labels] += strength
        return {"m": torch.from_numpy(strength * scores)}, torch.from_numpy(labels)

    truth = measure(*draw(200_000), [metric]).metric("m", metric)["value"]
    for _ in range(500):
        interval = measure(*draw(100), [metric]).metric("m", metric)
        if interval["low"] is not None:
            shown += 1
            covered += interval["low"] <= truth <= interval["high"]
    assert shown > 450
    assert 0.92 <= covered / shown <= 0.99


def test_difference__is_paired():
    logits, labels = scored(300)
    # differs on one sample alone: far less noise than either model has
    other = logits.clone()
    wrong = int((logits.argmax(1) == labels).nonzero()[0])
    other[wrong] = -logits[wrong]
    result = measure({"one": logits, "other": other}, labels, ["accuracy"])
    difference, own = result.difference("one", "other", "accuracy"), result.metric("one", "accuracy")
    assert difference["value"] == pytest.approx(1 / 300)
    assert -0.01 < difference["low"] < 0 < difference["high"] < 0.02
    assert own["high"] - own["low"] > 0.05


def test_difference__what_rounding_tells_apart_is_equal():
    logits, labels = scored()
    rounded = (logits.softmax(1) * 0.9 + logits.softmax(1) * 0.1).log()
    result = measure({"one": rounded, "other": logits}, labels, ["accuracy", "nll"])
    assert result.points["one"]["nll"] != result.points["other"]["nll"]
    for metric in ("accuracy", "nll"):
        assert result.difference("one", "other", metric) == {"value": 0, "low": 0, "high": 0}


def test_difference__models_that_are_right_on_the_same_samples_may_yet_differ():
    logits, labels = scored()
    interval = measure({"one": logits, "other": 2 * logits}, labels).difference("one", "other", "accuracy")
    assert interval["value"] == 0
    assert -0.02 < interval["low"] < 0 < interval["high"] < 0.02


def test_difference__covers_as_often_as_it_says():
    rng, covered = np.random.default_rng(0), dict.fromkeys(("accuracy", "nll", "auroc"), 0)
    for _ in range(400):
        labels = rng.integers(0, 3, 100)
        shared, scores = rng.standard_normal((100, 3)), rng.standard_normal((2, 100, 3))
        scores = 0.9 * shared + np.sqrt(1 - 0.81) * scores
        scores[:, np.arange(100), labels] += 2
        # both are equally good
        result = measure({str(k): torch.from_numpy(2 * scores[k]) for k in (0, 1)}, torch.from_numpy(labels))
        for metric in covered:
            interval = result.difference("0", "1", metric)
            covered[metric] += interval["low"] <= 0 <= interval["high"]
    for metric, count in covered.items():
        assert 0.92 <= count / 400 <= 0.98, metric


def test_measure__does_not_depend_on_what_else_is_asked():
    logits, labels = scored()
    alone = measure({"one": logits}, labels, ["nll"])
    together = measure({"other": scored(seed=9)[0], "one": logits}, labels)
    assert alone.metric("one", "nll") == together.metric("one", "nll")


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (0, 1), (5, 5), (1, 9), (30, 12), (400, 500), (0, 3000)])
def test_mcnemar__equals_the_binomial_test(wins, losses):
    one = torch.tensor([True] * wins + [False] * losses + [True, False])
    other = torch.tensor([False] * wins + [True] * losses + [True, False])
    expected = binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(other, one) == mcnemar(one, other)
