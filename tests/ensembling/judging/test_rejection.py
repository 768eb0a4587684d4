import json
import math
import re

import numpy as np
import pytest
import torch

from ensembling.judging.bounded_accuracy import enough
from ensembling.judging.rejection import NOTHING, Reject, Thresholds, fit_thresholds, risk_coverage


def predictions(size=300, num_classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (size,), generator=generator)
    logits = torch.randn(size, num_classes, generator=generator)
    logits[torch.arange(size), labels] += 2
    return logits.double().softmax(1), labels


def binary(confidences, correct):
    """One class is always predicted, and is right where it says so."""
    p = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([p, 1 - p], 1), (~torch.tensor(correct)).long()


def reached(thresholds, probabilities, labels):
    accepted = thresholds.accepted(probabilities)
    right = probabilities.argmax(1) == labels
    return float(accepted.double().mean()), float(right[accepted].double().mean())


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": 0.9, "coverage": 0.8}, "--reject.accuracy 0.9 and --reject.coverage 0.8"),
        ({"per_class": True}, "--reject.per_class needs --reject.accuracy or --reject.coverage"),
        ({"accuracy": 0.0}, "reject.accuracy must be in"),
        ({"coverage": 1.5}, "reject.coverage must be in"),
    ],
)
def test_reject__impossible_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Reject(**options)


# curve


def test_risk_coverage__equals_counting():
    probabilities, labels = predictions(50)
    confidence, top = probabilities.max(1)
    wrong = (top != labels).numpy()[np.argsort(-confidence.numpy())]
    risks = [wrong[:count].mean() for count in range(1, 51)]
    result = risk_coverage(probabilities, labels)
    assert result["aurc"] == pytest.approx(np.mean(risks))
    assert result["risk"] == pytest.approx(risks)
    assert result["coverage"] == pytest.approx([count / 50 for count in range(1, 51)])


def test_risk_coverage__order_within_ties_makes_no_difference():
    probabilities, labels = binary([0.9, 0.9, 0.9, 0.9, 0.6, 0.6], [True, False, False, True, False, True])
    result = risk_coverage(probabilities, labels)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    assert risk_coverage(probabilities[order], labels[order]) == result
    assert (result["coverage"], result["risk"]) == (pytest.approx([4 / 6, 1]), [0.5, 0.5])
    assert result["aurc"] == pytest.approx(0.5)


def test_risk_coverage__few_points_of_many():
    result = risk_coverage(*predictions(2000), points=20)
    assert len(result["risk"]) == len(result["threshold"]) <= 20
    assert result["coverage"][-1] == 1
    assert result["coverage"] == sorted(result["coverage"])


def test_risk_coverage__one_sample_and_perfect_predictions():
    assert risk_coverage(*binary([0.7], [True])) == {"aurc": 0, "coverage": [1], "risk": [0], "threshold": [0.7]}
    assert risk_coverage(*binary([0.9, 0.8], [True, True]))["aurc"] == 0


# thresholds


def images(count, generator):
    """Calibrated predictions of new images, and whether each is right."""
    confidence = 1 - 0.5 * torch.rand(count, generator=generator, dtype=torch.float64) ** 3
    return torch.stack([confidence, 1 - confidence], 1), (torch.rand(count, generator=generator) >= confidence).long()


@pytest.mark.parametrize(("accuracy", "size"), [(0.9, 300), (0.95, 300), (0.95, 2000), (0.98, 2000)])
def test_fit_thresholds__accuracy_holds_on_new_images(accuracy, size):
    generator = torch.Generator().manual_seed(0)
    new, _ = images(200_000, generator)
    sure = new.max(1).values.sort(descending=True).values
    among = sure.cumsum(0) / torch.arange(1, len(sure) + 1)
    short, coverages, draws = 0, [], 150
    for _ in range(draws):
        thresholds = fit_thresholds(Reject(accuracy=accuracy), *images(size, generator))
        accepted = int(thresholds.accepted(new).sum())
        # the confidence of a calibrated prediction is its accuracy
        short += accepted > 0 and float(among[accepted - 1]) < accuracy
        coverages.append(accepted / len(new))
    assert short <= 0.05 * draws
    # and not by accepting nothing
    possible = float((among >= accuracy).double().mean())
    assert np.mean(coverages) > (0.6 if size > 1000 else 0.25) * possible


def test_fit_thresholds__accuracy_that_is_just_missed_is_seldom_promised():
    generator = torch.Generator().manual_seed(0)
    promised, draws = 0, 200
    for _ in range(draws):
        confidence = torch.rand(1000, generator=generator, dtype=torch.float64) / 2 + 0.5
        # right as often whatever the confidence, and a little too seldom
        wrong = (torch.rand(1000, generator=generator) > 0.9499).long()
        probabilities = torch.stack([confidence, 1 - confidence], 1)
        promised += fit_thresholds(Reject(accuracy=0.95), probabilities, wrong).values[0] < NOTHING
    assert promised <= 0.05 * draws


@pytest.mark.parametrize("coverage", [0.01, 0.5, 0.8, 1.0])
def test_fit_thresholds__coverage_is_reached_with_the_least(coverage):
    probabilities, labels = predictions()
    thresholds = fit_thresholds(Reject(coverage=coverage), probabilities, labels)
    assert reached(thresholds, probabilities, labels)[0] == pytest.approx(coverage)


def test_fit_thresholds__a_tie_is_accepted_whole():
    probabilities, labels = binary([0.9, 0.8, 0.8, 0.6], [True, True, False, False])
    thresholds = fit_thresholds(Reject(coverage=0.5), probabilities, labels)
    assert thresholds.accepted(probabilities).tolist() == [True, True, True, False]


def test_fit_thresholds__accuracy_out_of_reach_accepts_nothing_and_says_so():
    probabilities, labels = binary([0.9] * 60 + [0.8] * 60, [True] * 54 + [False] * 6 + [False] * 60)
    thresholds = fit_thresholds(Reject(accuracy=0.95), probabilities, labels)
    assert thresholds.values == [NOTHING]
    assert not thresholds.accepted(torch.eye(2)).any()
    assert thresholds.notes == [
        "an accuracy of 0.95 on new images cannot be promised with a confidence of 95%: on held-out samples 0.9000, at "
        "a coverage of 0.500, is the most; nothing is accepted"
    ]


@pytest.mark.parametrize(
    ("accuracy", "wrong", "count", "needed"),
    [
        (0.95, 0, 58, r"by 58 held-out samples: it takes at least 59, all of them right; nothing is accepted"),
        (0.99, 0, 100, r"it takes at least 299, all of them right"),
        (0.95, 4, 100, r"on 100 held-out samples 0.9600, at a coverage of 1.000, is the most, for which it would take"),
        (1.0, 0, 100, r"an accuracy of 1 cannot be promised by any number of held-out samples"),
    ],
)
def test_fit_thresholds__says_how_many_samples_it_would_take(accuracy, wrong, count, needed):
    probabilities, labels = binary([0.9] * count, [False] * wrong + [True] * (count - wrong))
    thresholds = fit_thresholds(Reject(accuracy=accuracy), probabilities, labels)
    assert thresholds.values == [NOTHING]
    (note,) = thresholds.notes
    assert re.search(needed, note)


@pytest.mark.parametrize(("accuracy", "rate"), [(0.95, 0.0), (0.95, 0.03), (0.8, 0.1)])
def test_fit_thresholds__so_many_samples_do(accuracy, rate):
    for share, does in ((1.05, True), (0.5, False)):
        count = math.ceil(enough(accuracy, rate) * share)
        wrong = math.floor(count * rate)
        probabilities, labels = binary([0.9] * count, [False] * wrong + [True] * (count - wrong))
        assert (fit_thresholds(Reject(accuracy=accuracy), probabilities, labels).values[0] < NOTHING) is does


def test_fit_thresholds__samples_of_a_group_count_once():
    probabilities, labels = binary([0.9] * 240, [True] * 240)
    assert fit_thresholds(Reject(accuracy=0.95), probabilities, labels).values[0] < NOTHING
    groups = torch.arange(240) // 6
    thresholds = fit_thresholds(Reject(accuracy=0.95), probabilities, labels, groups=groups)
    assert thresholds.values == [NOTHING]
    assert "by 40 held-out samples: it takes at least 59" in thresholds.notes[0]


def test_fit_thresholds__a_lucky_few_do_not_make_an_accuracy():
    # the surest three are right, but three prove nothing
    probabilities, labels = binary([0.99] * 3 + [0.8] * 60, [True] * 3 + [True, False] * 30)
    assert fit_thresholds(Reject(accuracy=0.9), probabilities, labels).values == [NOTHING]


def test_fit_thresholds__each_class_reaches_the_accuracy():
    probabilities, labels = predictions(3000)
    # the model is far too sure of class 0
    labels = torch.where((probabilities.argmax(1) == 0) & (torch.arange(3000) % 3 == 0), 3, labels)
    common = fit_thresholds(Reject(accuracy=0.8), probabilities, labels)
    own = fit_thresholds(Reject(accuracy=0.8, per_class=True), probabilities, labels)
    top = probabilities.argmax(1)
    for label in range(4):
        accepted = own.accepted(probabilities) & (top == label)
        assert own.values[label] == NOTHING or (labels[accepted] == label).double().mean() >= 0.8
    assert own.values[1] < NOTHING
    first = common.accepted(probabilities) & (top == 0)
    assert (labels[first] == 0).double().mean() < 0.8


def test_fit_thresholds__a_class_seen_too_seldom_gets_the_common_threshold_for_a_coverage():
    probabilities, labels = predictions(300)
    probabilities = torch.cat([probabilities, torch.zeros(300, 1)], 1)
    common = fit_thresholds(Reject(coverage=0.9), probabilities, labels)
    own = fit_thresholds(Reject(coverage=0.9, per_class=True), probabilities, labels, list("abcde"))
    assert own.values[4] == common.values[0]
    assert (
        own.notes[0]
        == "fewer than 20 held-out samples are predicted to be e: the threshold of all classes together is used"
    )


def test_fit_thresholds__no_accuracy_is_promised_of_a_class_seen_too_seldom():
    probabilities, labels = predictions(3000)
    probabilities = torch.cat([probabilities, torch.zeros(3000, 1)], 1)
    own = fit_thresholds(Reject(accuracy=0.8, per_class=True), probabilities, labels, list("abcde"))
    assert own.values[4] == NOTHING
    (note,) = own.notes
    assert note.startswith("e: an accuracy of 0.8 on new images cannot be promised")
    assert "by 0 held-out samples: it takes at least 14" in note


def test_fit_thresholds__a_class_out_of_reach_is_named():
    probabilities, labels = binary([0.9] * 40, [False] * 40)
    thresholds = fit_thresholds(Reject(accuracy=0.9, per_class=True), probabilities, labels, ["cat", "dog"])
    assert thresholds.values == [NOTHING, NOTHING]
    assert [note[:8] for note in thresholds.notes] == ["cat: an ", "dog: an "]


def test_fit_thresholds__coverage_by_class():
    probabilities, labels = predictions(400)
    own = fit_thresholds(Reject(coverage=0.5, per_class=True), probabilities, labels)
    accepted, top = own.accepted(probabilities), probabilities.argmax(1)
    for label in range(4):
        assert float(accepted[top == label].double().mean()) == pytest.approx(0.5, abs=0.02)


def test_fit_thresholds__nothing_wanted_accepts_everything():
    probabilities, labels = predictions(10)
    assert fit_thresholds(Reject(), probabilities, labels).accepted(probabilities).all()


# use


def test_thresholds__survive_json_and_single_precision():
    probabilities, labels = predictions()
    # a model that is certain: its confidence of 1 must not be rounded out
    probabilities[:50] = torch.nn.functional.one_hot(probabilities[:50].argmax(1), 4).double()
    for reject in (Reject(accuracy=0.9), Reject(coverage=0.3, per_class=True), Reject()):
        thresholds = fit_thresholds(reject, probabilities, labels)
        again = Thresholds(**json.loads(json.dumps(thresholds.plain())))
        assert torch.equal(again.accepted(probabilities.float()), thresholds.accepted(probabilities))


def test_thresholds__of_other_classes_are_refused():
    with pytest.raises(ValueError, match="thresholds for 2 classes, not for 3"):
        Thresholds("class-wise", [0.5, 0.5]).accepted(torch.eye(3))


@pytest.mark.parametrize("coverage", [0.25, 0.5, 0.75])
def test_fit_thresholds__very_sure_models(coverage):
    # all within a millionth of 1
    confidences = 1 - np.logspace(-12, -7, 40)
    probabilities, labels = binary(confidences, np.arange(40) < 30)
    thresholds = fit_thresholds(Reject(coverage=coverage), probabilities, labels)
    assert reached(thresholds, probabilities, labels)[0] == coverage
    thresholds = fit_thresholds(Reject(accuracy=0.8), probabilities, labels)
    # 31 of 40: a second error leaves too much doubt
    assert reached(thresholds, probabilities, labels) == (31 / 40, 30 / 31)
