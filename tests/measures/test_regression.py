import math

import numpy as np
import pytest
import torch
from sklearn import metrics

from measures.regression import regression_intervals, regression_metrics


def drawn(count, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(5, 2, count))
    return values + noise * torch.from_numpy(rng.normal(size=count)), values


def test_metrics__are_those_of_scikit_learn():
    predictions, values = drawn(50)
    found = regression_metrics(predictions, values)
    one, other = values.numpy(), predictions.numpy()
    assert found["mse"] == pytest.approx(metrics.mean_squared_error(one, other))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(one, other))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(one, other))
    assert found["r2"] == pytest.approx(metrics.r2_score(one, other))


def test_metrics__r2_of_equal_values_is_not_defined():
    found = regression_metrics(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0]))
    assert math.isnan(found["r2"])
    intervals = regression_intervals(torch.arange(8.0), torch.full((8,), 3.0))
    assert intervals["r2"] == {"value": None, "low": None, "high": None}


def test_intervals__hold_the_true_value_as_often_as_they_say():
    # R2 of noise 1 on a deviation of 2 is 0.75, the mean square 1, the mean size sqrt(2 / pi)
    true = {"mse": 1.0, "rmse": 1.0, "mae": math.sqrt(2 / math.pi), "r2": 0.75}
    held = dict.fromkeys(true, 0)
    for seed in range(400):
        for name, found in regression_intervals(*drawn(100, seed)).items():
            held[name] += found["low"] <= true[name] <= found["high"]
    assert all(0.91 < count / 400 < 0.99 for count in held.values()), held


def test_intervals__groups_count_as_one_sample_each():
    predictions, values = drawn(20)
    alone = regression_intervals(predictions, values)["mse"]
    repeated = predictions.repeat(10), values.repeat(10)
    grouped = regression_intervals(*repeated, torch.arange(20).repeat(10))["mse"]
    blind = regression_intervals(*repeated)["mse"]
    assert (grouped["low"], grouped["high"]) == pytest.approx((alone["low"], alone["high"]))
    assert blind["high"] - blind["low"] < (grouped["high"] - grouped["low"]) / 2


def test_intervals__few_samples_and_no_error_have_none():
    predictions, values = drawn(5)
    assert regression_intervals(predictions, values)["mse"]["low"] is None
    assert regression_intervals(values.repeat(4), values.repeat(4))["mse"] == {"value": 0.0, "low": None, "high": None}
