from types import SimpleNamespace

import pytest
import torch

from measures.regression import regression_intervals
from pipelines.report.runs import SavedValues
from pipelines.report.sweeps import pooled_metrics


def part(ids, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(ids), generator=generator, dtype=torch.float64)
    return SavedValues(torch.tensor(ids), values, values + 0.5 * torch.randn(len(ids), generator=generator).double())


def of_parts(*parts):
    return [SimpleNamespace(metrics={"mse": {}}, run=SimpleNamespace(values=lambda _, own=own: own)) for own in parts]


def test_pooled_values__are_measured_as_one_data_set():
    one, other = part(range(10), 0), part(range(10, 30), 1)
    found = pooled_metrics(of_parts(one, other), "test", ["mse", "r2"])
    together = [torch.cat([getattr(own, name) for own in (one, other)]) for name in ("predictions", "values")]
    exact = regression_intervals(*together)
    assert found == {"mse": exact["mse"], "r2": exact["r2"]}


def test_pooled_values__a_sample_in_two_parts_or_a_lost_part_is_told():
    with pytest.raises(ValueError, match="5 samples were tested in two parts"):
        pooled_metrics(of_parts(part(range(10), 0), part(range(5, 20), 1)), "test", ["mse"])
    with pytest.raises(ValueError, match="1 of 2 parts have no predictions to pool"):
        pooled_metrics(of_parts(part(range(10), 0), None), "test", ["mse"])
