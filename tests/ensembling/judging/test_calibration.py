import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from ensembling.judging.calibration import apply_temperature, calibrated_bases, fit_temperature
from measures.bootstrap import bootstrap
from measures.calibration import ece_by_chance
from tests.helpers.meta import meta_samples


def samples(scale=1.0, seed=0):
    logits, labels = meta_samples(bases=1, num_classes=5, seed=seed)
    return logits[:, 0] * scale, labels


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_fit_temperature__equals_scipys(scale):
    logits, labels = samples(scale)

    def nll(log_t):
        return float(torch.nn.functional.cross_entropy(logits.double() / np.exp(log_t), labels))

    reference = np.exp(minimize_scalar(nll, bounds=(-4.6, 4.6), method="bounded", options={"xatol": 1e-10}).x)
    assert fit_temperature(logits, labels) == pytest.approx(reference, rel=1e-4)


def test_fit_temperature__equals_scikit_learns():
    logits, labels = samples(3.0)
    x, y = logits.double().numpy(), labels.numpy()
    identity = LogisticRegression().fit(x, y)
    identity.coef_, identity.intercept_ = np.eye(5), np.zeros(5)
    calibrated = CalibratedClassifierCV(FrozenEstimator(identity), method="temperature").fit(x, y)
    ours = apply_temperature(logits.double(), fit_temperature(logits, labels)).softmax(1).numpy()
    assert np.abs(ours - calibrated.predict_proba(x)).max() < 1e-3


def test_fit_temperature__all_right_says_nothing():
    labels = torch.arange(20) % 4
    logits = torch.nn.functional.one_hot(labels, 4) * 3.0
    assert fit_temperature(logits, labels) == 1


def test_fit_temperature__one_wrong_by_a_hair_is_bounded():
    labels = torch.arange(20) % 4
    logits = torch.nn.functional.one_hot(labels, 4) * 3.0
    logits[0] = torch.tensor([0.0, 1e-6, -3, -3])
    assert 0.01 <= fit_temperature(logits, labels) < 0.5


def test_fit_temperature__no_better_than_chance_is_bounded():
    labels = torch.arange(20) % 4
    wrong = torch.nn.functional.one_hot((labels + 1) % 4, 4) * 3.0
    assert fit_temperature(wrong, labels) == pytest.approx(100)
    assert 0.01 <= fit_temperature(torch.zeros(20, 4), labels) <= 100


def test_fit_temperature__minus_infinity_is_no_probability():
    logits, labels = samples()
    logits = torch.cat([logits, torch.full((len(logits), 1), -torch.inf)], 1)
    assert fit_temperature(logits, labels) == pytest.approx(fit_temperature(logits[:, :5], labels))


@pytest.mark.parametrize("logits", [torch.full((2, 3), torch.nan), torch.tensor([[torch.inf, 0.0], [0.0, 1.0]])])
def test_fit_temperature__what_is_no_number_is_refused(logits):
    with pytest.raises(ValueError, match="not finite"):
        fit_temperature(logits, torch.tensor([0, 1]))


def test_fit_temperature__no_samples():
    with pytest.raises(ValueError, match="no samples"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_apply_temperature__must_be_positive():
    with pytest.raises(ValueError, match="above 0"):
        apply_temperature(torch.zeros(1, 2), 0.0)


def test_calibrated_bases__each_has_its_own_temperature():
    logits, labels = meta_samples()
    scaled = calibrated_bases(logits * torch.tensor([1.0, 3.0, 0.2])[: logits.shape[1], None], labels)
    assert [fit_temperature(scaled[:, base], labels) for base in range(logits.shape[1])] == pytest.approx(
        [1.0] * logits.shape[1], abs=1e-6
    )


@pytest.mark.parametrize("size", [300, 2000])
def test_ece_by_chance__is_exceeded_by_few_calibrated_models(size):
    generator = torch.Generator().manual_seed(0)
    exceeded = noted = 0
    for seed in range(60):
        logits = 2 * torch.randn(size, 4, generator=generator)
        # labels of the model's own probabilities: its true calibration error is 0
        labels = torch.multinomial(logits.double().softmax(1), 1, generator=generator)[:, 0]
        drawn = bootstrap({"a": logits}, labels, ["ece"], 100)
        exceeded += drawn.points["a"]["ece"] > ece_by_chance(logits, seed)
        noted += drawn.metric("a", "ece")["low"] > 0
    assert exceeded <= 6
    assert noted <= 6
    # twice as sure as it may be
    assert bootstrap({"a": 2 * logits}, labels, ["ece"], 100).metric("a", "ece")["low"] > 0
