import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from ensembling.judging.calibration import NOISE, PRIOR, apply_temperature, calibrated_bases, fit_temperature
from tests.helpers.meta import meta_samples


def samples(scale=1.0, seed=0):
    logits, labels = meta_samples(bases=1, num_classes=5, seed=seed)
    return logits[:, 0] * scale, labels


def negative_log_posterior(logits, labels, log_t):
    nll = torch.nn.functional.cross_entropy(logits.double() / np.exp(log_t), labels, reduction="sum")
    return float(nll) + PRIOR * (np.exp(-log_t) + log_t)


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_fit_temperature__is_what_gains_more_than_noise_of_the_most_likely(scale):
    logits, labels = samples(scale)
    bounds = {"bounds": (-4.6, 4.6), "method": "bounded", "options": {"xatol": 1e-10}}
    found = minimize_scalar(lambda log_t: negative_log_posterior(logits, labels, log_t), **bounds).x
    before, after = (
        float(torch.nn.functional.cross_entropy(logits.double() / t, labels, reduction="sum"))
        for t in (1, np.exp(found))
    )
    kept = max(0, 1 - NOISE / (before - after))
    assert fit_temperature(logits, labels) == pytest.approx(np.exp(kept * found), rel=1e-4)


def test_fit_temperature__of_many_samples_is_scikit_learns():
    logits, labels = meta_samples(20_000, bases=1, num_classes=5)
    logits = logits[:, 0] * 3
    x, y = logits.double().numpy(), labels.numpy()
    identity = LogisticRegression().fit(x, y)
    identity.coef_, identity.intercept_ = np.eye(5), np.zeros(5)
    calibrated = CalibratedClassifierCV(FrozenEstimator(identity), method="temperature").fit(x, y)
    ours = apply_temperature(logits.double(), fit_temperature(logits, labels)).softmax(1).numpy()
    assert np.abs(ours - calibrated.predict_proba(x)).max() < 1e-3


def test_fit_temperature__of_a_calibrated_model_with_few_errors_does_no_harm():
    """What benchmarks/temperature.py shows, in small: 287 samples, right in .987 of them."""
    generator = torch.Generator().manual_seed(0)
    pool = 6.2 * torch.randn(4000, 4, generator=generator, dtype=torch.float64)
    p = pool.softmax(1)
    expected = (p * pool).sum(1).mean()
    excess = []
    for _ in range(80):
        drawn = torch.randint(0, len(pool), (287,), generator=generator)
        labels = torch.multinomial(p[drawn], 1, generator=generator)[:, 0]
        t = fit_temperature(pool[drawn], labels)
        nll = (pool / t).logsumexp(1).mean() - expected / t
        excess.append(float(nll / (pool.logsumexp(1).mean() - expected) - 1))
    assert float(np.mean(np.array(excess) <= 0.05)) >= 0.95


@pytest.mark.parametrize("ideal", [0.5, 3.0])
def test_fit_temperature__of_many_samples_is_the_ideal_one(ideal):
    generator = torch.Generator().manual_seed(0)
    calibrated = 3 * torch.randn(5000, 4, generator=generator, dtype=torch.float64)
    p = calibrated.softmax(1)
    labels = torch.multinomial(p, 1, generator=generator)[:, 0]
    t = fit_temperature(calibrated * ideal, labels)
    loss = [float((rows.logsumexp(1) - (p * rows).sum(1)).mean()) for rows in (calibrated * (ideal / t), calibrated)]
    assert loss[0] <= 1.02 * loss[1]


def test_fit_temperature__no_jump_between_none_and_one_error():
    labels = torch.arange(20) % 4
    logits = torch.nn.functional.one_hot(labels, 4) * 3.0
    found = []
    for other in (-1e-6, 1e-6):
        logits[0] = torch.tensor([0.0, other, -3, -3])
        found.append(fit_temperature(logits, labels))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_fit_temperature__all_right_does_not_make_an_error_impossible():
    labels = torch.arange(20) % 4
    logits = torch.nn.functional.one_hot(labels, 4) * 3.0
    assert 0.5 < fit_temperature(logits, labels) < 1
    # hardly any likelihood is left to gain
    assert fit_temperature(logits * 3, labels) == 1


def test_fit_temperature__worse_than_chance_is_bounded():
    labels = torch.arange(20) % 4
    wrong = torch.nn.functional.one_hot((labels + 1) % 4, 4) * 3.0
    assert 1 < fit_temperature(wrong, labels) <= 100
    assert fit_temperature(wrong * 1e9, labels) == pytest.approx(100, rel=0.05)
    assert fit_temperature(torch.zeros(20, 4), labels) == 1


def test_fit_temperature__a_group_tells_as_much_as_a_sample():
    logits, labels = samples(3.0)
    again = fit_temperature(logits.repeat(5, 1), labels.repeat(5), torch.arange(len(labels)).repeat(5))
    assert again == pytest.approx(fit_temperature(logits, labels), rel=1e-9)
    assert fit_temperature(logits.repeat(5, 1), labels.repeat(5)) > again > 1


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
    # a second temperature changes little
    assert [fit_temperature(scaled[:, base], labels) for base in range(logits.shape[1])] == pytest.approx(
        [1.0] * logits.shape[1], abs=0.1
    )
