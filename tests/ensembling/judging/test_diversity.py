import itertools

import numpy as np
import pytest
import torch

from ensembling.judging.diversity import diversity


def members(size=60, count=3, num_classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (size,), generator=generator)
    one_hot = torch.nn.functional.one_hot(labels, num_classes)
    return {f"m{i}": torch.randn(size, num_classes, generator=generator) + one_hot for i in range(count)}, labels


def test_diversity__equals_counting():
    logits, labels = members()
    result = diversity(logits, labels)
    assert [pair["members"] for pair in result["pairs"]] == [["m0", "m1"], ["m0", "m2"], ["m1", "m2"]]
    for pair, (one, other) in zip(result["pairs"], itertools.combinations(logits, 2), strict=True):
        a, b, y = logits[one].argmax(1).tolist(), logits[other].argmax(1).tolist(), labels.tolist()
        both = sum(p == q == t for p, q, t in zip(a, b, y, strict=True))
        neither = sum(p != t and q != t for p, q, t in zip(a, b, y, strict=True))
        only = sum(p == t != q for p, q, t in zip(a, b, y, strict=True))
        other_only = sum(q == t != p for p, q, t in zip(a, b, y, strict=True))
        errors = [[p != t for p, t in zip(one, y, strict=True)] for one in (a, b)]
        assert pair["disagreement"] == pytest.approx(sum(p != q for p, q in zip(a, b, strict=True)) / 60)
        assert pair["double_fault"] == pytest.approx(neither / 60)
        assert pair["error_correlation"] == pytest.approx(np.corrcoef(*errors)[0, 1])
        assert pair["q_statistic"] == pytest.approx(
            (both * neither - only * other_only) / (both * neither + only * other_only)
        )


def test_diversity__mean_is_over_pairs():
    logits, labels = members()
    result = diversity(logits, labels)
    for measure, mean in result["mean"].items():
        assert mean == pytest.approx(np.mean([pair[measure] for pair in result["pairs"]]))


def test_diversity__copies_are_not_diverse():
    logits, labels = members(count=1)
    pair = diversity({"one": logits["m0"], "copy": logits["m0"]}, labels)["pairs"][0]
    assert (pair["disagreement"], pair["error_correlation"], pair["q_statistic"]) == (0, pytest.approx(1), 1)


def test_diversity__wrong_in_two_ways_is_disagreement():
    pair = diversity({"a": torch.eye(3)[[1]], "b": torch.eye(3)[[2]]}, torch.tensor([0]))["pairs"][0]
    assert (pair["disagreement"], pair["double_fault"]) == (1, 1)


def test_diversity__a_perfect_member_has_no_error_correlation():
    logits, labels = members(count=1)
    result = diversity({"some": logits["m0"], "perfect": torch.eye(4)[labels]}, labels)
    assert result["mean"]["error_correlation"] is None
    assert result["mean"]["double_fault"] == 0


def test_diversity__a_single_member_has_no_pairs():
    result = diversity(*members(count=1))
    assert result["pairs"] == []
    assert set(result["mean"].values()) == {None}
