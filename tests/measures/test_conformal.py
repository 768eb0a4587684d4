import math

import pytest
import torch

from measures.conformal import Calibration, NoSetsError, calibrate, needed, scores, set_rule, threshold
from measures.set_options import SetOptions

METHODS = ("raps", "aps", "lac")


def draw(size, classes=10, seed=0, hard=()):
    """Logits of a model that knows some classes less well, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (size,), generator=generator)
    logits = torch.randn(size, classes, generator=generator)
    gain = 3 * torch.rand(size, generator=generator)
    gain[torch.isin(labels, torch.tensor(list(hard), dtype=torch.int64))] *= 0.3
    logits[torch.arange(size), labels] += gain
    return 1.5 * logits, labels


def names(classes=10):
    return [f"class {number}" for number in range(classes)]


def covered(inside, labels):
    return inside.gather(1, labels[:, None])[:, 0]


# the threshold


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_threshold__needs_as_many_samples_as_are_told(coverage):
    least = needed(coverage)
    assert threshold(torch.arange(float(least)), coverage) == least - 1
    assert threshold(torch.arange(float(least - 1)), coverage) is None


def test_threshold__is_the_place_that_gives_the_coverage():
    # the 90th of 99
    assert threshold(torch.arange(99.0).flip(0), 0.9) == 89


# coverage


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets__cover_what_is_asked_by_simulation(method, coverage):
    """Calibrated 200 times anew on 200 samples each, they cover new samples to .01."""
    logits, labels = draw(200 * 200, seed=1)
    new, true = draw(200 * 200, seed=2)
    options, found = SetOptions(coverage, method), []
    assert (new.argmax(1) == true).float().mean() < coverage
    for part in range(200):
        rows = slice(200 * part, 200 * (part + 1))
        inside = set_rule(calibrate(logits[rows], labels[rows], "val"), options, names()).sets(new[rows])
        found.append(float(covered(inside, true[rows]).float().mean()))
    # exact but for 1 / (n + 1), which is half of the tolerance
    assert abs(sum(found) / len(found) - coverage) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_sets__cover_what_is_asked_where_the_first_class_is_right_more_often(method):
    """Left empty where the model is least sure, they are exact there too; else they hold the first class."""
    logits, labels = draw(6000, seed=3)
    logits[torch.arange(6000), labels] += 9
    calibration, names_ = calibrate(logits[:2000], labels[:2000], "val"), names()
    new, true = logits[2000:], labels[2000:]
    right = (new.argmax(1) == true).float().mean()
    assert right > 0.95
    exact = set_rule(calibration, SetOptions(method=method, empty=True), names_).sets(new)
    whole = set_rule(calibration, SetOptions(method=method), names_).sets(new)
    assert abs(covered(exact, true).float().mean() - 0.9) < 0.02
    assert exact.sum(1).min() == 0
    sure = new.softmax(1).amax(1)
    assert sure[exact.sum(1) == 0].max() <= sure[exact.sum(1) > 0].min()
    assert whole.sum(1).min() == 1
    assert covered(whole, true).float().mean() >= right


def test_sets__by_class_cover_each_class():
    logits, labels = draw(20000, classes=4, seed=4, hard=[3])
    new, true = draw(20000, classes=4, seed=5, hard=[3])
    calibration = calibrate(logits, labels, "val")

    def by_class(by):
        inside = set_rule(calibration, SetOptions(by=by), names(4)).sets(new)
        return [float(covered(inside, true)[true == number].float().mean()) for number in range(4)]

    assert min(by_class("all")) < 0.85
    assert by_class("class") == pytest.approx([0.9] * 4, abs=0.015)


def test_sets__by_source_cover_each_source():
    logits, labels = draw(20000, seed=6)
    source = torch.arange(20000) % 2
    # a worse camera
    logits[source == 1] += 2 * torch.randn(10000, 10, generator=torch.Generator().manual_seed(7))
    calibration = calibrate(logits[:10000], labels[:10000], "val", source[:10000], ["old", "new"])
    new, true, of = logits[10000:], labels[10000:], calibration.sources_of(1 - source[10000:], ["new", "old"])
    assert of.tolist() == source[10000:].tolist()
    for by, largest in (("all", 0.1), ("source", 0.015)):
        held = covered(set_rule(calibration, SetOptions(by=by), names()).sets(new, of), true).float()
        gap = max(abs(float(held[of == number].mean()) - 0.9) for number in (0, 1))
        assert gap < largest
        if by == "all":
            assert gap > 0.03


def test_sets__of_an_unknown_source_are_those_of_all_images():
    logits, labels = draw(400, seed=8)
    calibration = calibrate(logits, labels, "val", torch.arange(400) % 2, ["a", "b"])
    of = calibration.sources_of(torch.tensor([0, 1, 0]), ["c", "b"])
    assert of.tolist() == [-1, 1, -1]
    rules = [set_rule(calibration, SetOptions(by=by), names()) for by in ("all", "source")]
    common, own = (rule.sets(logits[:3], of) for rule in rules)
    assert torch.equal(common[[0, 2]], own[[0, 2]])


# which classes are in a set


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("by", ["all", "class"])
def test_sets__hold_the_classes_whose_score_is_below_the_threshold(method, by):
    """Also those beyond the first that are sorted, and equals."""
    logits, labels = draw(600, classes=50, seed=9)
    logits = (2 * logits).round() / 4
    options = SetOptions(0.95, method, by)
    calibration = calibrate(logits, labels, "val")
    if by == "class":
        # as many of each
        calibration = calibrate(logits.repeat(2, 1), torch.arange(1200) % 50, "val")
    rule = set_rule(calibration, options, names(50))
    expected = torch.zeros(600, 50, dtype=torch.bool)
    for number in range(50):
        one = calibrate(logits, torch.full((600,), number), "val")
        expected[:, number] = scores(options, one.probability, one.above, one.rank) <= rule.thresholds[number] + 1e-12
    found = rule.sets(logits)
    assert found.sum(1).max() > 32
    first = logits == logits.amax(1, keepdim=True)
    assert torch.equal(found | first, expected | first)


def test_sets__of_the_same_image_are_the_same():
    logits, labels = draw(500, seed=10)
    rule = set_rule(calibrate(logits, labels, "val"), SetOptions(), names())
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rule.sets(logits)[order], rule.sets(logits[order]))


def test_sets__penalty_makes_the_largest_smaller():
    logits, labels = draw(2000, classes=100, seed=11)
    sizes = [
        int(set_rule(calibrate(logits, labels, "val"), SetOptions(method=method), names(100)).sets(logits).sum(1).max())
        for method in ("raps", "aps")
    ]
    assert sizes[0] < sizes[1]


# too few samples


def test_set_rule__without_calibration_says_why():
    with pytest.raises(NoSetsError, match="holds no held-out scores"):
        set_rule(None, SetOptions(), names())


def test_set_rule__too_few_samples_say_how_many_it_takes():
    logits, labels = draw(30)
    with pytest.raises(NoSetsError, match=r"a coverage of 0.99 needs 99 val samples at least, and there are 30"):
        set_rule(calibrate(logits, labels, "val"), SetOptions(0.99), names())


def test_set_rule__a_class_with_too_few_samples_is_in_every_set_and_named():
    logits, labels = draw(300, classes=3, seed=12)
    keep = (labels != 2) | (torch.arange(300) < 12)
    rule = set_rule(calibrate(logits[keep], labels[keep], "val"), SetOptions(by="class"), names(3))
    assert rule.thresholds[2] == math.inf
    assert rule.sets(logits)[:, 2].all()
    assert not rule.sets(logits)[:, :2].all()
    assert rule.notes == ["1 of 3 classes have fewer than 9 val samples, and are in every set: class 2"]


def test_set_rule__no_class_with_enough_samples():
    logits, labels = draw(30)
    with pytest.raises(NoSetsError, match="of each class needs 9 val samples of a class at least"):
        set_rule(calibrate(logits, labels, "val"), SetOptions(by="class"), names())


def test_set_rule__by_source_without_sources():
    logits, labels = draw(300)
    with pytest.raises(NoSetsError, match="a manifest with a source column"):
        set_rule(calibrate(logits, labels, "val"), SetOptions(by="source"), names())


@pytest.mark.parametrize("option", [{"coverage": 1.0}, {"coverage": 0.0}, {"penalty": -1.0}, {"unpenalised": 0}])
def test_options__out_of_range(option):
    with pytest.raises(ValueError, match=f"--sets.{next(iter(option))} must be"):
        SetOptions(**option)


def test_calibration__is_the_same_from_plain_types():
    logits, labels = draw(50)
    for sources in (None, torch.arange(50) % 2):
        first = calibrate(logits, labels, "val", sources, ["a", "b"])
        again = Calibration(**first.plain())
        assert again.plain().keys() == first.plain().keys()
        assert torch.equal(again.above, first.above)
