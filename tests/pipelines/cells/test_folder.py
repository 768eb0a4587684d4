import os
import subprocess
import sys

import pytest

from pipelines.cells.cell import Cell
from pipelines.cells.folder import CellError, check_unchanged, locked, open_folder
from pipelines.cells.job import CellFiles, stop_file
from pipelines.stack.plan import Member, StackPlan
from records.versions import REPOSITORY

CELL = Cell("one", "one")
SETTINGS = {"model": "MLP", "model.dropout": 0.1, "trainer.max_epochs": 2, "trainer.enable_progress_bar": True}


def trained(folder, checkpoint=True):
    files = CellFiles(folder, "one")
    files.write({"status": "done", "settings": SETTINGS, "seconds": 1.0})
    files.run.checkpoints.mkdir(parents=True)
    if checkpoint:
        files.run.last.touch()
    return files


def refused(folder, **changes):
    check_unchanged(folder, [CELL], {"one": {**SETTINGS, **changes}})


def test_open_folder__the_same_plan_goes_on_in_it(tmp_path):
    plan = StackPlan([Member("one")], root=str(tmp_path), experiment="x")
    assert (
        open_folder(plan.root, plan.experiment, plan.fresh)
        == open_folder(plan.root, plan.experiment, plan.fresh)
        == (tmp_path / "x", [])
    )
    with locked(tmp_path / "x", "stacked"):
        stop_file(tmp_path / "x").with_name("one.json").touch()
    plan.fresh = True
    assert open_folder(plan.root, plan.experiment, plan.fresh) == (tmp_path / "x-2", [tmp_path / "x-2"])


def test_check_unchanged__same_settings_go_on(tmp_path):
    refused(tmp_path)
    trained(tmp_path)
    refused(tmp_path)
    # what does not change the weights, and what a newer version adds
    refused(tmp_path, **{"trainer.enable_progress_bar": False, "model.new": 1})


def test_check_unchanged__names_the_cell_what_changed_and_the_way_out(tmp_path):
    trained(tmp_path)
    with pytest.raises(CellError) as raised:
        refused(tmp_path, **{"model.dropout": 0.2, "trainer.max_epochs": 3})
    message = str(raised.value)
    assert "cell 'one'" in message
    assert "model.dropout was 0.1, is 0.2; trainer.max_epochs was 2, is 3" in message
    assert "--experiment OTHER" in message
    assert "--fresh true" in message


def test_check_unchanged__one_that_has_saved_nothing_may_change(tmp_path):
    trained(tmp_path, checkpoint=False)
    refused(tmp_path, **{"model.dropout": 0.2})


def test_check_unchanged__the_users_own_run_is_left_alone(tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(CellError, match="is not a cell of this experiment"):
        refused(tmp_path)


def test_held__a_second_command_is_refused_by_the_name_of_the_first(tmp_path):
    code = f"""
import pathlib
from pipelines.cells.folder import locked
try:
    with locked(pathlib.Path({str(tmp_path)!r}), "stacked"): print("in")
except ValueError as error: print(error)
"""

    def second():
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY).stdout

    with locked(tmp_path, "stacked"):
        assert second().startswith(f"{tmp_path}/ is being stacked by process {os.getpid()} on host ")
    assert second() == "in\n"


def test_held__takes_back_an_earlier_wish_to_stop(tmp_path):
    with locked(tmp_path, "stacked"):
        stop_file(tmp_path).touch()
    with locked(tmp_path, "stacked"):
        assert not stop_file(tmp_path).exists()


@pytest.mark.parametrize("file", ["config.yaml", "cells/one.json"])
def test_held__what_was_refused_leaves_nothing_but_the_users_files(tmp_path, file):
    folder = tmp_path / "runs/x"
    with pytest.raises(ValueError, match="refused"), locked(folder, "stacked"):
        raise ValueError("refused")
    assert not (tmp_path / "runs").exists()
    # nor do those that were there before go
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="refused"), locked(folder, "stacked"):
        raise ValueError("refused")
    assert [*tmp_path.rglob("*")] == [tmp_path / "runs"]
    folder.mkdir()
    with pytest.raises(ValueError, match="refused"), locked(folder, "stacked"):
        raise ValueError("refused")
    assert [*folder.parent.rglob("*")] == [folder]
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text("mine")
    with pytest.raises(ValueError, match="refused"), locked(folder, "stacked"):
        raise ValueError("refused")
    assert (folder / file).read_text() == "mine"
