import io
import json
import time

import pytest
from rich.console import Console

from pipelines.cells.cell import Cell
from pipelines.cells.job import CellFiles, Outcome
from pipelines.cells.watch import CellTable, last_metric

SETTINGS = {"trainer.max_epochs": 10, "best_checkpoint.monitor": "val/accuracy"}
HEADER = "epoch,lr-AdamW,step,train/loss,val/accuracy\n"


def table(folder, cells, terminal=True, height=40, slots=2):
    console = Console(force_terminal=terminal, width=100, height=height, record=True, file=io.StringIO())
    return CellTable(console, folder, cells, {cell.name: SETTINGS for cell in cells}, slots), console


def text(shown):
    console = Console(width=100, height=shown.console.height, file=io.StringIO(), record=True)
    console.print(shown.table())
    return console.export_text()


def running(folder, name, epochs=4, ago=40.0, seconds=0.0, accuracy=0.9):
    files = CellFiles(folder, name)
    files.write({"status": "running", "started": time.time() - ago, "seconds": seconds})
    files.run.folder.mkdir(exist_ok=True)
    write_metrics(files, epochs, accuracy)
    return files


def write_metrics(files, epochs, accuracy=0.9):
    rows = "".join(f"{n},,{n},0.5,{accuracy}\n" for n in range(epochs))
    (files.run.folder / "metrics.csv").write_text(HEADER + rows)


def test_last_metric__is_the_newest_with_a_value(tmp_path):
    path = tmp_path / "metrics.csv"
    assert last_metric(path, "val/accuracy") is None
    path.write_text(HEADER + "0,0.1,1,,\n0,,1,0.5,0.6\n1,,2,0.4,0.7\n2,0.1,3,,\n2,,3,0.3")
    assert last_metric(path, "val/accuracy") == (2, 0.7)
    assert last_metric(path, "val/nll") is None


def test_last_metric__of_a_long_file(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(HEADER + "".join(f"{n},,{n},0.5,{n / 10_000}\n" for n in range(5000)))
    assert last_metric(path, "val/accuracy") == (5000, 0.4999)


def test_table__a_running_cell(tmp_path):
    shown, _ = table(tmp_path, [Cell("one", "one")])
    files = running(tmp_path, "one", epochs=0, ago=40.0)
    shown(())
    write_metrics(files, 4)
    shown(())
    row = next(line for line in text(shown).splitlines() if "│ one" in line)
    assert "running" in row
    assert "4/10" in row
    assert "val/accuracy 0.9000" in row
    # 4 epochs took 40 s
    assert shown.watches["one"].progress.left == pytest.approx(60, abs=2)


def test_table__time_left_of_a_resumed_cell_counts_its_own_epochs_alone(tmp_path):
    shown, _ = table(tmp_path, [Cell("one", "one")])
    files = running(tmp_path, "one", epochs=8, ago=10.0, seconds=500.0)
    shown(())
    assert shown.watches["one"].progress.left is None
    write_metrics(files, 9)
    shown(())
    assert shown.watches["one"].progress.left == pytest.approx(10, abs=2)
    assert shown.watches["one"].progress.seconds == pytest.approx(510, abs=2)


def test_table__what_a_lost_process_has_left_is_not_running(tmp_path):
    running(tmp_path, "one", ago=900.0)
    shown, _ = table(tmp_path, [Cell("one", "one")])
    shown(())
    assert shown.watches["one"].progress.state == "waiting"
    running(tmp_path, "one", ago=40.0)
    shown(())
    assert shown.watches["one"].progress.state == "running"
    # its worker is gone: it waits for the next one
    shown([(Outcome("one", "failed"), True)])
    assert shown.watches["one"].progress.state == "retry"
    running(tmp_path, "one", ago=1.0)
    shown(())
    assert shown.watches["one"].progress.state == "running"


def test_table__states_and_the_time_left_of_all(tmp_path):
    cells = [Cell(f"one-fold{n}", "one") for n in range(4)]
    shown, _ = table(tmp_path, cells, slots=2)
    shown([(Outcome("one-fold0", "done", 100.0), False), (Outcome("one-fold1", "failed", 1.0), True)])
    told = text(shown)
    assert "retry" in told
    # three more of 100 s, two at once
    assert shown.seconds_left() == pytest.approx(150, abs=5)
    assert "1 done, 1 retry, 2 waiting; about 2 min left" in told


def test_table__is_legible_with_many_cells(tmp_path):
    cells = [Cell(f"one-fold{n}", "one") for n in range(50)]
    shown, _ = table(tmp_path, cells, height=24)
    shown([(Outcome(f"one-fold{n}", "done", 9.0), False) for n in range(20)])
    shown([(Outcome("one-fold49", "failed", 9.0), False)])
    running(tmp_path, "one-fold30")
    shown(())
    told = text(shown)
    assert len(told.splitlines()) <= 24
    assert "one-fold30" in told
    assert "one-fold49" in told
    assert "more" in told
    assert "20 done, 1 running, 28 waiting, 1 failed" in told


def test_report__one_line_a_cell_where_there_is_no_terminal(tmp_path):
    shown, console = table(tmp_path, [Cell("one", "one"), Cell("two", "two")], terminal=False)
    files = running(tmp_path, "one")
    files.run.result.write_text(json.dumps({"val": {"accuracy": 0.95}, "fit": {}}))
    with shown:
        shown(())
        shown([(Outcome("one", "done", 12.0), False), (Outcome("two", "failed", 3.0, "why"), True)])
        shown(())
    assert console.export_text() == "one: val/accuracy 0.9500, 12 s\ntwo failed, and is started again\n"


def test_table__cells_done_before_are_shown_as_done(tmp_path):
    files = running(tmp_path, "one", epochs=10)
    files.run.checkpoints.mkdir()
    files.run.last.touch()
    files.write({"status": "done", "seconds": 77.0})
    shown, _ = table(tmp_path, [Cell("one", "one")])
    row = next(line for line in text(shown).splitlines() if "│ one" in line)
    assert "done" in row
    assert "10/10" in row
    assert "77" in row
