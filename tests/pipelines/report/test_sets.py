import pytest
import torch

from pipelines.report.comparison import compare
from pipelines.report.page import Section, Table
from pipelines.report.runs import find_runs
from pipelines.report.sets import add_sets
from tests.figures.test_prediction_sets import report
from tests.helpers.runs import logits_for, write_run


def added(tmp_path, **facts):
    labels = torch.arange(60) % 10
    write_run(tmp_path / "x/a", logits_for(labels, 10), labels, **facts)
    (group,) = compare(find_runs([tmp_path])[0], "test")
    section = Section("title", "anchor")
    return section.blocks, add_sets(section, group.runs, "samples_1")


def test_add_sets__a_table_and_a_picture(tmp_path):
    found = report()
    (table, picture), pictures = added(tmp_path, test_sets=found)
    assert isinstance(table, Table)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["run"].text == "a"
    assert row["sets"].text == "90 % sets (raps)"
    assert row["covered"].sort == found["covered"]["value"]
    assert row["mean size"].sort == found["size"]["mean"]
    assert pictures == [picture]
    assert "hold the true class of" in picture.alt


@pytest.mark.parametrize(
    "facts",
    [{}, {"test_sets": {"missing": "a reason"}}, {"test_sets": {"covered": 3}}, {"test_sets": [1]}],
)
def test_add_sets__nothing_where_there_are_none(tmp_path, facts):
    assert added(tmp_path, **facts) == ([], [])
