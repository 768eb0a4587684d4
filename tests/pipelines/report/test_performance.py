import csv
import multiprocessing

import pytest
import torch

from pipelines.cli.errors import UsageError
from pipelines.report.performance import COLUMNS, append_rows, performance_row
from pipelines.report.runs import read_run
from records.run_dir import RunDir
from tests.helpers.runs import logits_for, write_run


def row(name):
    return dict.fromkeys(COLUMNS, "") | {"model_name": name}


def names(path):
    with path.open(newline="") as file:
        return [found["model_name"] for found in csv.DictReader(file)]


def append(path, process, count):
    for number in range(count):
        # some rows are common to all processes
        append_rows(path, [row(f"{process}-{number}"), row(f"common-{number}")])


def test_append_rows__two_processes(tmp_path):
    path = tmp_path / "performance.csv"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=append, args=(path, process, 30)) for process in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    expected = {f"{who}-{number}" for who in ("a", "b", "common") for number in range(30)}
    assert len(names(path)) == len(expected)
    assert set(names(path)) == expected


def test_append_rows__what_is_there_stays(tmp_path):
    path = tmp_path / "performance.csv"
    assert append_rows(path, [row("a"), row("a"), row("with, comma")]) == 2
    # another program left no end of line
    path.write_text(path.read_text().rstrip("\n"))
    assert append_rows(path, [row("with, comma"), row("b")]) == 1
    assert names(path) == ["a", "with, comma", "b"]
    assert append_rows(path, []) == 0


def test_append_rows__an_empty_file_gets_a_header(tmp_path):
    path = tmp_path / "performance.csv"
    path.touch()
    append_rows(path, [])
    assert path.read_text() == ",".join(COLUMNS) + "\n"


def test_append_rows__other_columns(tmp_path):
    path = tmp_path / "performance.csv"
    path.write_text("a,b\n")
    with pytest.raises(UsageError, match=r"performance.csv has other columns .* --performance"):
        append_rows(path, [row("a")])
    assert path.read_text() == "a,b\n"


def test_performance_row(tmp_path):
    labels = torch.arange(30) % 3
    folder = write_run(tmp_path / "exp/mlp", logits_for(labels, 3), labels)
    found = performance_row(read_run(RunDir(folder)))
    assert tuple(found) == COLUMNS
    assert found["model_name"] == "exp/mlp"
    assert found["final_val_loss"] == "0.6"
    assert found["epochs_trained"] == "3"
    assert float(found["test_loss"]) > 0
    assert found["train_time_sec"] == "61.5"


def test_performance_row__the_last_rate_and_the_test_samples(tmp_path):
    labels = torch.arange(30) % 3
    facts = {"fit": {"learning_rate": 1e-5, "last": {"lr-AdamW": 0.001}}, "evaluations": {}, "samples": {"test": 30}}
    folder = write_run(tmp_path / "exp/stack", logits_for(labels, 3), labels, **facts)
    found = performance_row(read_run(RunDir(folder)))
    assert found["final_learning_rate"] == "1e-05"
    # a stack does not say apart what it was evaluated on
    assert found["support"] == "30"


def test_performance_row__the_loss_is_the_runs_own(tmp_path):
    labels = torch.arange(30) % 3
    run = read_run(RunDir(write_run(tmp_path / "exp/focal", logits_for(labels, 3), labels)))
    run.result["test"] |= {"loss": 0.25, "nll": 0.5}
    assert performance_row(run)["test_loss"] == "0.25"
    # of a stack the two are the same
    del run.result["test"]["loss"]
    run.result["stack"] = {"models": []}
    assert performance_row(run)["test_loss"] == "0.5"


def test_performance_row__a_solved_head_has_no_learning_rate(tmp_path):
    labels = torch.arange(30) % 3
    for facts in ({"last": {"lr-_Solver": 1.0}, "learning_rate": 1.0}, {"last": {"lr-_Solver": 1.0}}):
        run = read_run(RunDir(write_run(tmp_path / "exp/stacking", logits_for(labels, 3), labels, fit=facts)))
        assert performance_row(run)["final_learning_rate"] == ""


def test_performance_row__of_a_run_that_says_little(tmp_path):
    run = read_run(RunDir(tmp_path))
    run.result = {"test": {"accuracy": 0.5}, "fit": "nothing", "parameters": None}
    found = performance_row(run)
    assert found["accuracy"] == "0.5"
    assert found["num_params"] == found["timestamp"] == found["final_learning_rate"] == ""


def test_append_rows__names_that_a_spreadsheet_would_run(tmp_path):
    path = tmp_path / "performance.csv"
    hostile = ["=cmd|' /C calc'!A0", "+a", "-a", "@a", "\ta", "\ra", "a;=b"]
    assert append_rows(path, [row(name) for name in hostile]) == len(hostile)
    with path.open(newline="") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    # they are recognised
    assert append_rows(path, [row(name) for name in hostile]) == 0


def test_append_rows__numbers_stay_numbers(tmp_path):
    path = tmp_path / "performance.csv"
    append_rows(path, [row("a") | {"test_loss": "-0.5"}])
    assert path.read_text().splitlines()[1].split(",")[-2] == "-0.5"


def test_append_rows__as_a_spreadsheet_saved_it(tmp_path):
    path = tmp_path / "performance.csv"
    append_rows(path, [row("Köter")])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert append_rows(path, [row("Köter"), row("b")]) == 1
    path.write_bytes(path.read_text(encoding="utf-8-sig").encode("cp1252"))
    assert append_rows(path, [row("c")]) == 1
