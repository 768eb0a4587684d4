import itertools

import numpy as np
import pytest
import torch

from ensembling.judging.selection import (
    beaten_by,
    best_member,
    by_simplicity,
    mean_score,
    pareto_front,
    prune_to_budget,
    recommend,
    worth,
)
from ensembling.logits import mean_logits
from measures.classification import classification_metrics
from measures.intervals import measure


def members(size=600, count=4, num_classes=3, strength=1.5, seed=0):
    """Members that err independently, each a little worse than the one before."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (size,), generator=generator)
    one_hot = torch.nn.functional.one_hot(labels, num_classes)
    return {
        f"m{i}": torch.randn(size, num_classes, generator=generator) + one_hot * (strength - 0.2 * i)
        for i in range(count)
    }, labels


def measured(logits, labels):
    return measure(logits, labels, ["accuracy", "nll"])


def beats(result, model, other, smallest_gain=0.001):
    return bool(beaten_by(result, other, [model], smallest_gain, replicates=300))


def stack(logits):
    return torch.stack(list(logits.values()), 1)


# worth


def test_worth__is_the_mean_without_the_member():
    logits, labels = members()
    rows = worth(logits, labels, shares={"m0": 0.75, "m1": 0.25})
    whole = classification_metrics(mean_logits(stack(logits)), labels)
    for row in rows:
        left = {name: rows for name, rows in logits.items() if name != row["member"]}
        without = classification_metrics(mean_logits(stack(left)), labels)
        for metric in ("accuracy", "nll"):
            assert row[metric]["value"] == pytest.approx(without[metric] - whole[metric])
            assert row[metric]["low"] <= row[metric]["value"] <= row[metric]["high"]
    assert [row["greedy_share"] for row in rows] == [0.75, 0.25, None, None]
    # the best is missed most
    assert rows[0]["nll"]["value"] == max(row["nll"]["value"] for row in rows) > 0


def test_worth__of_any_head():
    logits, labels = members(count=3)
    seen = []

    def first(kept):
        seen.append(kept.shape[1])
        return kept[:, 0]

    rows = worth(logits, labels, first)
    assert seen == [3, 2, 2, 2]
    # a head that takes the first member alone misses nobody but that one
    assert rows[0]["nll"]["value"] != 0
    assert [row["nll"]["value"] for row in rows[1:]] == [0, 0]


def test_worth__of_the_only_member_is_undefined():
    logits, labels = members(count=1)
    assert worth(logits, labels)[0]["accuracy"] == {"value": None, "low": None, "high": None}


# cost


def test_pareto_front__leaves_out_what_is_dominated():
    rng = np.random.default_rng(0)
    cost = {str(i): float(c) for i, c in enumerate(rng.integers(1, 8, 30))}
    accuracy = {str(i): float(a) for i, a in enumerate(rng.integers(1, 8, 30))}

    def dominated(name):
        return any(
            cost[o] <= cost[name]
            and accuracy[o] >= accuracy[name]
            and (cost[o], accuracy[o]) != (cost[name], accuracy[name])
            for o in cost
        )

    assert set(pareto_front(cost, accuracy)) == {name for name in cost if not dominated(name)}
    assert pareto_front({}, {}) == []


@pytest.mark.parametrize("metric", ["nll", "accuracy"])
def test_mean_score__is_that_of_the_mean(metric):
    logits, labels = members()
    score, stacked = mean_score(stack(logits), labels, metric), stack(logits)
    for subset in [(0,), (1, 3), (0, 1, 2, 3)]:
        expected = classification_metrics(mean_logits(stacked[:, list(subset)]), labels)[metric]
        assert score(subset) == pytest.approx(-expected if metric == "nll" else expected)


def test_prune_to_budget__is_the_best_of_all_subsets_that_fit():
    logits, labels = members(count=5)
    cost = dict(zip(logits, [3.0, 1.0, 2.5, 0.5, 0.7], strict=True))
    score = mean_score(stack(logits), labels)
    for budget in (0.5, 1.2, 3.0, 4.5, 100):
        chosen = prune_to_budget(cost, budget, score)
        numbers = {name: number for number, name in enumerate(cost)}
        fitting = [
            subset
            for size in range(1, 6)
            for subset in itertools.combinations(range(5), size)
            if sum(cost[f"m{i}"] for i in subset) <= budget
        ]
        assert sum(cost[name] for name in chosen) <= budget
        assert score(tuple(numbers[name] for name in chosen)) == max(score(subset) for subset in fitting)


def test_prune_to_budget__a_member_that_harms_is_left_out():
    logits, labels = members(count=2)
    logits["harmful"] = -5 * logits["m0"]
    assert prune_to_budget(dict.fromkeys(logits, 1.0), 10, mean_score(stack(logits), labels)) == ["m0", "m1"]


def test_prune_to_budget__the_sum_of_all_fits_its_own_budget():
    cost = {"a": 0.1, "b": 0.2, "c": 0.3}
    assert prune_to_budget(cost, 0.6, len) == ["a", "b", "c"]


def test_prune_to_budget__equal_scores_take_the_cheapest():
    assert prune_to_budget({"a": 2.0, "b": 1.0}, 5, lambda members: 0.0) == ["b"]


def test_prune_to_budget__many_members_are_added_one_by_one():
    value = {i: float((7 * i) % 16) for i in range(16)}
    tried = []

    def score(subset):
        tried.append(subset)
        return sum(value[i] for i in subset)

    chosen = prune_to_budget({str(i): 1.0 for i in range(16)}, 3, score)
    assert {value[int(name)] for name in chosen} == {15.0, 14.0, 13.0}
    assert chosen == sorted(chosen, key=int)
    assert len(tried) < 200


def test_prune_to_budget__no_member_fits():
    with pytest.raises(ValueError, match=r"no member fits max_ms_per_image 0.5: the cheapest, b, takes 1 ms; raise"):
        prune_to_budget({"a": 2.0, "b": 1.0}, 0.5, len)


# recommendation


def test_by_simplicity__tuned_mean_is_not_a_mean():
    assert by_simplicity(["own", "mlp", "logistic", "greedy", "tuned_mean", "mean"]) == [
        "mean",
        "tuned_mean",
        "greedy",
        "logistic",
        "mlp",
        "own",
    ]


def test_best_member__equal_accuracies_are_told_apart_by_likelihood():
    labels = torch.arange(30) % 3
    sure, unsure = torch.eye(3)[labels] * 5, torch.eye(3)[labels]
    assert best_member(measured({"unsure": unsure, "sure": sure}, labels), ["unsure", "sure"]) == "sure"


def test_beats__only_beyond_noise():
    logits, labels = members(count=1)
    plain = logits["m0"]
    better = plain + torch.nn.functional.one_hot(labels, 3)
    noise = plain + 1e-3 * torch.randn(600, 3, generator=torch.Generator().manual_seed(1))
    result = measured({"plain": plain, "better": better, "noise": noise}, labels)
    assert beats(result, "better", "plain")
    assert not beats(result, "plain", "better")
    assert not beats(result, "noise", "plain")


def test_beats__accuracy_comes_before_likelihood():
    logits, labels = members(count=1)
    plain = logits["m0"]
    # right as often as plain, but sure of its errors
    reckless = plain * 30
    # often sure of an error, but right more often
    gaining = (plain + torch.nn.functional.one_hot(labels, 3)) * 300
    result = measured({"plain": plain, "reckless": reckless, "gaining": gaining}, labels)
    assert result.difference("gaining", "plain", "nll")["low"] > 0
    assert beats(result, "plain", "reckless")
    assert not beats(result, "reckless", "plain")
    assert beats(result, "gaining", "plain")
    # a better likelihood does not make up for errors
    assert not beats(result, "plain", "gaining")


def test_recommend__mean_of_independent_members():
    logits, labels = members(count=4, strength=2.0)
    mean = mean_logits(stack(logits))
    jitter = torch.randn(600, 3, generator=torch.Generator().manual_seed(2)) * 0.01
    heads = {"logistic": mean + jitter, "tuned_mean": mean - jitter, "mean": mean}
    result = recommend(measured({**logits, **heads}, labels), list(logits), list(heads))
    assert result.model == "mean"
    assert result.order == ["m0", "mean", "tuned_mean", "logistic"]
    assert result.best_member == "m0"
    assert result.head_helps is False
    assert result.sentence.startswith(
        "Use mean: on 600 held-out samples it beats the simpler m0 beyond noise (accuracy +"
    )
    assert "no head beats the tuned mean beyond noise, so the simpler model is recommended" in result.sentence


def test_recommend__names_the_metric_that_the_claim_rests_on():
    logits, labels = members(count=1)
    # the same decisions, and surer where they are right
    right = (logits["m0"].argmax(1) == labels)[:, None]
    surer = torch.where(right, logits["m0"] * 4, logits["m0"])
    result = recommend(measured({**logits, "mean": surer}, labels), ["m0"], ["mean"])
    assert result.sentence.startswith("Use mean: on 600 held-out samples it beats the simpler m0 beyond noise (NLL -")
    assert "accuracy" not in result.sentence


def test_recommend__few_samples_make_no_claim_beyond_noise():
    labels = torch.arange(18) % 3
    good = torch.nn.functional.one_hot(labels, 3) * 3.0
    poor = torch.randn(18, 3, generator=torch.Generator().manual_seed(0))
    result = recommend(measured({"m0": poor, "mean": good}, labels), ["m0"], ["mean"])
    assert "it beats the simpler m0 as far as 18 samples or groups can tell (" in result.sentence
    assert "beyond noise" not in result.sentence


def test_recommend__a_head_that_is_better_beyond_noise():
    logits, labels = members()
    mean = mean_logits(stack(logits))
    heads = {"mean": mean, "tuned_mean": mean, "logistic": mean + torch.nn.functional.one_hot(labels, 3)}
    result = recommend(measured({**logits, **heads}, labels), list(logits), list(heads))
    assert (result.model, result.head_helps) == ("logistic", True)
    assert "no head beats" not in result.sentence


def test_recommend__a_single_member_is_enough():
    logits, labels = members(count=1)
    result = recommend(measured({**logits, "mean": logits["m0"].double()}, labels), ["m0"], ["mean"])
    assert (result.model, result.head_helps) == ("m0", None)
    assert recommend(measured(logits, labels), ["m0"], []).sentence == "Use m0: there is nothing to compare it with."


def test_recommend__one_sample_shows_nothing_beyond_noise():
    logits, labels = members(size=1)
    heads = {"mean": mean_logits(stack(logits))}
    result = recommend(measured({**logits, **heads}, labels), list(logits), list(heads))
    assert result.model == result.best_member


def test_recommend__equal_models_are_seldom_told_apart():
    more = helps = 0
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 3, (300,), generator=generator)
        shared = torch.randn(300, 3, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 3)
        names = ["m0", "m1", "mean", "tuned_mean", "logistic", "mlp"]
        logits = {name: 2 * shared + 0.5 * torch.randn(300, 3, generator=generator) for name in names}
        result = recommend(measured(logits, labels), names[:2], names[2:], replicates=200, seed=seed)
        more += result.model not in names[:2]
        helps += result.head_helps
    assert more <= 6
    assert helps <= 3


def slightly_better(gain, size=4000):
    """A member, and a head that is right on a few samples more."""
    labels = torch.arange(size) % 2
    right = torch.nn.functional.one_hot(labels, 2).double()
    wrong = 1 - right
    errors = size // 10
    member = torch.cat([wrong[:errors], right[errors:]])
    fewer = errors - round(gain * size)
    head = torch.cat([wrong[:fewer], right[fewer:]])
    return measured({"m0": member, "logistic": head}, labels)


def test_recommend__a_gain_that_does_not_matter_is_not_followed():
    # beyond noise: 12 samples more, and none fewer
    result = slightly_better(0.003)
    assert beats(result, "logistic", "m0")
    assert not beats(result, "logistic", "m0", smallest_gain=0.01)
    assert recommend(result, ["m0"], ["logistic"], smallest_gain=0.01).model == "m0"


def test_recommend__says_what_a_gain_costs():
    result = recommend(slightly_better(0.003), ["m0"], ["logistic"], costs={"m0": 0.5, "logistic": 5.0})
    assert result.model == "logistic"
    assert "it takes 10.0 times as long as m0 (5 and 0.5 ms an image)" in result.sentence
    unknown = recommend(slightly_better(0.003), ["m0"], ["logistic"], costs={"m0": None, "logistic": None})
    assert "times as long" not in unknown.sentence
