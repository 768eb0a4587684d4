import io

import pytest
from rich.console import Console

from common.terminal import print_whole
from pipelines.cells.job import CellFiles
from pipelines.stack import dry_run
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.plan_check import check
from tests.helpers.runs import write_checkpoint

SMALL = {"model": "MLP", "model.hidden": [8]}


def plan(tmp_path=None, **changes):
    options = {"data.stack_fraction": 0.2, "data.batch_size": 64, "trainer.max_epochs": 2}
    members = [Member("one", options=SMALL), Member("two", options={"model": "Linear"}, epochs=5)]
    return StackPlan(**{"members": members, "options": options, "root": str(tmp_path), **changes})


def test_costs__count_what_is_trained(tmp_path):
    planned = plan()
    costs = dry_run.costs(planned, check(planned), tmp_path)
    # 64 pixels, 8 hidden with BatchNorm, 10 classes
    assert costs["one"].parameters == 16 * 16 * 8 + 8 + 2 * 8 + 8 * 10 + 10
    # a tenth of 1,438 training images is for validation, and a fifth for the heads
    assert costs["one"].images == pytest.approx(0.7 * 1438, abs=10)
    batches = -(-costs["one"].images // 64)
    assert (costs["one"].epochs, costs["one"].steps) == (2, 2 * batches)
    assert (costs["two"].epochs, costs["two"].steps) == (5, 5 * batches)


def test_print_costs__tells_the_seconds_of_cells_that_are_done(tmp_path):
    planned = plan(tmp_path, mode="oof", num_folds=2, options={"trainer.max_epochs": 1}, experiment="x")
    files = CellFiles(tmp_path / "x", "one-fold0")
    files.write({"status": "done", "seconds": 50.0})
    files.run.checkpoints.mkdir(parents=True)
    write_checkpoint(files.run.best)
    before = sorted(tmp_path.rglob("*"))
    console = Console(record=True, width=100, quiet=False)
    dry_run.print_costs(console, planned, check(planned), tmp_path / "x")
    told = console.export_text()
    assert "4 cells, 1 of them done" in told
    assert "50" in next(line for line in told.splitlines() if "│ one" in line)
    assert sorted(tmp_path.rglob("*")) == before
    assert "with 1,438 held-out and 359 test images, less than" in told.replace("\n", " ")


def test_cost_table__no_number_is_cut_on_a_narrow_terminal(tmp_path):
    planned = plan(experiment="x")
    costs = {cell.name: dry_run.Cost(123_456_789, 1_281_167, 300, 12_345_678) for cell in planned.cells}
    for width in (30, 80):
        console = Console(record=True, width=width, file=io.StringIO())
        print_whole(console, dry_run.cost_table(planned, tmp_path, costs))
        told = console.export_text()
        assert told.count("123,456,789") == 2
        assert "12,345,678" in told
        assert "…" not in told
