"""Metrics of predicted numbers, with 95 % intervals; docs/evidence.md has their coverage."""

import math

import numpy as np
from torch import Tensor

from measures.influence import Floats
from measures.intervals import MIN_UNITS, Interval, numbered, standard_error, undefined


def regression_metrics(predictions: Tensor, values: Tensor) -> dict[str, float]:
    """Compute the metrics of predicted numbers.

    Args:
        predictions: float64, shape `(sample,)`
        values: that are true, likewise

    Returns:
        mse (mean square of the errors), rmse (its root), mae (mean size of the errors), all in the units of the values,
        and r2, as scikit-learn's r2_score: 1 less the mse over the variance of the values; NaN where they are all equal
    """
    errors = predictions.double() - values.double()
    mse, variance = float(errors.square().mean()), float(values.double().var(correction=0))
    mae = float(errors.abs().mean())
    return {
        "mse": mse,
        "rmse": math.sqrt(mse),
        "mae": mae,
        "r2": 1 - mse / variance if variance > 0 else float("nan"),
    }


def regression_intervals(predictions: Tensor, values: Tensor, groups: Tensor | None = None) -> dict[str, Interval]:
    """Compute metrics with their intervals, for other samples and one training.

    An error's mean is positive and skewed: its interval is that of its logarithm. That of r2 is of the logarithm of the
    mse over the variance, to both of which a sample adds.

    Args:
        predictions: shape `(sample,)`
        values: that are true, shape `(sample,)`
        groups: of samples that are not independent, shape `(sample,)`; None takes each for itself
    """
    found = regression_metrics(predictions, values)
    true = values.double().cpu().numpy()
    errors = predictions.double().cpu().numpy() - true
    unit = numbered(None if groups is None else groups.cpu())
    units = len(true) if unit is None else int(unit.max()) + 1
    squares, sizes, spread = np.square(errors), np.abs(errors), np.square(true - true.mean())
    if units < MIN_UNITS or not found["mse"]:
        return {
            name: undefined() if math.isnan(value) else {"value": value, "low": None, "high": None}
            for name, value in found.items()
        }

    def stretch(relative: Floats) -> float:
        error, quantile = standard_error(relative, unit)
        return math.exp(min(quantile * error, 700.0))

    mse, mae, r2 = found["mse"], found["mae"], found["r2"]
    by = stretch(squares / mse - 1)
    intervals: dict[str, Interval] = {
        "mse": {"value": mse, "low": mse / by, "high": mse * by},
        "rmse": {"value": found["rmse"], "low": math.sqrt(mse / by), "high": math.sqrt(mse * by)},
    }
    by = stretch(sizes / mae - 1)
    intervals["mae"] = {"value": mae, "low": mae / by, "high": mae * by}
    if math.isnan(r2):
        return intervals | {"r2": undefined()}
    by = stretch(squares / mse - spread / spread.mean())
    return intervals | {"r2": {"value": r2, "low": 1 - (1 - r2) * by, "high": 1 - (1 - r2) / by}}
