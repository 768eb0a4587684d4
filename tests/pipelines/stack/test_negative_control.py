from functools import partial

import pytest
import torch

from ensembling.heads.fitting import LogisticHead
from ensembling.heads.pooling import MeanHead, TunedMeanHead
from ensembling.judging.predictions import Predictions
from pipelines.stack.fitted import fit_one
from pipelines.stack.members import MemberLogits
from pipelines.stack.negative_control import NOISE, PERMUTED, chance_row, negative_control
from pipelines.stack.plan import Member, StackPlan
from tests.helpers.meta import meta_samples


def samples(count, seed, start=0):
    logits, labels = meta_samples(count, bases=2, num_classes=4, seed=seed)
    ids = torch.arange(start, start + count)
    return MemberLogits(ids, ids, labels, None, logits)


def control(fit=None, heads=None, seed=0):
    plan = StackPlan([Member("a"), Member("b")], seed=seed)
    meta, test = samples(400, 1), samples(300, 2, 400)
    heads = heads or {"mean": MeanHead(), "tuned_mean": TunedMeanHead(), "logistic": LogisticHead(C=1.0)}
    own = {name: fit_one(plan, head, meta, test) for name, head in heads.items()}
    told = [
        Predictions(part.labels, {name: part.logits[:, number] for number, name in enumerate("ab")}, said)
        for part, said in (
            (meta, {name: head.held_out for name, head in own.items()}),
            (test, {name: head.test[:, 0] for name, head in own.items()}),
        )
    ]
    return negative_control(heads, meta, test, *told, {}, fit or partial(fit_one, plan), 0.001, seed)


def test_negative_control__claims_nothing(recwarn):
    found = control()
    assert found["head"] == "logistic"
    assert [row["name"] for row in found["rows"]] == [PERMUTED, NOISE, "logistic with noise"]
    assert found["alarms"] == []
    assert "as it must be" in found["sentence"]
    assert found["recommended"] not in (PERMUTED, NOISE, "logistic with noise")
    permuted, noise, noisy = found["rows"]
    for row in (permuted, noise):
        assert row["value"] == pytest.approx(0.25, abs=0.07)
        assert row["expected"] == pytest.approx(0.25, abs=0.02)
    assert noise["test"] == pytest.approx(0.25, abs=0.08)
    assert noisy["low"] <= 0 <= noisy["high"]


def test_negative_control__a_cross_fit_that_leaks_is_an_alarm():
    def leaking(head, meta, test):
        fitted = fit_one(StackPlan([Member("a"), Member("b")]), head, meta, test)
        # held-out predictions by a head that has seen the labels it is to predict
        known = 5.0 * torch.nn.functional.one_hot(meta.labels, 4)
        return type(fitted)(fitted.head, fitted.module, fitted.held_out + known, fitted.test)

    found = control(leaking)
    assert len(found["alarms"]) >= 2
    assert any(alarm.startswith(PERMUTED) for alarm in found["alarms"])
    assert any("would be recommended" in alarm for alarm in found["alarms"])
    assert "something tells the heads what they should not know" in found["sentence"]


def test_negative_control__without_a_trained_head_takes_a_mean():
    assert control(heads={"mean": MeanHead(), "tuned_mean": TunedMeanHead()})["head"] == "mean"


def test_chance_row__of_unequal_classes():
    labels = torch.tensor([0] * 90 + [1] * 10)
    ids = torch.arange(100)
    always = torch.tensor([[1.0, 0.0]]).repeat(100, 1)
    row = chance_row("x", always, MemberLogits(ids, ids, labels, None, always[:, None]), None)
    # always the larger class: right on 90 %, as chance would be for that answer
    assert row["value"] == row["expected"] == 0.9
    assert row["low"] < row["expected"]
