import csv

import numpy as np
import pytest
import torch

from measures.bootstrap import less_best
from measures.intervals import measure, numbered
from pipelines.main import main
from pipelines.report import intervals
from pipelines.report.comparison import compare
from pipelines.report.intervals import add_intervals
from pipelines.report.runs import find_runs
from tests.helpers.runs import logits_for, write_run

LABELS = torch.arange(60) % 3
STRENGTHS = {"weak": 0.5, "middle": 1.5, "strong": 2.5}


def compared(tmp_path, groups=None, **facts):
    for number, (name, strength) in enumerate(STRENGTHS.items()):
        # one run is older, and does not name the groups
        named = groups if number else None
        write_run(tmp_path / "exp" / name, logits_for(LABELS, 3, strength, number), LABELS, groups=named, **facts)
    runs, _ = find_runs([tmp_path])
    (found,) = compare(runs, "test")
    return found


@pytest.fixture
def group(tmp_path):
    return compared(tmp_path)


def measured(groups=None):
    logits = {name: logits_for(LABELS, 3, strength, k) for k, (name, strength) in enumerate(STRENGTHS.items())}
    return measure(logits, LABELS, groups=groups)


def expected_less_best(runs, groups=None):
    return less_best(np.stack([run.right for run in runs]), 0, numbered(groups))


def test_add_intervals__those_of_all_runs_at_once(group):
    add_intervals([group], "test")
    expected = measured()
    for run in group.runs:
        for metric in ("accuracy", "nll", "ece", "auroc"):
            assert run.metrics[metric] == pytest.approx(expected.metric(run.name, metric))
    best, *others = group.runs
    assert (best.name, best.to_best) == ("strong", None)
    for run, change in zip(others, expected_less_best(group.runs)[1:], strict=True):
        assert run.to_best == pytest.approx(change)


def test_add_intervals__groups_are_taken_whole(tmp_path):
    groups = torch.arange(60) ** 2 // 200
    found = compared(tmp_path, groups)
    add_intervals([found], "test")
    expected, single = measured(groups), measured()
    for run in found.runs:
        for metric in ("accuracy", "nll", "ece", "auroc"):
            assert run.metrics[metric] == pytest.approx(expected.metric(run.name, metric))
        assert run.metrics["accuracy"] != pytest.approx(single.metric(run.name, "accuracy"))
    for run, change in zip(found.runs[1:], expected_less_best(found.runs, groups)[1:], strict=True):
        assert run.to_best == pytest.approx(change)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (torch.arange(60) // 4, "take whole groups as independent; there are 15."),
        (None, "groups, but these predictions do not name them: the intervals are too narrow"),
    ],
)
def test_report__says_how_samples_in_groups_were_drawn(tmp_path, groups, said):
    evaluated = {"test": {"samples": 60, "fitted_on": 0, "fitted_on_groups": 0}}
    compared(tmp_path, groups, evaluations=evaluated)
    assert main(["report", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]) == 0
    assert said in (tmp_path / "out/index.html").read_text()


def test_add_intervals__as_far_as_work_allows(group, monkeypatch):
    monkeypatch.setattr(intervals, "INTERVAL_WORK", 2 * (intervals.RUN_WORK + 3 * len(LABELS)))
    add_intervals([group], "test")
    assert [run.metrics["nll"]["low"] is not None for run in group.runs] == [True, True, False]
    assert all(run.metrics["accuracy"]["low"] is not None for run in group.runs)


def test_add_intervals__auroc_of_very_many_logits_has_none(group, monkeypatch):
    monkeypatch.setattr(intervals, "RANKED_LOGITS", 1)
    add_intervals([group], "test")
    assert [run.metrics["auroc"]["low"] for run in group.runs] == [None] * 3
    assert all(run.metrics["nll"]["low"] is not None for run in group.runs)


def test_report__shows_which_runs_cannot_be_told_from_the_best(tmp_path, capsys):
    labels = torch.arange(300) % 3
    for number, (name, strength) in enumerate({"poor": 0.2, "good": 2.0, "best": 2.1, "fine": 1.9}.items()):
        write_run(tmp_path / "exp" / name, logits_for(labels, 3, strength, number), labels)
    assert main(["report", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]) == 0
    said = "2 of the other 3 runs cannot be told from the most accurate one: "
    printed, page = capsys.readouterr().out, (tmp_path / "out/index.html").read_text()
    assert said in page
    assert said in " ".join(printed.split())
    told = {row["run"]: row["among_best"] for row in csv.DictReader((tmp_path / "out/comparison.csv").open())}
    assert told == {"poor": "no", "good": "yes", "best": "yes", "fine": "yes"}
    # two runs, and the sentence
    assert printed.count("≈ ") == 3


def test_report__a_run_that_is_better_than_all_others(tmp_path, capsys):
    labels = torch.arange(300) % 3
    for number, (name, strength) in enumerate({"poor": 0.2, "best": 3.0}.items()):
        write_run(tmp_path / "exp" / name, logits_for(labels, 3, strength, number), labels)
    assert main(["report", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]) == 0
    assert "The most accurate of 2 runs is more accurate than each of the others beyond noise." in " ".join(
        capsys.readouterr().out.split()
    )


def test_report__says_which_runs_have_intervals(group, tmp_path, monkeypatch):
    monkeypatch.setattr(intervals, "INTERVAL_WORK", 1)
    assert main(["report", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/index.html").read_text()
    assert "Intervals of metrics other than accuracy take long: the best 1 of 3 runs have them." in page
