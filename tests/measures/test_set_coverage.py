import json

import numpy as np
import pytest
import torch

from measures.conformal import calibrate
from measures.set_coverage import calibration_range, rate, set_report, spoken
from measures.set_options import SetOptions
from tests.measures.test_conformal import draw, names


def report(size=2000, options=None, groups=None, **more):
    logits, labels = draw(500, seed=1)
    new, true = draw(size, seed=2)
    calibration = calibrate(logits, labels, "val", **more)
    return set_report(calibration, options or SetOptions(), new, true, names(), groups=groups)


def test_set_report__holds_coverage_sizes_classes_and_versions():
    found = json.loads(json.dumps(report()))
    assert found["covered"]["low"] < found["covered"]["value"] < found["covered"]["high"]
    assert found["calibrated_on"]["samples"] == 500
    low, high = found["calibrated_on"]["range"]
    assert low < found["covered"]["value"] < high
    assert sum(row["samples"] for row in found["size"]["sizes"]) == 2000
    mean = sum(row["samples"] * row["classes"] for row in found["size"]["sizes"]) / 2000
    assert mean == pytest.approx(found["size"]["mean"])
    held = sum(row["samples"] * row["covered"]["value"] for row in found["classes"]) / 2000
    assert held == pytest.approx(found["covered"]["value"])
    assert found["versions"].keys() == {"all", "class"}
    assert found["versions"]["all"]["covered"] == found["covered"]
    least = min(row["covered"]["value"] for row in found["classes"])
    assert found["versions"]["all"]["least_of_a_class"] == pytest.approx(least)


def test_set_report__groups_widen_the_interval():
    alone = report()["covered"]
    grouped = report(groups=torch.arange(2000) // 20)
    assert grouped["groups"] == 100
    assert grouped["covered"]["value"] == alone["value"]
    # the whole group is in or out
    held = np.repeat(np.arange(100) % 10 > 0, 20)
    wide, narrow = rate(held, np.repeat(np.arange(100), 20)), rate(held)
    assert wide["high"] - wide["low"] > 4 * (narrow["high"] - narrow["low"])


def test_rate__of_groups_that_are_all_alike():
    found = rate(np.ones(200, bool), np.repeat(np.arange(10), 20))
    assert found["high"] == 1.0
    assert found["low"] < 0.75


def test_rate__of_few_or_no_samples():
    assert rate(np.ones(0, bool)) == {"value": None, "low": None, "high": None}
    assert rate(np.ones(3, bool)) == {"value": 1.0, "low": None, "high": None}


def test_calibration_range__is_what_calibrations_lead_to():
    generator = np.random.default_rng(0)
    reached = np.sort(generator.random((20000, 99)), 1)[:, 89]
    assert calibration_range(99, 0.9) == pytest.approx(np.quantile(reached, [0.025, 0.975]), abs=0.005)


def test_spoken__one_line():
    assert spoken(report()).startswith("90 % sets (raps), calibrated on 500 val samples, hold the true class of ")
    assert "a set holds one class at least, and the most probable one alone is right in" in spoken(
        report(options=SetOptions(0.3))
    )
    assert "at least" not in spoken(report(options=SetOptions(0.3, empty=True)))
    none = set_report(None, SetOptions(), *draw(10), names())
    assert none.keys() == {"missing"}
    assert spoken(none).startswith("no prediction sets: the checkpoint holds no held-out scores")


def test_set_report__by_source_says_what_is_of_no_known_source():
    logits, labels = draw(400, seed=3)
    calibration = calibrate(logits, labels, "val", torch.arange(400) % 2, ["a", "b"])
    sources = calibration.sources_of(torch.arange(400) % 2, ["a", "c"])
    found = set_report(calibration, SetOptions(by="source"), logits, labels, names(), sources)
    assert found["notes"] == ["200 images are of no known source: they have the sets of all images"]
    assert [(row["name"], row["samples"]) for row in found["sources"]] == [("unknown", 200), ("a", 200)]
    assert found["versions"].keys() == {"all", "class", "source"}
