import numpy as np
import pytest
import torch

from measures import bootstrap as statistics
from measures.bootstrap import gains_beyond_noise, less_best, pair_errors, resample
from measures.intervals import accuracy_difference, measure


def runs(count, size=300, accuracy=0.9, seed=0, groups=None):
    """Draw which samples some equally good models are right on; they find the same samples difficult."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal(size) if groups is None else rng.standard_normal(groups.max() + 1)[groups]
    scores = 0.8 * shared + 0.6 * rng.standard_normal((count, size))
    return scores < np.quantile(rng.standard_normal(100_000), accuracy)


def test_resample__parts_hold_all_replicates(monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK", 100)
    parts = list(resample(30, 10, 0))
    assert [part.shape for part in parts] == [(30, 3), (30, 3), (30, 3), (30, 1)]
    assert all((part.sum(0) == 30).all() for part in parts)
    assert len(np.unique(np.concatenate(parts, 1), axis=1).T) == 10


@pytest.mark.parametrize("groups", [None, np.arange(300) % 20])
def test_pair_errors__are_those_of_each_pair(groups):
    right = runs(4, groups=groups)
    errors = pair_errors(right, groups)
    for one in range(4):
        for other in range(4):
            if one != other:
                own = accuracy_difference(right[one], right[other], groups)[1]
                # groups that look alike by chance do not make a pair more certain than the others
                assert errors[one, other] == pytest.approx(own) or (groups is not None and errors[one, other] > own)


@pytest.mark.parametrize("count", [5, 12, 30])
def test_less_best__equal_runs_are_seldom_told_from_the_best(count, monkeypatch):
    monkeypatch.setattr(statistics, "REPLICATES", 200)
    told = 0
    for seed in range(60):
        right = runs(count, seed=seed)
        found = less_best(right, int(right.mean(1).argmax()))
        told += any(interval["high"] < 0 for interval in found)
    # 3 expected; each by itself, 12 runs would be told apart in most draws
    assert told <= 7


def test_less_best__groups_count_as_one_sample_each(monkeypatch):
    monkeypatch.setattr(statistics, "REPLICATES", 200)
    groups, told = np.arange(600) % 20, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        # all images of a patient are right or wrong together
        right = (rng.random((6, 20)) < 0.8)[:, groups]
        told += any(interval["high"] < 0 for interval in less_best(right, int(right.mean(1).argmax()), groups))
    assert told <= 6


def test_less_best__a_run_that_is_far_worse_is_told():
    right = np.stack([runs(2)[0], runs(2)[1], runs(1, accuracy=0.6, seed=5)[0]])
    best = int(right.mean(1).argmax())
    found = less_best(right, best)
    assert found[2]["high"] < 0
    assert found[1 - best]["high"] > 0
    assert found[best] == {"value": 0, "low": 0, "high": 0}
    assert found[2]["value"] == pytest.approx(right[2].mean() - right[best].mean())


def test_less_best__one_run_and_few_samples():
    assert less_best(runs(1), 0) == [{"value": 0.0, "low": 0.0, "high": 0.0}]
    assert [found["low"] for found in less_best(runs(3, size=5), 0)] == [None] * 3


def equal_models(names, size, seed, better=None):
    """Draw logits of models that find the same samples difficult; all are equally good, but for one."""
    rng = np.random.default_rng(seed)
    labels, shared = rng.integers(0, 4, size), rng.standard_normal((size, 4))
    logits = {}
    for name in names:
        scores = 0.95 * shared + np.sqrt(1 - 0.95**2) * rng.standard_normal((size, 4))
        strength = 2.75 if name == better else 2.3
        scores[np.arange(size), labels] += strength
        logits[name] = torch.from_numpy(strength * scores)
    return measure(logits, torch.from_numpy(labels), ["accuracy", "nll"])


def test_gains_beyond_noise__equal_models_seldom_have_any():
    names = ["base", "a", "b", "c"]
    claims = sum(
        any(gains_beyond_noise(equal_models(names, 300, seed), names[1:], "base", 200, seed).values())
        for seed in range(80)
    )
    # 4 expected; each by itself would make about 16
    assert claims <= 9


def test_gains_beyond_noise__finds_what_is_better():
    found = gains_beyond_noise(equal_models(["base", "a", "b"], 500, 0, "b"), ["a", "b"], "base")
    assert found == {"a": set(), "b": {"accuracy", "nll"}}
    worse = gains_beyond_noise(equal_models(["base", "a", "b"], 500, 0, "base"), ["a", "b"], "base")
    assert worse == {"a": set(), "b": set()}


def test_gains_beyond_noise__the_same_model_twice_has_none():
    measured = equal_models(["base"], 200, 0)
    measured.models["again"] = measured.models["base"]
    assert gains_beyond_noise(measured, ["again"], "base") == {"again": set()}
