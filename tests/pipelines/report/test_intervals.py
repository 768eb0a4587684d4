import pytest
import torch

from measures.bootstrap import bootstrap
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


def drawn(groups=None):
    logits = {name: logits_for(LABELS, 3, strength, k) for k, (name, strength) in enumerate(STRENGTHS.items())}
    return bootstrap(logits, LABELS, groups=groups)


def test_add_intervals__those_of_the_bootstrap_of_all_runs_at_once(group):
    add_intervals([group], "test")
    expected = drawn()
    for run in group.runs:
        for metric in ("accuracy", "nll", "ece", "auroc"):
            assert run.metrics[metric] == pytest.approx(expected.metric(run.name, metric))
    best, *others = group.runs
    assert (best.name, best.to_best) == ("strong", None)
    for run in others:
        assert run.to_best == pytest.approx(expected.difference(run.name, "strong", "accuracy"))


def test_add_intervals__groups_are_drawn_whole(tmp_path):
    # groups differ in size, so that resamples do too
    groups = torch.arange(60) ** 2 // 200
    found = compared(tmp_path, groups)
    add_intervals([found], "test")
    expected, single = drawn(groups), drawn()
    for run in found.runs:
        for metric in ("accuracy", "nll", "ece", "auroc"):
            assert run.metrics[metric] == pytest.approx(expected.metric(run.name, metric))
        assert run.metrics["accuracy"] != pytest.approx(single.metric(run.name, "accuracy"))
    for run in found.runs[1:]:
        assert run.to_best == pytest.approx(expected.difference(run.name, "strong", "accuracy"))


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (torch.arange(60) // 4, "resampling whole groups; there are 15."),
        (None, "groups, but these predictions do not name them: the intervals are too narrow"),
    ],
)
def test_report__says_how_samples_in_groups_were_drawn(tmp_path, groups, said):
    evaluated = {"test": {"samples": 60, "fitted_on": 0, "fitted_on_groups": 0}}
    compared(tmp_path, groups, evaluations=evaluated)
    assert main(["report", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]) == 0
    assert said in (tmp_path / "out/index.html").read_text()


def test_add_intervals__as_far_as_work_allows(group, monkeypatch):
    monkeypatch.setattr(intervals, "INTERVAL_WORK", 2 * (intervals.RUN_WORK + len(LABELS)))
    monkeypatch.setattr(intervals, "RANKED_WORK", LABELS.numel() * 3)
    add_intervals([group], "test")
    assert [run.metrics["nll"]["low"] is not None for run in group.runs] == [True, True, False]
    assert [run.metrics["auroc"]["low"] is not None for run in group.runs] == [True, False, False]
    assert all(run.metrics["accuracy"]["low"] is not None for run in group.runs)


def test_report__says_which_runs_have_intervals(group, tmp_path, monkeypatch):
    monkeypatch.setattr(intervals, "INTERVAL_WORK", 1)
    assert main(["report", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/index.html").read_text()
    assert "Intervals of metrics other than accuracy take long: the best 1 of 3 runs have them." in page
