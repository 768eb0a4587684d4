import csv
import errno
import os

import pytest
import torch

from records import metrics_file
from records.damaged import DamagedFileError
from records.metrics_file import MetricsFile


def rows(path):
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def logged(path, *steps, **metrics):
    file = MetricsFile(path)
    for step in steps:
        file.log_metrics(metrics or {"loss": torch.tensor(step / 2)}, step)
    file.save()
    return file


def test_save__rows_go_below_those_that_are_there(tmp_path):
    path = tmp_path / "metrics.csv"
    logged(path, 0, 1)
    logged(path, 2)
    assert rows(path) == [{"loss": f"{step / 2}", "step": f"{step}"} for step in range(3)]
    # also with columns of their own
    logged(path, 3, epoch=0)
    assert rows(path)[2:] == [{"loss": "1.0", "step": "2"}, {"epoch": "0", "step": "3"}]


def test_save__nothing_to_write_writes_nothing(tmp_path):
    logged(tmp_path / "metrics.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", [0, 1, 3])
def test_cut__what_is_logged_again_is_left_out(step, tmp_path):
    path = tmp_path / "metrics.csv"
    file = logged(path, 0, 0, 1, 2)
    file.cut(step)
    assert [int(row["step"]) for row in rows(path)] == [one for one in (0, 0, 1, 2) if one < step]
    logged(path, step)
    assert rows(path)[-1]["step"] == str(step)


@pytest.mark.parametrize("kept", range(40))
def test_cut__half_a_row_of_a_killed_process_goes(kept, tmp_path):
    path = tmp_path / "metrics.csv"
    logged(path, *range(4))
    whole = path.read_bytes()
    half = whole[: len(whole) * kept // 40]
    path.write_bytes(half)
    file = MetricsFile(path)
    file.cut(9)
    left = rows(path) if kept else []
    assert left == [{"loss": f"{step / 2}", "step": f"{step}"} for step in range(len(left))]
    assert len(left) == max(0, half.count(b"\n") - 1)
    logged(path, 9)
    assert rows(path) == [*left, {"loss": "4.5", "step": "9"}]


def test_kill__within_writing_anew_leaves_all_rows(tmp_path, monkeypatch):
    """As it is killed: what is written is in a file beside it, and nothing has been removed."""
    path = tmp_path / "metrics.csv"
    logged(path, *range(7))
    before = path.read_bytes()

    def kill(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics_file, "write_whole", kill)
    for write in (lambda: logged(path, 7, epoch=1), lambda: MetricsFile(path).cut(3)):
        with pytest.raises(KeyboardInterrupt):
            write()
        assert path.read_bytes() == before


def test_save__a_full_disk_leaves_whole_rows(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    file = logged(path, 0, 1)
    before, table = path.read_bytes(), metrics_file.table
    file.log_metrics({"loss": 2.0}, 2)

    def half(rows, columns, header):
        with path.open("a") as written:
            written.write("0.")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(metrics_file, "table", half)
    with pytest.raises(OSError, match="No space left"):
        file.save()
    assert path.read_bytes() == before
    # the rows are written once there is room
    monkeypatch.setattr(metrics_file, "table", table)
    file.save()
    assert [row["step"] for row in rows(path)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"step", b"stfp", "does not name its columns"),
        (b"0.5,1", b"0.5;1", "line 3 has 1 values for 2 columns"),
        (b"0.5,1", b"0.u,1", "line 3: '0.u' is no number"),
        (b"0.5,1", b"0.5,q", "line 3: 'q' is no number"),
        (b"0.5,1", b"\xb0.5,1", "can't decode"),
    ],
)
def test_metrics_file__a_damaged_one_is_named(before, after, message, tmp_path):
    path = tmp_path / "metrics.csv"
    logged(path, 0, 1, 2)
    content = path.read_bytes().replace(before, after)
    path.write_bytes(content)
    with pytest.raises(
        DamagedFileError, match=rf"metrics\.csv is damaged .*{message}.*rename it, and the run continues"
    ):
        MetricsFile(path)
    assert path.read_bytes() == content
