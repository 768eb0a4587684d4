import json

import pytest
import torch

from ensembling.judging.evaluation import stack_report
from ensembling.judging.predictions import Predictions
from ensembling.judging.rejection import Reject, Thresholds, fit_thresholds
from ensembling.logits import mean_logits
from measures.classification import classification_metrics
from measures.influence import METRICS
from measures.intervals import measure


def predictions(size=300, num_classes=4, count=3, seed=0, heads=True):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (size,), generator=generator)
    one_hot = torch.nn.functional.one_hot(labels, num_classes)
    members = {
        f"m{i}": 2 * (torch.randn(size, num_classes, generator=generator) + one_hot * (2 - 0.2 * i))
        for i in range(count)
    }
    logits = torch.stack(list(members.values()), 1)
    pooled = {"logistic": logits.mean(1), "tuned_mean": logits[:, 0] * 0.6 + logits.mean(1) * 0.4} if heads else {}
    return Predictions(labels, members, pooled)


def report(test=None, held_out=None, **options):
    return stack_report(test or predictions(), held_out or predictions(seed=1), replicates=60, **options)


def row(result, name):
    return next(row for row in result["models"] if row["name"] == name)


def test_stack_report__is_json_and_the_same_again():
    result = report(temperatures={"m0": 2.0, "logistic": 1.5}, notes=["told by the caller"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert report(temperatures={"m0": 2.0, "logistic": 1.5}, notes=["told by the caller"]) == result
    assert result["notes"][0] == "told by the caller"


def test_stack_report__metrics_are_those_of_each_model():
    test = predictions()
    result = report(test)
    # simple ones first, the mean though nobody gave it
    assert [model["name"] for model in result["models"]] == ["m0", "m1", "m2", "mean", "tuned_mean", "logistic"]
    assert [model["kind"] for model in result["models"]] == ["member"] * 3 + ["head"] * 3
    logits = {**test.models(), "mean": mean_logits(torch.stack(list(test.members.values()), 1))}
    for name, rows in logits.items():
        expected = classification_metrics(rows, test.labels)
        values = row(result, name)["metrics"]
        assert {m: values[m]["value"] for m in METRICS} == pytest.approx({m: expected[m] for m in METRICS}, abs=1e-6)


def test_stack_report__metrics_are_those_after_the_temperature():
    test = predictions()
    result = report(test, temperatures={"m0": 2.0})
    for entry, temperature in (("metrics", 2), ("uncalibrated", 1)):
        expected = classification_metrics(test.members["m0"].double() / temperature, test.labels)
        values = row(result, "m0")[entry]
        assert {m: values[m]["value"] for m in values} == pytest.approx({m: expected[m] for m in values}, abs=1e-6)
    assert set(row(result, "m0")["uncalibrated"]) == {"nll", "brier", "ece"}
    assert set(row(result, "m0")["metrics"]) == set(METRICS)
    assert row(result, "m1")["uncalibrated"] is None
    assert row(result, "m1")["temperature"] is None


def test_stack_report__chooses_on_held_out_samples_alone():
    test, held_out = predictions(), predictions(seed=1)
    # on the test split the members are in reverse order
    turned = Predictions(test.labels, dict(zip(test.members, reversed(test.members.values()), strict=True)), test.heads)
    result = report(turned, held_out)
    assert result["best_member"] == {"held_out": "m0", "test": "m2"}
    assert {d["to"] for d in result["differences"] if d["reference"] == "best_member"} == {"m0"}
    for key in ("worth", "recommendation"):
        assert result[key] == report(test, held_out)[key]


def test_stack_report__differences_are_paired():
    test = predictions()
    temperatures = {"logistic": 1.2, "m0": 1.1}
    result = report(test, temperatures=temperatures)
    pairs = [(d["model"], d["reference"]) for d in result["differences"]]
    assert pairs == [
        ("mean", "best_member"),
        ("tuned_mean", "best_member"),
        ("logistic", "best_member"),
        ("mean", "tuned_mean"),
        ("logistic", "tuned_mean"),
    ]
    difference = result["differences"][2]
    expected = measure(test.models(), test.labels, ["accuracy", "nll"])
    assert difference["accuracy"] == expected.difference("logistic", "m0", "accuracy")
    assert difference["nll_uncalibrated"] == expected.difference("logistic", "m0", "nll")
    scaled = {name: test.models()[name].double() / t for name, t in temperatures.items()}
    assert difference["nll"] == measure(scaled, test.labels, ["nll"]).difference("logistic", "m0", "nll")
    gained = difference["only_this_right"] - difference["only_other_right"]
    assert gained / 300 == pytest.approx(difference["accuracy"]["value"])
    assert result["differences"][0]["nll_uncalibrated"] is None


def test_stack_report__cost_of_a_head_is_that_of_all_members():
    ms = {"m0": 1.0, "m1": 2.0, "m2": 4.0, "logistic": 7.5}
    result = report(ms_per_image=ms, parameters={"m0": 10, "m1": 20, "m2": 30, "logistic": 61})
    assert [model["ms_per_image"] for model in result["models"]] == [1, 2, 4, 7, 7, 7.5]
    assert [model["parameters"] for model in result["models"]] == [10, 20, 30, 60, 60, 61]
    assert row(result, "m0")["pareto"] is True
    assert row(result, "m2")["pareto"] is False


def test_stack_report__unknown_cost_is_not_made_up():
    result = report(ms_per_image={"m0": 1.0})
    assert [model["ms_per_image"] for model in result["models"]] == [1, None, None, None, None, None]
    assert [model["pareto"] for model in result["models"]] == [True, None, None, None, None, None]
    assert row(result, "m0")["parameters"] is None


def test_stack_report__what_would_be_rejected():
    test, held_out = predictions(), predictions(seed=1)
    temperatures = {"logistic": 2.0}
    limit = fit_thresholds(Reject(coverage=0.5), (held_out.heads["logistic"] / 2).softmax(1), held_out.labels)
    result = report(test, held_out, temperatures=temperatures, thresholds={"logistic": limit})
    kept = row(result, "logistic")["rejection"]
    accepted = limit.accepted((test.heads["logistic"] / 2).softmax(1))
    right = test.heads["logistic"].argmax(1) == test.labels
    assert kept["coverage"] == pytest.approx(float(accepted.double().mean()))
    assert kept["accuracy"] == pytest.approx(float(right[accepted].double().mean()))
    assert kept["accuracy"] > row(result, "logistic")["metrics"]["accuracy"]["value"]
    assert row(result, "m0")["rejection"] is None


def test_stack_report__what_thresholds_could_not_reach_is_noted_of_the_kept_model():
    limits = {name: Thresholds("global", [2.0], [f"out of reach {name}"]) for name in ("m0", "logistic")}
    result = report(thresholds=limits, keep="logistic")
    assert [note for note in result["notes"] if "reach" in note] == ["logistic: out of reach logistic"]
    assert row(result, "m0")["rejection"]["notes"] == ["out of reach m0"]


def test_stack_report__test_that_speaks_against_the_kept_model_is_noted():
    test, held_out = predictions(), predictions(seed=1)
    # the head is right on the samples that it was chosen on, and wrong on those of the test split
    fitted = torch.nn.functional.one_hot(held_out.labels, 4).float() * 9
    test = Predictions(test.labels, test.members, {**test.heads, "mlp": -test.heads["logistic"]})
    held_out = Predictions(held_out.labels, held_out.members, {**held_out.heads, "mlp": fitted})
    result = report(test, held_out)
    assert result["recommendation"]["model"] == "mlp"
    assert any("mlp, which is kept, has an accuracy of 1.0000 on the samples" in note for note in result["notes"])
    assert sum("on test mlp, which is kept, is less accurate than" in note for note in result["notes"]) == 2
    assert not any("which is kept" in note for note in report(keep="logistic")["notes"])


def test_stack_report__leakage_is_carried_along():
    result = report(leakage={"allowed": ["m0 was fitted on 3"], "warnings": []})
    assert result["leakage"] == {"allowed": ["m0 was fitted on 3"], "warnings": []}


def test_stack_report__groups_are_drawn_whole():
    test = predictions()
    grouped = Predictions(test.labels, test.members, test.heads, torch.arange(300) // 10)
    result = report(grouped)
    assert result["groups"] == 30
    assert any("whole groups" in note for note in result["notes"])
    assert result["models"][0]["metrics"]["nll"] != report(test)["models"][0]["metrics"]["nll"]


def cut(whole, chosen):
    return Predictions(
        whole.labels[chosen],
        {name: rows[chosen] for name, rows in whole.members.items()},
        {name: rows[chosen] for name, rows in whole.heads.items()},
    )


@pytest.mark.parametrize(
    ("chosen", "note"),
    [
        (lambda labels: labels > 0, "1 of 4 classes are absent in test"),
        (lambda labels: labels == 0, "one class alone"),
        (lambda labels: torch.arange(len(labels)) < 5, "5 test samples or groups are too few for intervals"),
        (lambda labels: torch.arange(len(labels)) < 19, "intervals from 19 test samples or groups are too narrow"),
    ],
)
def test_stack_report__what_test_lacks_is_noted(chosen, note):
    whole = predictions()
    result = report(cut(whole, chosen(whole.labels)))
    assert any(note in sentence for sentence in result["notes"])
    json.dumps(result, allow_nan=False)


def test_stack_report__perfect_predictions():
    labels = torch.arange(40) % 4
    perfect = Predictions(labels, {"one": torch.eye(4)[labels] * 50, "two": torch.eye(4)[labels] * 40}, {})
    result = report(perfect, perfect, temperatures={"one": 0.05})
    # 0.95 = (1 - error)^40
    assert any("an error of up to 0.072 would go unseen" in note for note in result["notes"])
    assert result["diversity"]["mean"]["error_correlation"] is None
    json.dumps(result, allow_nan=False)


def test_stack_report__perfect_on_few_held_out_samples_is_no_promise():
    labels = torch.arange(400) % 4
    logits = torch.eye(4)[labels] * 5
    held_out = Predictions(labels[:60], {"one": logits[:60]}, {})
    for wrong, noted in ((8, False), (60, True)):
        test = torch.cat([logits[:wrong].roll(1, 1), logits[wrong:]])
        result = report(Predictions(labels, {"one": test}, {}), held_out)
        assert any("less beyond noise" in note for note in result["notes"]) is noted


def test_stack_report__worth_is_after_temperature():
    # the mean of a sure and an unsure copy is less sure: a temperature makes up for that
    whole = predictions(count=1, heads=False)
    members = {"sure": whole.members["m0"], "unsure": whole.members["m0"] / 4}
    twice = Predictions(whole.labels, members, {})
    raw, calibrated = report(twice, twice), report(twice, twice, temperatures={"sure": 1.0})
    without = [next(r for r in result["worth"] if r["member"] == "unsure")["nll"] for result in (raw, calibrated)]
    assert without[0]["high"] < 0
    assert abs(without[1]["value"]) < abs(without[0]["value"]) / 5


def test_stack_report__a_single_member():
    result = report(predictions(count=1, heads=False), predictions(count=1, heads=False, seed=1))
    assert result["recommendation"]["model"] == "m0"
    assert result["diversity"]["pairs"] == []
    assert result["differences"][0]["mcnemar_p"] == 1
    json.dumps(result, allow_nan=False)


def spoilt(**changes):
    whole = predictions()
    return Predictions(whole.labels, {**whole.members, **changes}, whole.heads)


@pytest.mark.parametrize(
    ("test", "held_out", "message"),
    [
        (spoilt(m1=torch.full((300, 4), float("nan"))), None, "test, m1: logits hold NaN"),
        (None, spoilt(m1=torch.full((300, 4), float("nan"))), "held-out, m1: logits hold NaN"),
        (spoilt(m1=torch.zeros(300, 5)), None, "differ in their number of classes"),
        (spoilt(m1=torch.zeros(299, 4)), None, "test, m1: .*do not fit"),
        (spoilt(logistic=torch.zeros(300, 4)), None, "logistic names a member and a head"),
        (spoilt(mean=torch.zeros(300, 4)), None, "mean names a member and a head"),
        (spoilt(m9=torch.zeros(300, 4)), None, "m9: predictions are needed on both"),
        (Predictions(torch.zeros(3), {}, {}), None, "at least one member"),
    ],
)
def test_stack_report__what_cannot_be_compared_is_refused(test, held_out, message):
    with pytest.raises(ValueError, match=message):
        report(test, held_out)
