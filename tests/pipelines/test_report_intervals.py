import pytest
import torch

from ensembling.statistics import bootstrap
from pipelines import report_intervals
from pipelines.main import main
from pipelines.report_intervals import add_intervals
from pipelines.report_metrics import compare
from pipelines.report_runs import find_runs
from tests.helpers.runs import logits_for, write_run

LABELS = torch.arange(60) % 3
STRENGTHS = {"weak": 0.5, "middle": 1.5, "strong": 2.5}


@pytest.fixture
def group(tmp_path):
    for number, (name, strength) in enumerate(STRENGTHS.items()):
        write_run(tmp_path / "exp" / name, logits_for(LABELS, 3, strength, number), LABELS)
    runs, _ = find_runs([tmp_path])
    (found,) = compare(runs, "test")
    return found


def drawn():
    logits = {name: logits_for(LABELS, 3, strength, k) for k, (name, strength) in enumerate(STRENGTHS.items())}
    return bootstrap(logits, LABELS)


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


def test_add_intervals__as_far_as_work_allows(group, monkeypatch):
    monkeypatch.setattr(report_intervals, "INTERVAL_WORK", 2 * (report_intervals.RUN_WORK + len(LABELS)))
    monkeypatch.setattr(report_intervals, "RANKED_WORK", LABELS.numel() * 3)
    add_intervals([group], "test")
    assert [run.metrics["nll"]["low"] is not None for run in group.runs] == [True, True, False]
    assert [run.metrics["auroc"]["low"] is not None for run in group.runs] == [True, False, False]
    assert all(run.metrics["accuracy"]["low"] is not None for run in group.runs)


def test_report__says_which_runs_have_intervals(group, tmp_path, monkeypatch):
    monkeypatch.setattr(report_intervals, "INTERVAL_WORK", 1)
    assert main(["report", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/index.html").read_text()
    assert "Intervals of metrics other than accuracy take long: the best 1 of 3 runs have them." in page
