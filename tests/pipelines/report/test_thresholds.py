import pytest
import torch

from pipelines.report.build import build
from pipelines.report.options import ReportOptions
from pipelines.report.runs import find_runs
from tests.helpers.runs import logits_for, write_run

pytestmark = pytest.mark.usefixtures("undrawn")
LABELS = torch.arange(80) % 2
POINT = {
    "class": "defect",
    "wanted": 0.9,
    "threshold": 0.5332,
    "chosen_on": {"split": "val", "samples": 105},
    "sensitivity": {"samples": 40, "value": 0.8, "low": 0.7, "high": 0.87},
    "specificity": {"samples": 40, "value": 0.91, "low": None, "high": None},
}


def page_of(folder):
    *_, files = build(*find_runs([folder]), ReportOptions())
    return files["index.html"].decode()


def test_thresholds__of_all_runs_that_have_one(tmp_path):
    known = {"test_threshold": POINT}
    missing = {"test_threshold": {"class": "defect", "wanted": 0.9, "missing": "the model has no held-out samples"}}
    for number, (name, facts) in enumerate({"one": known, "two": missing, "three": {}}.items()):
        write_run(tmp_path / "exp" / name, logits_for(LABELS, 2, 1, number), LABELS, **facts)
    page = page_of(tmp_path)
    for said in ("0.5332", "105 val", "90 %", "0.8000", "0.7000 to 0.8700", "0.9100"):
        assert said in page
    assert "two has no threshold: the model has no held-out samples." in page
    assert "three has no threshold" not in page


@pytest.mark.parametrize("found", [3, {"class": "a"}, {**POINT, "sensitivity": 0.5}, {**POINT, "threshold": "x"}])
def test_thresholds__what_is_no_threshold_is_left_out(tmp_path, found):
    write_run(tmp_path / "exp/one", logits_for(LABELS, 2), LABELS, test_threshold=found)
    assert "wanted specificity" not in page_of(tmp_path)
