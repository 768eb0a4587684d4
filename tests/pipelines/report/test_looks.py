import io

import pytest
import torch
from rich.console import Console

from pipelines.report.build import make_report
from pipelines.report.options import ReportOptions
from records.ledger import add_look
from tests.helpers.runs import logits_for, write_run

LABELS = torch.arange(60) % 3


def report(tmp_path, *paths):
    text = io.StringIO()
    options = ReportOptions(str(tmp_path / "report"))
    make_report(paths, options, Console(file=text, width=200))
    return text.getvalue(), (tmp_path / "report/index.html").read_text()


def look(root, key, fingerprint="60 samples"):
    return add_look(root / ".ledger", fingerprint, "test", "exp/run", {"MLP": key})


def run(root, name, strength, seed=0, **facts):
    return write_run(root / "exp" / name, logits_for(LABELS, 3, strength, seed), LABELS, **facts)


def test_report__says_which_look_it_is_and_what_the_best_run_loses(tmp_path):
    for number in range(3):
        run(tmp_path / "runs", f"r{number}", 1.0, number)
        look(tmp_path / "runs", f"key {number}")
    look(tmp_path / "runs", "key 0")
    look(tmp_path / "runs", "key 9", "another split")
    printed, page = report(tmp_path, tmp_path / "runs")
    assert "60 samples, look 3 (exp)" in printed
    assert "Look 3 at this test split (3 models so far, 1 repeated, not counted)." in page
    assert "The most accurate of these 3 runs is expected to lose" in page


def test_report__adds_the_ledgers_of_several_roots(tmp_path):
    for number in range(2):
        root = tmp_path / f"root{number}"
        run(root, "same", 1.0, number)
        look(root, "known to both")
        look(root, f"key {number}")
    printed, _ = report(tmp_path, tmp_path / "root0", tmp_path / "root1")
    assert "60 samples, look 3 (exp)" in printed


def test_report__without_a_ledger_says_nothing_of_looks(tmp_path):
    run(tmp_path / "runs", "one", 1.0)
    printed, page = report(tmp_path, tmp_path / "runs")
    assert "look" not in printed.replace("looks", "")
    assert "at this test split" not in page
    # one run is no choice
    assert "is expected to lose" not in page


@pytest.mark.parametrize("fingerprint", ["../../outside", 7, ""])
def test_report__a_strange_fingerprint_leads_nowhere(tmp_path, fingerprint):
    facts = {"samples": 60, "fingerprint": fingerprint, "fitted_on": 0}
    run(tmp_path / "runs", "one", 1.0, evaluations={"test": facts})
    report(tmp_path, tmp_path / "runs")


def test_report__a_leaking_run_is_not_among_those_that_are_chosen_from(tmp_path):
    run(tmp_path / "runs", "honest", 1.0)
    run(tmp_path / "runs", "leaking", 9.0, 1, leakage={"allowed": ["it was fitted on all"], "warnings": []})
    _, page = report(tmp_path, tmp_path / "runs")
    assert "is expected to lose" not in page
