import numpy as np
import torch

from pipelines.report.runs import SavedValues
from pipelines.report.values import differences_to_best


def runs(*noises, count=200, seed=0, groups=None):
    rng = np.random.default_rng(seed)
    values, shared = torch.from_numpy(rng.normal(0, 2, count)), rng.normal(size=count)
    found = []
    for noise in noises:
        order = torch.from_numpy(rng.permutation(count))
        errors = torch.from_numpy(noise * (shared + 0.3 * rng.normal(size=count)))
        own = None if groups is None else groups[order]
        found.append(SavedValues(order, values[order], (values + errors)[order], own))
    return found


def test_differences__tell_a_worse_run_and_not_an_equal_one():
    best, (one, other, worse) = differences_to_best(runs(1.0, 1.0, 2.0, seed=1))
    assert best in (0, 1)
    assert (one, other)[best]["value"] == 0
    assert (one, other)[1 - best]["low"] < 0 < (one, other)[1 - best]["high"]
    assert worse["low"] > 0


def test_differences__of_equal_runs_one_is_rarely_told():
    told = 0
    for seed in range(200):
        _, found = differences_to_best(runs(1.0, 1.0, 1.0, 1.0, count=60, seed=seed))
        told += any(difference["low"] > 0 for difference in found)
    assert told <= 200 * 0.09


def test_differences__few_groups_have_no_interval():
    _, found = differences_to_best(runs(1.0, 2.0, count=40, groups=torch.arange(40) % 4))
    assert [difference["low"] for difference in found] == [None, None]
