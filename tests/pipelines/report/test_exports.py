import pytest
import torch

from pipelines.report.build import write_page
from pipelines.report.exports import exports_section
from pipelines.report.runs import find_runs
from records.result_files import write_json
from tests.helpers.runs import logits_for, write_run

TIMES = {"ms_1": 1.25, "ms_1_p95": 2.5, "ms_32": 40.0, "ms_32_p95": 50.0}
CARD = {
    "torch": {"bytes": 2_000_000, "test_accuracy": 0.9, **TIMES},
    "formats": {"onnx": {"bytes": 1_500_000, "largest_difference": 2e-7, "top1_agreement": 1.0, "test_accuracy": 0.9}},
}


@pytest.fixture
def folder(tmp_path):
    labels = torch.arange(60) % 10
    write_run(tmp_path / "x/a", logits_for(labels, 10), labels)
    (tmp_path / "x/a/export").mkdir()
    return tmp_path


def section_of(folder):
    runs = find_runs([folder])[0]
    return exports_section(runs), runs[0].problems


def test_exports_section__a_row_for_torch_and_each_format(folder):
    write_json(folder / "x/a/export/export.json", CARD)
    section, problems = section_of(folder)
    (table,) = section.blocks
    first, second = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (first["format"].text, first["MB"].text, first["ms, 1 image"].text) == ("torch", "2.000", "1.25")
    assert first["ms, 32 images"].small == "50"
    assert (second["format"].text, second["differs from torch"].text) == ("onnx", "2.0e-07")
    assert second["ms, 1 image"].text == "–"
    assert problems == []
    assert "exported files" in write_page(folder, folder / "report").read_text()


def test_exports_section__none_without_an_export(folder):
    assert section_of(folder) == (None, [])


@pytest.mark.parametrize("content", ["{", '{"torch": 1, "formats": {}}'])
def test_exports_section__a_card_that_cannot_be_read_is_a_problem(folder, content):
    (folder / "x/a/export/export.json").write_text(content)
    section, problems = section_of(folder)
    assert section is None
    assert "export the model again" in problems[0]
